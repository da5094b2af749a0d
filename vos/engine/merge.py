"""From the logits of N objects to one label map, once per frame.

The session calls :func:`merge` after the tracker. Whoever has labels already, such as a given first
mask or one read back from disk, makes a result of them by :func:`result_of_labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..boxes import tight_box
from ..structures import Frame, Result, Tracked


def merge(frame: Frame, object_ids: tuple[int, ...], tracked: Tracked) -> Result:
    """Resolve overlaps on the logits: each pixel goes to the largest one above 0 (background)."""
    logits, geometry = tracked.logits, tracked.geometry
    best = logits.new_zeros(frame.size)
    labels = torch.zeros(frame.size, dtype=torch.uint8, device=logits.device)
    everywhere = ((slice(None), slice(None), each) for each in logits)
    parts = everywhere if geometry is None else geometry.positive_parts(logits)
    for object_id, (lines, columns, shown) in zip(object_ids, parts, strict=True):
        best_here, labels_here = best[lines, columns], labels[lines, columns]  # views, which are written to
        labels_here.copy_(torch.where(shown > best_here, object_id, labels_here))
        best_here.copy_(torch.maximum(best_here, shown))
    return result_of_labels(frame, object_ids, labels.cpu().numpy(), tracked.scores.float().cpu().numpy(), tracked)


def result_of_labels(
    frame: Frame,
    object_ids: tuple[int, ...],
    labels: np.ndarray,
    scores: np.ndarray,
    tracked: Tracked | None = None,
) -> Result:
    """Make a result of a label map: measure the objects' boxes and areas.

    Args:
        frame: the frame.
        object_ids: of the N objects, in the order of the result's rows.
        labels: (H, W) uint8, 0 background, else the object id.
        scores: (N,) in [0, 1].
        tracked: the logits that the labels were merged from, if there are any.
    """
    boxes = np.full((len(object_ids), 4), -1, dtype=np.int32)
    areas = np.zeros(len(object_ids), dtype=np.int64)
    for row, object_id in enumerate(object_ids):
        mask = labels == object_id
        box = tight_box(mask)
        if box is not None:
            boxes[row] = box
            areas[row] = np.count_nonzero(mask)
    return Result(frame, object_ids, labels, boxes, areas, scores.astype(np.float32), tracked)


def nothing_followed(frame: Frame) -> Result:
    """Make the result of a frame on which nothing is followed."""
    return result_of_labels(frame, (), np.zeros(frame.size, np.uint8), np.zeros(0, np.float32))


def silenced(tracked: Tracked, silent: Sequence[bool]) -> Tracked:
    """Make the masks of some objects empty, (N,); their scores are 0 then."""
    if not any(silent):
        return tracked
    rows = torch.tensor(silent, device=tracked.logits.device)
    logits = torch.where(rows[:, None, None], -tracked.logits.abs(), tracked.logits)
    return replace(tracked, logits=logits, scores=tracked.scores.masked_fill(rows.to(tracked.scores.device), 0))


def painted(last: Result, mask: np.ndarray, object_id: int, object_ids: tuple[int, ...], score: float = 1.0) -> Result:
    """Copy a frame's result with one object's mask (H, W) bool replaced; it wins over the other objects."""
    labels = np.where(last.labels == object_id, 0, last.labels).astype(np.uint8)
    labels[mask] = object_id
    known = dict(zip(last.object_ids, last.scores, strict=True)) | {object_id: score}
    return result_of_labels(last.frame, object_ids, labels, np.array([known[each] for each in object_ids], np.float32))


def without(last: Result, object_id: int) -> Result:
    """Copy a frame's result without one of its objects."""
    kept = [row for row, each in enumerate(last.object_ids) if each != object_id]
    ids = tuple(last.object_ids[row] for row in kept)
    return result_of_labels(last.frame, ids, last.labels * (last.labels != object_id), last.scores[kept])
