"""COCO-20i (Nguyen and Todorovic, ICCV 2019): 80 classes in 4 folds, 1,000 episodes each; table 8.

    COCO2014/splits/val/fold0.pkl …       class (0 to 79) to names of pictures, as in HSNet's repository
    COCO2014/val2014/<name>.jpg           pictures, and train2014/ if the splits name it
    COCO2014/annotations/val2014/<name>.png    class + 1 of each pixel, as provided by HSNet's authors

The layout is that of Matcher's code. Fold f holds the classes f, f + 4, f + 8 and so on. Class and pictures of each
episode are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..mask_folder import plain_values
from ..pictures import read_rgb
from .episodes import Draws, Episode, MaskedPicture, check_class
from .files import read_pickle

CLASSES = 80
EPISODES = 1000
"""Number of episodes in a fold."""


class Coco:
    """The validation part of COCO-20i.

    Args:
        root: folder that holds ``COCO2014``.
    """

    folds = 4

    def __init__(self, root: Path) -> None:
        self._root = root / "COCO2014"

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield 1,000 episodes of drawn classes."""
        path = self._root / f"splits/val/fold{fold}.pkl"
        pictures: dict[int, list[str]] = read_pickle(path)
        classes = list(range(fold, CLASSES, self.folds))
        for each in classes:
            if not isinstance(pictures.get(each), list):
                raise InputError(f"{path}: has no list of pictures for class {each}; get it anew")
            check_class(str(each), len(set(pictures[each])))
        draws = Draws(seed)
        for _ in range(EPISODES):
            drawn = draws.one(classes)
            query = draws.one(pictures[drawn])
            supports = list(draws.others(pictures[drawn], shots, query.__eq__))
            read = [self._read(name, drawn) for name in (query, *supports)]
            yield Episode(tuple(read[1:]), read[0], str(drawn), fold)

    def _read(self, name: str, drawn: int) -> MaskedPicture:
        """Read a picture, and the pixels of one class as its mask."""
        path = self._root / "annotations" / Path(name).with_suffix(".png")
        values = plain_values(path)
        if values is None:
            raise InputError(f"{path}: must be grey, with the number of a class as each pixel's value")
        return MaskedPicture(name, read_rgb(self._root / name), np.equal(values, drawn + 1))
