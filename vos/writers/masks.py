"""Writes ``masks/00000.png`` …: indexed PNG in the palette of DAVIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import output_errors, save_png
from ..palette import davis_palette
from ..structures import Frame, Result


class MaskWriter:
    """One PNG per frame, named after ``frame.index``; its pixels are the object ids."""

    file_per_frame = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._palette = davis_palette().tobytes()
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """Write the labels of one frame.

        Raises:
            OutputError: the file cannot be written; it is then not there.
        """
        image = Image.fromarray(np.ascontiguousarray(result.labels, dtype=np.uint8))
        image.putpalette(self._palette)
        save_png(image, self._folder / f"{result.frame.index:05d}.png")

    def close(self) -> None:
        """Nothing is open between frames."""


def open_writer(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> MaskWriter:
    """Write to ``out/masks``.

    Raises:
        OutputError: the folder cannot be made.
    """
    return MaskWriter(out / "masks")
