"""Boundary IoU: intersection over union of the inner rims of two masks (Cheng et al., CVPR 2021).

The rim of a mask is what lies inside it within ``DILATION_RATIO`` of the picture's diagonal from its outline. Large
objects with a poor outline lose little IoU, but much boundary IoU. Used by ``vos-perseg``, as in table 1 of the paper.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from .overlap import Overlap

DILATION_RATIO = 0.02
"""Width of the rim as a share of the picture's diagonal."""


def rim(mask: np.ndarray, ratio: float = DILATION_RATIO) -> np.ndarray:
    """Mark the pixels of a mask that lie near its outline.

    Distance is counted in steps to any of the eight neighbours, and beyond the picture is outside: the outcome equals
    the mask less its erosion by a 3 x 3 square, repeated as often as the rim is wide.

    Args:
        mask: (H, W) bool.
        ratio: width of the rim as a share of the diagonal; it is rounded to pixels, and 1 at least.

    Returns:
        The rim, (H, W) bool.
    """
    if not mask.any():
        return np.zeros_like(mask)
    width = max(1, round(ratio * math.hypot(*mask.shape)))
    steps = ndimage.distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    return mask & (steps <= width)


def boundary_overlap(predicted: np.ndarray, truth: np.ndarray, ratio: float = DILATION_RATIO) -> Overlap:
    """Count the pixels that the rims of two masks share, and those that either has.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        ratio: width of the rims, see :func:`rim`.
    """
    return Overlap.of(rim(predicted, ratio), rim(truth, ratio))


def boundary_iou(predicted: np.ndarray, truth: np.ndarray, ratio: float = DILATION_RATIO) -> float:
    """Intersection over union of the rims of two masks (H, W) bool; 1 when both are empty."""
    return boundary_overlap(predicted, truth, ratio).iou
