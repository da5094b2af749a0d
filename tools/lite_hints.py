"""The loss of masks that ``lite`` makes from a box or a point, as :mod:`vos.engine.hints` asks for them.

Used by ``lite_loss.py``.
"""

from __future__ import annotations

import torch
from lite_masks import LOW_RES, Encoded, boxes, jitter, mask_loss, places_of
from torch import Tensor
from torch.nn import functional as F

from vos.hinted import GUESS_LOGIT, POINT_BOX, ROOM
from vos.method import matching, prior
from vos.segmenters.lite_network import STRIDE, LiteNetwork

BOXES = 0.65
"""Share of the hints that are boxes; the others are points."""

ROUND_TWO = 0.6
"""Odds of a second round, which takes the mask of the first."""


def hint_losses(
    network: LiteNetwork, frame: Encoded, truth: Tensor, positions: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """Compute the losses of the masks that hints give.

    Args:
        network: the network, in training mode.
        frame: encodings of the frame, for each of N objects.
        truth: true masks (N, H, W) float.
        positions: positional encoding of the patches.
        generator: draws the hints.

    Returns:
        A loss for each round.
    """
    height, width = truth.shape[-2:]
    whole = truth.new_tensor([0.0, 0.0, width, height]).repeat(len(truth), 1)
    box = jitter(boxes(F.avg_pool2d(truth, LOW_RES) - 0.5, whole), generator)
    by_box = bool(torch.rand((), generator=generator) < BOXES)
    points = (box[:, :2] + box[:, 2:]) / 2
    if not by_box:
        points = torch.stack([_point_inside(one, generator) for one in truth])
        side = POINT_BOX / (POINT_BOX * ROOM) * truth.new_tensor([width, height])
        box = torch.cat([points - side / 2, points + side / 2], dim=1)
    labels = torch.ones(len(truth), 1, dtype=torch.long, device=truth.device)
    guess = (_ellipses(box, height, width, LOW_RES) * 2 - 1)[:, None] * GUESS_LOGIT
    given = box if by_box else None
    decode = lambda given, logits, maps: network.decode(
        frame.embedding, (frame.fine4, frame.fine2), positions, points[:, None], labels, given, logits, maps
    )
    logits, scores = decode(given, guess, None)
    losses = [mask_loss(logits, scores, truth)[0]]
    if torch.rand((), generator=generator) < ROUND_TWO:
        chosen = logits[torch.arange(len(logits)), scores.argmax(1)].detach()[:, None].clamp(-20, 20)
        coverage = F.avg_pool2d(chosen[:, 0].sigmoid(), STRIDE // LOW_RES)
        maps = _own_maps(
            frame.features, coverage, places_of(frame.embedding), boxes(chosen[:, 0], box), (height, width)
        )
        logits, scores = decode(given if by_box else boxes(chosen[:, 0], box), chosen, maps)
        losses.append(mask_loss(logits, scores, truth)[0])
    return losses


def _own_maps(features: Tensor, coverage: Tensor, places: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Match a frame with itself, given a guess of the object's coverage (N, h, w): prior maps (N, K, h, w)."""
    confidence = prior.similarity(features, prior.prototype(features, coverage))
    with torch.autocast(features.device.type, torch.bfloat16):
        first = matching.remember(features, coverage, places)
        last = matching.remember(features, coverage, places, background_block=2)
        spread = matching.spread(box, torch.ones_like(box[:, 0], dtype=torch.bool), size)
        maps = matching.matching_maps(features, confidence, first, last, coverage, places, spread)
    return torch.cat([maps, matching.contrasts(maps)], dim=1)


def _point_inside(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a pixel xy of a mask (H, W), away from its border where it is wide enough."""
    core = -F.max_pool2d(-mask[None], 9, 1, 4)[0]
    inside = (core if core.any() else mask).nonzero()
    choice = int(torch.randint(len(inside), (), generator=generator))
    return inside[choice].flip(0).float()


def _ellipses(box: Tensor, height: int, width: int, step: int) -> Tensor:
    """Draw the ellipse in each box (N, 4) on every ``step``-th pixel: (N, h, w) of 0 and 1."""
    y = torch.arange(0, height, step, device=box.device)[None, :, None] + (step - 1) / 2
    x = torch.arange(0, width, step, device=box.device)[None, None] + (step - 1) / 2
    left, top, right, bottom = (edge[:, None, None] for edge in box.unbind(1))
    across = (x - (left + right) / 2) / ((right - left) / 2).clamp_min(1)
    along = (y - (top + bottom) / 2) / ((bottom - top) / 2).clamp_min(1)
    return (across**2 + along**2 <= 1).float()
