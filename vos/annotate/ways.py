"""Tracking runs that go back: from a frame to the beginning, and both ways between marked frames.

Every run yields the index of a frame that is done, and its result if that is to be stored.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ..engine.both_ways import BothWays
from ..engine.kept import KeptResults
from ..engine.session import Session
from ..errors import InputError
from ..pipeline import follow, follow_forwards
from ..readers.backwards import frames_back
from ..readers.prefetch import prefetch
from ..readers.seek import VideoFrames
from ..structures import FirstMask, Frame, Hint, Result
from .label_maps import LabelMaps
from .marks import Gone
from .run import masks_for_run

Way = Literal["backwards", "both", "between"]
"""To the beginning; from all marks to both ends; from the marked frames around one, to each other."""

Hints = Mapping[int, Mapping[int, Hint]]
"""Hints by frame index and object id."""

Run = Generator[tuple[int, Result | None], None, None]
"""Index of each frame that is done, and its result if it is to be stored."""


def run_back(
    frames: VideoFrames, result: Result, tracked: bool, hints: Hints, given: LabelMaps, session: Session
) -> Run:
    """Follow the objects of a frame to the beginning of the video.

    Marks on earlier frames correct them. An object that the frame does not show is taken from the first frame after it
    on which it was marked.

    Args:
        frames: the video.
        result: the frame's own masks.
        tracked: whether the frame was tracked; if it is not marked either, nothing begins there.
        hints: by frame index and object id.
        given: the masks made from the hints.
        session: a fresh one; closed at the end.

    Raises:
        InputError: there is no object to follow.
    """
    index, last = result.frame.index, len(frames) - 1
    mirrored = replace(result, frame=_at(result.frame, last - index))
    turned = {last - at: hinted for at, hinted in hints.items()}
    masks, gone = masks_for_run(mirrored, turned, lambda at, ids: given.read(last - at, ids))
    if not masks or min(masks) > last - index or not (tracked or last - index in {*masks, *gone}):
        raise InputError("this frame has no masks yet: mark an object on it, or track back from one that has")
    later = sorted((last - at for at in {*masks, *gone} if at < last - index), reverse=True)
    return _run_back(frames, index, later, masks, gone, session)


def _run_back(
    frames: VideoFrames,
    index: int,
    later: list[int],
    masks: Mapping[int, FirstMask],
    gone: Mapping[int, Collection[int]],
    session: Session,
) -> Run:
    """Push the marked frames after ``index``, then those from it to the first; masks count from the end."""
    last = len(frames) - 1

    def turned() -> Iterator[Frame]:
        for frame in map(frames.frame, later):
            yield _at(frame, last - frame.index)
        for frame in frames_back(frames, index):
            yield _at(frame, last - frame.index)

    first, *others = sorted(masks)
    rest = {at: masks[at] for at in others}
    with session:
        for result in follow(session, prefetch(turned()), masks[first], rest, gone=gone, ahead=True):
            at = last - result.frame.index
            if at < index:
                yield at, replace(result, frame=_at(result.frame, at))


def run_from_all_marks(frames: VideoFrames, hints: Hints, given: LabelMaps, back: Session, session: Session) -> Run:
    """Follow all objects from all of their marks, to the beginning and to the end.

    Args:
        frames: the video.
        hints: by frame index and object id.
        given: the masks made from the hints.
        back: a fresh session, for the way back; closed at the end.
        session: another one, for the way forwards; closed at the end.

    Raises:
        InputError: no object is marked.
    """
    masks = {}
    for at, hinted in hints.items():
        shown = tuple(sorted(each for each, hint in hinted.items() if hint != Gone()))
        if shown:
            masks[at] = FirstMask(given.read(at, shown), shown)
    if not masks:
        raise InputError("no object is marked yet: mark one on any frame that shows it well")
    known = {each for mask in masks.values() for each in mask.object_ids}
    return _run_both(
        frames, BothWays(masks, _gone(hints, hints, known)), 0, len(frames), back, session, store_ends=True
    )


def marks_around(index: int, hints: Hints) -> list[int]:
    """Return the marked frames around one: the last before it, itself if it is marked, and the first after it.

    Raises:
        InputError: there are not two.
    """
    before = sorted(at for at in hints if at < index)[-1:]
    after = sorted(at for at in hints if at > index)[:1]
    found = [*before, *([index] if index in hints else []), *after]
    if len(found) < 2:
        raise InputError("this frame does not lie between two marked ones: mark the object before and after it")
    return found


def run_between(
    frames: VideoFrames, marked: Mapping[int, Result], hints: Hints, back: Session, session: Session
) -> Run:
    """Follow objects between marked frames, from both ends of each stretch.

    Args:
        frames: the video.
        marked: masks that the marked frames show, by their indices.
        hints: by frame index and object id.
        back: a fresh session, for the way back; closed at the end.
        session: another one, for the way forwards; closed at the end.

    Raises:
        InputError: no object is shown there.
    """
    first, last = min(marked), max(marked)
    masks = {}
    for at, result in marked.items():
        shown = tuple(sorted(each for each, area in zip(result.object_ids, result.areas, strict=True) if area))
        if shown:
            masks[at - first] = FirstMask(result.labels, shown)
    if not masks:
        raise InputError("the marked frames around this one show no object")
    known = {each for mask in masks.values() for each in mask.object_ids}
    gone = {at - first: ids for at, ids in _gone(hints, marked, known).items()}
    return _run_both(frames, BothWays(masks, gone), first, last - first + 1, back, session, store_ends=False)


def _gone(hints: Hints, among: Collection[int], known: Collection[int]) -> dict[int, list[int]]:
    """Collect the objects that are marked as gone on some frames, of those that are known."""
    found = {at: [each for each, hint in hints.get(at, {}).items() if hint == Gone() and each in known] for at in among}
    return {at: ids for at, ids in found.items() if ids}


def _run_both(
    frames: VideoFrames, plan: BothWays, first: int, count: int, back: Session, session: Session, store_ends: bool
) -> Run:
    """Follow a plan through ``count`` frames from ``first`` on, whose indices in the plan count from 0."""
    way = plan.backwards
    turned = (_at(frame, first + plan.last - frame.index) for frame in frames_back(frames, first + plan.last, first))
    onwards = (_at(frame, frame.index - first) for frame in islice(frames.frames_from(first), count))
    with TemporaryDirectory(prefix="vos-") as folder, back, session:
        kept = KeptResults(Path(folder))
        if plan.last:
            backwards = follow(back, prefetch(turned), way.first_mask, way.masks_at, gone=way.gone, ahead=True)
            for result in backwards:
                kept.write(result)
                yield first + plan.last - result.frame.index, None
        for result in follow_forwards(session, prefetch(onwards), plan, kept):
            at = first + result.frame.index
            inside = store_ends or 0 < result.frame.index < count - 1
            yield at, replace(result, frame=_at(result.frame, at)) if inside else None


def _at(frame: Frame, index: int) -> Frame:
    return replace(frame, index=index)
