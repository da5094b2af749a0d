"""Writes ``binary/1/00000.png`` and so on: a black and white PNG per object and frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import frame_png, make_folder, save_png
from ..structures import Frame, Result
from .outputs import NO_EXTRAS, Extras


class BinaryWriter:
    """Writes 255 where the object is and 0 elsewhere, 8-bit grey, in a folder for each object's number.

    An absent object has a black picture; an object that joins later has pictures from there on.

    Args:
        folder: where the objects' folders go.
    """

    file_per_frame = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, result: Result) -> None:
        """Write the masks of one frame.

        Raises:
            OutputError: a file cannot be written; no file is left.
        """
        for object_id in result.object_ids:
            folder = self._folder / str(object_id)
            make_folder(folder)
            mask = (result.labels == object_id).astype(np.uint8) * np.uint8(255)
            save_png(Image.fromarray(mask), frame_png(folder, result.frame.index, result.frame.name))

    def close(self) -> None:
        """Do nothing: no file is open between frames."""


def open_binary(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> BinaryWriter:
    """Open the writer of ``out/binary``."""
    return BinaryWriter(out / "binary")
