"""Encodings of training frames for ``lite``, masks and boxes as a tracker is shown them, and the loss of masks.

Used by ``lite_loss.py`` and ``lite_hints.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vos.segmenters.lite_network import STRIDE
from vos.trackers.persam.segmenting import GIVEN_MASK_LOGIT

LOW_RES = 2
"""Pixels of the input per low-res logit, in each direction."""

SMALLEST_OBJECT = 150
"""Least area of an object in frame 0, in pixels of the canvas."""


class Encoded(NamedTuple):
    """Encodings of one frame, for each of N objects that of its clip.

    Attributes:
        embedding: image embedding, (N, C, h, w).
        features: unit features that the prior compares, (N, C', h, w).
        fine4: the backbone's features that the decoder's up-sampling uses at stride 4, (N, P, 4, C / 4).
        fine2: the same at stride 2, (N, P, 16, C / 8).
    """

    embedding: Tensor
    features: Tensor
    fine4: Tensor
    fine2: Tensor


def boxes(logits: Tensor, fallback: Tensor) -> Tensor:
    """Tight boxes (N, 4) of logits (N, h, w), in input pixels; of an empty mask the fallback's box."""
    inside = logits > 0
    result = fallback.clone()
    for row, mask in enumerate(inside):
        if mask.any():
            ys, xs = mask.any(1).nonzero(), mask.any(0).nonzero()
            result[row] = torch.stack([xs[0, 0], ys[0, 0], xs[-1, 0] + 1, ys[-1, 0] + 1]) * LOW_RES
    return result


def jitter(box: Tensor, generator: torch.Generator) -> Tensor:
    """Move each side of boxes (N, 4) by up to about a tenth of the box."""
    size = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    return box + (torch.randn(box.shape, generator=generator).to(box.device) * 0.05) * size


def places_of(embedding: Tensor) -> Tensor:
    """Compute the centres of the patches of an embedding (N, C, h, w) in input pixels, (1, 2, h, w) xy."""
    height, width = embedding.shape[-2:]
    lines, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([columns, lines]).to(embedding.device, torch.float32)
    return (cells * STRIDE + (STRIDE - 1) / 2)[None]


def worn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Erode or dilate four masks (H, W) in ten by 1 to 9 pixels, mostly by few, as users' masks are not exact."""
    draw, size = torch.rand(2, generator=generator).tolist()
    if draw >= 0.4:
        return mask
    kernel = 3 + 2 * int(9 * size**2)
    sign = 1 if draw < 0.2 else -1
    across = F.max_pool2d(sign * mask[None], (1, kernel), 1, (0, kernel // 2))
    result = sign * F.max_pool2d(across, (kernel, 1), 1, (kernel // 2, 0))[0]
    return result if result.sum() >= SMALLEST_OBJECT else mask


def damaged(logits: Tensor, box: Tensor, generator: torch.Generator) -> Tensor:
    """Damage about one last mask in three: cut a part out, add a piece, erode, dilate or shift it.

    Args:
        logits: low-res logits, (1, h, w).
        box: their box in input pixels, (4,).
        generator: draws the damage.
    """
    draw, *share = torch.rand(6, generator=generator).tolist()
    if draw >= 0.35:
        return logits
    left, top, right, bottom = (box / LOW_RES).tolist()
    width, height = right - left, bottom - top
    kind = ("cut", "cut", "cut", "add", "erode", "dilate", "shift")[int(draw / 0.35 * 7)]
    if kind in ("erode", "dilate"):
        kernel, sign = 3 + 2 * int(3 * share[0]), 1 if kind == "dilate" else -1
        return sign * F.max_pool2d(sign * logits, kernel, 1, kernel // 2)
    if kind == "shift":
        shift = int((share[0] - 0.5) * 0.3 * height), int((share[1] - 0.5) * 0.3 * width)
        return logits.roll(shift, (1, 2))
    piece_width, piece_height = width * (0.2 + 0.6 * share[0]), height * (0.2 + 0.6 * share[1])
    x = left - 0.3 * width + (1.6 * width - piece_width) * share[2]
    y = top - 0.3 * height + (1.6 * height - piece_height) * share[3]
    result = logits.clone()
    part = result[:, max(0, int(y)) : max(0, int(y + piece_height)), max(0, int(x)) : max(0, int(x + piece_width))]
    part[:] = -GIVEN_MASK_LOGIT if kind == "cut" else 0.5 * GIVEN_MASK_LOGIT
    return result


def mask_loss(logits: Tensor, scores: Tensor, truth: Tensor) -> tuple[Tensor, float, float]:
    """Compute focal and dice loss, mostly of each object's best mask, and the score's error.

    Args:
        logits: (N, M, h, w).
        scores: (N, M).
        truth: (N, H, W) float of 0 and 1.

    Returns:
        The loss, the mean IoU of the mask that the score would choose, and the mean absolute score error.
    """
    target = F.avg_pool2d(truth, LOW_RES)[:, None].expand_as(logits)
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (cross * (probability - target).abs().pow(1.5)).mean((2, 3))
    dice = 1 - (2 * (probability * target).sum((2, 3)) + 1) / ((probability + target).sum((2, 3)) + 1)
    each = 12 * focal + dice
    best = each.amin(1)
    with torch.no_grad():
        predicted, real = logits > 0, target > 0.5
        overlap = (predicted & real).sum((2, 3)) / (predicted | real).sum((2, 3)).clamp_min(1)
        present = real.any(3).any(2).float()
    score = F.mse_loss(scores, overlap * present)
    loss = best.mean() + 0.25 * each.mean() + score
    chosen = overlap.gather(1, scores.argmax(1, keepdim=True))[present[:, 0] > 0]
    return loss, float(chosen.mean()) if len(chosen) else 0.0, float((scores.detach() - overlap * present).abs().mean())
