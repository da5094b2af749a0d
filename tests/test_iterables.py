"""Tests frames handed over in Python: every kind, the times, what is refused, and that nothing is read early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
