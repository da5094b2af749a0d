"""``vos.track``: from a video and a first mask to results, in one call."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypedDict

from .engine.both_ways import BothWays, with_first, with_references
from .engine.given import (
    Hints,
    MaskSource,
    first_and_others,
    frame_index,
    gone_by_frame,
    only_file,
    read_first_mask,
    read_mask,
)
from .engine.kept import KeptResults
from .engine.session import Session
from .engine.text import Words, hints_in_source
from .errors import InputError, parameter
from .pipeline import (
    another_session,
    check_frames,
    follow,
    follow_backwards,
    follow_forwards,
    mask_of_hints,
    open_session,
)
from .readers.backwards import check_walks_back
from .readers.frames import FrameLike, open_frames
from .readers.limits import MAX_PIXELS
from .readers.mask_size import Resize
from .readers.open import open_reader
from .readers.prefetch import prefetch, read_ahead
from .readers.references import ReferenceLike, read_references
from .readers.source import SourceReader, faults_line
from .references import Reference
from .structures import FirstMask, Hint, Result

_log = logging.getLogger(__name__)

_NAMES = (str, os.PathLike, int)
"""Types of what names a video; anything else has to be frames. A number is that of a camera."""


def track(
    video: str | Path | Iterable[FrameLike],
    first_mask: MaskSource | Hints | Hint | None = None,
    *,
    text: str | Sequence[str] | Words | None = None,
    first_frame: int = 0,
    both_ways: bool = False,
    order: Literal["frames", "as-made"] = "frames",
    resize_mask: Resize = False,
    threshold: int | None = None,
    reader: Literal["pyav", "decord"] = "pyav",
    start: int = 0,
    max_frames: int | None = None,
    stride: int = 1,
    live: bool = False,
    masks_at: Mapping[int, MaskSource] | None = None,
    gone: Mapping[int, Collection[int]] | None = None,
    references: ReferenceLike | Iterable[ReferenceLike] = (),
    max_pixels: int = MAX_PIXELS,
    fps: float | None = None,
    **session_options: Any,
) -> Generator[Result, None, None]:
    """Follow the objects of ``first_mask`` through ``video``; give one result per frame, the first too.

    Args:
        video: a video file, a folder of images, the number of a camera, a network address (``rtsp://``,
            ``http://`` …), or an iterable of frames: RGB arrays (H, W, 3) uint8, PIL images, or tensors (H, W, 3)
            or (3, H, W) uint8. A frame is taken from it when the results before are done.
        first_mask: an array (H, W), a tensor or a PIL image, see :func:`~vos.structures.first_mask_from_array`, a mask
            file, several files of one object each, or a :class:`~vos.structures.Hint` for each object, from which the
            segmenter makes its mask. ``docs/masks.md`` says which files are accepted. None: it is the earliest of
            ``masks_at``.
        text: in the place of ``first_mask``: names the objects, such as ``the brown dog``; see :class:`vos.Words`.
        first_frame: index of the frame that the first mask belongs to; frames before have no objects, unless
            ``both_ways``.
        both_ways: follow the objects backwards, too, from each of their masks. Results between two masks are joined
            from both ways, and like those of the way back they have no logits of their own; see ``docs/both-ways.md``.
        order: of the results with ``both_ways``. ``frames``: from frame 0 on, once the way back is done. ``as-made``:
            first those before the first mask, backwards, then the others.
        resize_mask: what to do with a mask of another size than the frame. False: refuse it. True: scale it, if the
            aspect ratios agree within 1 %. ``crop``, ``pad`` or ``stretch``: make it fit so.
        threshold: 1 to 255: of mask files, pixels at least as bright are one object.
        reader: ``pyav`` or ``decord``.
        start: index of the first source frame that is read; it is frame 0 of the results.
        max_frames: stop after so many frames; None: at the end.
        stride: take every ``stride``-th frame.
        live: of a camera or address: drop frames rather than fall behind, and open it again if it breaks.
        masks_at: true masks of later frames by their index: their objects are corrected, or join; an empty mask says
            that all objects are gone.
        gone: numbers of objects that a later frame does not show, by its index: they are absent from there on, until
            they are found or shown again.
        references: pictures of objects, see :func:`vos.find`, by which these are found in the video, and found again
            when they are lost, with ``both_ways`` on either way. Without a mask all objects are those of references.
        max_pixels: refuse larger frames and masks before memory is taken for them.
        fps: of an iterable: frames per second, from which the times of its frames follow; None for 24.
        **session_options: see :func:`open_session`.

    Raises:
        VosError: see its kinds in :mod:`vos.errors`; results before it are valid.
    """
    if order not in ("frames", "as-made"):
        raise InputError(f"{parameter('order', order)}: choose frames or as-made")
    choice: _Choice = {"start": start, "max_frames": max_frames, "stride": stride, "max_pixels": max_pixels}
    _check_numbers(choice, fps)
    if not isinstance(references, (Reference, Iterable)):
        raise InputError(f"{parameter('references')}: give vos.Reference objects or texts, not {references!r}")
    first_frame, absent = frame_index("first_frame", first_frame), gone_by_frame({} if gone is None else gone)
    with _open(video, reader, live, fps, choice) as source:
        read = read_references(references, max_pixels) if references else []
        if read and both_ways and first_mask is None and text is None and not masks_at:
            raise InputError(
                f"{parameter('both_ways')}: begins at a mask of the video, and {parameter('references')} are looked "
                "for in every frame anyway; give the mask of some frame, or leave it out"
            )
        if text is not None:
            device = session_options.get("device", "auto")
            first_mask = hints_in_source(source, first_frame, text, device, given=first_mask)
        first_mask, first_frame, others = first_and_others(
            first_mask, first_frame, {} if masks_at is None else masks_at, bool(read) and not both_ways
        )
        mask = read_first_mask(first_mask, source.size, resize_mask, max_pixels, threshold)
        check_frames("first_frame", [first_frame] if first_frame else (), source)
        check_frames("masks_at", others, source)
        check_frames("gone", absent, source)
        masks = {
            at: read_mask(one, source.size, resize_mask, max_pixels, threshold, True, only_file(first_mask))
            for at, one in others.items()
        }
        with open_session(references=read, **session_options) as session:
            if both_ways:
                check_walks_back(source)
                if not isinstance(mask, FirstMask):
                    mask = mask_of_hints(session, source, first_frame, mask)
                plan = BothWays(with_first(first_frame, mask, masks), absent, session.referred_ids)
                back = with_references(another_session(session, **session_options), read)
                yield from _both_ways(session, back, source, plan, order)
            else:
                ahead = isinstance(video, _NAMES) and not source.live  # frames handed over are taken when they are due
                frames = read_ahead(source) if isinstance(video, _NAMES) else iter(source)
                yield from follow(session, frames, mask, masks, gone=absent, first_frame=first_frame, ahead=ahead)
        told = faults_line(source)
        if told:
            _log.warning("%s", told)


def _both_ways(
    session: Session, back: Session, source: SourceReader, plan: BothWays, order: str
) -> Generator[Result, None, None]:
    """Follow a plan backwards by one session, then forwards by the other; label maps lie in a temporary folder."""
    early = order == "as-made"
    with TemporaryDirectory(prefix="vos-") as folder:
        kept = KeptResults(Path(folder))
        with back:
            for result in follow_backwards(back, source, plan) if plan.last else ():
                kept.write(result)
                index = plan.last - result.frame.index
                if early and index < plan.first:
                    yield replace(result, frame=replace(result.frame, index=index))
        frames = prefetch(source)
        for result in follow_forwards(session, frames, plan, kept):
            if not early or result.frame.index >= plan.first:
                yield result


class _Choice(TypedDict):
    """Options that choose the frames to read, as all readers take them."""

    start: int
    max_frames: int | None
    stride: int
    max_pixels: int


def _check_numbers(choice: _Choice, fps: object) -> None:
    """Raise an InputError for an option that is no number."""
    for name, number in choice.items():
        if not (isinstance(number, Integral) or (number is None and name == "max_frames")):
            raise InputError(f"{parameter(name, str(number))}: must be a whole number")
    if not (fps is None or isinstance(fps, Real)):
        raise InputError(f"{parameter('fps', fps)}: must be a number of frames per second")


def _open(
    video: str | Path | Iterable[FrameLike],
    backend: Literal["pyav", "decord"],
    live: bool,
    fps: float | None,
    choice: _Choice,
) -> SourceReader:
    """Open a video by its name, or frames that are handed over.

    Raises:
        InputError: it cannot be read, or an option does not go with it.
    """
    if isinstance(video, _NAMES):
        if fps is not None:
            raise InputError(f"{parameter('fps', fps)}: is for frames handed over in Python; videos state their own")
        return open_reader(video, backend=backend, live=live, **choice)
    if live:
        raise InputError(f"{parameter('live')}: is for cameras and addresses, not for frames handed over in Python")
    return open_frames(video, fps=fps, **choice)
