"""The conformance tests of a tracker; see the package's docstring for how to run them."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable

import numpy as np
import pytest

from ..engine.session import Session
from ..interfaces import EditableTracker, ResumableTracker
from ..state_file import from_bytes, to_bytes
from ..structures import Frame, Result
from .clip import clip, disc_labels, discs, sway

SIZE = (120, 200)
"""(H, W) of the frames, where a test does not choose another."""

NewSession = Callable[[], Session]
"""The fixture ``new_session`` of :mod:`vos.testing.plugin`."""


def follow(session: Session, size: tuple[int, int], count: int, frames: int) -> list[Result]:
    """Return the results of the clip's first frames, with ``count`` discs as objects."""
    first, *rest = itertools.islice(clip(size), frames)
    return [session.start(first, discs(count, size)), *(session.step(frame) for frame in rest)]


def check(result: Result, ids: tuple[int, ...], size: tuple[int, int]) -> None:
    """Check the shapes, types and ranges that users of a result rely on."""
    assert result.object_ids == ids
    assert result.labels.shape == size and result.labels.dtype == np.uint8
    assert set(np.unique(result.labels).tolist()) <= {0, *ids}
    assert result.boxes.shape == (len(ids), 4)
    assert result.scores.shape == (len(ids),)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert result.logits.shape == (len(ids), *size)
    assert not np.isnan(result.logits).any()
    for row, object_id in enumerate(ids):
        assert result.areas[row] == np.count_nonzero(result.labels == object_id)
        assert (result.boxes[row] == -1).all() == (result.areas[row] == 0)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_results_have_their_shapes(new_session: NewSession, count: int) -> None:
    for result in follow(new_session(), SIZE, count, 3):
        check(result, tuple(range(1, count + 1)), SIZE)


@pytest.mark.parametrize("size", [(120, 200), (97, 131), (131, 97), (64, 64), (33, 250), (16, 16)])
def test_frames_of_any_size(new_session: NewSession, size: tuple[int, int]) -> None:
    for result in follow(new_session(), size, 1, 3):
        check(result, (1,), size)


def test_an_object_that_hardly_moves_is_found(new_session: NewSession) -> None:
    for index, result in enumerate(follow(new_session(), SIZE, 1, 4)):
        truth = disc_labels(SIZE, 1, sway(SIZE, index)) > 0
        found = result.labels > 0
        assert np.count_nonzero(found & truth) > 0.3 * np.count_nonzero(found | truth)


def test_object_numbers_are_the_masks_own(new_session: NewSession) -> None:
    labels = disc_labels(SIZE, 2)
    renumbered = np.array([0, 7, 255], np.uint8)[labels]
    frames = clip(SIZE)
    session = new_session()
    session.start(next(frames), renumbered)
    check(session.step(next(frames)), (7, 255), SIZE)


def test_the_same_frames_give_the_same_masks(new_session: NewSession) -> None:
    runs = [[result.labels for result in follow(new_session(), SIZE, 2, 4)] for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_results_and_frames_are_left_alone(new_session: NewSession) -> None:
    frames = list(itertools.islice(clip(SIZE), 3))
    before = [frame.rgb.copy() for frame in frames]
    session = new_session()
    session.start(frames[0], discs(1, SIZE))
    first = session.step(frames[1])
    labels = first.labels.copy()
    session.step(frames[2])
    assert np.array_equal(first.labels, labels)
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(frames, before, strict=True))


def test_objects_may_vanish(new_session: NewSession) -> None:
    session = new_session()
    frames = clip(SIZE)
    session.start(next(frames), discs(2, SIZE))
    for index in range(3):
        check(session.step(Frame(index + 1, index / 24, np.zeros((*SIZE, 3), np.uint8))), (1, 2), SIZE)
    check(session.step(next(frames)), (1, 2), SIZE)


def test_a_tiny_object(new_session: NewSession) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[60, 100] = 1
    session, frames = new_session(), clip(SIZE)
    session.start(next(frames), labels)
    check(session.step(next(frames)), (1,), SIZE)


def test_an_object_that_fills_the_frame(new_session: NewSession) -> None:
    session, frames = new_session(), clip(SIZE)
    session.start(next(frames), np.ones(SIZE, np.uint8))
    check(session.step(next(frames)), (1,), SIZE)


def test_objects_join_leave_and_are_corrected(new_session: NewSession) -> None:
    session, frames = new_session(), clip(SIZE)
    if not isinstance(session.tracker, EditableTracker):
        pytest.skip("this tracker cannot change its objects in mid-video")
    session.start(next(frames), discs(1, SIZE))
    session.step(next(frames))
    labels = disc_labels(SIZE, 3, sway(SIZE, 1))
    session.add_object(labels == 3)
    session.correct(1, labels == 2)
    check(session.step(next(frames)), (1, 2), SIZE)
    session.remove(1)
    check(session.step(next(frames)), (2,), SIZE)
    session.remove(2)
    check(session.step(next(frames)), (), SIZE)


def test_a_saved_state_goes_on_as_if_nothing_had_been(new_session: NewSession) -> None:
    session, frames = new_session(), clip(SIZE)
    if not isinstance(session.tracker, ResumableTracker):
        pytest.skip("this tracker cannot be saved")
    session.start(next(frames), discs(2, SIZE))
    session.step(last := next(frames))
    content = to_bytes(session.state())
    fresh = new_session()
    fresh.restore(last, from_bytes(content))
    for frame in itertools.islice(frames, 3):
        expected, result = session.step(frame), fresh.step(frame)
        assert np.array_equal(result.labels, expected.labels)
        assert np.array_equal(result.scores, expected.scores)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_memory_stays_flat(new_session: NewSession, request: pytest.FixtureRequest) -> None:
    session, frames = new_session(), clip((48, 80))
    session.start(next(frames), discs(1, (48, 80)))
    count, sizes = request.config.getoption("--memory-frames"), []
    for index, frame in enumerate(itertools.islice(frames, count), start=1):
        session.step(frame)
        if index in (count // 3, count):
            gc.collect()
            sizes.append(resident_megabytes())
    assert sizes[1] - sizes[0] < 10


def resident_megabytes() -> float:
    """Return the resident memory of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024
