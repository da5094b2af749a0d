"""For those who watch while it runs: an MPEG-TS overlay on standard output, and a window."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
from av.container import OutputContainer

from ..errors import InputError, OutputError, ViewerGone
from ..structures import Result
from .encoded import VideoFile, h264
from .overlay import OverlayWriter, draw_overlay

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


class Window:
    """The overlay in a window; to be used from the main thread alone, as some systems demand.

    Raises:
        InputError: there is no OpenCV with windows, or no screen.
    """

    _TITLE = "vos-track (q to end)"

    def __init__(self) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise InputError("--show: there is no screen (DISPLAY is not set); use -o - and a player, or write files")
        try:
            import cv2

            cv2.namedWindow(self._TITLE, cv2.WINDOW_NORMAL)
        except Exception as error:  # not installed, or an error of OpenCV's own, which has no useful base
            raise InputError(
                "--show needs OpenCV with windows: pip install opencv-python (opencv-python-headless has none)"
            ) from error
        self._cv2 = cv2

    def show(self, result: Result) -> None:
        """Draw one frame.

        Raises:
            ViewerGone: the window was closed, or q or Esc pressed.
        """
        picture = draw_overlay(result.frame.rgb, result.labels, result.object_ids, result.boxes)
        self._cv2.imshow(self._TITLE, picture[..., ::-1])
        pressed = self._cv2.waitKey(1) & 0xFF
        if pressed in (27, ord("q")) or self._cv2.getWindowProperty(self._TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
            raise ViewerGone("the window was closed")

    def close(self) -> None:
        """Remove the window."""
        self._cv2.destroyAllWindows()


def check_pipe() -> None:
    """See that a video can go to standard output.

    Raises:
        OutputError: it is a terminal, or closed.
    """
    if sys.stdout is None or sys.stdout.isatty():
        raise OutputError("-o -: standard output is a terminal; pipe it into a player, such as `| ffplay -`")
