"""Drops twins that a mask has taken in: pieces apart from the object that show only parts of which it has its own.

An object has each of its parts once. A piece that something in front cuts off shows parts that the rest of the mask
lacks. A twin that came out from behind the object, or stood beside it, shows the same parts once more: whatever part
in the first frame a patch of it looks like, some patch of the rest looks even more like that part.

Where a mask had jumped to twice its size, as a twin passed the object, two pieces of its size may be equally like it.
The one that is where the object was going is the object.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...method.matching import Memory
from .looks import View
from .objects import Objects
from .rivals import emptied, pieces

WHOLE = 0.55
"""Share of the object's usual area from which on its largest piece may be all of it."""

LEAST = 0.02
"""Share of a mask from which on a piece of it counts."""

SAME_SIZE = 0.6
"""Share of the object's area before a jump from which on a piece may be all of it."""

EQUALLY_LIKE = 0.02
"""Likeness by which such a piece may show parts better than the object does, and still is a twin."""

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
    areas *= view.embedding.geometry.pixels_per_value(1)
    largest = areas.amax(1)
    several = (largest >= WHOLE * objects.usual_area) & (areas.sum(1) > largest)
    twins = torch.zeros_like(inside)
    for row in several.nonzero()[:, 0].tolist():
        twins[row] = _twins_of(view, objects, objects.appearance.first, row, numbers[row], areas[row])
    doubts = (objects.doubts + torch.where(twins.flatten(1).any(1), 1, -1)).clamp(0, 2 * patience)
    return emptied(logits, (twins & (doubts >= patience)[:, None, None])[:, None]), doubts


def _twins_of(view: View, objects: Objects, known: Memory, row: int, numbers: Tensor, areas: Tensor) -> Tensor:
    """Find the twins in the mask of one of N objects, (h, w) bool.

    Args:
        view: the whole of the encoded region.
        objects: as they were in the last frame.
        known: their parts in the first frame.
        row: of the object.
        numbers: of its pieces, (h, w) long.
        areas: of the pieces by number, in frame pixels.
    """
    twins = torch.zeros_like(numbers, dtype=torch.bool)
    counting = (areas >= LEAST * areas.sum()).nonzero()[:, 0].tolist()
    as_large = [number for number in counting if areas[number] >= SAME_SIZE * objects.course.area[row]]
    own, equals = int(areas.argmax()), []
    if objects.course.held[row] and len(as_large) > 1:
        own, equals = min(as_large, key=lambda number: _way_to(view, numbers == number, objects, row)), as_large
    likeness = {
        number: _likeness(view, numbers == number, known.foreground[row], known.foreground_weight[row])
        for number in {own, *counting}
    }
    for number in counting:
        tolerance = EQUALLY_LIKE if number in equals else 0.0
        if number != own and _shows_nothing_new(likeness[own], likeness[number], tolerance):
            twins |= numbers == number
    return twins


def _way_to(view: View, piece: Tensor, objects: Objects, row: int) -> float:
    """Measure how far from a piece, (h, w) bool, an object should be, in frame pixels."""
    cells = piece.nonzero().flip(1).float()
    centre = view.embedding.geometry.cells_to_frame(cells).mean(0)
    return float((centre - objects.course.expected()[row]).norm())


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


def _shows_nothing_new(own: Tensor, other: Tensor, tolerance: float) -> bool:
    """Tell from the likeness to parts, (P, F), of object and piece whether the object shows what the piece does better.

    ``tolerance``: by how much it may show it worse.
    """
    if not (len(own) and len(other)):
        return False
    shown = other.argmax(1)
    return bool((own.amax(0)[shown] - other.amax(0)[shown]).mean() > -tolerance)
