"""The location prior: which patches of a new frame look like the target (eq. 3-7).

Everything here is batched over N objects and works on the patch grid of the prior encoder;
frame pixels appear only in the points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FOREGROUND_BLOCKS = 128
"""A memory keeps at most this many foreground features of an object."""

MATCHING_MAPS = 6
"""Channels of :func:`matching_maps`."""

LAST_FOREGROUND = 3
"""Which of them is the best match with the last frame's foreground."""

CONTRAST = 20.0
"""Steepness of foreground against background: cosines of look-alikes differ by hundredths."""


@dataclass(frozen=True)
class Memory:
    """Foreground and background features of N objects in one frame, pooled to coarse blocks.

    Attributes:
        foreground: (N, F, C) unit features, the F blocks with the largest coverage.
        foreground_weight: (N, F) in [0, 1], coverage relative to the best block.
        background: (N, B, C) unit features.
        background_weight: (N, B) in [0, 1], share of the block outside the object.
    """

    foreground: Tensor
    foreground_weight: Tensor
    background: Tensor
    background_weight: Tensor


def prototype(features: Tensor, coverage: Tensor) -> Tensor:
    """Mean of the normalised foreground features: the vector whose product is eq. 5-6.

    Args:
        features: unit patch features (N or 1, C, h, w).
        coverage: share of each patch inside the object, (N, h, w) in [0, 1].

    Returns:
        (N, C); not normalised again. An object without any covered patch gets zeros.
    """
    total = coverage.flatten(1).sum(1).clamp_min(1e-6)
    return torch.einsum("nchw,nhw->nc", features.expand(len(coverage), -1, -1, -1), coverage) / total[:, None]


def mean_max_prototype(features: Tensor, foreground: Tensor) -> Tensor:
    """The published video scripts' prototype: half mean, half channel-wise maximum, normalised.

    Args:
        features: patch features before normalisation, (1, C, h, w).
        foreground: (N, h, w) of 0 and 1.
    """
    outside = foreground[:, None] <= 0
    largest = features.masked_fill(outside, -torch.inf).flatten(2).amax(2)
    return F.normalize((prototype(features, foreground) + largest) / 2, dim=1)


def similarity(features: Tensor, prototypes: Tensor) -> Tensor:
    """Confidence maps S of eq. 6, (N, h, w) in [-1, 1].

    Args:
        features: unit patch features of the frame, (N or 1, C, h, w).
        prototypes: (N, C), see :func:`prototype`.
    """
    return torch.einsum("nchw,nc->nhw", features.expand(len(prototypes), -1, -1, -1), prototypes)


def remember(features: Tensor, coverage: Tensor, background_block: int = 4) -> Memory:
    """Pool one frame's features into a :class:`Memory`.

    Args:
        features: unit patch features (N or 1, C, h, w).
        coverage: (N, h, w) in [0, 1].
        background_block: patches along the side of a block of background; 2 tells look-alikes
            beside the object apart, 4 is cheaper.
    """
    features = features.expand(len(coverage), -1, -1, -1)
    foreground, weight = _pool(features, coverage, 2)
    weight = weight / weight.amax(dim=1, keepdim=True).clamp_min(1e-6)
    kept = min(FOREGROUND_BLOCKS, weight.shape[1])
    weight, index = weight.topk(kept, dim=1)
    foreground = foreground.gather(1, index[..., None].expand(-1, -1, foreground.shape[2]))
    background, background_weight = _pool(features, 1 - coverage, background_block)
    return Memory(foreground, weight, background, background_weight)


def _pool(features: Tensor, weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Weighted block means, normalised: (N, blocks, C) and the largest weight of each block."""
    weight = weight[:, None]
    largest = F.max_pool2d(weight, size, ceil_mode=True)
    summed = F.avg_pool2d(features * weight, size, ceil_mode=True)
    unit = F.normalize(summed.flatten(2).transpose(1, 2), dim=2)
    return unit, largest.flatten(1)


def matching_maps(
    features: Tensor,
    confidence: Tensor,
    first: Memory,
    last: Memory,
    last_mask: Tensor,
) -> Tensor:
    """What each patch matches, as a dense prompt: (N, 6, h, w) float.

    The channels: confidence map S; best match with the first frame's foreground and background;
    the same with the last frame's; the last mask.

    Args:
        features: unit patch features of the frame, (N or 1, C, h, w).
        confidence: S, (N, h, w).
        first: memory of the first frame.
        last: memory of the last frame in which the object was found.
        last_mask: its mask as coverage of the patches, (N, h, w) in [0, 1].
    """
    height, width = features.shape[-2:]
    patches = features.flatten(2).transpose(1, 2).expand(len(confidence), -1, -1)
    best = [
        _best_match(patches, bank, weight).unflatten(1, (height, width))
        for bank, weight in (
            (first.foreground, first.foreground_weight),
            (first.background, first.background_weight),
            (last.foreground, last.foreground_weight),
            (last.background, last.background_weight),
        )
    ]
    return torch.stack([confidence, *best, last_mask], dim=1)


def contrasts(matching: Tensor) -> Tensor:
    """How clearly each patch matches foreground rather than background, of the first and the last frame.

    Args:
        matching: see :func:`matching_maps`, (N, 6, h, w).

    Returns:
        (N, 2, h, w) in [0, 1].
    """
    return torch.sigmoid(CONTRAST * (matching[:, [1, 3]] - matching[:, [2, 4]]))


def _best_match(patches: Tensor, bank: Tensor, weight: Tensor) -> Tensor:
    """Largest cosine of each patch with the bank; a block of weight 0 counts as opposite.

    patches (N, P, C), bank (N, B, C), weight (N, B) -> (N, P).
    """
    bank = bank * weight[..., None]
    with torch.no_grad():
        cosine = torch.baddbmm((weight - 1)[:, None, :], patches, bank.transpose(1, 2))
    if not torch.is_grad_enabled():
        return cosine.amax(dim=2)
    best = cosine.max(dim=2).indices  # a gradient of all products would be mostly zeros: the best are worked out again
    chosen = bank.gather(1, best[..., None].expand(-1, -1, bank.shape[2]))
    return (patches * chosen).sum(2) + weight.gather(1, best) - 1


def contest(logits: Tensor, match: Tensor, strength: float, limit: float = 6.0) -> Tensor:
    """Set N objects against each other wherever one of them claims a pixel.

    The decoder sees one object at a time; what tells two that touch apart is which of them looked
    like this in the last frame. Each gains what its match is ahead of the best other's, or loses what
    it is behind; a pixel that another wins is then lost outright, so that the next mask prompt does
    not show it.

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
    """For each of N >= 2 rows (N, ...) the largest value among the others."""
    best, row = values.max(dim=0, keepdim=True)
    second = values.scatter(0, row, -torch.inf).amax(dim=0, keepdim=True)
    return best.expand_as(values).scatter(0, row, second)


def connected(logits: Tensor, last: Tensor, reach: int) -> Tensor:
    """Drop pieces of N masks that have nothing to do with the last ones: look-alikes that come near.

    A piece stays if it comes within ``reach`` of the last mask. A mask of which nothing would stay is
    left alone: the object may have jumped.

    Args:
        logits: low-res logits (N, 4h, 4w).
        last: those of the last frame, (N, 4h, 4w).
        reach: in patches.

    Returns:
        Logits (N, 4h, 4w), negative where pieces were dropped.
    """
    inside, near = (F.max_pool2d((each > 0).float()[:, None], 4) for each in (logits, last))
    kept = F.max_pool2d(near, 2 * reach + 1, 1, reach) * inside
    while (grown := F.max_pool2d(kept, 3, 1, 1) * inside).sum() > kept.sum():
        kept = grown
    dropped = (kept == 0) & (kept.amax((2, 3), keepdim=True) > 0)
    dropped = F.interpolate(dropped.float(), logits.shape[-2:])[:, 0] > 0
    return torch.where(dropped, -logits.abs(), logits)


def quadrupled(maps: Tensor) -> Tensor:
    """Maps (N, h, w) at four times their size, the published code's step before frame size."""
    return F.interpolate(maps[:, None], scale_factor=4, mode="bilinear", align_corners=False)[:, 0]


def extreme_points(confidence: Tensor, positives: int = 2, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best ``positives`` cells and the worst one of each map (eq. 7 and C.2).

    Args:
        confidence: (N, H, W).
        positives: how many of the best to take.
        inside: (H, W) or (N, H, W) bool, cells that may be chosen; None for all.

    Returns:
        xy cell indices (N, positives + 1, 2) long and labels (N, positives + 1) of 1 and 0.
    """
    flat = confidence.flatten(1)
    outside = torch.zeros_like(flat[0], dtype=torch.bool) if inside is None else ~inside.flatten(-2)
    best = flat.masked_fill(outside, -torch.inf).topk(positives, dim=1).indices
    worst = flat.masked_fill(outside, torch.inf).argmin(dim=1, keepdim=True)
    index = torch.cat([best, worst], dim=1)
    width = confidence.shape[-1]
    points = torch.stack([index % width, index // width], dim=-1)
    labels = torch.ones_like(index)
    labels[:, -1] = 0
    return points, labels
