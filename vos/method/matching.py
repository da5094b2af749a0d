"""Prior maps: how well each patch of a frame matches an object in the frames that are remembered.

The segmenter ``lite`` takes them as a dense prompt, beside the confidence map of eq. 6. PerSAM and the
engine's hints make them. Everything here is batched over N objects and works on the patch grid of the
prior encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FOREGROUND_BLOCKS = 128
"""Largest number of foreground features of an object in a :class:`Memory`."""

MATCHING_MAPS = 9
"""Number of channels of :func:`matching_maps`."""

READ_OUT = slice(6, 9)
"""Channels of :func:`matching_maps` with what :func:`read_out` gives."""

LAST_FOREGROUND = 3
"""Channel of :func:`matching_maps` with the best match in the last frame's foreground."""

CONTRAST = 20.0
"""Steepness of the sigmoid of :func:`contrasts`; cosines of look-alikes differ by hundredths only."""

SHARPNESS = 25.0
"""Factor on the cosines in the softmax of :func:`read_out`."""

CLOSELY = 0.25
"""Share of the patches, those that are least clear, that :func:`read_out` looks up one by one."""

STRAY = 0.3
"""Standard deviation of how far an object's parts move between frames, as a share of the mean side of its box."""


@dataclass(frozen=True)
class Memory:
    """Foreground and background features of N objects in one frame, pooled to coarse blocks.

    Attributes:
        foreground: (N, F, C) unit features, the F blocks with the largest coverage.
        foreground_weight: (N, F) in [0, 1], coverage relative to the best block.
        background: (N, B, C) unit features.
        background_weight: (N, B) in [0, 1], share of the block outside the object.
        foreground_place: (N, F, 2) xy, centres of the blocks in frame pixels.
        background_place: (N, B, 2), likewise.
    """

    foreground: Tensor
    foreground_weight: Tensor
    background: Tensor
    background_weight: Tensor
    foreground_place: Tensor
    background_place: Tensor


def remember(features: Tensor, coverage: Tensor, places: Tensor, background_block: int = 4) -> Memory:
    """Pool one frame's features into a :class:`Memory`.

    Args:
        features: unit patch features (N or 1, C, h, w).
        coverage: (N, h, w) in [0, 1].
        places: centres of the patches in frame pixels, (N or 1, 2, h, w) xy.
        background_block: patches along the side of a block of background; 2 tells look-alikes
            beside the object apart, 4 is cheaper.

    Returns:
        The pooled features; foreground blocks are 2 x 2 patches.
    """
    features, places = (each.expand(len(coverage), -1, -1, -1) for each in (features, places))
    foreground, weight = _pool(features, coverage, 2)
    weight = weight / weight.amax(dim=1, keepdim=True).clamp_min(1e-6)
    kept = min(FOREGROUND_BLOCKS, weight.shape[1])
    weight, index = weight.topk(kept, dim=1)
    foreground, place = (
        each.gather(1, index[..., None].expand(-1, -1, each.shape[2])) for each in (foreground, _centres(places, 2))
    )
    background, background_weight = _pool(features, 1 - coverage, background_block)
    return Memory(foreground, weight, background, background_weight, place, _centres(places, background_block))


def _centres(places: Tensor, size: int) -> Tensor:
    """Average places (N, 2, h, w) over blocks of ``size`` x ``size`` patches, (N, B, 2)."""
    return F.avg_pool2d(places, size, ceil_mode=True).flatten(2).transpose(1, 2)


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
    places: Tensor,
    spread: Tensor | None,
) -> Tensor:
    """Match each patch with the first and the last frame.

    Args:
        features: unit patch features of the frame, (N or 1, C, h, w).
        confidence: S, (N, h, w).
        first: memory of the first frame.
        last: memory of the last frame in which the object was found.
        last_mask: its mask as coverage of the patches, (N, h, w) in [0, 1].
        places: centres of the patches in frame pixels, (N or 1, 2, h, w) xy.
        spread: how far the object's parts may have moved since the last frame, (N,) in frame pixels, see
            :func:`spread`. None: nothing is read out, and these maps are 0.

    Returns:
        (N, 9, h, w) float. The channels are the confidence map S; the best match with the first frame's
        foreground, and background; the same with the last frame's; the last mask; and three of
        :func:`read_out`: of the first frame, of the last, and of the last nearby.
    """
    patches = features.flatten(2).transpose(1, 2).expand(len(confidence), -1, -1)

    def match(bank: Tensor, weight: Tensor) -> Tensor:
        return _best_match(patches, bank, weight).unflatten(1, confidence.shape[1:])

    foreground = match(first.foreground, first.foreground_weight)
    background = match(first.background, first.background_weight)
    last_foreground, last_background = foreground, background  # of one memory in the place of both
    if last.foreground is not first.foreground:
        last_foreground = match(last.foreground, last.foreground_weight)
    if last.background is not first.background:
        last_background = match(last.background, last.background_weight)
    best = torch.stack([confidence, foreground, background, last_foreground, last_background, last_mask], dim=1)
    if spread is None:
        return F.pad(best, (0, 0, 0, 0, 0, READ_OUT.stop - READ_OUT.start))
    return torch.cat([best, read_out(features.expand(len(confidence), -1, -1, -1), first, last, places, spread)], dim=1)


def spread(boxes: Tensor, found: Tensor, frame_size: tuple[int, int]) -> Tensor:
    """Estimate how far an object's parts move from one frame to the next, (N,) in frame pixels.

    Args:
        boxes: (N, 4) in frame pixels, of the last frame in which the object was found.
        found: whether that was the last frame, (N,) bool. One that was not may be anywhere.
        frame_size: (H, W).
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).clamp_min(1)
    return torch.where(found, STRAY * sides.prod(1).sqrt(), float(sum(frame_size)))


def read_out(features: Tensor, first: Memory, last: Memory, places: Tensor, spread: Tensor) -> Tensor:
    """Read from memory how much each patch belongs to the object: attention of its features to the blocks.

    The attention is the softmax over all blocks of a memory, by cosine; what is read is the share of foreground.
    It is computed for blocks of 2 x 2 patches, as the memories are made of, and enlarged. Patches at the edge of the
    object, where the last frame leaves it least clear what they are, are then looked up by themselves.

    Args:
        features: unit patch features of the frame, (N, C, h, w).
        first: memory of the first frame.
        last: memory of the last frame in which the object was found.
        places: centres of the patches in frame pixels, (N or 1, 2, h, w) xy.
        spread: see :func:`spread`, (N,).

    Returns:
        (N, 3, h, w) in [0, 1]: from the first frame; from the last; from the last, where blocks that lie further off
        than ``spread`` count less.
    """
    with torch.autocast(features.device.type, enabled=False):  # places need more digits than bfloat16 has
        features, places = features.float(), places.expand(len(features), -1, -1, -1)
        blocks, where = F.avg_pool2d(features, 2, ceil_mode=True), F.avg_pool2d(places, 2, ceil_mode=True)
        coarse = _read(blocks.flatten(2), where.flatten(2), first, last, spread).unflatten(2, blocks.shape[-2:])
        maps = F.interpolate(coarse, features.shape[-2:], mode="bilinear", align_corners=False).flatten(2)

        count = math.ceil(CLOSELY * maps.shape[2])
        unclear = (maps[:, -1:] - 0.5).abs().topk(count, dim=2, largest=False).indices
        at = lambda values: values.flatten(2).gather(2, unclear.expand(-1, values.shape[1], -1))
        fine = _read(at(features), at(places), first, last, spread)
        return maps.scatter(2, unclear.expand_as(fine), fine).unflatten(2, features.shape[-2:])


def _read(features: Tensor, places: Tensor, first: Memory, last: Memory, spread: Tensor) -> Tensor:
    """Read for P patches or blocks what :func:`read_out` returns, (N, 3, P); features (N, C, P), places (N, 2, P)."""
    queries, where = F.normalize(features, dim=1).transpose(1, 2), places.transpose(1, 2)
    shares = _foreground_share(queries, first), _foreground_share(queries, last)
    return torch.stack([*shares, _foreground_share(queries, last, where, spread)], dim=1)


def _foreground_share(
    queries: Tensor, memory: Memory, places: Tensor | None = None, spread: Tensor | None = None
) -> Tensor:
    """Attend to a memory, and return the share of attention that is on foreground, (N, P).

    Args:
        queries: unit features (N, P, C).
        memory: what is attended to.
        places: of the queries, (N, P, 2) in frame pixels; None: where a block was does not count.
        spread: standard deviation of the bell curve by which blocks count less with their distance, (N,).
    """
    keys = torch.cat([memory.foreground, memory.background], dim=1).float()
    weight = torch.cat([memory.foreground_weight, memory.background_weight], dim=1).float()
    queries, bias = SHARPNESS * queries, weight.clamp_min(1e-6).log()
    if places is not None and spread is not None:  # -|p - b|^2 / 2, written as a product
        blocks = torch.cat([memory.foreground_place, memory.background_place], dim=1) / spread[:, None, None]
        places = places / spread[:, None, None]
        queries = torch.cat([queries, places, -0.5 * places.square().sum(2, keepdim=True)], dim=2)
        keys = torch.cat([keys, blocks, torch.ones_like(blocks[..., :1])], dim=2)
        bias = bias - 0.5 * blocks.square().sum(2)
    attention = torch.baddbmm(bias[:, None], queries, keys.transpose(1, 2)).exp()  # at most exp(SHARPNESS)
    return attention[..., : memory.foreground.shape[1]].sum(2) / attention.sum(2).clamp_min(1e-12)


def out_of_place(matching: Tensor) -> Tensor:
    """Tell where something looks like the object and stands where something else was in the last frame.

    Args:
        matching: from :func:`matching_maps`, (N, 9 or more, h, w).

    Returns:
        (N, h, w) in [-1, 0]: how much less foreground :func:`read_out` gives near by than anywhere in the last frame.
    """
    _, anywhere, near = matching[:, READ_OUT].unbind(1)
    return (near - anywhere).clamp(max=0)


def contrasts(matching: Tensor) -> Tensor:
    """Compute how clearly each patch matches foreground rather than background.

    Args:
        matching: from :func:`matching_maps`, (N, 9, h, w).

    Returns:
        (N, 2, h, w) in [0, 1], by the first frame and by the last.
    """
    return torch.sigmoid(CONTRAST * (matching[:, [1, 3]] - matching[:, [2, 4]]))


def prior_maps(matching: Tensor, separating: Tensor, contrast_share: float) -> Tensor:
    """Join the matching maps with two that set the object apart from its surroundings.

    Args:
        matching: from :func:`matching_maps`, on the grid of the image embedding, (N, 9, h, w).
        separating: from :func:`vos.method.discriminant.maps`, by the first frame and by all frames,
            (N, 2, h, w) in [0, 1].
        contrast_share: weight of :func:`contrasts` against ``separating``, in [0, 1].

    Returns:
        (N, 11, h, w), as :attr:`vos.structures.Prompts.prior_maps`.
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
