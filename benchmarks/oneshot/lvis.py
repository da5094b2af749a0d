"""LVIS-92i (Liu et al., Matcher, ICLR 2024): 920 classes in 10 folds, 2,300 episodes each; table 3.

    LVIS/lvis_val.pkl                         class to picture to its annotations, as provided by Matcher's authors
    LVIS/coco/val2017/<name>.jpg              pictures of COCO 2017, and train2017/ where the file names it

Classes take turns; pictures are drawn. All instances of the class in a picture together are its mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..pictures import read_rgb
from .episodes import Draws, Episode, MaskedPicture
from .files import expected_content, read_pickle, union_of

EPISODES = 2300
"""Number of episodes in a fold."""


class Lvis:
    """The validation part of LVIS-92i.

    Args:
        root: folder that holds ``LVIS``.
    """

    folds = 10

    def __init__(self, root: Path) -> None:
        self._root = root / "LVIS"
        self._path = self._root / "lvis_val.pkl"
        self._pictures: dict[Any, dict[str, dict[str, Any]]] = read_pickle(self._path)

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield 2,300 episodes of drawn pictures, of classes with more pictures than shots."""
        with expected_content(self._path):
            usable = [each for each, pictures in self._pictures.items() if len(pictures) > shots]
        classes = [usable[fold + self.folds * index] for index in range(len(usable) // self.folds)]
        if not classes:
            raise InputError(f"{self._path}: too few classes for {self.folds} folds; get it anew")
        draws = Draws(seed)
        for index in range(EPISODES):
            drawn = classes[index % len(classes)]
            names = list(self._pictures[drawn])
            query = draws.one(names)
            supports = list(draws.others(names, shots, query.__eq__))
            read = [self._read(name, drawn) for name in (query, *supports)]
            yield Episode(tuple(read[1:]), read[0], str(drawn), fold)

    def _read(self, name: str, drawn: object) -> MaskedPicture:
        """Read a picture, and the instances of one class in it as its mask."""
        rgb = read_rgb(self._root / "coco" / name)
        with expected_content(self._path):
            shapes = [each["segmentation"] for each in self._pictures[drawn][name]["annotations"]]
        return MaskedPicture(name, rgb, union_of(shapes, rgb.shape[:2], name))
