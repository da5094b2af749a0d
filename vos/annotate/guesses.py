"""Keeps the tracked masks that points on a frame correct."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..boxes import tight_box
from ..structures import Frame, Hint
from .label_maps import LabelMaps, result_with_scores
from .marks import is_near


class Guesses:
    """Label maps of the masks that points correct, one a frame.

    Args:
        folder: where they go.
        size: (H, W) of the frames.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._maps = LabelMaps(folder)
        self._size = size

    def take(
        self, frame: Frame, object_id: int, found: np.ndarray | None, x: float, y: float, others: Iterable[int]
    ) -> None:
        """Let points correct an object's tracked mask, unless the first point is well away from that mask.

        Args:
            frame: the frame.
            object_id: the object.
            found: its tracked mask, (H, W) bool; None: it has none.
            x: of the first point.
            y: of the first point.
            others: ids of the other objects, whose masks stay.
        """
        guesses = self.read(frame.index, others)
        box = None if found is None else tight_box(found)
        if found is not None and box is not None and is_near(x, box[0], box[2]) and is_near(y, box[1], box[3]):
            guesses[found] = object_id
        self._maps.write(result_with_scores(frame, guesses, {}))

    def read(self, index: int, object_ids: Iterable[int]) -> np.ndarray:
        """Return the masks that points on a frame correct, (H, W) uint8 labels; objects without one are background."""
        if index not in self._maps:
            return np.zeros(self._size, np.uint8)
        return self._maps.read(index, object_ids)

    def added_to(self, hint: Hint, index: int, object_id: int) -> Hint:
        """Add the mask that the points of a hint correct, if there is one; a box needs none."""
        guess = self.read(index, [object_id]) > 0
        return replace(hint, mask=guess) if hint.box is None and guess.any() else hint

    def drop(self, index: int) -> None:
        """Forget those of a frame."""
        self._maps.drop(index)
