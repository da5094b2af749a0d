"""Boxes of objects: inclusive, left top right bottom in frame pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...structures import Result


def tight_boxes(masks: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Tight boxes (N, 4) float of masks (N, H, W) bool; fallback rows where empty."""
    rows, columns = masks.any(2), masks.any(1)
    height, width = masks.shape[1:]
    first = lambda line: line.float().argmax(1)
    boxes = torch.stack(
        [first(columns), first(rows), width - 1 - first(columns.flip(1)), height - 1 - first(rows.flip(1))], dim=1
    ).float()
    if fallback is not None:
        boxes = torch.where(rows.any(1)[:, None], boxes, fallback)
    return boxes


def trimmed_boxes(result: Result, beyond_each_side: float) -> np.ndarray:
    """Boxes (N, 4) int of a result, beyond each side of which this share of the object's area may lie."""
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
    """Boxes (N, 4) with ``margin`` pixels more on each side, within the frame."""
    if not margin:
        return boxes
    height, width = frame_size
    limit = boxes.new_tensor([width, height, width, height])
    widened = boxes + boxes.new_tensor([-margin, -margin, margin, margin])
    return widened.clamp(torch.zeros_like(limit), limit)
