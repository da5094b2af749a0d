"""Windows of the patch grid, one for each object, so that a small object costs little.

An encoder sees one region of the frame for all objects. Each object is then compared, decoded and
remembered within its own window of the patch grid. PerSAM makes the windows; embeddings and
features are cut by them, see :meth:`vos.structures.ImageEmbedding.within`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

MULTIPLE = 4
"""Sides of windows are multiples of so many patches, the size of the memory's background blocks."""

PASS_COST = 800
"""Fixed cost of one decoder pass, in patches."""


@dataclass(frozen=True)
class Windows:
    """N rectangles of one size on a patch grid.

    Attributes:
        corners: (top, left) of each window, in patches.
        size: (h', w') of every window.
        grid: (h, w) of the patch grid.
    """

    corners: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    grid: tuple[int, int]

    @classmethod
    def around(cls, boxes: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Windows | None:
        """Centre windows of one size on boxes (N, 4) in patches; None if that is the size of the grid."""
        if size == grid:
            return None
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).flip(1)
        span = centres.new_tensor(size)
        corners = (centres - span / 2).round().clamp(torch.zeros_like(span), centres.new_tensor(grid) - span)
        return cls(tuple((top, left) for top, left in corners.long().tolist()), size, grid)

    def starts(self, device: torch.device) -> Tensor:
        """Give the left and top of the windows, (N, 2) long xy in patches."""
        return torch.tensor(self.corners, device=device).flip(1)


def groups(boxes: Tensor, lost: Tensor, grid: tuple[int, int], least: int) -> list[tuple[list[int], Windows | None]]:
    """Sort objects into groups whose windows have one size: one group, or two if that is cheaper.

    Args:
        boxes: what the windows should show, (N, 4) in patches: left, top, right, bottom.
        lost: (N,) bool, objects that are looked for in the whole grid.
        grid: (h, w).
        least: shortest side of a window, in patches.

    Returns:
        The rows of each group and their windows; windows None: the whole grid.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).flip(1).clamp_min(least)
    sides = MULTIPLE * (sides / MULTIPLE).ceil()
    sides[lost] = torch.inf
    sizes = [(int(height), int(width)) for height, width in sides.minimum(sides.new_tensor(grid)).tolist()]
    order = sorted(range(len(sizes)), key=lambda row: math.prod(sizes[row]))
    small = list(accumulate((sizes[row] for row in order), _around_both))
    large = list(accumulate((sizes[row] for row in reversed(order)), _around_both))[::-1]

    def split(count: int) -> list[tuple[list[int], tuple[int, int]]]:
        parts = [(sorted(order[:count]), small[count - 1])]
        return [*parts, (sorted(order[count:]), large[count])] if count < len(order) else parts

    def cost(count: int) -> int:
        return sum(PASS_COST + len(rows) * math.prod(size) for rows, size in split(count))

    best = min(range(1, len(order) + 1), key=cost)
    return [(rows, Windows.around(boxes[rows], size, grid)) for rows, size in split(best)]


def _around_both(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])


def cut(maps: Tensor, windows: Windows | None) -> Tensor:
    """Cut maps to each window: (1 or N, K, a, b) to (N, K, a', b'); without windows, return the maps.

    ``a`` and ``b`` are the grid's sides or a multiple of them.
    """
    if windows is None:
        return maps
    return _cut(maps.permute(0, 2, 3, 1), windows).permute(0, 3, 1, 2)


def cut_patches(values: Tensor, windows: Windows | None) -> Tensor:
    """Cut values given patch by patch to each window: (1 or N, h * w, …) to (N, h' * w', …)."""
    if windows is None:
        return values
    return _cut(values.unflatten(1, windows.grid), windows).flatten(1, 2)


def _cut(values: Tensor, windows: Windows) -> Tensor:
    finer = values.shape[1] // windows.grid[0]
    high, wide = (side * finer for side in windows.size)
    each = values.expand(len(windows.corners), *values.shape[1:])
    return torch.stack(
        [
            value[top * finer : top * finer + high, left * finer : left * finer + wide]
            for value, (top, left) in zip(each, windows.corners, strict=True)
        ]
    )


def paste(maps: Tensor, windows: Windows | None, outside: float) -> Tensor:
    """Put maps (N, K, a', b') of the windows in their places, (N, K, a, b); ``outside`` elsewhere."""
    if windows is None:
        return maps
    finer = maps.shape[2] // windows.size[0]
    whole = maps.new_full((*maps.shape[:2], *(side * finer for side in windows.grid)), outside)
    for there, shown, (top, left) in zip(whole, maps, windows.corners, strict=True):
        there[:, top * finer :, left * finer :][:, : maps.shape[2], : maps.shape[3]] = shown
    return whole
