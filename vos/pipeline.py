"""From a video and a first mask to results: reader thread, session, writer thread."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .engine.device import pick_device, pick_dtype
from .engine.models import defer_encoder, defer_segmenter, new_tracker
from .engine.session import Session
from .errors import InputError
from .readers.first_mask import load_first_mask
from .readers.limits import MAX_PIXELS
from .readers.open import open_reader
from .readers.prefetch import read_ahead
from .readers.source import faults_line
from .structures import FirstMask, Frame, Hint, Result, first_mask_from_array

_log = logging.getLogger(__name__)

MaskSource = np.ndarray | str | Path | Sequence[str | Path]
Hints = Sequence[Hint]


class Replay(Protocol):
    """Results of an earlier run, which take the place of tracking as far as they go."""

    @property
    def frame(self) -> int:
        """Index of the last frame that is known."""
        ...

    def take_up(self, frame: Frame, session: Session) -> Result:
        """The result that a frame had then; at the last known one, bring the session to where it was."""
        ...


def open_session(
    *,
    tracker: str = "persam-f",
    model: str = "lite",
    prior: str = "same",
    points: str = "none",
    device: str = "auto",
    dtype: str = "auto",
) -> Session:
    """A session for live use: ``start(frame, first_mask)``, then ``step(frame)`` for each frame.

    Args:
        tracker: name of an installed tracker.
        model: segmenter, see :func:`vos.engine.models.load_segmenter`.
        prior: prior encoder, see :func:`vos.engine.models.load_encoder`.
        points: point tracker that propagates the prompts, see :mod:`vos.point_trackers`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.

    Weights load when the tracker first asks for them, at the latest in ``start``; a tracker that
    uses no segmenter never loads one. Close the session, or use it in a ``with`` statement.

    Raises:
        VosError: a name is unknown; missing weights show when they are first asked for.
    """
    chosen = pick_device(device)
    precision = pick_dtype(dtype, chosen)
    return Session(
        new_tracker(tracker, points=points),
        defer_segmenter(model, chosen, precision),
        defer_encoder(prior, chosen, precision),
    )


def track(
    video: str | Path,
    first_mask: MaskSource | Hints,
    *,
    resize_mask: bool = False,
    reader: str = "pyav",
    start: int = 0,
    max_frames: int | None = None,
    stride: int = 1,
    live: bool = False,
    masks_at: Mapping[int, MaskSource] | None = None,
    max_pixels: int = MAX_PIXELS,
    **session_options: str,
) -> Generator[Result, None, None]:
    """Follow the objects of ``first_mask`` through ``video``; one result per frame, the first too.

    Args:
        video: a video file, a folder of numbered images, the number of a camera, or a network address
            (``rtsp://``, ``http://`` …).
        first_mask: labels (H, W) of bool or integer, a PNG, several PNGs of one object each, or a
            :class:`~vos.engine.hints.Hint` for each object, from which the segmenter makes its mask.
        resize_mask: allow a mask of another size than the frame.
        reader: ``pyav`` or ``decord``.
        start: source frame that the mask belongs to.
        max_frames: stop after as many frames.
        stride: take every so-many-th frame.
        live: of a camera or address: drop frames rather than fall behind, and open it again if it breaks.
        masks_at: true masks of later frames by their index: objects in them are corrected, or join.
        max_pixels: larger frames and masks are refused before memory is taken for them.
        **session_options: see :func:`open_session`.

    Raises:
        VosError: see its kinds in :mod:`vos.errors`; results before it are valid.
    """
    with open_reader(
        video, backend=reader, start=start, max_frames=max_frames, stride=stride, live=live, max_pixels=max_pixels
    ) as source:
        mask = read_first_mask(first_mask, source.size, resize_mask, max_pixels)
        later = {at: read_first_mask(one, source.size, resize_mask, max_pixels) for at, one in (masks_at or {}).items()}
        with open_session(**session_options) as session:
            yield from follow(session, read_ahead(source), mask, later)
        told = faults_line(source)
        if told:
            _log.warning("%s", told)


def read_first_mask(
    source: MaskSource | Hints, frame_size: tuple[int, int], resize: bool = False, max_pixels: int = MAX_PIXELS
) -> FirstMask | Hints:
    """The first mask from an array or files; hints stay hints until there is a frame.

    Raises:
        InputError: it cannot be used, or has another size than the frame.
    """
    if isinstance(source, np.ndarray):
        return first_mask_from_array(source)
    paths = [source] if isinstance(source, (str, Path)) else list(source)
    if paths and all(isinstance(each, Hint) for each in paths):
        return paths
    return load_first_mask(paths, frame_size, resize=resize, max_pixels=max_pixels)


def follow(
    session: Session,
    frames: Generator[Frame, None, None],
    first_mask: FirstMask | Hints,
    masks_at: Mapping[int, FirstMask] | None = None,
    saved: Replay | None = None,
) -> Generator[Result, None, None]:
    """Push frames through a session; the first one takes the mask.

    Args:
        session: a fresh one.
        frames: closed at the end.
        first_mask: of the first frame, or hints from which it is made.
        masks_at: true masks of later frames by index: objects in them are corrected, or join.
        saved: an earlier run, whose results take the place of tracking as far as they go.

    Raises:
        InputError: there is no frame, or none with the index of such a mask.
    """
    last = None
    try:
        for frame in frames:
            known = saved is not None and frame.index <= saved.frame
            if known:
                result = saved.take_up(frame, session)
            elif last is not None:
                result = session.step(frame)
            else:
                given = isinstance(first_mask, FirstMask)
                result = session.start(frame, first_mask if given else session.segment(frame, first_mask))
            if masks_at and frame.index in masks_at and not known:
                result = update(session, masks_at[frame.index])
            yield result
            last = frame.index
    finally:
        frames.close()
    if last is None:
        raise InputError("the video delivered no frame; look at --start")
    if masks_at and max(masks_at) > last:
        raise InputError(f"--mask-at {max(masks_at)}: the video ended after frame {last}")


def update(session: Session, mask: FirstMask) -> Result:
    """Correct the objects of a mask on the session's last frame, and add those not yet followed."""
    for object_id, own in zip(mask.object_ids, mask.masks(), strict=True):
        known = object_id in session.object_ids
        result = session.correct(object_id, own) if known else session.add_object(own, object_id)
    return result
