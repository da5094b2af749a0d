"""Writes what was found in the layout that DreamBooth trains from: pictures, and their masks beside them.

diffusers' DreamBooth example opens every file of its instance folder as a picture, so masks lie in a folder of their
own. ``tools/dreambooth_masked.py`` reads both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..files import make_folder, save_png
from ..finder import Found


class DreamboothWriter:
    """Writes ``<object id>/images/<name>.png`` and ``<object id>/masks/<name>.png`` for pictures that show an object.

    Args:
        folder: where the folders of the objects go; they are made when the first picture comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, found: Found, name: str | None = None) -> None:
        """Write the picture once for each object that it shows; several instances of it are one mask.

        Args:
            found: what was found in a picture; absent objects get no file.
            name: name of the files without suffix; None: that of the picture's own file, or its index in five digits.

        Raises:
            OutputError: a file cannot be written; none is left half-written.
        """
        stem = name or found.frame.name or f"{found.frame.index:05d}"
        for object_id in dict.fromkeys(found.object_ids):
            numbers = [
                number
                for number, own, present in zip(found.numbers, found.object_ids, found.present, strict=True)
                if own == object_id and present
            ]
            mask = np.isin(found.labels, numbers)
            if not mask.any():
                continue
            for kind, pixels in (("masks", mask.astype(np.uint8) * 255), ("images", found.frame.rgb)):
                folder = self._folder / str(object_id) / kind
                make_folder(folder)
                save_png(Image.fromarray(pixels), folder / f"{stem}.png")

    def close(self) -> None:
        """Do nothing: no file is open between pictures."""
