"""Writes the objects cut out of the video: ``matte.mov`` or ``matte.webm``, ``green.mp4``, ``cutout/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import output_errors, save_png
from ..structures import Frame, Result, alpha
from .encoded import PRORES_4444, VP9_ALPHA, VideoFile, h264

GREEN = np.array([0, 177, 64], np.float32)
"""The colour of a green screen."""


class MatteWriter:
    """The frames with transparency around the objects, as one video, and over green as another."""

    def __init__(self, matte: VideoFile, green: VideoFile | None) -> None:
        self._matte = matte
        self._green = green

    def write(self, result: Result) -> None:
        """Encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        opacity, frame = alpha(result), result.frame
        self._matte.write(np.dstack([frame.rgb, opacity]), frame.time_s)
        if self._green is not None:
            share = opacity[..., None].astype(np.float32) / 255
            self._green.write((frame.rgb * share + GREEN * (1 - share)).round().astype(np.uint8), frame.time_s)

    def close(self) -> None:
        """Finish the videos.

        Raises:
            OutputError: one cannot be finished; it is then not there.
        """
        try:
            self._matte.close()
        finally:
            if self._green is not None:
                self._green.close()


class CutoutWriter:
    """One PNG with transparency per frame."""

    file_per_frame = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """Write one frame; what is wholly transparent is black.

        Raises:
            OutputError: the file cannot be written; it is then not there.
        """
        opacity = alpha(result)
        image = Image.fromarray(np.dstack([np.where(opacity[..., None] > 0, result.frame.rgb, np.uint8(0)), opacity]))
        save_png(image, self._folder / f"{result.frame.index:05d}.png")

    def close(self) -> None:
        """Nothing is open between frames."""


def open_matte(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> MatteWriter:
    """Write to ``out/matte.mov`` (ProRes 4444) and ``out/green.mp4`` (H.264)."""
    matte = VideoFile(out / "matte.mov", PRORES_4444, fps=fps, size=first_frame.size)
    return MatteWriter(matte, VideoFile(out / "green.mp4", h264(), fps=fps, size=first_frame.size))


def open_matte_webm(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> MatteWriter:
    """Write to ``out/matte.webm`` (VP9)."""
    return MatteWriter(VideoFile(out / "matte.webm", VP9_ALPHA, fps=fps, size=first_frame.size), None)


def open_cutout(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> CutoutWriter:
    """Write to ``out/cutout``."""
    return CutoutWriter(out / "cutout")
