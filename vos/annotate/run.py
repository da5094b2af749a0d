"""Starts a tracking run from any frame of a video, with the masks that its objects need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping

import numpy as np

from ..engine.session import Session
from ..pipeline import follow
from ..readers.prefetch import prefetch
from ..readers.seek import VideoFrames
from ..structures import FirstMask, Frame, Hint, Result
from .marks import Gone


def masks_for_run(
    result: Result,
    hints: Mapping[int, Mapping[int, Hint]],
    given: Callable[[int, Iterable[int]], np.ndarray],
    referred: Collection[int] = (),
) -> tuple[dict[int, FirstMask], dict[int, list[int]]]:
    """Collect the masks that a run from a frame is given, and the ids of objects that are gone, by frame index.

    They are the frame's own masks, what is marked on later frames, and for each object that the frame does not
    show the masks of the last earlier frame on which it was marked. If it was marked as gone after that, then so it
    is in the run.

    Args:
        result: the frame's own masks.
        hints: by frame index and object id.
        given: reads the labels (H, W) of some objects from the masks made from the hints, by frame index.
        referred: ids of the objects that have references, which the run looks for from its first frame on.
    """
    index = result.frame.index
    present = {each for each, area in zip(result.object_ids, result.areas, strict=True) if area}
    masks = {index: FirstMask(result.labels, tuple(sorted(present)))} if present else {}
    gone: dict[int, list[int]] = {}
    for other, hinted in sorted(hints.items()):
        wanted = {each for each, hint in hinted.items() if hint != Gone()}
        if other <= index:
            wanted -= present | _marked(hints, other, index)
        if wanted and other != index:
            masks[other] = FirstMask(given(other, wanted), tuple(sorted(wanted)))
    first = min({index, *masks})
    for other, hinted in sorted(hints.items()):
        known = set(referred) if other >= first else set()
        known |= {each for at, mask in masks.items() if at < other for each in mask.object_ids}
        absent = [each for each, hint in hinted.items() if hint == Gone() and each in known]
        if absent:
            gone[other] = absent
    return masks, gone


def _marked(hints: Mapping[int, Mapping[int, Hint]], after: int, until: int) -> set[int]:
    """Return the objects of which there is a mask from a mark on a frame after the first and up to the second."""
    later = (hinted for at, hinted in hints.items() if after < at <= until)
    return {each for hinted in later for each, hint in hinted.items() if hint != Gone()}


def results_from(
    index: int,
    frames: VideoFrames,
    masks: Mapping[int, FirstMask],
    gone: Mapping[int, list[int]],
    session: Session,
) -> Generator[Result, None, None]:
    """Follow the objects of the masks through the earlier frames that matter, then from ``index`` to the end.

    Args:
        index: of the frame that the run starts from.
        frames: the video.
        masks: from :func:`masks_for_run`; at least one, of ``index`` or an earlier frame; the first may be without
            objects if the session has references.
        gone: from there, too.
        session: a fresh one; closed at the end, also if the generator is closed before.
    """
    earlier = sorted(each for each in {*masks, *gone} if each < index)
    first, *others = sorted(masks)
    later = {each: masks[each] for each in others}
    with session:
        yield from follow(
            session, prefetch(_frames_of(frames, earlier, index)), masks[first], later, gone=gone, ahead=True
        )


def _frames_of(frames: VideoFrames, earlier: list[int], index: int) -> Generator[Frame, None, None]:
    """Yield the given earlier frames, then all frames from ``index`` on."""
    yield from map(frames.frame, earlier)
    yield from frames.frames_from(index)
