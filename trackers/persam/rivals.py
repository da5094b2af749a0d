"""Cleans up the masks of N objects: settles pixels that several claim, drops pieces that belong to none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contest(logits: Tensor, match: Tensor, strength: float, limit: float = 6.0) -> Tensor:
    """Set N objects against each other wherever one of them claims a pixel.

    The decoder sees one object at a time. What tells two that touch apart is which of them looked like this in the
    last frame. To the logits of each, strength x (own match - best rival's match) is added, clamped to plus or
    minus ``limit``. A pixel that a rival wins then becomes negative, so that the next mask prompt does not show it.

    Args:
        logits: low-res logits (N, 4h, 4w).
        match: best match of each patch with each object's last foreground, cosines (N, h, w).
        strength: logits per unit of cosine.
        limit: most that a pixel gains or loses.

    Returns:
        Logits (N, 4h, 4w); those of a single object as they are.
    """
    if len(logits) < 2:
        return logits
    ahead = (strength * (match - _best_other(match))).clamp(-limit, limit)
    ahead = F.interpolate(ahead[:, None], logits.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    logits = torch.where(logits.amax(0) > 0, logits + ahead, logits)
    other = _best_other(logits)
    return torch.where((other > logits) & (other > 0), torch.minimum(logits, -other), logits)


def _best_other(values: Tensor) -> Tensor:
    """Take, for each of N >= 2 rows (N, ...), the largest value among the others."""
    best, row = values.max(dim=0, keepdim=True)
    second = values.scatter(0, row, -torch.inf).amax(dim=0, keepdim=True)
    return best.expand_as(values).scatter(0, row, second)


def in_one_piece(logits: Tensor, match: Tensor, rows: Tensor) -> Tensor:
    """Keep one piece of some of N masks, the one with the best match: a tiny object rarely comes apart.

    Pieces that lie in patches beside each other are one.

    Args:
        logits: low-res logits (N, 4h, 4w).
        match: how well each patch matches each object, (N, h, w).
        rows: whose masks, (N,) bool.

    Returns:
        Logits (N, 4h, 4w), negative where pieces were dropped.
    """
    index = rows.nonzero()[:, 0]
    if not len(index):
        return logits
    numbers = pieces(F.max_pool2d((logits[index] > 0).float()[:, None], 4)[:, 0] > 0).flatten(1)
    best = match[index].flatten(1).masked_fill(numbers == 0, -torch.inf).argmax(1, keepdim=True)
    others = (numbers != numbers.gather(1, best)).view(len(index), 1, *match.shape[1:])
    return logits.index_copy(0, index, emptied(logits[index], others))


def pieces(inside: Tensor) -> Tensor:
    """Number the pieces of N masks: patches that touch, at a corner too, have one number.

    Args:
        inside: (N, h, w) bool.

    Returns:
        (N, h, w) long, 0 outside; the numbers go up to h * w.
    """
    height, width = inside.shape[1:]
    numbers = torch.arange(1, height * width + 1, device=inside.device).view(1, height, width) * inside
    while True:  # take the largest number around, then the number of the patch that has this number
        largest = F.max_pool2d(numbers.float()[:, None], 3, 1, 1)[:, 0].long() * inside
        there = F.pad(largest.flatten(1), (1, 0)).gather(1, largest.flatten(1)).view_as(numbers)
        if torch.equal(there, numbers):
            return numbers
        numbers = there


def emptied(logits: Tensor, dropped: Tensor) -> Tensor:
    """Make logits (N, 4h, 4w) negative in some patches (N, 1, h, w)."""
    there = F.interpolate(dropped.float(), logits.shape[-2:])[:, 0] > 0
    return torch.where(there, -logits.abs(), logits)


def limited(logits: Tensor, most: Tensor) -> Tensor:
    """Keep each of N masks to its most likely cells, where it has more than it may have.

    The logits of such a mask are lowered by the first one that is too many; the order of its cells stays.

    Args:
        logits: low-res logits (N, 4h, 4w).
        most: cells that each mask may have, (N,) long, at least 1.
    """
    excess = ((logits > 0).flatten(1).sum(1) > most).nonzero()[:, 0].tolist()
    if not excess:
        return logits
    logits = logits.clone()
    for row in excess:
        logits[row] -= logits[row].flatten().topk(int(most[row]) + 1).values[-1]
    return logits
