"""The backend for video files that decodes with decord, an optional dependency.

decord turns rotated video upright by itself, but it does not undo mirroring, and it does not tell of a
truncated file. For both, PyAV is asked what the file states.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from .decoding import truncated
from .limits import MAX_PIXELS, size_text
from .pyav import probe
from .source import SourceFrame

try:
    import decord
except ImportError as error:
    raise InputError(
        "reader 'decord': the package is not installed; run `pip install decord`, or use the reader pyav"
    ) from error


class DecordSource:
    """A video file as a :class:`~vos.readers.source.Source`, decoded frame by frame by decord."""

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path = path
        self._probe = probe(path, max_pixels)
        if self._probe.turn.mirrored:
            raise InputError(f"{path}: is stored mirrored, which decord does not undo; use the reader pyav")
        if self._probe.streams > 1:
            raise InputError(f"{path}: has several video streams, which decord may mix up; use the reader pyav")
        video = self._open()
        self.fps: float | None = float(video.get_avg_fps()) or None
        self.length: int | None = len(video)
        self.size = self._probe.size
        self.damaged: int | None = None

    def frames(self) -> Generator[SourceFrame, None, None]:
        """Deliver all frames.

        Raises:
            TruncatedVideoError: the file holds clearly less than it states.
            InputError: decord fails on a frame.
        """
        video = self._open()
        start_s = end_s = 0.0
        for index in range(len(video)):
            begin, end = (float(time) for time in video.get_frame_timestamp(index))
            start_s = start_s if index else begin
            end_s = end - start_s
            yield SourceFrame(begin - start_s, partial(self._load, video, index))
        if self._probe.broke_off(len(video), end_s):
            raise truncated(self._path, len(video), end_s, self._probe)

    def _open(self) -> decord.VideoReader:
        try:  # in an absolute path no colon is taken for a protocol
            return decord.VideoReader(os.path.abspath(self._path), ctx=decord.cpu(0))
        except (RuntimeError, decord.DECORDError) as error:
            raise InputError(
                f"{self._path}: decord cannot open it ({_last_line(error)}); use the reader pyav"
            ) from error

    def _load(self, video: decord.VideoReader, index: int) -> np.ndarray:
        """Decode a frame, (H, W, 3) uint8."""
        try:
            pixels = video[index].asnumpy()
        except (RuntimeError, decord.DECORDError, IndexError) as error:
            raise InputError(
                f"{self._path}: decord fails at frame {index} ({_last_line(error)}); use the reader pyav"
            ) from error
        # The pixel lines of turned frames are padded, and decord counts the padding as further channels.
        height, width = self.size
        if pixels.shape[0] != height or pixels[0].size < width * 3:
            raise InputError(
                f"{self._path}: frame {index} is {size_text(pixels.shape[:2])}, but the video is "
                f"{size_text(self.size)}; use the reader pyav"
            )
        return np.ascontiguousarray(pixels.reshape(height, -1)[:, : width * 3]).reshape(height, width, 3)


def open_source(path: Path, max_pixels: int = MAX_PIXELS) -> DecordSource:
    """Open a video file.

    Raises:
        InputError: it is no video, or decord cannot read it.
    """
    return DecordSource(path, max_pixels)


def _last_line(error: BaseException) -> str:
    """Pick decord's own message out of an exception's text, without the stack trace."""
    text = str(error).strip().split("\n\n")[0].splitlines()
    if not text:
        return type(error).__name__
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", text[-1]).removeprefix("Error: ").strip(" .")
