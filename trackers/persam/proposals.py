"""Proposes where in a picture to look for an object from near by; see :mod:`.search`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...boxes import tight_boxes
from .looks import View
from .referred import Referred, place_features
from .rivals import pieces

AROUND_THE_PEAK = 0.5
"""Share of the way from the map's median to its peak above which patches belong to the candidate at the peak."""

REACH = 3
"""Patches of the whole picture between two pieces of one object at most."""

SAME_PLACE = 0.7
"""Overlap (IoU) of two candidates' boxes from which on they are one."""

LEFT_OVER = 0.5
"""Share of a mask's pixels that other instances may have taken at most."""


@dataclass(frozen=True)
class Proposal:
    """Where to look from near by.

    Attributes:
        box: in frame pixels, (1, 4).
        logits: low-res logits of a mask in the whole picture, (1, 4h, 4w).
        drawn: whether the box was drawn around that mask.
    """

    box: Tensor
    logits: Tensor
    drawn: bool


def proposals_for(view: View, referred: Referred, logits: Tensor, taken: Tensor | None) -> list[Proposal]:
    """Propose candidates: the mask decoded in the whole picture, its main piece, and what is around the best match.

    Args:
        view: the whole picture.
        referred: one object.
        logits: low-res logits of the mask that was decoded there, (1, 4h, 4w).
        taken: pixels that count no longer, (1, H, W) bool; None: there are none.

    Returns:
        One at least, each at a place of its own.
    """
    alike = _likeness_map(view, referred, taken)
    proposals = []
    piece = _main_piece(view, logits, alike)
    for mask in (logits,) if torch.equal(piece > 0, logits > 0) else (logits, piece):
        shown = view.embedding.geometry.upsample(mask) > 0
        if shown.any():
            proposals.append(Proposal(_with_extent(tight_boxes(shown), view), mask, drawn=True))
    proposals.append(Proposal(_with_extent(_box_at_peak(view, alike), view), logits, drawn=False))
    kept: list[Proposal] = []
    for proposal in proposals:
        if not any(_overlap(proposal.box, other.box) >= SAME_PLACE for other in kept):
            kept.append(proposal)
    return kept


def _with_extent(box: Tensor, view: View) -> Tensor:
    """Widen a box (1, 4) to a few pixels at least, within the frame: a hint's box has an extent."""
    height, width = view.frame.size
    limit = box.new_tensor([width - 1, height - 1])
    corner = torch.minimum(box[:, :2], limit - 2).clamp_min(0)
    return torch.cat([corner, torch.maximum(box[:, 2:], corner + 2)], dim=1).float()


def _likeness_map(view: View, referred: Referred, taken: Tensor | None) -> Tensor:
    """Compare each patch of the whole picture with the references, smoothed, (h, w); -1 where it may not be."""
    features, geometry = place_features(view)
    alike = torch.einsum("chw,kc->khw", features[0], referred.places[0]).amax(0)
    alike = F.avg_pool2d(F.avg_pool2d(alike[None, None], 3, 1, 1, count_include_pad=False), 3, 1, 1)[0, 0]
    usable = geometry.inside().to(alike.device)
    if taken is not None and (left := usable & (geometry.coverage(taken)[0] < LEFT_OVER)).any():
        usable = left
    return alike.masked_fill(~usable, -1)


def _main_piece(view: View, logits: Tensor, alike: Tensor) -> Tensor:
    """Keep the piece of a mask (1, 4h, 4w) that has its best match, with those that come within reach of it."""
    if alike.shape != view.embedding.geometry.grid:
        return logits
    inside = F.max_pool2d((logits > 0).float()[:, None], 4)
    within = alike.masked_fill(inside[0, 0] == 0, -2)
    kept = (within == within.max()).float()[None, None] * inside
    while (grown := F.max_pool2d(kept, 2 * REACH + 1, 1, REACH) * inside).sum() > kept.sum():
        kept = grown
    shown = F.interpolate(kept, logits.shape[1:])[:, 0] > 0
    return torch.where(shown, logits, -logits.abs())


def _box_at_peak(view: View, alike: Tensor) -> Tensor:
    """Return the box (1, 4) in frame pixels of the patches around the best match that match about as well."""
    _, geometry = place_features(view)
    usable = alike > -1
    middle, peak = alike[usable].median(), alike.max()
    numbers = pieces((alike >= middle + AROUND_THE_PEAK * (peak - middle))[None])
    left, top, right, bottom = tight_boxes(numbers == numbers.flatten()[alike.argmax()])[0].tolist()
    corners = alike.new_tensor([[left - 0.5, top - 0.5], [right + 0.5, bottom + 0.5]])
    return geometry.cells_to_frame(corners).flatten()[None]


def _overlap(one: Tensor, other: Tensor) -> float:
    """Return the IoU of two boxes (1, 4)."""
    low, high = torch.maximum(one[0, :2], other[0, :2]), torch.minimum(one[0, 2:], other[0, 2:])
    common = (high - low + 1).clamp_min(0).prod()
    areas = [(box[0, 2:] - box[0, :2] + 1).prod() for box in (one, other)]
    return float(common / (areas[0] + areas[1] - common))
