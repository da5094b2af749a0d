"""Tight boxes of masks: left, top, right, bottom in pixels, inclusive.

The engine takes the boxes of a result from here, trackers those of their objects, and
:class:`vos.geometry.Geometry` the parts of a map that can be positive.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def tight_boxes(masks: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Compute the tight box of each mask of a batch.

    Args:
        masks: (N, H, W) bool.
        fallback: (N, 4) float, boxes of empty masks; None: an empty mask gets the box of all pixels.

    Returns:
        (N, 4) float, inclusive.
    """
    lines, columns = masks.any(2), masks.any(1)
    height, width = masks.shape[1:]
    first = lambda used: used.float().argmax(1)
    boxes = torch.stack(
        [first(columns), first(lines), width - 1 - first(columns.flip(1)), height - 1 - first(lines.flip(1))], dim=1
    ).float()
    if fallback is not None:
        boxes = torch.where(lines.any(1)[:, None], boxes, fallback)
    return boxes


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Compute the tight box, inclusive, of one mask (H, W) bool; None for an empty mask.

    On an array this is much faster than :func:`tight_boxes`.
    """
    lines, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(lines[0]), int(columns[-1]), int(lines[-1])) if len(lines) else None
