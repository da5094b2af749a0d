"""The one main loop: from a video and a first mask to results.

:func:`track` and :func:`open_session` are the package's public functions. The command, the annotation
page and the benchmarks use :func:`follow` with readers and writers of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypedDict

import numpy as np

from .engine.device import pick_device, pick_dtype
from .engine.models import defer_encoder, defer_segmenter, new_tracker
from .engine.session import Session
from .errors import InputError, parameter
from .readers.first_mask import load_first_mask
from .readers.frames import FrameLike, open_frames
from .readers.limits import MAX_PIXELS
from .readers.open import open_reader
from .readers.prefetch import read_ahead
from .readers.source import SourceReader, faults_line
from .structures import FirstMask, Frame, Hint, Result, first_mask_from_array

_log = logging.getLogger(__name__)

MaskSource = np.ndarray | str | Path | Sequence[str | Path]
"""A first mask as users give it: labels (H, W), or PNG files."""

Hints = Sequence[Hint]
"""A box or points for each object, from which the segmenter makes the first mask."""


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
) -> Session:
    """Open a session for live use: ``start(frame, first_mask)``, then ``step(frame)`` for each frame.

    Args:
        tracker: name of an installed tracker.
        model: segmenter, see :func:`vos.engine.models.load_segmenter`.
        prior: prior encoder, see :func:`vos.engine.models.load_encoder`.
        points: point tracker that propagates the prompts, see :mod:`vos.point_trackers`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.

    Weights load when the tracker first asks for them, at the latest in ``start``. A tracker that
    uses no segmenter never loads one. Close the session, or use it in a ``with`` statement.

    Raises:
        VosError: a name is unknown. Missing weights raise an error when they are first asked for.
    """
    chosen = pick_device(device)
    precision = pick_dtype(dtype, chosen)
    return Session(
        new_tracker(tracker, points=points),
        defer_segmenter(model, chosen, precision),
        defer_encoder(prior, chosen, precision),
    )


def track(
    video: str | Path | Iterable[FrameLike],
    first_mask: MaskSource | Hints,
    *,
    resize_mask: bool = False,
    reader: Literal["pyav", "decord"] = "pyav",
    start: int = 0,
    max_frames: int | None = None,
    stride: int = 1,
    live: bool = False,
    masks_at: Mapping[int, MaskSource] | None = None,
    max_pixels: int = MAX_PIXELS,
    fps: float | None = None,
    **session_options: str,
) -> Generator[Result, None, None]:
    """Follow the objects of ``first_mask`` through ``video``; give one result per frame, the first too.

    Args:
        video: a video file, a folder of images, the number of a camera, a network address (``rtsp://``,
            ``http://`` …), or an iterable of frames: RGB arrays (H, W, 3) uint8, PIL images, or tensors (H, W, 3)
            or (3, H, W) uint8. A frame is taken from it when the results before are done.
        first_mask: labels (H, W) of bool or integer, a PNG, several PNGs of one object each, or a
            :class:`~vos.structures.Hint` for each object, from which the segmenter makes its mask.
        resize_mask: allow a mask of another size than the frame.
        reader: ``pyav`` or ``decord``.
        start: index of the source frame that the mask belongs to.
        max_frames: stop after so many frames; None: at the end.
        stride: take every ``stride``-th frame.
        live: of a camera or address: drop frames rather than fall behind, and open it again if it breaks.
        masks_at: true masks of later frames by their index: their objects are corrected, or join.
        max_pixels: refuse larger frames and masks before memory is taken for them.
        fps: of an iterable: frames per second, from which the times of its frames follow; None for 24.
        **session_options: see :func:`open_session`.

    Raises:
        VosError: see its kinds in :mod:`vos.errors`; results before it are valid.
    """
    choice: _Choice = {"start": start, "max_frames": max_frames, "stride": stride, "max_pixels": max_pixels}
    with _open(video, reader, live, fps, choice) as source:
        mask = read_first_mask(first_mask, source.size, resize_mask, max_pixels)
        later = {at: _read_mask(one, source.size, resize_mask, max_pixels) for at, one in (masks_at or {}).items()}
        with open_session(**session_options) as session:
            yield from follow(session, _read(source, video), mask, later)
        told = faults_line(source)
        if told:
            _log.warning("%s", told)


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


def read_first_mask(
    source: MaskSource | Hints, frame_size: tuple[int, int], resize: bool = False, max_pixels: int = MAX_PIXELS
) -> FirstMask | Hints:
    """Read the first mask from an array or files; hints stay hints until there is a frame.

    Args:
        source: the mask, or hints for it.
        frame_size: (H, W) of the video.
        resize: allow a mask of another size.
        max_pixels: refuse larger files before memory is taken for them.

    Raises:
        InputError: the mask cannot be used, or has another size than the frame.
    """
    if isinstance(source, (np.ndarray, str, Path)):
        return _read_mask(source, frame_size, resize, max_pixels)
    hints = [each for each in source if isinstance(each, Hint)]
    files = [each for each in source if not isinstance(each, Hint)]
    if hints and files:
        raise InputError(f"{parameter('first_mask')}: files and hints were given; give only one of them")
    return hints or _read_mask(files, frame_size, resize, max_pixels)


def _read_mask(source: MaskSource, frame_size: tuple[int, int], resize: bool, max_pixels: int) -> FirstMask:
    """Read a mask from an array or files."""
    if isinstance(source, np.ndarray):
        return first_mask_from_array(source)
    paths = [source] if isinstance(source, (str, Path)) else list(source)
    return load_first_mask(paths, frame_size, resize=resize, max_pixels=max_pixels)


def follow(
    session: Session,
    frames: Generator[Frame, None, None],
    first_mask: FirstMask | Hints,
    masks_at: Mapping[int, FirstMask] | None = None,
    saved: Replay | None = None,
) -> Generator[Result, None, None]:
    """Push frames through a session; give one result per frame.

    Args:
        session: a fresh one.
        frames: the frames, a generator that is closed at the end.
        first_mask: mask of the first frame, or hints from which it is made.
        masks_at: true masks of later frames by their index: their objects are corrected, or join.
        saved: an earlier run, whose results take the place of tracking as far as they go.

    Raises:
        InputError: there is no frame, or none with the index of a later mask.
    """
    last = None
    try:
        for frame in frames:
            if saved is not None and frame.index <= saved.frame:
                result = saved.take_up(frame, session)
            else:
                if last is not None:
                    result = session.step(frame)
                elif isinstance(first_mask, FirstMask):
                    result = session.start(frame, first_mask)
                else:
                    result = session.start(frame, session.segment(frame, first_mask))
                if masks_at and frame.index in masks_at:
                    result = update(session, masks_at[frame.index])
            yield result
            last = frame.index
    finally:
        frames.close()
    if last is None:
        raise InputError(f"the video delivered no frame; look at {parameter('start')}")
    if masks_at and max(masks_at) > last:
        raise InputError(f"{parameter('masks_at')} {max(masks_at)}: the video ended after frame {last}")


def update(session: Session, mask: FirstMask) -> Result:
    """Correct the objects of a mask on the session's last frame, and add those not yet followed."""
    for object_id, own in zip(mask.object_ids, mask.masks(), strict=True):
        known = object_id in session.object_ids
        result = session.correct(object_id, own) if known else session.add_object(own, object_id)
    return result
