"""Cutie as a tracker, with random weights of its own size: against the package's own use of it, and bounded.

The conformance suite runs with a decoder that is trained here to follow a drawn disc.
"""

from __future__ import annotations

import builtins
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import vos
from vos.command.cli import main
from vos.errors import PluginError, WeightsError
from vos.testing.clip import clip, disc_labels, discs, sway
from vos.trackers import cutie
from vos.weights.model_cache import ModelCache

SIZE = (97, 131)

pytestmark = pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning")  # of the package, called directly


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """``cutie:FILE`` of Cutie-small, as its training saves it."""
    from cutie.model.cutie import CUTIE

    with torch.random.fork_rng(), cutie.without_downloads():
        torch.manual_seed(3)
        network = CUTIE(cutie.configuration("small"))
    path = tmp_path_factory.mktemp("cutie") / "cutie-small.pth"
    torch.save(network.state_dict(), path)
    return f"cutie:{path}"


FOLLOWED = (1, 13, 28, 39)
"""Discs that training follows: so many that one answer for all of them would overlap each by a quarter."""


@pytest.fixture(scope="module")
def trained(weights, tmp_path_factory, mask_loss) -> str:
    """``cutie:FILE`` of a network that follows one of several like discs, which only its memory can tell it.

    All but the decoder stays random: what the decoder is given is computed once. Masks are made strong,
    and the last mask and the sensory memory, which would do without the memory of values, are shut out.
    """
    from cutie.inference.inference_core import InferenceCore
    from cutie.utils.tensor_utils import pad_divide_by

    network = cutie.load_network(weights.partition(":")[2])
    network.mask_encoder.conv1.weight[:, 3:] *= 20
    network.pixel_fuser.sensory_compress.weight.zero_()
    size, later = (120, 200), (1, 3, 6)  # frames on which the discs have moved by 0, 1 and 2 pixels
    seen = frames(max(later) + 1, size)
    images = [torch.tensor(frame.rgb).permute(2, 0, 1).float() / 255 for frame in seen]
    labels = [torch.tensor(disc_labels(size, max(FOLLOWED), sway(size, at))) for at in range(len(seen))]
    truth = [torch.stack([each == disc for disc in FOLLOWED]).float() for each in labels]
    given = []
    hook = network.mask_decoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    for mask in truth[0]:
        core = InferenceCore(network, network.cfg)
        core.step(images[0], mask.long(), objects=[1])
        for at in later:
            core.step(images[at])
    hook.remove()

    decoder = network.mask_decoder.requires_grad_(True)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, 50)
    for step in range(50):
        turn = step % len(later)
        features, readouts, sensory = zip(*given[turn :: len(later)], strict=True)
        logits = decoder(features[0], torch.cat(readouts, 1), sensory[0], update_sensory=False)[1]
        logits = F.interpolate(logits, scale_factor=4, mode="bilinear")[0]
        optimizer.zero_grad()
        mask_loss(logits, pad_divide_by(truth[later[turn]], 16)[0]).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1)
        optimizer.step(), schedule.step()
    path = tmp_path_factory.mktemp("cutie") / "trained.pth"
    torch.save(network.state_dict(), path)
    return f"cutie:{path}"


@pytest.fixture
def session(weights):
    with vos.open_session(tracker=weights, device="cpu") as session:
        yield session


def frames(count: int, size: tuple[int, int] = SIZE):
    return list(itertools.islice(clip(size), count))


def test_sessions_share_what_a_cache_keeps(weights, monkeypatch):
    loads, models = [], ModelCache()
    load = cutie.load_network
    monkeypatch.setattr(cutie, "load_network", lambda file: (loads.append(file), load(file))[1])
    first, *later = frames(3)
    results = []
    for _ in range(2):
        with vos.open_session(tracker=weights, device="cpu", models=models) as session:
            session.start(first, discs(1, SIZE))
            results.append([session.step(frame).logits for frame in later])
            assert session.tracker.files == (weights.partition(":")[2],)
    assert len(loads) == 1
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))
    with vos.open_session(tracker=weights, device="cpu") as session:  # with a cache of its own
        session.start(first, discs(1, SIZE))
    assert len(loads) == 2


def test_labels_are_those_of_the_packages_own_script(weights, session):
    """As its README shows: a step with the mask, then a step for each frame, then the largest probability."""
    from cutie.inference.inference_core import InferenceCore

    network = cutie.load_network(weights.partition(":")[2])
    core = InferenceCore(network, cfg=network.cfg)
    seen, first = frames(12), np.uint8([0, 4, 7])[disc_labels(SIZE, 2)]
    images = [torch.tensor(frame.rgb).permute(2, 0, 1).float() / 255 for frame in seen]
    with torch.inference_mode():
        core.step(images[0], torch.tensor(first).long(), objects=[4, 7])
        session.start(seen[0], first)
        for frame, image in zip(seen[1:], images[1:], strict=True):
            probabilities = core.step(image)
            result = session.step(frame)
            best, second = probabilities.topk(2, dim=0).values.numpy()
            assert (best - second)[result.labels != core.output_prob_to_mask(probabilities).numpy()].max(
                initial=0
            ) < 1e-6
            odds = probabilities[1:].log() - probabilities[:1].log()
            np.testing.assert_allclose(result.logits, odds.numpy(), atol=1e-5)
    assert result.labels.any()


def test_a_given_mask_is_seen_where_it_is(session, monkeypatch):
    """The mask goes through the network's own size; what its memory is given must lie in the same place."""
    shown = []
    size = (1000, 700)
    monkeypatch.setattr(cutie.Cutie, "_run", lambda self, context, *masks, **_: shown.append(masks[0]))
    labels = np.pad(np.full((200, 100), 9, np.uint8), ((700, 100), (50, 550)))
    session.start(frames(1, size)[0], labels)
    assert shown[0].shape == (686, 480)
    seen = np.asarray(Image.fromarray(shown[0].numpy().astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))
    assert np.count_nonzero((seen > 0) != (labels > 0)) < 0.02 * np.count_nonzero(labels)


def test_objects_join_leave_and_are_corrected(session):
    seen = frames(7)
    session.start(seen[0], discs(2, SIZE))
    core = session.tracker._core
    session.step(seen[1])
    labels = disc_labels(SIZE, 9)
    session.remove(1)  # also before the memory has anything but the first frame
    assert core.object_manager.all_obj_ids == [2] and core.last_mask.shape[1] == 1
    assert session.step(seen[2]).object_ids == (2,)
    session.add_object(labels == 9, object_id=1)
    assert core.object_manager.all_obj_ids == [2, 3]  # not 1 again: traces of it are left
    assert set(core.memory.obj_v) == {2, 3}
    before = core.memory.work_mem.perm_end_pt.copy()
    session.correct(2, labels == 8)
    assert all(core.memory.work_mem.perm_end_pt[bucket] > before[bucket] for bucket in core.memory.work_mem.buckets)
    assert session.step(seen[3]).object_ids == (2, 1)
    session.remove(2), session.remove(1)
    assert session.step(seen[4]).object_ids == ()
    session.add_object(labels == 5)
    assert session.step(seen[5]).object_ids == (1,)


def test_a_frame_is_memorised_with_all_masks_that_the_user_sees(session, monkeypatch):
    given = []
    seen, labels = frames(2), disc_labels(SIZE, 9)
    session.start(seen[0], discs(2, SIZE))
    stepped = session.step(seen[1])
    run = cutie.Cutie._run

    def noted(self, context, *rest, **how):
        given.append((rest, how))
        return run(self, context, *rest, **how)

    monkeypatch.setattr(cutie.Cutie, "_run", noted)
    results = [session.correct(2, labels == 8), session.add_object(labels == 9)]
    assert [list(rest[1]) for rest, _ in given] == [[1, 2], [1, 2, 3]]
    assert [how["force_permanent"] for _, how in given] == [True, False]
    for ((shown, _), _), result in zip(given, results, strict=True):
        assert np.array_equal(shown.numpy(), result.labels)  # rows and numbers agree here
    assert np.array_equal((results[1].labels == 1), (stepped.labels == 1) & ~np.isin(labels, (8, 9)))


def test_an_absent_object_is_memorised_as_absent(session, monkeypatch):
    given = []
    seen, labels = frames(3), disc_labels(SIZE, 9)
    session.start(seen[0], discs(2, SIZE))
    session.gone(2)
    session.step(seen[1])
    run = cutie.Cutie._run

    def noted(self, context, *rest, **how):
        given.append(rest)
        return run(self, context, *rest, **how)

    monkeypatch.setattr(cutie.Cutie, "_run", noted)
    results = [session.correct(1, labels == 1), session.add_object(labels == 9)]
    for (shown, _), result in zip(given, results, strict=True):
        assert np.array_equal(shown.numpy(), result.labels) and not (shown == 2).any()
    assert session.step(seen[2]).object_ids == (1, 2, 3)


def test_the_memory_is_bounded(session):
    """What its memories may hold is stated in cells, of which these frames have 36."""
    first, *later = frames(45, (96, 96))
    session.tracker._network = network = cutie.load_network(session.tracker.options.weights)
    network.cfg.long_term.update({"max_num_tokens": 500, "buffer_tokens": 100})
    network.cfg.mem_every = 1
    session.start(first, discs(1, (96, 96)))
    memory, sizes = session.tracker._core.memory, []
    for frame in later:
        session.step(frame)
        sizes.append((memory.work_mem.size(0), memory.long_mem.size(0)))
    assert max(work for work, _ in sizes) <= 10 * 36
    times = sum(after < before for (before, _), (after, _) in itertools.pairwise(sizes))
    moved = network.cfg.long_term.num_prototypes * times
    assert max(long for _, long in sizes) <= 500 < moved
    assert len(session.tracker._core.image_feature_store) == 0


def test_half_precision(weights):
    with vos.open_session(tracker=weights, device="cpu", dtype="bfloat16") as session:
        first, *later = frames(3)
        session.start(first, discs(2, SIZE))
        for frame in later:
            result = session.step(frame)
        assert np.isfinite(result.logits).all()


def test_the_size_is_read_off_the_weights(weights, tmp_path):
    assert cutie.configuration("base").model.pixel_encoder.type == "resnet50"
    assert cutie.load_network(weights.partition(":")[2]).cfg.model.pixel_encoder.type == "resnet18"


@pytest.mark.slow
def test_what_was_learned_is_read_from_the_memory(trained):
    """So that the conformance suite fails where the memory is not kept, or not read."""
    size, overlaps = (120, 200), []
    truth = disc_labels(size, 1, sway(size, 1)) > 0
    first, second = frames(2, size)
    for forgotten in (False, True):
        with vos.open_session(tracker=trained, device="cpu") as session:
            session.start(first, discs(1, size))
            if forgotten:
                with torch.inference_mode():
                    session.tracker._core.memory.work_mem.value[1].zero_()
            found = session.step(second).labels > 0
            overlaps.append(np.count_nonzero(found & truth) / np.count_nonzero(found | truth))
    assert overlaps[0] > 0.5 and overlaps[1] < 0.3, overlaps


@pytest.mark.slow
def test_it_conforms(trained, conforms):
    """What is held is also counted above, so fewer frames do for the memory of the process."""
    conforms("--tracker", trained, "--memory-frames", "45")


def test_the_command_and_its_record(weights, tmp_path, capfd):
    (tmp_path / "clip").mkdir()
    for frame in frames(3):
        Image.fromarray(frame.rgb).save(tmp_path / "clip" / f"{frame.index:05d}.png")
    Image.fromarray(disc_labels(SIZE, 2)).save(tmp_path / "mask.png")
    arguments = [tmp_path / "clip", "--first-mask", tmp_path / "mask.png", "--tracker", weights, "-o", tmp_path / "out"]
    assert main([*map(str, arguments), "--device", "cpu", "--quiet"]) == 0
    assert not capfd.readouterr().err
    assert list(json.loads((tmp_path / "out/run.json").read_text())["weights"]) == [weights.partition(":")[2]]


def test_without_weights_or_with_others_it_says_what_to_do(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    torch.save({"pix_feat_proj.weight": torch.ones(256, 256, 1, 1)}, tmp_path / "part.pth")
    cases = {
        "cutie": "cutie-base-mega.pth from the releases",
        "cutie:nowhere.pth": "nowhere.pth: no such file",
        f"cutie:{tmp_path / 'other.pth'}": "not the weights of Cutie",
        f"cutie:{tmp_path / 'part.pth'}": "not the weights of Cutie: .* more are missing",
    }
    for name, message in cases.items():
        with vos.open_session(tracker=name, device="cpu") as session, pytest.raises(WeightsError, match=message):
            session.start(frames(1)[0], discs(1, SIZE))


def test_without_the_package_it_says_what_to_install(monkeypatch):
    own = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "cutie":
            raise ImportError("No module named 'cutie'")
        return own(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PluginError, match=r"pip install 'vos-track\[cutie\]'"):
        cutie.load_network("file.pth")


def test_the_package_brings_no_torchvision(weights):
    code = (
        "import sys\n"
        "from vos.trackers.cutie import load_network\n"
        "load_network(sys.argv[1])\n"
        "assert 'cutie' in sys.modules and 'torchvision' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, weights.partition(":")[2]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
