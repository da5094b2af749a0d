"""Writes ``overlay.mp4``: the frames with the objects tinted, outlined and numbered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..structures import Frame, Result
from .contrast import Colours
from .drawing import draw_overlay
from .encoded import VideoFile, h264
from .outputs import NO_EXTRAS, Extras


class OverlayWriter:
    """Draws the overlay of each frame and encodes it.

    Args:
        video: the video that takes the frames; closed by :meth:`close`.
        names: names of objects by id.
    """

    def __init__(self, video: VideoFile, names: Mapping[int, str] | None = None) -> None:
        self._video = video
        self._names = names
        self._colours = Colours()

    def write(self, result: Result) -> None:
        """Draw and encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        rgb, objects = result.frame.rgb, (result.labels, result.object_ids, result.boxes)
        colours = self._colours.of(rgb, *objects)
        self._video.write(draw_overlay(rgb, *objects, names=self._names, colours=colours), result.frame.time_s)

    def close(self) -> None:
        """Finish the video.

        Raises:
            OutputError: it cannot be finished; no file is left.
        """
        self._video.close()


def open_overlay(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> OverlayWriter:
    """Open the writer of ``out/overlay.mp4``, H.264 for any browser.

    Raises:
        OutputError: the file cannot be made.
    """
    video = VideoFile(out / "overlay.mp4", h264(), fps=fps, size=first_frame.size, sound=extras.sound)
    return OverlayWriter(video, extras.names)
