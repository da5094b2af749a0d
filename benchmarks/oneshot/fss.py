"""FSS-1000 (Li et al., CVPR 2020): 240 test classes of ten pictures each; tables 3 and 14.

    FSS-1000/splits/test.txt                 a class on each line
    FSS-1000/data/<class>/1.jpg … 10.jpg     and 1.png … 10.png, the masks

The layout is that of Matcher's code; that of HSNet's, without ``data/``, is read too. Every picture of every class is
the query once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError
from ..mask_folder import foreground, natural
from ..pictures import read_rgb
from .episodes import Draws, Episode, MaskedPicture, check_class
from .files import read_names

MIDDLE = 128
"""Brightness from which on a pixel of a mask is inside, as in HSNet's code."""


class Fss:
    """The test classes of FSS-1000.

    Args:
        root: folder that holds ``FSS-1000``.
    """

    folds = 1

    def __init__(self, root: Path) -> None:
        self._root = root / "FSS-1000"
        self._classes = sorted(read_names(self._root / "splits/test.txt"))

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield an episode for each picture, class by class, its pictures in the order of their names as texts."""
        draws = Draws(seed)
        for class_name in self._classes:
            pictures = self._pictures(class_name)
            check_class(class_name, len(pictures))
            for query in sorted(pictures, key=lambda path: path.name):
                supports = draws.others(pictures, shots, query.__eq__)
                yield Episode(tuple(map(_read, supports)), _read(query), class_name, fold)

    def _pictures(self, class_name: str) -> list[Path]:
        """Pictures of a class in the order of their numbers."""
        data = self._root / "data"
        folder = (data if data.is_dir() else self._root) / class_name
        pictures = sorted(folder.glob("*.jpg"), key=lambda path: natural(path.name))
        if not pictures:
            raise InputError(f"{folder}: holds no pictures named 1.jpg and so on; splits/test.txt lists this class")
        return pictures


def _read(path: Path) -> MaskedPicture:
    """Read a picture and the mask beside it."""
    name = f"{path.parent.name}/{path.name}"
    return MaskedPicture(name, read_rgb(path), foreground(path.with_suffix(".png"), MIDDLE))
