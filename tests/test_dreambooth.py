"""DreamBooth with a masked loss: what is outside the mask has no gradient, with a tiny random model of diffusers."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vos.command.find_dreambooth import DreamboothWriter
from vos.finder import Found
from vos.structures import Frame

ROOT = Path(__file__).parents[1]
SIDE = 32
"""Of the pictures; the latents are half as long."""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("dreambooth_masked", ROOT / "tools/dreambooth_masked.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def tiny_parts(prediction: str) -> dict[str, Any]:
    """Parts of a pipeline with random weights."""
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz@")]
    words += list("abcdefghijklmnopqrstuvwxyz@")
    return {
        "unet": diffusers.UNet2DConditionModel(
            sample_size=SIDE // 2,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=8,
                bos_token_id=0,
                eos_token_id=1,
            )
        ),
        "tokenizer": CLIPTokenizer(
            vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=8
        ),
        "scheduler": diffusers.DDPMScheduler(num_train_timesteps=20, prediction_type=prediction),
    }


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of a pipeline."""
    folder = tmp_path_factory.mktemp("pipeline")
    for name, part in tiny_parts(request.param).items():
        part.save_pretrained(folder / name)
    return folder


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """Two pictures with masks, the second wider."""
    folder = tmp_path / "dreambooth/1"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index, (height, width) in enumerate(((40, 40), (40, 80))):
        rgb = np.random.default_rng(index).integers(0, 255, (height, width, 3)).astype(np.uint8)
        mask = np.zeros((height, width), np.uint8)
        mask[10:30, width - 25 : width - 5] = 1
        Image.fromarray(rgb).save(folder / f"images/{index:02d}.png")
        Image.fromarray(mask).save(folder / f"masks/{index:02d}.png")
    return folder


def arguments(pipeline: Path, instance: Path, out: Path, *more: str) -> list[str]:
    """A short run."""
    named = {"--model": pipeline, "--instance": instance, "--prompt": "t@y dog", "--size": SIDE, "--device": "cpu"}
    return [str(word) for pair in named.items() for word in pair] + ["--steps", "3", "-o", str(out), *more]


def found_in(name: str | None, labels: np.ndarray, present: tuple[bool, ...]) -> Found:
    """What a search with two instances of object 3, and object 5, gave in one picture."""
    frame = Frame(4, 0.0, np.random.default_rng(0).integers(0, 255, (*labels.shape, 3)).astype(np.uint8), name)
    nothing = np.zeros(3, np.float32)
    return Found(
        frame=frame,
        labels=labels,
        object_ids=(3, 3, 5),
        numbers=(1, 2, 3),
        present=np.array(present),
        boxes=np.full((3, 4), -1, np.int32),
        areas=np.zeros(3, np.int64),
        scores=nothing,
        similarity=nothing,
    )


def test_what_was_found_is_written_for_training(tool: ModuleType, tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[5:15, 5:15], labels[20:30, 20:30] = 1, 2
    writer = DreamboothWriter(tmp_path / "dreambooth")
    found = found_in("park", labels, (True, True, False))
    writer.write(found)
    writer.write(found_in(None, np.zeros_like(labels), (False,) * 3))
    writer.close()
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["dreambooth/3/images/park.png", "dreambooth/3/masks/park.png"]
    with Image.open(tmp_path / "dreambooth/3/masks/park.png") as mask:
        assert np.array_equal(np.asarray(mask), np.where(labels > 0, 255, 0))
    with Image.open(tmp_path / "dreambooth/3/images/park.png") as picture:
        assert np.array_equal(np.asarray(picture), found.frame.rgb)
    [example] = tool.read_instances(tmp_path / "dreambooth/3", 40)
    assert example.mask.sum() == 200
    writer.write(found, "other")
    assert (tmp_path / "dreambooth/3/images/other.png").is_file()


def test_what_is_outside_has_no_part_in_the_loss(tool: ModuleType) -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randn(2, 4, 6, 6)
    mask = torch.zeros(2, 1, 6, 6)
    mask[0, :, 1:3, 1:4], mask[1, :, 5, 5] = 1, 1
    loss = tool.masked_loss(predicted, target, mask)
    value = loss.item()
    squares = (predicted - target).detach().square()
    expected = (squares[0, :, 1:3, 1:4].mean() + squares[1, :, 5, 5].mean()) / 2
    assert value == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    inside = mask.expand_as(predicted) > 0
    assert predicted.grad is not None
    assert (predicted.grad[~inside] == 0).all() and (predicted.grad[inside] != 0).all()
    wild = torch.where(inside, target, torch.full_like(target, torch.inf))  # not even infinity counts outside
    assert tool.masked_loss(predicted, wild, mask).item() == value
    assert tool.masked_loss(predicted, target, mask * 0).item() == 0


def test_masks_at_the_size_of_latents(tool: ModuleType) -> None:
    mask = torch.zeros(3, 1, 16, 16)
    mask[0, 0, 4:12, 4:8] = 1  # two latents of 4 x 4
    mask[0, 0, 0:4, 0:1] = 1  # a quarter of another
    mask[1, 0, 0, 0] = 1  # a single pixel
    small = tool.latent_mask(mask, (4, 4))
    assert small[0, 0].nonzero().tolist() == [[1, 1], [2, 1]]
    assert small[1, 0].nonzero().tolist() == [[0, 0]]
    assert not small[2].any()


def test_the_background_gives_the_network_no_gradient(tool: ModuleType, pipeline: Path) -> None:
    """The gradient of all weights is the same whatever target the network is given outside."""
    model = tool.Model.load(str(pipeline), torch.device("cpu"))
    torch.manual_seed(0)
    noisy, target, times = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16), torch.tensor([3])
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:9, 5:12] = 1

    def gradient(wanted: torch.Tensor) -> list[torch.Tensor]:
        model.unet.zero_grad()
        tool.masked_loss(model.unet(noisy, times, model.conditions(["t@y"])).sample, wanted, mask).backward()
        return [each.grad.clone() for each in model.unet.parameters() if each.grad is not None]

    first = gradient(target)
    assert any(each.any() for each in first)
    other = torch.where(mask > 0, target, torch.randn_like(target) * 9)
    assert all(torch.equal(one, two) for one, two in zip(first, gradient(other), strict=True))
    inside = torch.where(mask > 0, torch.randn_like(target) * 9, target)
    assert not all(torch.equal(one, two) for one, two in zip(first, gradient(inside), strict=True))


def test_a_step_masks_the_networks_answer(tool: ModuleType, pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through autoencoder, noise and network: the gradient of what it predicts is 0 exactly outside the mask."""
    model = tool.Model.load(str(pipeline), torch.device("cpu"))
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 6:20, 8:24] = 1
    example = tool.Example(torch.rand(3, SIDE, SIDE) * 2 - 1, mask)
    answers = []

    def keep(module: object, inputs: object, output: Any) -> None:
        output.sample.retain_grad()
        answers.append(output.sample)

    handle = model.unet.register_forward_hook(keep)
    tool.loss_of(model, [example], "t@y", torch.Generator().manual_seed(0)).backward()
    handle.remove()
    [answer] = answers
    small = torch.nn.functional.max_pool2d(mask, 2)[0] > 0  # the mask's corners are even
    assert answer.shape[-2:] == small.shape
    changed = (answer.grad[0] != 0).all(dim=0)
    assert torch.equal(changed, small) and not (answer.grad[0] != 0).any(dim=0)[~small].any()
    assert all(each.grad is None for part in (model.vae, model.text_encoder) for each in part.parameters())


def test_trains_the_network_and_nothing_else(
    tool: ModuleType, pipeline: Path, instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diffusers = pytest.importorskip("diffusers")
    out, others = tmp_path / "out", tmp_path / "class"
    others.mkdir()
    Image.new("RGB", (40, 50), (90, 40, 20)).save(others / "a.jpg")
    more = ("--class-images", str(others), "--class-prompt", "dog", "--learning-rate", "1e-3", "--batch", "2")
    assert tool.main(arguments(pipeline, instance, out, *more)) == 0, capsys.readouterr().err
    before = diffusers.UNet2DConditionModel.from_pretrained(pipeline / "unet").state_dict()
    after = diffusers.UNet2DConditionModel.from_pretrained(out / "unet").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in out.iterdir()) == ["log.csv", "unet"]
    with (out / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3 and all(np.isfinite(losses)) and all(losses)


def test_a_run_repeats(tool: ModuleType, pipeline: Path, instance: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert tool.main(arguments(pipeline, instance, tmp_path / out)) == 0
    assert (tmp_path / "a/log.csv").read_text() == (tmp_path / "b/log.csv").read_text()


def test_pictures_are_cut_to_a_square_around_the_object(tool: ModuleType, instance: Path) -> None:
    narrow, wide = tool.read_instances(instance, 20)
    assert narrow.pixels.shape == wide.pixels.shape == (3, 20, 20)
    assert narrow.pixels.min() >= -1 and narrow.pixels.max() <= 1
    assert narrow.mask.sum() == wide.mask.sum() == 10 * 10
    assert wide.mask[0, 5:15, 7:17].all()  # the square ends at the right edge of the picture


def test_batches_show_every_picture_before_one_comes_again(tool: ModuleType) -> None:
    batches = tool.endless(list(range(5)), 2, torch.Generator().manual_seed(0))
    drawn = [each for _ in range(5) for each in next(batches)]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == list(range(5))


@pytest.mark.parametrize(
    ("damage", "more", "message"),
    [
        (lambda folder: (folder / "masks/00.png").unlink(), (), "00.png: no such mask"),
        (
            lambda folder: Image.new("L", (9, 9), 1).save(folder / "masks/00.png"),
            (),
            "9 x 9, but its picture is 40 x 40",
        ),
        (lambda folder: Image.new("L", (40, 40)).save(folder / "masks/00.png"), (), "the mask is empty"),
        (lambda folder: (folder / "images/00.png").write_text("no"), (), "00.png: cannot be read as an image"),
        (lambda folder: [path.unlink() for path in folder.glob("images/*")], (), "images: holds no pictures"),
        (lambda folder: None, ("--steps", "0"), "--steps 0: must be 1 or more"),
        (lambda folder: None, ("--class-prompt", "dog"), "--class-images and --class-prompt go together"),
    ],
)
def test_mistakes_are_one_clear_line(
    tool: ModuleType, instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage, more, message: str
) -> None:
    damage(instance)
    assert tool.main(arguments(tmp_path / "none", instance, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_that_is_no_pipeline(
    tool: ModuleType, instance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    (tmp_path / "model").mkdir()
    assert tool.main(arguments(tmp_path / "model", instance, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "model: its unet does not load" in error and error.count("\n") == 1


def test_without_diffusers_a_line_says_what_to_install(
    tool: ModuleType,
    instance: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert tool.main(arguments(tmp_path, instance, tmp_path / "out")) == 2
    assert "needs diffusers: pip install '.[dreambooth]'" in capsys.readouterr().err
