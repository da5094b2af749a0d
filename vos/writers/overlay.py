"""Writes ``overlay.mp4``: the frames with the objects tinted, outlined and numbered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..structures import Frame, Result
from .drawing import draw_overlay
from .encoded import VideoFile, h264


class OverlayWriter:
    """An H.264 video for any browser; frames keep the times of the source, from 0 on.

    An odd width or height is padded by one pixel, as H.264 in 4:2:0 needs even ones.
    """

    def __init__(self, path: Path, *, fps: float | None, size: tuple[int, int]) -> None:
        self._video = VideoFile(path, h264(), fps=fps, size=size)

    def write(self, result: Result) -> None:
        """Draw and encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        self._video.write(draw_overlay(frame.rgb, result.labels, result.object_ids, result.boxes), frame.time_s)

    def close(self) -> None:
        """Finish the video and give it its name; without any frame there is none.

        Raises:
            OutputError: it cannot be finished; it is then not there.
        """
        self._video.close()


def open_writer(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> OverlayWriter:
    """Write to ``out/overlay.mp4``.

    Raises:
        OutputError: the file cannot be made.
    """
    return OverlayWriter(out / "overlay.mp4", fps=fps, size=first_frame.size)
