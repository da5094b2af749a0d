"""What each patch matches best in the frames that are remembered: the maps that ``lite`` takes beside eq. 6's.

Everything here is batched over N objects and works on the patch grid of the prior encoder.
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
