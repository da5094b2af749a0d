"""Writes ``masks/00000.png`` and so on, or by the frames' own names: indexed PNGs in the palette of DAVIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import frame_png, make_folder, save_png
from ..palette import davis_palette
from ..structures import Frame, Result
from .outputs import NO_EXTRAS, Extras


class MaskWriter:
    """Writes one PNG per frame; its pixels are the object ids.

    A PNG has the name of its frame, or ``frame.index`` in five digits if that has none.

    Args:
        folder: where the PNGs go; made if need be.
        numbered: use ``frame.index`` for all frames.

    Raises:
        OutputError: the folder cannot be made.
    """

    file_per_frame = True

    def __init__(self, folder: Path, numbered: bool = False) -> None:
        self._folder = folder
        self._numbered = numbered
        self._palette = davis_palette().tobytes()
        make_folder(folder)

    def write(self, result: Result) -> None:
        """Write the labels of one frame.

        Raises:
            OutputError: the file cannot be written; no file is left.
        """
        image = Image.fromarray(np.ascontiguousarray(result.labels, dtype=np.uint8))
        image.putpalette(self._palette)
        name = None if self._numbered else result.frame.name
        save_png(image, frame_png(self._folder, result.frame.index, name))

    def close(self) -> None:
        """Do nothing: no file is open between frames."""


def open_masks(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> MaskWriter:
    """Open the writer of ``out/masks``.

    Raises:
        OutputError: the folder cannot be made.
    """
    return MaskWriter(out / "masks")
