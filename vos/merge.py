"""From logits of N objects to one label map, once per frame."""

from __future__ import annotations

import numpy as np
import torch

from .structures import Frame, Result, Tracked


def merge(frame: Frame, object_ids: tuple[int, ...], tracked: Tracked) -> Result:
    """Resolve overlaps on the logits: each pixel goes to the largest one above 0 (background)."""
    logits = tracked.full_size()
    ids = torch.tensor(object_ids, dtype=torch.uint8, device=logits.device)
    inside = (logits > 0).view(torch.uint8)
    labels = (inside * ids[:, None, None]).amax(dim=0)
    rows, columns = (inside.sum(dim=0, dtype=torch.uint8) > 1).nonzero(as_tuple=True)
    labels[rows, columns] = ids[logits[:, rows, columns].argmax(dim=0)]  # few pixels, if any
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
