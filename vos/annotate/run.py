"""Starts a tracking run from any frame of a video, with the masks that its objects need."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from ..engine.session import Session
from ..pipeline import follow
from ..readers.prefetch import prefetch
from ..readers.seek import VideoFrames
from ..structures import FirstMask, Frame, Hint, Result
from .label_maps import LabelMaps


def masks_for_run(result: Result, hints: Mapping[int, Mapping[int, Hint]], given: LabelMaps) -> dict[int, FirstMask]:
    """Collect the masks that a run from a frame is given, by frame index.

    They are the frame's own masks, those of hints on later frames, and for each object that the frame does not
    show those of the last earlier frame on which it was marked.

    Args:
        result: the frame's own masks.
        hints: by frame index and object id.
        given: the masks made from the hints.
    """
    index = result.frame.index
    present = {each for each, area in zip(result.object_ids, result.areas, strict=True) if area}
    masks = {index: FirstMask(result.labels, tuple(sorted(present)))} if present else {}
    for other, hinted in hints.items():
        wanted = set(hinted)
        if other < index:
            wanted -= present | {each for later, more in hints.items() if other < later < index for each in more}
        if wanted and other != index:
            masks[other] = FirstMask(given.read(other, wanted), tuple(sorted(wanted)))
    return masks


def results_from(
    index: int, frames: VideoFrames, masks: Mapping[int, FirstMask], session: Session
) -> Generator[Result, None, None]:
    """Follow the objects of the masks through the earlier frames that have one, then from ``index`` to the end.

    Args:
        index: of the frame that the run starts from.
        frames: the video.
        masks: from :func:`masks_for_run`; at least one, of ``index`` or an earlier frame.
        session: a fresh one; closed at the end, also if the generator is closed before.
    """
    earlier = sorted(each for each in masks if each < index)
    first, *others = sorted(masks)
    with session:
        yield from follow(
            session, prefetch(_frames_of(frames, earlier, index)), masks[first], {each: masks[each] for each in others}
        )


def _frames_of(frames: VideoFrames, earlier: list[int], index: int) -> Generator[Frame, None, None]:
    """Yield the given earlier frames, then all frames from ``index`` on."""
    yield from map(frames.frame, earlier)
    yield from frames.frames_from(index)
