"""Joins the results of the two ways on one frame: the rule for every object, and the pixels that several want.

The rule. Each way has a weight: how near its end is, times how certain it is there. Where the two masks agree, overlap
(J) :data:`AGREEMENT` or more, the contour of the joined mask lies between theirs, by the weights: signed distances to
the two contours are averaged (shape-based interpolation, Raya and Udupa 1990). Where they do not, the heavier one is
taken whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..boxes import tight_box
from ..structures import Result, alpha
from .both_ways import BothWays
from .kept import with_opacity
from .merge import result_of_labels

AGREEMENT = 0.5
"""Overlap of two masks, intersection over union, from which on they are taken to show the same thing."""


@dataclass(frozen=True)
class Way:
    """One object on one frame, as one way has it.

    Attributes:
        mask: (H, W) bool.
        score: in [0, 1].
    """

    mask: np.ndarray
    score: float


def join(plan: BothWays, forward: Result, backward: Result, soft_edges: bool = False) -> Result:
    """Make one result of the two ways' results of a frame.

    Args:
        plan: tells how much each way counts.
        forward: result of the way forwards.
        backward: result of the way back, of the same frame.
        soft_edges: give the result soft edges; without, its edges are hard unless one way counts for all objects.

    Returns:
        One of the two itself, if it alone counts; else a result without logits, its objects by ascending id.
    """
    index = forward.frame.index
    shares = {
        each: _share(plan, each, index, each in forward.object_ids, each in backward.object_ids)
        for each in sorted({*forward.object_ids, *backward.object_ids})
    }
    for share, result in ((1.0, forward), (0.0, backward)):
        if set(shares) == set(result.object_ids) and all(each == share for each in shares.values()):
            return result
    masks: dict[int, np.ndarray] = {}
    scores = np.zeros(len(shares), np.float32)
    for row, (object_id, share) in enumerate(shares.items()):
        joined = joined_way(_way(forward, object_id), _way(backward, object_id), share)
        masks[object_id], scores[row] = joined.mask, joined.score
    labels = painted(masks, forward.frame.size)
    result = result_of_labels(forward.frame, tuple(shares), labels, scores)
    return with_opacity(result, _joined_opacity(labels, forward, backward)) if soft_edges else result


def joined_way(forward: Way | None, backward: Way | None, forward_share: float) -> Way:
    """Join the masks of one object by the rule.

    Args:
        forward: of the way forwards, None: it does not know the object.
        backward: of the way back; at least one of the two is there.
        forward_share: how much the way forwards counts, 0 to 1, before certainty.
    """
    if backward is None or (forward is not None and forward_share == 1):
        assert forward is not None
        return forward
    if forward is None or forward_share == 0:
        return backward
    weight = _weight(forward.score, backward.score, forward_share)
    if np.array_equal(forward.mask, backward.mask):
        return Way(forward.mask, weight * forward.score + (1 - weight) * backward.score)
    if overlap(forward.mask, backward.mask) < AGREEMENT:
        return forward if weight >= 0.5 else backward
    score = weight * forward.score + (1 - weight) * backward.score
    return Way(between(forward.mask, backward.mask, weight), score)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Compute intersection over union of two masks (H, W) bool; 1 if both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def between(one: np.ndarray, other: np.ndarray, weight: float) -> np.ndarray:
    """Interpolate between two shapes: where the weighted mean of their signed distances is inside.

    Args:
        one: (H, W) bool, not empty.
        other: (H, W) bool, not empty.
        weight: of the first, 0 to 1.
    """
    box = tight_box(one | other)
    assert box is not None
    x0, y0, x1, y1 = (int(edge) for edge in box)
    window = slice(max(0, y0 - 1), y1 + 2), slice(max(0, x0 - 1), x1 + 2)
    mean = weight * signed_distance(one[window]) + (1 - weight) * signed_distance(other[window])
    result = np.zeros_like(one)
    result[window] = mean > 0
    return result


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Compute the distance of each pixel to the contour of a mask (H, W) bool, in pixels, positive inside."""
    if mask.all():  # there is no contour: it lies beyond the picture
        return np.full(mask.shape, float(sum(mask.shape)))
    inside, outside = _depth(mask), _depth(~mask)
    return np.where(mask, inside - 0.5, 0.5 - outside)


def painted(masks: dict[int, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Paint masks by id to labels (H, W) uint8; a pixel that several want goes to the one it lies deepest in."""
    labels = np.zeros(size, np.uint8)
    for object_id, mask in masks.items():
        wanted = mask & (labels > 0)
        if wanted.any():
            depth = _depth(mask)
            for other in np.unique(labels[wanted]):
                theirs = wanted & (labels == other)
                keeps = _depth(masks[int(other)])[theirs] >= depth[theirs]
                mask = mask.copy()
                mask[theirs] = ~keeps
        labels[mask] = object_id
    return labels


def _share(plan: BothWays, object_id: int, index: int, forward: bool, backward: bool) -> float:
    """How much the way forwards counts for an object; the only way that knows it counts alone."""
    if not (forward and backward):
        return float(forward)
    return plan.forward_share(object_id, index)


def _weight(forward: float, backward: float, forward_share: float) -> float:
    """Weight of the way forwards, 0 to 1, by the two scores."""
    ours, theirs = forward_share * max(0.0, forward), (1 - forward_share) * max(0.0, backward)
    return ours / (ours + theirs) if ours + theirs > 0 else forward_share


def _way(result: Result, object_id: int) -> Way | None:
    if object_id not in result.object_ids:
        return None
    return Way(result.labels == object_id, float(result.scores[result.object_ids.index(object_id)]))


def _joined_opacity(labels: np.ndarray, forward: Result, backward: Result) -> np.ndarray:
    """Join soft edges, (H, W) uint8: inside the larger opacity of the two, outside the smaller one."""
    one, other = alpha(forward), alpha(backward)
    inside, outside = np.maximum(np.maximum(one, other), 128), np.minimum(np.minimum(one, other), 127)
    return np.where(labels > 0, inside, outside).astype(np.uint8)


def _depth(mask: np.ndarray) -> np.ndarray:
    """Compute the distance of each pixel inside a mask (H, W) bool to the nearest outside, in pixels."""
    from scipy import ndimage  # takes a quarter of a second, which runs in one direction need not wait for

    depth: np.ndarray = ndimage.distance_transform_edt(mask)
    return depth
