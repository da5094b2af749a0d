"""Reads video files through decord, an optional dependency.

decord turns rotated video upright by itself, but does not mirror, and its truncation is silent;
PyAV, where it is installed, tells what the file states.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import numpy as np

from ..errors import InputError
from .limits import MAX_PIXELS
from .source import SourceFrame

try:
    import decord
except ImportError as error:
    raise InputError(
        "reader 'decord': the package is not installed; run `pip install decord`, or use the reader pyav"
    ) from error

try:
    from .decoding import Probe, truncated
    from .pyav import probe
except ImportError:
    probe = None


class DecordSource:
    """A video file read by decord, frame by frame; see :class:`~vos.readers.open.Source`."""

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path = path
        self._probe: Probe | None = probe(path, max_pixels) if probe is not None else None
        if self._probe is not None and self._probe.turn.mirrored:
            raise InputError(f"{path}: is stored mirrored, which decord does not undo; use the reader pyav")
        video = self._open()
        self.fps: float | None = float(video.get_avg_fps()) or None
        self.length: int | None = len(video)
        self.size: tuple[int, int]
        if self._probe is not None:
            self.size = self._probe.size
        else:
            first = video[0].asnumpy()
            self.size = first.shape[0], first.shape[1]

    def frames(self) -> Generator[SourceFrame, None, None]:
        """All frames.

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
            yield SourceFrame(begin - start_s, lambda index=index: self._load(video, index))
        if self._probe is not None and self._probe.broke_off(len(video), end_s):
            raise truncated(self._path, len(video), end_s, self._probe)

    def _open(self) -> decord.VideoReader:
        try:
            return decord.VideoReader(str(self._path), ctx=decord.cpu(0))
        except (RuntimeError, decord.DECORDError) as error:
            raise InputError(
                f"{self._path}: decord cannot open it ({_last_line(error)}); use the reader pyav"
            ) from error

    def _load(self, video: decord.VideoReader, index: int) -> np.ndarray:
        try:
            pixels = video[index].asnumpy()
        except (RuntimeError, decord.DECORDError, IndexError) as error:
            raise InputError(
                f"{self._path}: decord fails at frame {index} ({_last_line(error)}); use the reader pyav"
            ) from error
        # Turned frames come with padded rows, whose padding decord counts as further channels.
        height, width = self.size
        if pixels.shape[0] != height or pixels[0].size < width * 3:
            raise InputError(
                f"{self._path}: frame {index} is {pixels.shape[1]} x {pixels.shape[0]}, but the video is "
                f"{width} x {height}; use the reader pyav"
            )
        return np.ascontiguousarray(pixels.reshape(height, -1)[:, : width * 3]).reshape(height, width, 3)


def open_source(path: Path, max_pixels: int = MAX_PIXELS) -> DecordSource:
    """Open a video file.

    Raises:
        InputError: it is no video, or decord cannot read it.
    """
    return DecordSource(path, max_pixels)


def _last_line(error: BaseException) -> str:
    """decord's own message, without its stack trace."""
    text = str(error).strip().split("\n\n")[0].splitlines()
    if not text:
        return type(error).__name__
    return re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", text[-1]).removeprefix("Error: ").strip(" .")
