"""The one main loop: from a video and a first mask to results.

:func:`track` and :func:`open_session` are the package's public functions. The command, the annotation
page and the benchmarks use :func:`follow` with readers and writers of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypedDict

from .engine.both_ways import BothWays, with_first
from .engine.changes import Changes
from .engine.device import pick_device, pick_dtype
from .engine.given import (
    Hints,
    MaskSource,
    first_and_others,
    object_ids_of_first,
    only_file,
    read_first_mask,
    read_mask,
)
from .engine.joining import join
from .engine.kept import KeptResults
from .engine.model_cache import ModelCache
from .engine.models import defer_encoder, defer_segmenter, new_tracker
from .engine.session import Session
from .engine.text import Words, hints_in_source
from .errors import InputError, parameter
from .readers.backwards import check_walks_back, walk_back
from .readers.frames import FrameLike, open_frames
from .readers.limits import MAX_PIXELS
from .readers.mask_size import Resize
from .readers.open import open_reader
from .readers.prefetch import prefetch, read_ahead
from .readers.references import ReferenceLike, read_references
from .readers.source import SourceReader, faults_line
from .references import Reference, check_takes_references
from .structures import FirstMask, Frame, Result

_log = logging.getLogger(__name__)

_NAMES = (str, os.PathLike, int)
"""Types of what names a video; anything else has to be frames. A number is that of a camera."""


class Replay(Protocol):
    """Results of an earlier run, which take the place of tracking as far as they go."""

    @property
    def frame(self) -> int:
        """Index of the last frame that has a result."""
        ...

    def take_up(self, frame: Frame, session: Session) -> Result:
        """Return a frame's earlier result; on the last such frame, also restore the session."""
        ...


def open_session(
    *,
    tracker: str = "persam-f",
    model: str = "lite",
    prior: str = "same",
    points: str = "none",
    device: str = "auto",
    dtype: str = "auto",
    prior_size: int | None = None,
    references: Sequence[Reference] = (),
    models: ModelCache | None = None,
) -> Session:
    """Open a session for live use: ``start(frame, first_mask)``, then ``step(frame)`` for each frame.

    Args:
        tracker: name of an installed tracker.
        model: segmenter, see :func:`vos.engine.models.load_segmenter`.
        prior: prior encoder, see :func:`vos.engine.models.load_encoder`.
        points: point tracker that propagates the prompts, see :mod:`vos.point_trackers`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        prior_size: pixels of the long side of the prior encoder's input; None: its default.
        references: pictures of objects, which are looked for from the first frame on, see :meth:`vos.Session.start`.
        models: where models are kept loaded for later sessions; None: they are this session's own.

    Weights load when the tracker first asks for them, at the latest in ``start``. A tracker that
    uses no segmenter never loads one. Close the session, or use it in a ``with`` statement.

    Raises:
        VosError: a name is unknown. Missing weights raise an error when they are first asked for.
    """
    chosen = pick_device(device)
    where = chosen, pick_dtype(dtype, chosen)
    cache = models or ModelCache()
    fresh = new_tracker(tracker, points=points)
    if references:
        check_takes_references(fresh)
    return Session(
        fresh,
        cache.get(("model", model, *where), lambda: defer_segmenter(model, *where)),
        cache.get(("prior", prior, *where, prior_size), lambda: defer_encoder(prior, *where, prior_size)),
        references,
    )


def track(
    video: str | Path | Iterable[FrameLike],
    first_mask: MaskSource | Hints | None = None,
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
        first_mask: an array (H, W), see :func:`~vos.structures.first_mask_from_array`, a mask file, several files of
            one object each, or a :class:`~vos.structures.Hint` for each object, from which the segmenter makes its
            mask. ``docs/masks.md`` says which files are accepted. None: it is the earliest of ``masks_at``.
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
            when they are lost. Without ``first_mask`` all objects are those of the references.
        max_pixels: refuse larger frames and masks before memory is taken for them.
        fps: of an iterable: frames per second, from which the times of its frames follow; None for 24.
        **session_options: see :func:`open_session`.

    Raises:
        VosError: see its kinds in :mod:`vos.errors`; results before it are valid.
    """
    if order not in ("frames", "as-made"):
        raise InputError(f"{parameter('order', order)}: choose frames or as-made")
    choice: _Choice = {"start": start, "max_frames": max_frames, "stride": stride, "max_pixels": max_pixels}
    with _open(video, reader, live, fps, choice) as source:
        read = read_references(references, max_pixels) if references else []
        if read and both_ways:
            raise InputError(f"{parameter('references')}: does not go with {parameter('both_ways')} yet; leave one out")
        if text is not None:
            device = session_options.get("device", "auto")
            first_mask = hints_in_source(source, first_frame, text, device, given=first_mask)
        first_mask, first_frame, others = first_and_others(first_mask, first_frame, masks_at or {}, bool(read))
        mask = read_first_mask(first_mask, source.size, resize_mask, max_pixels, threshold)
        check_frames("first_frame", [first_frame] if first_frame else (), source)
        check_frames("masks_at", others, source)
        check_frames("gone", gone or {}, source)
        masks = {
            at: read_mask(one, source.size, resize_mask, max_pixels, threshold, True, only_file(first_mask))
            for at, one in others.items()
        }
        with open_session(references=read, **session_options) as session:
            if both_ways:
                check_walks_back(source)
                if not isinstance(mask, FirstMask):
                    mask = mask_of_hints(session, source, first_frame, mask)
                plan = BothWays(with_first(first_frame, mask, masks), gone)
                yield from _both_ways(session, another_session(session, **session_options), source, plan, order)
            else:
                yield from follow(session, _read(source, video), mask, masks, gone=gone, first_frame=first_frame)
        told = faults_line(source)
        if told:
            _log.warning("%s", told)


def another_session(session: Session, *, tracker: str = "persam-f", points: str = "none", **_: Any) -> Session:
    """Open a session with a tracker of its own, and the models and the clock of another one.

    Args:
        session: the other one.
        tracker: see :func:`open_session`.
        points: see :func:`open_session`.

    Raises:
        VosError: a name is unknown.
    """
    other = Session(new_tracker(tracker, points=points), session.segmenter, session.encoder)
    other.seconds = session.seconds
    return other


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


def _read(source: SourceReader, video: object) -> Generator[Frame, None, None]:
    """Read frames ahead on a thread, but take those that are handed over on this one, when they are due."""
    return read_ahead(source) if isinstance(video, _NAMES) else iter(source)


def check_frames(name: str, indices: Iterable[int], source: SourceReader) -> None:
    """Check before tracking that the frames of later changes will come, as far as the source can tell.

    Args:
        name: parameter that has the indices.
        indices: of the frames.
        source: delivers them.

    Raises:
        InputError: a frame lies beyond the end.
    """
    last = max(indices, default=None)
    if last is not None and source.delivers(last) is False:
        count = f"{source.length} frame" + "s" * (source.length != 1)
        raise InputError(f"{parameter(name)} {last}: there are {count} to track, numbered from 0")


def follow(
    session: Session,
    frames: Generator[Frame, None, None],
    first_mask: FirstMask | Hints,
    masks_at: Mapping[int, FirstMask] | None = None,
    saved: Replay | None = None,
    gone: Mapping[int, Collection[int]] | None = None,
    first_frame: int = 0,
) -> Generator[Result, None, None]:
    """Push frames through a session; give one result per frame.

    Args:
        session: a fresh one.
        frames: the frames, a generator that is closed at the end.
        first_mask: mask of the first frame, or hints from which it is made; one without objects begins with the
            session's references alone.
        masks_at: true masks of later frames by their index: their objects are corrected, or join.
        saved: an earlier run, whose results take the place of tracking as far as they go.
        gone: ids of objects that a later frame does not show, by its index.
        first_frame: index of the frame of ``first_mask``, or the next one after it; the frames before have no objects.

    Raises:
        InputError: there is no frame, or none with the index of a change, or an object is gone that was not there.
    """
    changes = Changes((*object_ids_of_first(first_mask), *session.referred_ids), masks_at, gone, first_frame)
    last = None
    try:
        for frame in frames:
            if saved is not None and frame.index <= saved.frame:
                result = saved.take_up(frame, session)
            else:
                if frame.index < first_frame:
                    result = session.start(frame)
                elif last is not None and last >= first_frame:
                    result = session.step(frame)
                elif isinstance(first_mask, FirstMask):
                    result = session.start(frame, first_mask)
                else:
                    result = session.start(frame, session.segment(frame, first_mask))
                result = changes.apply(session, result) if frame.index >= first_frame else result
            yield result
            last = frame.index
    finally:
        frames.close()
    if last is None:
        raise InputError(f"the video delivered no frame; look at {parameter('start')}")
    if last < first_frame:
        raise InputError(f"{parameter('first_frame', first_frame)}: the video ended after frame {last}")
    if changes.last is not None and changes.last[0] > last:
        raise InputError(f"{parameter(changes.last[1])} {changes.last[0]}: the video ended after frame {last}")


def follow_backwards(
    session: Session, source: SourceReader, plan: BothWays, saved: Replay | None = None
) -> Generator[Result, None, None]:
    """Follow objects from the last frame of a plan that has a mask back to frame 0; give one result per frame.

    Args:
        session: a fresh one.
        source: a reader that can be walked back, see :func:`vos.readers.backwards.walk_back`.
        plan: what is followed.
        saved: an earlier run; it is gone on with after its last frame, of which the first result is.

    Yields:
        Results whose ``frame.index`` counts the way back: ``plan.last`` minus the frame's own index.

    Raises:
        VosError: a frame cannot be read, or the tracker fails.
    """
    way, begin = plan.backwards, plan.last - (saved.frame if saved else 0)
    frames = (replace(frame, index=plan.last - frame.index) for frame in walk_back(source, begin))
    yield from follow(session, prefetch(frames), way.first_mask, way.masks_at, saved, way.gone)


def follow_forwards(
    session: Session,
    frames: Generator[Frame, None, None],
    plan: BothWays,
    kept: KeptResults,
    saved: Replay | None = None,
) -> Generator[Result, None, None]:
    """Follow objects forwards, after :func:`follow_backwards`; give one result per frame, joined from both ways.

    Args:
        session: a fresh one.
        frames: all frames, a generator that is closed at the end.
        plan: what is followed.
        kept: has the results of the way back by their own indices.
        saved: an earlier run, whose results, which are joined already, take the place of tracking.

    Raises:
        VosError: a frame cannot be read, the tracker fails, or a kept result is damaged.
    """
    way = plan.forwards
    for result in follow(session, frames, way.first_mask, way.masks_at, saved, way.gone, way.first_frame):
        index = result.frame.index
        if plan.last and index <= plan.last and not (saved and index <= saved.frame):
            yield join(plan, result, kept.read(plan.last - index, result.frame), kept.soft_edges)
        else:
            yield result


def mask_of_hints(session: Session, source: SourceReader, index: int, hints: Hints) -> FirstMask:
    """Make a mask from hints on a frame anywhere in a source, before it is followed.

    Raises:
        InputError: the frame cannot be read by itself, or no object is found there.
    """
    with closing(walk_back(source, index, group=1)) as frames:
        return session.segment(next(frames), hints)
