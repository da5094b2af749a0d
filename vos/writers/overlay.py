"""Writes ``overlay.mp4``: the frames with the objects tinted, outlined and numbered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..structures import Frame, Result
from .drawing import draw_overlay
from .encoded import VideoFile, h264


class OverlayWriter:
    """Draws the overlay of each frame and encodes it.

    Args:
        video: the video that takes the frames; closed by :meth:`close`.
    """

    def __init__(self, video: VideoFile) -> None:
        self._video = video

    def write(self, result: Result) -> None:
        """Draw and encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        self._video.write(draw_overlay(frame.rgb, result.labels, result.object_ids, result.boxes), frame.time_s)

    def close(self) -> None:
        """Finish the video.

        Raises:
            OutputError: it cannot be finished; no file is left.
        """
        self._video.close()


def open_overlay(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> OverlayWriter:
    """Open the writer of ``out/overlay.mp4``, H.264 for any browser.

    Raises:
        OutputError: the file cannot be made.
    """
    return OverlayWriter(VideoFile(out / "overlay.mp4", h264(), fps=fps, size=first_frame.size))
