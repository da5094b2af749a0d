"""Fits PerSAM-F's two learned weights (eq. 11) on kept logits, so that the decoder runs only once."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_BETAS, _EPSILON, _DECAY = (0.9, 0.999), 1e-4, 0.01
"""Settings of AdamW: PyTorch's defaults except for the epsilon, as published."""

ALPHA = 0.25
"""Weight of the foreground in the focal loss; the background has the rest."""

SETTLED = 10.0
"""Logit from which on a pixel counts as settled, if all three masks and the reference mask agree."""


def fit(logits: Tensor, truth: Tensor, *, epochs: int = 800, lr: float = 4e-4, remainder: int = 2) -> Tensor:
    """Learn the mix of the three masks that matches the reference mask best.

    SAM stays frozen, so the masks are the same in every epoch. Only their mix is evaluated, and only at pixels that
    it can change; settled pixels are counted instead. The slopes of the losses are written out, as automatic
    differentiation takes four times as long.

    Args:
        logits: the three masks of each object, (N, 3, h, w) float.
        truth: reference masks at the same size, (N, h, w) in [0, 1].
        epochs: steps of AdamW under a cosine schedule.
        lr: initial learning rate.
        remainder: the mask whose weight is one minus the others: 2 in eq. 11, 0 in the published code.

    Returns:
        Weights (N, 3) that sum to one.
    """
    learned = [index for index in range(3) if index != remainder]
    masks, target = logits.float().flatten(2), truth.float().flatten(1)
    open_, settled = _open_pixels(masks, target)
    pixels, masks, target = target.shape[1], masks[..., open_], target[:, open_]
    base = masks[:, remainder]
    differences = masks[:, learned] - base[:, None]
    pair = torch.full((len(masks), 2), 1 / 3, device=masks.device)
    slopes = Slopes(target, settled, pixels)
    mean, square = torch.zeros_like(pair), torch.zeros_like(pair)
    for epoch in range(epochs):
        mixed = torch.baddbmm(base[:, None], pair[:, None], differences)[:, 0]
        slope = torch.bmm(differences, slopes(mixed)[..., None])[..., 0]
        mean.lerp_(slope, 1 - _BETAS[0])
        square.lerp_(slope.square(), 1 - _BETAS[1])
        rate = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        step = mean / (1 - _BETAS[0] ** (epoch + 1))
        step /= (square / (1 - _BETAS[1] ** (epoch + 1))).sqrt_() + _EPSILON
        pair = pair * (1 - rate * _DECAY) - rate * step
    weights = torch.empty(len(masks), 3, device=masks.device)
    weights[:, learned] = pair
    weights[:, remainder] = 1 - pair.sum(1)
    return weights


def _open_pixels(masks: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Find the pixels (P,) bool that some object leaves open; count the settled ones inside each object, (N,)."""
    inside = (masks.amin(1) > SETTLED) & (target > 0.999)
    outside = (masks.amax(1) < -SETTLED) & (target < 0.001)
    open_ = ~(inside | outside).all(0)
    return open_, (inside & ~open_).sum(1)


def dice(logits: Tensor, target: Tensor, settled: Tensor | float = 0.0) -> Tensor:
    """Dice loss of each of (N, P), counting ``settled`` (N,) further pixels that are inside both masks."""
    probability = logits.sigmoid()
    common = (probability * target).sum(1) + settled
    return 1 - (2 * common + 1) / (probability.sum(1) + target.sum(1) + 2 * settled + 1)


def focal(logits: Tensor, target: Tensor, pixels: int) -> Tensor:
    """Focal loss of each of (N, P), as a mean over ``pixels``; those left out of P have no loss."""
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    agreement = probability * target + (1 - probability) * (1 - target)
    weight = ALPHA * target + (1 - ALPHA) * (1 - target)
    return (weight * cross * (1 - agreement) ** 2).sum(1) / pixels


class Slopes:
    """Derivative of :func:`dice` plus :func:`focal`, summed over the objects, by each logit.

    Args:
        target: as in :func:`focal`.
        settled: as in :func:`dice`.
        pixels: as in :func:`focal`.
    """

    def __init__(self, target: Tensor, settled: Tensor | float, pixels: int):
        self._target = target
        self._settled = torch.as_tensor(settled, dtype=target.dtype, device=target.device).view(-1, 1)
        self._total = target.sum(1, keepdim=True) + 2 * self._settled + 1
        self._sign = 1 - 2 * target
        self._weight = (ALPHA * target + (1 - ALPHA) * (1 - target)) / pixels

    def __call__(self, logits: Tensor) -> Tensor:
        """Slopes (N, P) at logits (N, P)."""
        target, sign = self._target, self._sign
        probability = logits.sigmoid()
        common = 2 * ((probability * target).sum(1, keepdim=True) + self._settled) + 1
        total = probability.sum(1, keepdim=True) + self._total
        steepness = probability * (1 - probability)
        miss = torch.addcmul(target, probability, sign)  # 1 - agreement
        cross = F.softplus(logits) - logits * target
        bend = torch.addcmul((probability - target) * miss, 2 * cross, steepness * sign)
        return self._weight * miss * bend + steepness * (common - 2 * total * target) / total.square()
