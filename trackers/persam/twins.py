"""Drops twins that a mask has taken in: pieces apart from the object that show only parts of which it has its own.

An object has each of its parts once. A piece that something in front cuts off shows parts that the rest of the mask
lacks. A twin that came out from behind the object, or stood beside it, shows the same parts once more: whatever part
in the first frame a patch of it looks like, some patch of the rest looks even more like that part.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .looks import View
from .objects import Objects
from .rivals import emptied, pieces

WHOLE = 0.55
"""Share of the object's usual area from which on its largest piece may be all of it."""

LEAST = 0.03
"""Share of a mask from which on a piece of it counts."""

NEAR = 2
"""Patches from another object within which a piece may go on behind it."""


def without_twins(view: View, objects: Objects, logits: Tensor, patience: int) -> tuple[Tensor, Tensor]:
    """Drop twins from the masks of N objects.

    They have to be seen in ``patience`` frames first, as the features of a single one mislead.

    Args:
        view: the whole of the encoded region.
        objects: as they were in the last frame.
        logits: low-res logits (N, 4h, 4w).
        patience: in frames.

    Returns:
        Logits (N, 4h, 4w), negative where pieces were dropped; and the new :attr:`.Objects.doubts`, (N,) long.
    """
    if objects.appearance is None:
        return logits, objects.doubts
    covered = F.avg_pool2d((logits > 0).float()[:, None], 4)[:, 0]
    inside = covered > 0
    numbers = pieces(inside | _near_another(inside)) * inside
    areas = covered.new_zeros(len(logits), 1 + numbers[0].numel())
    areas = areas.scatter_add_(1, numbers.flatten(1), covered.flatten(1))  # number 0 is outside, where none is
    largest, main = areas.max(1)
    whole = view.embedding.geometry.pixels_per_value(1) * largest >= WHOLE * objects.usual_area
    known, dropped = objects.appearance.first, torch.zeros_like(inside)
    for row in (whole & (areas.sum(1) > largest)).nonzero()[:, 0].tolist():
        parts, weight = known.foreground[row], known.foreground_weight[row]
        own = _likeness(view, numbers[row] == main[row], parts, weight)
        for number in (areas[row] >= LEAST * areas[row].sum()).nonzero()[:, 0].tolist():
            piece = numbers[row] == number
            if number != main[row] and _shows_nothing_new(own, _likeness(view, piece, parts, weight)):
                dropped[row] |= piece
    change = torch.where(dropped.flatten(1).any(1), 1, -1)
    doubts = (objects.doubts + change).clamp(0, 2 * patience)
    return emptied(logits, (dropped & (doubts >= patience)[:, None, None])[:, None]), doubts


def _near_another(inside: Tensor) -> Tensor:
    """Tell which patches lie in or near another of N masks (N, h, w) bool: pieces may hang together behind it."""
    near = F.max_pool2d(inside.float()[:, None], 2 * NEAR + 1, 1, NEAR)[:, 0]
    return near.sum(0) > near


def _likeness(view: View, patches: Tensor, parts: Tensor, weight: Tensor) -> Tensor:
    """Compare some patches of a view, (h, w) bool, with parts (F, C) of an object by cosine, (P, F).

    Parts of little weight (F,) count as unlike anything.
    """
    features = view.features
    there = features.geometry.resample(patches.float()[None, None], view.embedding.geometry)[0, 0] > 0.5
    return features.values[0, :, there].T @ (parts * weight[:, None]).T + (weight - 1)


def _shows_nothing_new(own: Tensor, other: Tensor) -> bool:
    """Tell from the likeness to parts, (P, F), of object and piece whether the object shows what the piece does better."""
    if not (len(own) and len(other)):
        return False
    shown = other.argmax(1)
    return bool((own.amax(0)[shown] - other.amax(0)[shown]).mean() > 0)
