"""PerSAM-F's two learned weights (eq. 11): fitted on kept logits, the decoder runs once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


SETTLED = 10.0
"""Logit from which on a pixel is decided, where all three masks and the reference agree."""


def fit(logits: Tensor, truth: Tensor, *, epochs: int = 800, lr: float = 4e-4, remainder: int = 2) -> Tensor:
    """Learn how to mix the three masks so that the mix matches the reference mask.

    SAM stays frozen, so the masks are the same in every epoch: only the mix is evaluated, and only
    where it can make a difference. Pixels that no mix of the three could change count as they are.

    Args:
        logits: the three masks of each object, (N, 3, h, w) float.
        truth: reference masks at the same size, (N, h, w) in [0, 1].
        epochs: steps of AdamW under a cosine schedule.
        lr: initial learning rate.
        remainder: the mask whose weight is one minus the others: 2 in eq. 11; the published code
            has 0.

    Returns:
        Weights (N, 3) that sum to one.
    """
    learned = [index for index in range(3) if index != remainder]
    with torch.inference_mode(False), torch.enable_grad():
        masks = logits.detach().clone().float().flatten(2)
        target = truth.detach().clone().float().flatten(1)
        open_, settled = _open_pixels(masks, target)
        pixels, masks, target = target.shape[1], masks[..., open_], target[:, open_]
        base = masks[:, remainder]
        differences = masks[:, learned] - base[:, None]
        pair = torch.full((len(masks), 2), 1 / 3, device=masks.device, requires_grad=True)
        optimizer = torch.optim.AdamW([pair], lr=lr, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            mixed = base + torch.einsum("nk,nkp->np", pair, differences)
            each = dice(mixed, target, settled) + focal(mixed, target, pixels)
            loss = each.sum()  # objects do not interact
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        weights = torch.empty(len(masks), 3, device=masks.device)
        weights[:, learned] = pair.detach()
        weights[:, remainder] = 1 - pair.detach().sum(1)
    return weights


def _open_pixels(masks: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (P,) bool that are not settled for every object, and how many of the others are inside each, (N,)."""
    inside = (masks.amin(1) > SETTLED) & (target > 0.999)
    outside = (masks.amax(1) < -SETTLED) & (target < 0.001)
    open_ = ~(inside | outside).all(0)
    return open_, (inside & ~open_).sum(1)


def dice(logits: Tensor, target: Tensor, settled: Tensor | float = 0.0) -> Tensor:
    """Dice loss per row of (N, P), and of ``settled`` (N,) further pixels that are inside both."""
    probability = logits.sigmoid()
    common = (probability * target).sum(1) + settled
    return 1 - (2 * common + 1) / (probability.sum(1) + target.sum(1) + 2 * settled + 1)


def focal(logits: Tensor, target: Tensor, pixels: int, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss per row of (N, P), mean over ``pixels``: those that are not here have none."""
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    agreement = probability * target + (1 - probability) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * cross * (1 - agreement) ** gamma).sum(1) / pixels
