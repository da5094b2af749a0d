"""Writes the objects cut out of the video: ``matte.mov`` or ``matte.webm``, ``green.mp4`` and ``cutout/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import frame_png, make_folder, save_png
from ..structures import Frame, Result, alpha
from .encoded import PRORES_4444, VP9_ALPHA, VideoFile, h264
from .outputs import NO_EXTRAS, Extras

GREEN = np.array([0, 177, 64], np.float32)
"""Colour of the green screen, RGB."""


class MatteWriter:
    """Writes the frames with transparency around the objects as one video, and over green as another.

    Args:
        matte: the video with transparency.
        green: the video over green, or None.
    """

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
            OutputError: one cannot be finished; that file is not left.
        """
        try:
            self._matte.close()
        finally:
            if self._green is not None:
                self._green.close()


class CutoutWriter:
    """Writes one PNG with transparency per frame, named as masks are.

    Args:
        folder: where the PNGs go; made if need be.

    Raises:
        OutputError: the folder cannot be made.
    """

    file_per_frame = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def write(self, result: Result) -> None:
        """Write one frame; fully transparent pixels are black.

        Raises:
            OutputError: the file cannot be written; no file is left.
        """
        opacity = alpha(result)
        image = Image.fromarray(np.dstack([np.where(opacity[..., None] > 0, result.frame.rgb, np.uint8(0)), opacity]))
        save_png(image, frame_png(self._folder, result.frame.index, result.frame.name))

    def close(self) -> None:
        """Do nothing: no file is open between frames."""


def open_matte(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> MatteWriter:
    """Open the writer of ``out/matte.mov`` (ProRes 4444) and ``out/green.mp4`` (H.264).

    Raises:
        OutputError: a file cannot be made.
    """
    matte = VideoFile(out / "matte.mov", PRORES_4444, fps=fps, size=first_frame.size)
    return MatteWriter(matte, VideoFile(out / "green.mp4", h264(), fps=fps, size=first_frame.size, sound=extras.sound))


def open_matte_webm(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> MatteWriter:
    """Open the writer of ``out/matte.webm`` (VP9).

    Raises:
        OutputError: the file cannot be made.
    """
    return MatteWriter(VideoFile(out / "matte.webm", VP9_ALPHA, fps=fps, size=first_frame.size), None)


def open_cutout(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> CutoutWriter:
    """Open the writer of ``out/cutout``.

    Raises:
        OutputError: the folder cannot be made.
    """
    return CutoutWriter(out / "cutout")
