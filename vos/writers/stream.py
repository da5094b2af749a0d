"""For those who watch while it runs: an MPEG-TS overlay on standard output, and a window."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
from av.container import OutputContainer

from ..errors import OutputError, ViewerGone
from .encoded import VideoFile, h264
from .overlay import OverlayWriter

_LOW_DELAY = {"crf": "23", "preset": "veryfast", "tune": "zerolatency", "g": "50"}
"""Of libx264: nothing is held back, and who joins late waits no longer than two seconds."""


class TransportStream(VideoFile):
    """An H.264 video in MPEG-TS on standard output, each frame sent as soon as it is encoded.

    Raises:
        ViewerGone: by :meth:`write` and :meth:`close`, when the other end of the pipe is closed.
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
        with suppress(OSError):  # what is lost now, nobody waits for
            self._pipe.close()


class TransportWriter(OverlayWriter):
    """The overlay on standard output; a :class:`~vos.interfaces.Writer`."""

    def __init__(self, *, fps: float | None, size: tuple[int, int]) -> None:
        self._video = TransportStream(fps=fps, size=size)


def check_pipe() -> None:
    """See that a video can go to standard output.

    Raises:
        OutputError: it is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError("-o -: standard output is a terminal; pipe it into a player, such as `| ffplay -`")
