"""Episodes of one-shot segmentation: a few pictures with masks, and one picture to find the same in.

All readers yield them, and draw them from a seed in the same order as the code that the sets were published with, so
that runs measure on the same episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from ...errors import InputError, parameter

Item = TypeVar("Item")


@dataclass(frozen=True)
class MaskedPicture:
    """A picture with the mask of what is looked for.

    Attributes:
        name: of its file, for tables and messages.
        rgb: (H, W, 3) uint8.
        mask: (H, W) bool.
    """

    name: str
    rgb: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.rgb.shape[:2] != self.mask.shape:
            (height, width), (mask_height, mask_width) = self.rgb.shape[:2], self.mask.shape
            raise InputError(f"{self.name}: {width} x {height}, but its mask is {mask_width} x {mask_height}")


@dataclass(frozen=True)
class Episode:
    """One task of a set.

    Attributes:
        supports: pictures with masks that are given, as many as there are shots.
        query: the picture to find it in, and the true mask.
        class_name: class of what is looked for; unique in its fold.
        fold: number of the part of the set, from 0.
    """

    supports: tuple[MaskedPicture, ...]
    query: MaskedPicture
    class_name: str
    fold: int


class EpisodeSet(Protocol):
    """A set on disk.

    Attributes:
        folds: number of parts that are measured one by one; their mean is reported.
    """

    folds: int

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield the episodes of one fold, as many as its protocol has.

        Raises:
            InputError: a file is missing or cannot be used.
        """
        ...


class Draws:
    """Draws from a seed, as NumPy's older generator does, on which published episodes rest."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)

    def one(self, items: list[Item]) -> Item:
        """Draw one of some items."""
        return items[int(self._random.choice(len(items), 1, replace=False)[0])]

    def others(self, items: list[Item], count: int, is_query: Callable[[Item], bool]) -> Iterator[Item]:
        """Draw items again and again until ``count`` are not the query; the same one may come twice."""
        while count:
            item = self.one(items)
            if not is_query(item):
                count -= 1
                yield item


def check_class(class_name: str, pictures: int, least: int = 2) -> None:
    """Raise an InputError if a class has too few pictures for an episode."""
    if pictures < least:
        raise InputError(
            f"class {class_name}: has {pictures} pictures, but an episode takes {least}; complete the set, or lower "
            f"{parameter('shots')}"
        )


def cropped(picture: MaskedPicture, box: tuple[int, int, int, int]) -> MaskedPicture:
    """Cut a picture and its mask to x0, y0, x1, y1; x1 and y1 lie one behind the last pixel.

    Raises:
        InputError: nothing is left.
    """
    x0, y0, x1, y1 = box
    window = slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1))
    if not picture.mask[window].size:
        raise InputError(f"{picture.name}: the box {box} of the object leaves nothing of the picture")
    return MaskedPicture(picture.name, picture.rgb[window], picture.mask[window])
