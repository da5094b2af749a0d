"""Point trackers, alone and as propagation of PerSAM's prompts."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from vos.encoders.same import SameEncoder
from vos.engine import models
from vos.engine.session import Session
from vos.errors import InputError, PluginError, WeightsError
from vos.point_trackers.cotracker import CoTracker
from vos.point_trackers.pips import PipsTracker, _last_surely_visible
from vos.point_trackers.pips_network import WINDOW_FRAMES, Pips, _correlate
from vos.state_file import from_bytes, to_bytes
from vos.structures import Frame
from vos.trackers.persam import PerSAM, PerSAMF, PerSamFOptions, PerSamOptions
from vos.trackers.persam.points import PropagatedPoints, load_point_tracker

DATA = Path(__file__).parent / "data" / "pips"
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def weights_by_rule() -> dict[str, torch.Tensor]:
    """The weights that the stored outputs were made with."""
    tensors = {}
    for key, shape in json.loads((DATA / "keys.json").read_text()).items():
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
        if len(shape) > 1:
            drawn = drawn / drawn[0].numel() ** 0.5
        else:
            drawn = 1 + 0.1 * drawn if key.endswith("weight") else 0.1 * drawn
        tensors[key] = drawn * 0.2 if key.startswith("delta_block.to_delta.15.") else drawn
    return tensors


@pytest.fixture(scope="module")
def weights():
    return weights_by_rule()


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "pips.npz") as file:
        return {key: file[key] for key in file.files}


def frames_of(images) -> list[Frame]:
    return [Frame(index, index / 24, np.ascontiguousarray(rgb)) for index, rgb in enumerate(images)]


def sliding(count, step=(3, 2), size=(96, 160)) -> list[Frame]:
    """Frames over which a noisy picture slides by ``step`` pixels, (x, y), a frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((5, 5, 1), np.uint8))
    x, y = (100 - step[axis] * np.arange(count) for axis in (0, 1))
    return frames_of(picture[y[i] : y[i] + size[0], x[i] : x[i] + size[1]] for i in range(count))


@pytest.mark.parametrize("stride", [4, 8])
def test_pips_gives_the_published_outputs(weights, arrays, stride):
    network = Pips(stride).eval()
    network.load_state_dict(weights)
    maps = network.encode(torch.tensor(arrays["frames"]).permute(0, 3, 1, 2).float())
    points = torch.tensor(arrays["points"])
    features = network.sample(maps[:1], points)
    places, visibility = network(maps, points, features)
    expected = {name: arrays[f"stride{stride}_{name}"] for name in
                ("feature_map_frame0", "point_features", "trajectories", "visibility_logits")}  # fmt: skip
    assert np.abs(maps[:1].numpy() - expected["feature_map_frame0"]).max() < 1e-4
    assert np.abs(features.numpy() - expected["point_features"]).max() < 1e-4
    # Random weights and sines of a thousand times the motion make each update multiply rounding by
    # about eight: float64 leaves the published float32 by 0.25 pixels after six updates, ours by 0.16.
    error = np.abs(places.numpy() - expected["trajectories"]).reshape(6, -1).max(axis=1)
    assert (error < [1e-4, 5e-4, 2e-3, 0.03, 0.3, 1.0]).all(), error
    assert np.abs(visibility.numpy() - expected["visibility_logits"]).max() < 0.5  # of -12 to 12


def test_a_full_window_of_the_stream_is_the_networks_own(weights, arrays):
    network = Pips().eval()
    network.load_state_dict(weights)
    tracker = PipsTracker(network, CPU)
    frames = frames_of(arrays["frames"])
    points = torch.tensor(arrays["points"])
    tracker.start(frames[0], points.view(2, 3, 2))
    for frame in frames[1:]:
        moved, visible = tracker.step(frame)
    assert moved.shape == (2, 3, 2) and visible.shape == (2, 3) and visible.dtype == torch.bool
    assert np.abs(moved.view(6, 2).numpy() - arrays["stride4_trajectories"][-1, 7]).max() < 1.0


def hand_set(frame: Frame, points: torch.Tensor) -> Pips:
    """A network that moves each point to where the correlation with its surroundings weighs most.

    Its features are random, of the finest scale only, and zero where nothing is. Per frame of the window the
    mixer weighs the correlation at the finest scale by the offset; the mean over the frames, rising
    with time as a steady motion does, is the change of place.
    """
    torch.manual_seed(0)
    network = Pips().eval()
    rgb = torch.tensor(frame.rgb).permute(2, 0, 1)[None].float()
    network.fnet.conv2.weight[:, 64:] = 0
    network.fnet.conv3.bias -= network.encode(rgb).median(dim=3)[0].median(dim=2)[0][0]
    maps = network.encode(rgb)

    reach = torch.arange(-3, 4).float()
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij")).flatten(1)  # x, y: (2, 49)
    features = network.sample(maps, points)[None]
    pull = [
        (_correlate([maps], features, points[None] / 4 + torch.tensor([x, 0.0])) @ offsets.T).mean(dim=(0, 1))
        for x in (-1, 0, 1)
    ]
    gain = 2 / (pull[0] - pull[2])[0]  # cells of motion per unit of weighed correlation

    mixer = network.delta_block.to_delta
    for parameter in mixer.parameters():
        parameter.zero_()
    level = slice(128, 128 + 49)
    mixer[0].weight[0, level], mixer[0].weight[1, level] = offsets * gain
    mixer[0].bias[:2] = -pull[1] * gain
    mixer[0].bias[2], mixer[0].bias[3] = 100, -100  # so large that the layer norm leaves the rest linear
    mixer[13].weight.fill_(100 * (2 / 512) ** 0.5)
    for time in range(WINDOW_FRAMES):
        for axis in (0, 1):
            mixer[15].weight[time * 130 + axis, axis] = time / 3.5
    for parameter in network.ffeat_updater.parameters():
        parameter.zero_()
    network.vis_predictor[0].weight.zero_()
    network.vis_predictor[0].bias.fill_(5)
    return network


def test_pips_with_hand_set_weights_follows_a_translation():
    began = torch.tensor([[[60.0, 40.0], [100.0, 52.0]]])
    frames = squares(20, began)
    tracker = PipsTracker(hand_set(frames[0], began[0]), CPU)
    tracker.start(frames[0], began)
    for index, frame in enumerate(frames[1:], start=1):
        moved, visible = tracker.step(frame)
        assert visible.all()
        if index % 7 == 0:  # a window is full; this network knows steady motion only, not a repeated frame
            assert (moved - began - index).abs().max() < 1.5, (index, moved - began)


def squares(count: int, began: torch.Tensor) -> list[Frame]:
    """Frames with a bright square around each of the points (1, P, 2), which move by a pixel a frame in x and y."""
    images = np.full((count, 96, 160, 3), 40, np.uint8)
    for index, image in enumerate(images):
        for x, y in began[0].int() + index:
            image[y - 6 : y + 7, x - 6 : x + 7] = 200
    return frames_of(images)


def goes_on_after_restore(make, frames: list[Frame], began: torch.Tensor, saved_after: int) -> None:
    """Follow points to the end, with a saved state on the way, and from that state: the answers must be equal."""
    tracker = make()
    tracker.start(frames[0], began)
    for frame in frames[1:saved_after]:
        tracker.step(frame)
    tracker.replace(torch.tensor([[False, True]]), torch.full((1, 2, 2), 40.0))
    tracker.step(frames[saved_after])
    saved = to_bytes(tracker.state())
    expected = [tracker.step(frame) for frame in frames[saved_after + 1 :]]
    resumed = make()
    resumed.restore(frames[saved_after], from_bytes(saved))
    for frame, (points, visible) in zip(frames[saved_after + 1 :], expected, strict=True):
        own_points, own_visible = resumed.step(frame)
        assert torch.equal(own_points, points) and torch.equal(own_visible, visible)
        assert own_visible.dtype == torch.bool and own_points.shape == began.shape
    assert to_bytes(resumed.state()) == to_bytes(tracker.state())
    moved = torch.full((1, 2, 2), 30.0)
    for each in (tracker, resumed):
        each.replace(torch.tensor([[True, False]]), moved)
    assert torch.equal(tracker.step(frames[-1])[0], resumed.step(frames[-1])[0])


def test_pips_goes_on_from_a_saved_state():
    began = torch.tensor([[[60.0, 40.0], [100.0, 52.0]]])
    frames = squares(9, began)  # its windows end after the state was saved
    network = hand_set(frames[0], began[0])
    goes_on_after_restore(lambda: PipsTracker(network, CPU), frames, began, saved_after=5)


@pytest.mark.parametrize("saved_after", [2, 20])
def test_cotracker_goes_on_from_a_saved_state(saved_after):
    frames = sliding(30, (1, 1), (192, 256))
    began = torch.tensor([[[10.0, 10.0], [20.0, 5.0]]])
    goes_on_after_restore(lambda: CoTracker(SlidingPredictor(), CPU), frames, began, saved_after)


def test_lucas_kanade_goes_on_from_a_saved_state():
    began = torch.tensor([[[60.0, 40.0], [80.0, 50.0]]])
    goes_on_after_restore(lambda: load_point_tracker("lk", CPU), sliding(12), began, 5)


def test_a_saved_state_is_not_changed_by_the_frames_after_it():
    began = torch.tensor([[[60.0, 40.0], [100.0, 52.0]]])
    frames = squares(4, began)
    network = hand_set(frames[0], began[0])
    for tracker in (PipsTracker(network, CPU), CoTracker(SlidingPredictor(), CPU), load_point_tracker("lk", CPU)):
        tracker.start(frames[0], began)
        tracker.step(frames[1])
        state = tracker.state()
        saved = to_bytes(state)
        for frame in frames[2:]:
            tracker.step(frame)
        tracker.replace(torch.tensor([[True, True]]), began)
        assert to_bytes(state) == saved, type(tracker).__name__


def test_a_window_begins_where_the_point_was_last_surely_visible():
    visibility = torch.full((8, 3), 0.2)
    visibility[2, 0] = visibility[5, 0] = 0.95
    visibility[3, 1], visibility[6, 1] = 0.85, 0.5
    visibility[0, 2] = 0.99  # its first frame does not count: a window always moves on
    assert _last_surely_visible(visibility).tolist() == [5, 3, 7]


def test_lucas_kanade_follows_a_translation():
    tracker = load_point_tracker("lk", CPU)
    frames = sliding(12)
    began = torch.tensor([[[60.0, 40.0], [80.0, 50.0]], [[100.0, 30.0], [150.0, 50.0]]])
    tracker.start(frames[0], began)
    visible = []
    for frame in frames[1:]:
        moved, there = tracker.step(frame)
        visible.append(there)
    expected = began + 11 * torch.tensor([3.0, 2.0])
    assert (moved - expected)[visible[-1]].abs().max() < 0.5
    assert visible[-1].tolist() == [[True, True], [True, False]]  # the last one has left the frame


def test_a_replaced_point_goes_on_from_there():
    tracker = load_point_tracker("lk", CPU)
    frames = sliding(3)
    tracker.start(frames[0], torch.tensor([[[60.0, 40.0], [80.0, 50.0]]]))
    tracker.step(frames[1])
    tracker.replace(torch.tensor([[False, True]]), torch.tensor([[[0.0, 0.0], [30.0, 20.0]]]))
    moved, _ = tracker.step(frames[2])
    assert (moved - torch.tensor([[[66.0, 44.0], [33.0, 22.0]]])).abs().max() < 0.5


class SlidingPredictor(torch.nn.Module):
    """Stands for CoTracker's: all points move by 3, 2 pixels a frame of its input; none is seen beyond x = 249."""

    def forward(self, video, queries):
        frames = torch.arange(video.shape[1])[:, None]
        motion = (frames - queries[0, :, 0])[..., None] * torch.tensor([3.0, 2.0])
        tracks = queries[0, :, 1:] + motion
        return tracks[None], tracks[None, ..., 0] < 249


def test_cotracker_windows_follow_each_point_from_where_it_was_last_put():
    tracker = CoTracker(SlidingPredictor(), CPU)
    frames = sliding(40, (1, 1), (192, 256))  # half of the input's size
    began = torch.tensor([[[10.0, 10.0], [20.0, 5.0]]])
    tracker.start(frames[0], began)
    for index, frame in enumerate(frames[1:30], start=1):
        moved, visible = tracker.step(frame)
        assert torch.allclose(moved, began + index * torch.tensor([1.5, 1.0]), atol=1e-3) and visible.all()
    tracker.replace(torch.tensor([[False, True]]), torch.full((1, 2, 2), 120.0))
    for frame in frames[30:33]:
        moved, visible = tracker.step(frame)
    assert torch.allclose(moved, torch.tensor([[[58.0, 42.0], [124.5, 123.0]]]), atol=1e-3)
    assert visible.tolist() == [[True, False]]


class Scripted:
    """A point tracker that loses what it is told to."""

    def __init__(self, visible):
        self.visible = list(visible)
        self.replaced = []

    def start(self, frame, points):
        self.points = points.clone()

    def step(self, frame):
        self.points = self.points + 1
        return self.points, self.visible.pop(0)

    def replace(self, which, points):
        self.replaced.append(which)
        self.points = torch.where(which[..., None], points, self.points)


def test_lost_points_are_drawn_anew():
    lost = torch.tensor([[True, False, True]])
    tracker = Scripted([lost, torch.ones_like(lost)])
    points = PropagatedPoints(tracker)
    frames = sliding(3)
    points.start(frames[0], torch.tensor([[[1.0, 1], [2, 2], [3, 3]]]))
    anew = torch.full((1, 3, 2), 50.0)
    assert points.step(frames[1], anew).tolist() == [[[2, 2], [50, 50], [4, 4]]]
    assert points.step(frames[2], anew).tolist() == [[[3, 3], [51, 51], [5, 5]]]
    assert len(tracker.replaced) == 1 and tracker.replaced[0].tolist() == [[False, True, False]]


@pytest.mark.parametrize("tracker", [PerSAM(PerSamOptions(points="lk")), PerSAMF(PerSamFOptions(points="lk"))])
def test_prompts_are_propagated_while_objects_come_and_go(lite, published, tracker):
    arrays = published("frames_multi")
    frames = frames_of(arrays["frames"])
    session = Session(tracker, lite, SameEncoder())
    labels = arrays["labels"][0].astype(np.uint8)
    seen = []
    decode = lite.decode

    def watching(embedding, prompts, *rest, **named):
        seen.append(prompts)
        return decode(embedding, prompts, *rest, **named)

    session.segmenter = type(
        "Watched", (), {"decode": staticmethod(watching), "__getattr__": lambda _, n: getattr(lite, n)}
    )()
    session.start(frames[0], np.where(labels == 1, 1, 0).astype(np.uint8))
    start = tracker._propagated.points
    assert all(labels[int(y), int(x)] == 1 for x, y in start[0, :2].round().tolist())
    result = session.step(frames[1])
    assert (result.labels == 1).any()
    assert torch.equal(seen[-1].points, tracker._propagated.points) and not torch.equal(seen[-1].points, start)
    session.add_object(arrays["labels"][1] == 2)
    session.correct(1, arrays["labels"][1] == 1)
    assert session.step(frames[2]).object_ids == (1, 2)
    session.remove(1)
    assert session.step(frames[3]).object_ids == (2,)
    assert tracker._propagated.points.shape == (1, 3, 2)


def test_mistakes_are_one_clear_line(tmp_path):
    with pytest.raises(PluginError, match="cotracker, lk, pips"):
        load_point_tracker("nonesuch", CPU)
    with pytest.raises(PluginError, match="`points=cotracker` needs"):
        load_point_tracker("cotracker:nowhere.pth", CPU)
    with pytest.raises(WeightsError, match="pass `points=pips:FILE`"):
        load_point_tracker("pips", CPU)
    other = tmp_path / "other.pth"
    torch.save({"model_state_dict": {"a": torch.ones(1)}}, other)
    with pytest.raises(WeightsError, match="not the weights of PIPS"):
        load_point_tracker(f"pips:{other}", CPU)


def test_a_tracker_without_points_says_so(monkeypatch):
    bare = type("Bare", (), {"Options": dataclasses.make_dataclass("Options", ["alpha"])})
    monkeypatch.setattr(models.plugins, "load", lambda group, name: bare)
    with pytest.raises(InputError, match="points"):
        models.new_tracker("bare", points="lk")


def test_the_published_checkpoint_is_read(tmp_path, weights):
    path = tmp_path / "model-000200000.pth"
    torch.save({"model_state_dict": weights, "optimizer_state_dict": {}}, path)
    assert isinstance(load_point_tracker(f"pips:{path}", CPU), PipsTracker)
