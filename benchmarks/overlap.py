"""Pixels that two masks share, summed over pictures before they are divided.

The one-shot benchmarks measure in this way: an object or class has one IoU over all its pictures, in which large
masks weigh more than small ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Overlap:
    """Counts of pixels, which add up.

    Attributes:
        shared: pixels in both masks.
        either: pixels in one or both.
        truth: pixels of the true mask.
        total: pixels of the pictures.
    """

    shared: int = 0
    either: int = 0
    truth: int = 0
    total: int = 0

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray) -> Overlap:
        """Count the pixels of two masks (H, W) bool of one size."""
        shared, either = np.count_nonzero(predicted & truth), np.count_nonzero(predicted | truth)
        return cls(int(shared), int(either), int(np.count_nonzero(truth)), truth.size)

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.shared + other.shared,
            self.either + other.either,
            self.truth + other.truth,
            self.total + other.total,
        )

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if both masks are empty everywhere."""
        return self.shared / self.either if self.either else 1.0

    @property
    def accuracy(self) -> float:
        """Share of the true mask that was found; 1 if it is empty everywhere."""
        return self.shared / self.truth if self.truth else 1.0

    @property
    def outside(self) -> Overlap:
        """The same counts for what is outside the masks, the background."""
        return Overlap(self.total - self.either, self.total - self.shared, self.total - self.truth, self.total)
