"""Writes the masks as black and white video: ``mask.mp4`` and ``mask.mkv``, or a pair of them for each object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..structures import Frame, Result
from .encoded import FFV1_GREY, VideoFile, h264
from .outputs import NO_EXTRAS, Extras
from .thread import close_all


class _Pair:
    """A mask as H.264, which plays anywhere, and as FFV1, which keeps every pixel.

    Args:
        out: the folder.
        stem: name of the files without suffix.
        fps: frames per second of the source, or None.
        size: (H, W) of the frames.
        sound: file whose sound is copied, or None.

    Raises:
        OutputError: a file cannot be made.
    """

    def __init__(self, out: Path, stem: str, fps: float | None, size: tuple[int, int], sound: Path | None) -> None:
        self._lossless = VideoFile(out / f"{stem}.mkv", FFV1_GREY, fps=fps, size=size, sound=sound)
        self._plain = VideoFile(out / f"{stem}.mp4", h264(), fps=fps, size=size, sound=sound)

    def write(self, inside: np.ndarray, time_s: float) -> None:
        """Encode one mask (H, W) bool."""
        picture = inside.astype(np.uint8) * np.uint8(255)
        self._lossless.write(picture, time_s)
        self._plain.write(np.dstack([picture] * 3), time_s)

    def close(self) -> None:
        """Finish both videos, also after an error of one."""
        try:
            self._lossless.close()
        finally:
            self._plain.close()


class MaskVideoWriter:
    """Writes all objects together, white on black.

    Args:
        out: the folder.
        fps: frames per second of the source, or None.
        size: (H, W) of the frames.
        sound: file whose sound is copied, or None.

    Raises:
        OutputError: a file cannot be made.
    """

    def __init__(self, out: Path, *, fps: float | None, size: tuple[int, int], sound: Path | None) -> None:
        self._pair = _Pair(out, "mask", fps, size, sound)

    def write(self, result: Result) -> None:
        """Encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        self._pair.write(result.labels > 0, result.frame.time_s)

    def close(self) -> None:
        """Finish the videos.

        Raises:
            OutputError: one cannot be finished; that file is not left.
        """
        self._pair.close()


class ObjectVideosWriter:
    """Writes a pair of videos for each object; one that joins later is black until then.

    Args:
        out: the folder.
        fps: frames per second of the source, or None.
        size: (H, W) of the frames.
        sound: file whose sound is copied, or None.
    """

    def __init__(self, out: Path, *, fps: float | None, size: tuple[int, int], sound: Path | None) -> None:
        self._out, self._fps, self._size, self._sound = out, fps, size, sound
        self._pairs: dict[int, _Pair] = {}
        self._times: list[float] = []

    def write(self, result: Result) -> None:
        """Encode one frame.

        Raises:
            OutputError: a file cannot be made or written.
        """
        for object_id in {*result.object_ids, *self._pairs}:
            self._pair_of(object_id).write(result.labels == object_id, result.frame.time_s)
        self._times.append(result.frame.time_s)

    def close(self) -> None:
        """Finish the videos.

        Raises:
            OutputError: one cannot be finished; that file is not left.
        """
        error = close_all(list(self._pairs.values()))  # type: ignore[arg-type]
        if error is not None:
            raise error

    def _pair_of(self, object_id: int) -> _Pair:
        """Return the videos of an object, up to date with the earlier frames."""
        if object_id not in self._pairs:
            pair = _Pair(self._out, f"mask-{object_id}", self._fps, self._size, self._sound)
            self._pairs[object_id] = pair
            for time_s in self._times:
                pair.write(np.zeros(self._size, bool), time_s)
        return self._pairs[object_id]


def open_mask_video(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> MaskVideoWriter:
    """Open the writer of ``out/mask.mp4`` and ``out/mask.mkv``.

    Raises:
        OutputError: a file cannot be made.
    """
    return MaskVideoWriter(out, fps=fps, size=first_frame.size, sound=extras.sound)


def open_object_videos(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> ObjectVideosWriter:
    """Open the writer of ``out/mask-1.mp4``, ``out/mask-1.mkv`` and so on."""
    return ObjectVideosWriter(out, fps=fps, size=first_frame.size, sound=extras.sound)
