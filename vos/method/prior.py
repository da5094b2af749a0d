"""The location prior: how much each patch of a new frame looks like the target (eq. 3-7).

PerSAM and the engine's hints use it. Everything here is batched over N objects and works on the
patch grid of the prior encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def prototype(features: Tensor, coverage: Tensor) -> Tensor:
    """Average the normalised foreground features; its product with a patch's features is eq. 5-6.

    Args:
        features: unit patch features (N or 1, C, h, w).
        coverage: share of each patch inside the object, (N, h, w) in [0, 1].

    Returns:
        (N, C); not normalised again. An object without any covered patch gets zeros.
    """
    total = coverage.flatten(1).sum(1).clamp_min(1e-6)
    return torch.einsum("nchw,nhw->nc", features.expand(len(coverage), -1, -1, -1), coverage) / total[:, None]


def mean_max_prototype(features: Tensor, foreground: Tensor) -> Tensor:
    """Make the prototype of the published video scripts: half mean, half channel-wise maximum.

    Args:
        features: patch features before normalisation, (1, C, h, w).
        foreground: (N, h, w) of 0 and 1.

    Returns:
        (N, C), normalised.
    """
    outside = foreground[:, None] <= 0
    largest = features.masked_fill(outside, -torch.inf).flatten(2).amax(2)
    return F.normalize((prototype(features, foreground) + largest) / 2, dim=1)


def similarity(features: Tensor, prototypes: Tensor) -> Tensor:
    """Compute the confidence maps S of eq. 6, (N, h, w) in [-1, 1].

    Args:
        features: unit patch features of the frame, (N or 1, C, h, w).
        prototypes: (N, C), see :func:`prototype`.
    """
    return torch.einsum("nchw,nc->nhw", features.expand(len(prototypes), -1, -1, -1), prototypes)


def quadrupled(maps: Tensor) -> Tensor:
    """Enlarge maps (N, h, w) four times, as the published code does before it goes to frame size."""
    return F.interpolate(maps[:, None], scale_factor=4, mode="bilinear", align_corners=False)[:, 0]


def extreme_points(confidence: Tensor, positives: int = 2, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Find the best ``positives`` cells and the worst one of each map (eq. 7 and C.2).

    Args:
        confidence: (N, H, W).
        positives: number of best cells to take.
        inside: (H, W) or (N, H, W) bool, cells that may be chosen; None for all.

    Returns:
        xy cell indices (N, positives + 1, 2) long, and labels (N, positives + 1): 1 for the best, 0 for the worst.
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
