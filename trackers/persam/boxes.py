"""Trims and widens the boxes of objects: left, top, right, bottom in frame pixels, inclusive."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...structures import Result


def trimmed_boxes(result: Result, beyond_each_side: float) -> np.ndarray:
    """Trim the boxes of a result, so that a stray speck of a mask does not stretch its box.

    Args:
        result: the merged objects of a frame.
        beyond_each_side: share of an object's area that may lie beyond each side of its box.

    Returns:
        Boxes (N, 4) int.
    """
    if not beyond_each_side:
        return result.boxes
    boxes = result.boxes.copy()
    for row in np.flatnonzero(result.areas):
        left, top, right, bottom = result.boxes[row]
        mask = result.labels[top : bottom + 1, left : right + 1] == result.object_ids[row]
        beyond = beyond_each_side * result.areas[row]
        for axis in (0, 1):
            mass = np.cumsum(np.count_nonzero(mask, axis=axis))
            boxes[row, axis + 2] = boxes[row, axis] + np.searchsorted(mass, mass[-1] - beyond)
            boxes[row, axis] += np.searchsorted(mass, beyond, side="right")
    return boxes


def widened_boxes(boxes: Tensor, margin: int, frame_size: tuple[int, int]) -> Tensor:
    """Widen boxes (N, 4) by ``margin`` pixels on each side, within the frame of (H, W)."""
    if not margin:
        return boxes
    height, width = frame_size
    limit = boxes.new_tensor([width, height, width, height])
    widened = boxes + boxes.new_tensor([-margin, -margin, margin, margin])
    return widened.clamp(torch.zeros_like(limit), limit)
