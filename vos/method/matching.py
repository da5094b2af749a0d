"""Prior maps: how well each patch of a frame matches an object in the frames that are remembered.

The segmenter ``lite`` takes them as a dense prompt, beside the confidence map of eq. 6. PerSAM and the
engine's hints make them. Everything here is batched over N objects and works on the patch grid of the
prior encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FOREGROUND_BLOCKS = 128
"""Largest number of foreground features of an object in a :class:`Memory`."""

MATCHING_MAPS = 6
"""Number of channels of :func:`matching_maps`."""

LAST_FOREGROUND = 3
"""Channel of :func:`matching_maps` with the best match in the last frame's foreground."""

CONTRAST = 20.0
"""Steepness of the sigmoid of :func:`contrasts`; cosines of look-alikes differ by hundredths only."""


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

    Returns:
        The pooled features; foreground blocks are 2 x 2 patches.
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
    """Average features over blocks of ``size`` x ``size`` patches, by weight, and normalise them.

    Args:
        features: (N, C, h, w).
        weight: (N, h, w) in [0, 1].
        size: patches along the side of a block.

    Returns:
        Unit features (N, B, C), and the largest weight in each block (N, B).
    """
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
    """Match each patch with the first and the last frame.

    Args:
        features: unit patch features of the frame, (N or 1, C, h, w).
        confidence: S, (N, h, w).
        first: memory of the first frame.
        last: memory of the last frame in which the object was found.
        last_mask: its mask as coverage of the patches, (N, h, w) in [0, 1].

    Returns:
        (N, 6, h, w) float. The channels are the confidence map S; the best match with the first frame's
        foreground, and background; the same with the last frame's; the last mask.
    """
    height, width = features.shape[-2:]
    patches = features.flatten(2).transpose(1, 2).expand(len(confidence), -1, -1)

    def match(bank: Tensor, weight: Tensor) -> Tensor:
        return _best_match(patches, bank, weight).unflatten(1, (height, width))

    foreground = match(first.foreground, first.foreground_weight)
    background = match(first.background, first.background_weight)
    last_foreground, last_background = foreground, background  # of one memory in the place of both
    if last.foreground is not first.foreground:
        last_foreground = match(last.foreground, last.foreground_weight)
    if last.background is not first.background:
        last_background = match(last.background, last.background_weight)
    return torch.stack([confidence, foreground, background, last_foreground, last_background, last_mask], dim=1)


def contrasts(matching: Tensor) -> Tensor:
    """Compute how clearly each patch matches foreground rather than background.

    Args:
        matching: from :func:`matching_maps`, (N, 6, h, w).

    Returns:
        (N, 2, h, w) in [0, 1], by the first frame and by the last.
    """
    return torch.sigmoid(CONTRAST * (matching[:, [1, 3]] - matching[:, [2, 4]]))


def prior_maps(matching: Tensor, separating: Tensor, contrast_share: float) -> Tensor:
    """Join the matching maps with two that set the object apart from its surroundings.

    Args:
        matching: from :func:`matching_maps`, on the grid of the image embedding, (N, 6, h, w).
        separating: from :func:`vos.method.discriminant.maps`, by the first frame and by all frames,
            (N, 2, h, w) in [0, 1].
        contrast_share: weight of :func:`contrasts` against ``separating``, in [0, 1].

    Returns:
        (N, 8, h, w), as :attr:`vos.structures.Prompts.prior_maps`.
    """
    return torch.cat([matching, separating.lerp(contrasts(matching), contrast_share)], dim=1)


def _best_match(patches: Tensor, bank: Tensor, weight: Tensor) -> Tensor:
    """Find the largest cosine of each patch with a bank of features; one of weight 0 counts as opposite.

    Args:
        patches: unit features (N, P, C).
        bank: unit features (N, B, C).
        weight: (N, B) in [0, 1].

    Returns:
        (N, P) in [-1, 1].
    """
    bank = bank * weight[..., None]
    with torch.no_grad():
        cosine = torch.baddbmm((weight - 1)[:, None, :], patches, bank.transpose(1, 2))
    if not torch.is_grad_enabled():
        return cosine.amax(dim=2)
    # A gradient of all products would be mostly zeros, so only the best are computed again for it.
    best = cosine.max(dim=2).indices
    chosen = bank.gather(1, best[..., None].expand(-1, -1, bank.shape[2]))
    return (patches * chosen).sum(2) + weight.gather(1, best) - 1
