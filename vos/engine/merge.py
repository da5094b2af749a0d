"""From logits of N objects to one label map, once per frame."""

from __future__ import annotations

import numpy as np
import torch

from ..structures import Frame, Result, Tracked


def merge(frame: Frame, object_ids: tuple[int, ...], tracked: Tracked) -> Result:
    """Resolve overlaps on the logits: each pixel goes to the largest one above 0 (background)."""
    logits, geometry = tracked.logits, tracked.geometry
    best = logits.new_zeros(frame.size)
    labels = torch.zeros(frame.size, dtype=torch.uint8, device=logits.device)
    everywhere = ((slice(None), slice(None), each) for each in logits)
    parts = everywhere if geometry is None else geometry.positive_parts(logits)
    for object_id, (rows, columns, shown) in zip(object_ids, parts, strict=True):
        here, named = best[rows, columns], labels[rows, columns]
        named.copy_(torch.where(shown > here, object_id, named))
        here.copy_(torch.maximum(here, shown))
    return describe(frame, object_ids, labels.cpu().numpy(), tracked.scores.float().cpu().numpy(), tracked)


def describe(
    frame: Frame,
    object_ids: tuple[int, ...],
    labels: np.ndarray,
    scores: np.ndarray,
    tracked: Tracked | None = None,
) -> Result:
    """A result from its label map (H, W) uint8: boxes and areas are read off it."""
    boxes = np.full((len(object_ids), 4), -1, dtype=np.int32)
    areas = np.zeros(len(object_ids), dtype=np.int64)
    for row, object_id in enumerate(object_ids):
        mask = labels == object_id
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            boxes[row] = columns[0], rows[0], columns[-1], rows[-1]
            areas[row] = np.count_nonzero(mask)
    return Result(frame, object_ids, labels, boxes, areas, scores.astype(np.float32), tracked)
