"""Tests frames handed over in Python: every kind, the times, what is refused, and that nothing is read early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vos
from vos.errors import InputError

SIZE = (48, 64)
LABELS = np.zeros(SIZE, np.uint8)
LABELS[10:30, 20:40] = 1


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A textured frame with a bright square that moves."""
    rgb = np.random.default_rng(number).integers(0, 60, (*size, 3)).astype(np.uint8)
    rgb[10:30, 20 + number : 40 + number] = (220, 40, 90)
    return rgb


FRAMES = [picture(number) for number in range(4)]


def track(frames: object, **options: object) -> list[vos.Result]:
    return list(vos.track(frames, LABELS, tracker="persam", **options))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Labels of the same frames read from a folder."""
    folder = tmp_path_factory.mktemp("frames")
    for index, rgb in enumerate(FRAMES):
        Image.fromarray(rgb).save(folder / f"{index}.png")
    return [result.labels for result in track(folder)]


@pytest.mark.parametrize(
    "frames",
    [
        FRAMES,
        tuple(FRAMES),
        np.stack(FRAMES),
        [Image.fromarray(rgb) for rgb in FRAMES],
        [torch.from_numpy(rgb) for rgb in FRAMES],
        [torch.from_numpy(rgb).permute(2, 0, 1) for rgb in FRAMES],
        torch.from_numpy(np.stack(FRAMES)).permute(0, 3, 1, 2),
    ],
    ids=["list", "tuple", "array", "PIL", "tensor", "tensor-chw", "tensor-nchw"],
)
def test_every_kind_gives_the_results_of_a_folder(frames: object, expected: list[np.ndarray]) -> None:
    results = track(frames)
    assert [result.frame.index for result in results] == [0, 1, 2, 3]
    assert [result.frame.time_s for result in results] == [index / 24 for index in range(4)]
    for result, labels, rgb in zip(results, expected, FRAMES, strict=True):
        assert np.array_equal(result.frame.rgb, rgb) and result.frame.name is None
        assert np.array_equal(result.labels, labels)


def test_a_generator_is_read_when_frames_are_due_and_its_buffer_may_be_reused() -> None:
    taken = []

    def frames() -> Iterator[np.ndarray]:
        buffer = np.empty((*SIZE, 3), np.uint8)
        for number in range(4):
            taken.append(number)
            buffer[:] = picture(number)
            yield buffer

    results = vos.track(frames(), LABELS, tracker="persam", fps=10)
    first = next(results)
    assert taken == [0]
    second = next(results)
    assert taken == [0, 1]
    assert np.array_equal(first.frame.rgb, FRAMES[0]) and np.array_equal(second.frame.rgb, FRAMES[1])
    assert [first.frame.time_s, second.frame.time_s] == [0.0, 0.1]
    assert len(list(results)) == 2


def test_start_stride_and_max_frames(expected: list[np.ndarray]) -> None:
    source = iter(FRAMES * 2)
    results = track(source, start=1, stride=2, max_frames=2, fps=4)
    assert [result.frame.index for result in results] == [0, 1]
    assert [result.frame.time_s for result in results] == [0.25, 0.75]
    assert np.array_equal(results[1].frame.rgb, FRAMES[3])
    assert len(list(source)) == 4  # the rest is not taken
    with pytest.raises(InputError, match="none is left from frame 9"):
        track(FRAMES, start=9)


def test_transparent_grey_and_deep_pil_images() -> None:
    grey = FRAMES[0][..., 0]
    rgba = np.dstack([FRAMES[0], np.full(SIZE, 255, np.uint8)])
    rgba[:5, :5, 3] = 0
    first = track([Image.fromarray(rgba)])[0].frame.rgb
    assert not first[:5, :5].any() and np.array_equal(first[5:], FRAMES[0][5:])
    for image in (Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)):
        assert np.array_equal(track([image])[0].frame.rgb, np.dstack([grey] * 3))


@pytest.mark.parametrize(
    "frames",
    [
        None,
        3.5,
        object(),
        b"bytes",
        FRAMES[0],
        [FRAMES[0].astype(np.float32) / 255],
        [FRAMES[0][..., 0]],
        [FRAMES[0].transpose(2, 0, 1)],
        [torch.rand(3, *SIZE)],
        ["frame.png"],
        [Path("frame.png")],
        [np.zeros((0, 5, 3), np.uint8)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_and_told_what_is_accepted(frames: object) -> None:
    with pytest.raises(InputError, match=r"\(H, W, 3\) uint8 RGB arrays, PIL images, or \(H, W, 3\) or \(3, H, W\)"):
        track(frames)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "no frame"),
        (FRAMES, {"fps": 0}, "above 0"),
        (FRAMES, {"fps": float("nan")}, "above 0"),
        (FRAMES, {"live": True}, "not for frames"),
        (FRAMES, {"stride": 0}, "stride"),
        (FRAMES, {"max_pixels": 100}, "more than the 100 pixels"),
        ([FRAMES[0], picture(1, (50, 64))], {}, "frame 1: 64 x 50, but frame 0 is 64 x 48"),
    ],
)
def test_what_does_not_go_together_is_refused(
    frames: Iterable[object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        track(frames, **options)


def test_fps_is_not_for_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fps=10"):
        track(tmp_path, fps=10)


def test_an_error_of_the_iterable_comes_out_as_it_is() -> None:
    def frames() -> Iterator[np.ndarray]:
        yield FRAMES[0]
        raise RuntimeError("the camera fell")

    with pytest.raises(RuntimeError, match="the camera fell"):
        track(frames())


def squares(*ids: int) -> np.ndarray:
    """Labels of the square, with one number or none."""
    return LABELS * np.uint8(ids[0] if ids else 0)


@pytest.mark.parametrize("kind", [torch.from_numpy, Image.fromarray], ids=["tensor", "PIL"])
def test_masks_may_be_tensors_and_pictures(kind: Callable[[np.ndarray], object]) -> None:
    plain, other = (
        list(vos.track(FRAMES, make(LABELS), tracker="persam", masks_at={2: make(squares(2)), 3: make(squares())}))
        for make in (np.array, kind)
    )
    assert [result.object_ids for result in other] == [(1,), (1,), (1, 2), (1, 2)]
    assert all(np.array_equal(one.labels, two.labels) for one, two in zip(plain, other, strict=True))


def test_whole_numbers_of_other_types_are_taken() -> None:
    plain, other = (
        track(FRAMES, first_frame=kind(1), masks_at={kind(2): squares(2)}, gone={kind(3): [np.int64(1)]})
        for kind in (int, np.int64)
    )
    assert [result.object_ids for result in other] == [(), (1,), (1, 2), (1, 2)]
    assert not other[3].areas[0]
    assert all(np.array_equal(one.labels, two.labels) for one, two in zip(plain, other, strict=True))
    assert len(track(FRAMES, first_frame=1.0)) == 4


NUMBERED = "frames are numbered from 0, the first, by whole numbers"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_frame": -1}, f"`first_frame` -1: {NUMBERED}"),
        ({"first_frame": 1.5}, f"`first_frame` 1.5: {NUMBERED}"),
        ({"first_frame": "1"}, f"`first_frame` 1: {NUMBERED}"),
        ({"first_mask": None, "masks_at": {-1: LABELS}}, f"`masks_at` -1: {NUMBERED}"),
        ({"first_mask": None, "masks_at": {-1: LABELS}, "both_ways": True}, f"`masks_at` -1: {NUMBERED}"),
        ({"masks_at": {1.5: LABELS}}, f"`masks_at` 1.5: {NUMBERED}"),
        ({"masks_at": {"1": LABELS}}, f"`masks_at` 1: {NUMBERED}"),
        ({"masks_at": {float("nan"): LABELS}}, f"`masks_at` nan: {NUMBERED}"),
        ({"gone": {1.5: [1]}}, f"`gone` 1.5: {NUMBERED}"),
        ({"gone": {-2: [1]}}, f"`gone` -2: {NUMBERED}"),
        ({"masks_at": [LABELS]}, "`masks_at`: give a dictionary by frame index, not a list"),
        ({"gone": [1]}, "`gone`: give a dictionary by frame index, not a list"),
        ({"gone": {1: 1}}, r"`gone` 1: give a list of objects' numbers, such as \[1\], not 1"),
        ({"gone": {1: "1"}}, r"`gone` 1: give a list of objects' numbers, such as \[1\], not '1'"),
        ({"gone": {1: [1.5]}}, r"`gone` 1: give a list of objects' numbers"),
        ({"masks_at": {1: None}}, "a mask cannot be a NoneType; give an array of all objects' numbers"),
        ({"masks_at": {1: [vos.Hint((1, 1, 30, 30))]}}, "a mask cannot be a list with a Hint"),
        ({"first_mask": [LABELS, LABELS]}, "a mask cannot be a list with a ndarray"),
        ({"first_mask": LABELS.tolist()}, "a mask cannot be a list with a list"),
        ({"first_mask": {1: LABELS}}, "a mask cannot be a dict with a int"),
        ({"first_mask": 5}, "a mask cannot be a int"),
        ({"first_mask": Image.fromarray(FRAMES[0])}, r"the shape must be \(H, W\), not \(48, 64, 3\)"),
        ({"start": "0"}, "`start=0`: must be a whole number"),
        ({"start": 1.5}, "`start=1.5`: must be a whole number"),
        ({"stride": None}, "`stride=None`: must be a whole number"),
        ({"max_frames": 2.5}, "`max_frames=2.5`: must be a whole number"),
        ({"fps": "a"}, "`fps=a`: must be a number of frames per second"),
        ({"references": 5}, "`references`: give vos.Reference objects or texts, not 5"),
    ],
)
def test_options_of_another_form_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(vos.track(FRAMES, **{"first_mask": LABELS, "tracker": "persam", **options}))


def test_a_single_hint_is_that_of_one_object() -> None:
    hint = vos.Hint((20, 10, 39, 29))
    one, other = (list(vos.track(FRAMES[:2], given, tracker="persam")) for given in (hint, [hint]))
    assert np.array_equal(one[1].labels, other[1].labels) and one[0].object_ids == (1,)
