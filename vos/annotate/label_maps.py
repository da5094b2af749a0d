"""Keeps label maps on the disk, so that a long video takes no more memory than a short one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.merge import result_of_labels
from ..files import frame_png
from ..structures import Frame, Result
from ..writers.masks import MaskWriter


class LabelMaps:
    """A folder with one indexed PNG per frame, as ``vos-track`` writes them; ``index in maps`` asks for a frame.

    Args:
        folder: where the PNGs go; made if need be.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = MaskWriter(folder, numbered=True)

    def write(self, result: Result) -> None:
        """Store the labels of one frame, in place of earlier ones.

        Raises:
            OutputError: they cannot be written.
        """
        self._writer.write(result)

    def read(self, index: int, object_ids: Iterable[int]) -> np.ndarray:
        """Read the labels of one frame, (H, W) uint8; objects that are not asked for are background."""
        with Image.open(frame_png(self._folder, index)) as image:
            labels = np.array(image)
        return np.where(np.isin(labels, list(object_ids)), labels, 0).astype(np.uint8)

    def __contains__(self, index: int) -> bool:
        """Tell whether a frame has labels."""
        return frame_png(self._folder, index).exists()

    def drop(self, index: int) -> None:
        """Delete the labels of one frame, if there are any."""
        frame_png(self._folder, index).unlink(missing_ok=True)


def result_with_scores(frame: Frame, labels: np.ndarray, scores: Mapping[int, float]) -> Result:
    """Make a result from labels (H, W) uint8 and the score of each object that the result is to list."""
    ids = tuple(sorted(scores))
    return result_of_labels(frame, ids, labels, np.array([scores[each] for each in ids], np.float32))
