"""Sends the overlay to standard output as MPEG-TS, for a viewer that watches while the run goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
from av.container import OutputContainer

from ..errors import OutputError, ViewerGone, parameter
from .encoded import VideoFile, h264
from .overlay import OverlayWriter

_LOW_DELAY = {"crf": "23", "preset": "veryfast", "tune": "zerolatency", "g": "50"}
"""Options of libx264: no frame is held back, and a key frame every 50 frames lets a late viewer join."""


class TransportStream(VideoFile):
    """An H.264 video in MPEG-TS on standard output; each frame is sent as soon as it is encoded.

    :meth:`write` and :meth:`close` raise :class:`~vos.errors.ViewerGone` when the other end of the pipe is closed.

    Args:
        fps: frames per second as the source states it, or None.
        size: (H, W) of the frames.
    """

    def __init__(self, *, fps: float | None, size: tuple[int, int]) -> None:
        encoding = h264()
        if encoding.options:
            encoding = replace(encoding, options=_LOW_DELAY)
        self._pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        super().__init__(Path("standard output"), encoding, fps=fps, size=size)

    def _open(self) -> OutputContainer:
        return av.open(self._pipe, "w", format="mpegts", options={"flush_packets": "1"})

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            super()._encode(picture)
            self._pipe.flush()
        except (OutputError, OSError) as error:
            self._failed = True
            if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
                raise ViewerGone("standard output: the other end of the pipe is closed") from error
            raise

    def _settle(self, whole: bool) -> None:
        with suppress(OSError):  # nobody is waiting for what is lost now
            self._pipe.close()


class TransportWriter(OverlayWriter):
    """Writes the overlay to standard output.

    Args:
        fps: frames per second as the source states it, or None.
        size: (H, W) of the frames.
        names: names of objects by id.
    """

    def __init__(self, *, fps: float | None, size: tuple[int, int], names: Mapping[int, str] | None = None) -> None:
        super().__init__(TransportStream(fps=fps, size=size), names)


def check_pipe() -> None:
    """Check that a video can go to standard output.

    Raises:
        OutputError: it is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError(
            f"{parameter('output', '-')}: standard output is a terminal; pipe it into a player, such as `| ffplay -`"
        )
