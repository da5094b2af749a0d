"""Label maps on the disk, so that a long video needs no memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.merge import result_of_labels
from ..structures import Frame, Result
from ..writers.masks import MaskWriter


class LabelMaps:
    """One indexed PNG per frame in a folder, as the command writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = MaskWriter(folder)

    def write(self, result: Result) -> None:
        """Keep the labels of one frame.

        Raises:
            OutputError: they cannot be written.
        """
        self._writer.write(result)

    def read(self, index: int, object_ids: Iterable[int]) -> np.ndarray:
        """Labels of some objects in one frame, (H, W) uint8."""
        with Image.open(self._path(index)) as image:
            labels = np.array(image)
        return np.where(np.isin(labels, list(object_ids)), labels, 0).astype(np.uint8)

    def __contains__(self, index: int) -> bool:
        return self._path(index).exists()

    def drop(self, index: int) -> None:
        """Forget one frame, if it is there."""
        self._path(index).unlink(missing_ok=True)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:05d}.png"


def described(frame: Frame, labels: np.ndarray, scores: dict[int, float]) -> Result:
    """A result from labels (H, W) and the scores of all objects that it is to tell of."""
    ids = tuple(sorted(scores))
    return result_of_labels(frame, ids, labels, np.array([scores[each] for each in ids], np.float32))
