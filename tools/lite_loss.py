"""The loss of training clips that ``lite`` follows frame by frame, as a tracker does.

Used by ``train_lite.py``, which calls :func:`clip_loss`. The network gets its own last output as mask
prompt and box, with the prior's points and maps. The output is sometimes damaged, so that the network
learns to mend it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vos.geometry import PIXEL_MEAN, PIXEL_STD
from vos.method import matching, prior
from vos.method.guidance import Guidance
from vos.segmenters.lite_network import STRIDE, Backbone, LiteNetwork
from vos.trackers.persam.tracker import GIVEN_MASK_LOGIT

LOW_RES = 2
"""Pixels of the input per low-res logit, in each direction."""

SMALLEST_OBJECT = 150
"""Least area of an object in frame 0, in pixels of the canvas."""


def clip_loss(
    network: LiteNetwork,
    frozen: Backbone,
    frames: Tensor,
    labels: Tensor,
    refined: list[bool],
    generator: torch.Generator,
) -> tuple[Tensor, tuple[float, float, float]]:
    """Compute the loss of a batch of clips.

    Args:
        network: the network, in training mode.
        frozen: the frozen part of its backbone, see ``prepare`` in ``train_lite.py``.
        frames: (B, T, H, W, 3) uint8; frame 0 is the reference.
        labels: (B, T, H, W) uint8, 0 is background.
        refined: for each of the T frames, whether its result is refined.
        generator: draws the prompt dropout and jitter.

    Returns:
        The loss, and (loss, mean IoU of the chosen mask, mean error of the score).
    """
    batch, times = frames.shape[:2]
    mean, std = (torch.tensor(each, device=frames.device) for each in (PIXEL_MEAN, PIXEL_STD))
    pixels = ((frames.flatten(0, 1).float() - mean) / std).permute(0, 3, 1, 2)
    clip, masks = objects(labels)
    with torch.no_grad():
        features = frozen(pixels.to(torch.bfloat16, memory_format=torch.channels_last))
    with torch.autocast(frames.device.type, torch.bfloat16):
        features += network.backbone.after(features[-1], len(frozen.stages))
        embeddings, fine = network.pyramid(features), network.mask_decoder.fine(features)
        matched = network.match(embeddings)
    levels = (embeddings.float(), F.normalize(matched.float(), dim=1), *fine)
    frames = [Encoded(*level) for level in zip(*(by_time(each, batch, clip) for each in levels), strict=True)]

    track = Track(network, frames, masks[:, 0], generator)
    losses, overlaps, errors = [], [], []
    for time_ in range(1, times):
        truth = masks[:, time_]
        logits, scores = track.step(time_)
        loss, overlap, error = mask_loss(logits, scores, truth)
        losses.append(loss)
        overlaps.append(overlap)
        errors.append(error)
        if refined[time_]:
            logits, scores = track.refine(time_)
            losses.append(mask_loss(logits, scores, truth)[0])
    loss = torch.stack(losses).mean()
    return loss, (loss.item(), sum(overlaps) / len(overlaps), sum(errors) / len(errors))


def objects(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the objects visible in frame 0: their clip index (N,) and masks (N, T, H, W) float."""
    clip, masks = [], []
    for index, label in enumerate(labels):
        for object_id in (1, 2):
            mask = label == object_id
            if mask[0].sum() >= SMALLEST_OBJECT:
                clip.append(index)
                masks.append(mask)
    if not masks:  # a batch without a visible object teaches absence
        return torch.zeros(1, dtype=torch.long), torch.zeros_like(labels[:1], dtype=torch.float32)
    return torch.tensor(clip, device=labels.device), torch.stack(masks).float()


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


def by_time(level: Tensor, batch: int, clip: Tensor) -> list[Tensor]:
    """Split features (B * T, …) by time, and give each object those of its clip: T tensors (N, …)."""
    return [at_once[clip] for at_once in level.unflatten(0, (batch, -1)).unbind(1)]


class Track:
    """Follows N objects along their clips, one frame at a time.

    Args:
        network: the network, in training mode.
        frames: encodings of the T frames.
        mask: true masks in frame 0, (N, H, W) float.
        generator: draws the prompt dropout and jitter.
    """

    def __init__(self, network: LiteNetwork, frames: list[Encoded], mask: Tensor, generator: torch.Generator) -> None:
        self.network = network
        self.frames = frames
        self.positions = network.positions(*frames[0].embedding.shape[-2:]).detach()
        self.generator = generator
        mask = torch.stack([worn(one, generator) for one in mask])
        self.coverage = F.avg_pool2d(mask, STRIDE)
        self.prototype = prior.prototype(frames[0].features, self.coverage)
        self.target = prior.prototype(frames[0].embedding, self.coverage)
        self.first = matching.remember(frames[0].features, self.coverage)
        self.logits = (F.avg_pool2d(mask, LOW_RES) * 2 - 1)[:, None] * GIVEN_MASK_LOGIT
        height, width = mask.shape[-2:]
        self.box = mask.new_tensor([0.0, 0.0, width, height]).repeat(len(mask), 1)

    def chance(self) -> float:
        """Draw a number in [0, 1)."""
        return torch.rand((), generator=self.generator).item()

    def step(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode a frame, prompted by the last one's result: logits (N, M, h, w) and scores (N, M)."""
        boxed = boxes(self.logits[:, 0], self.box)
        self.logits = torch.stack(
            [damaged(one, box, self.generator) for one, box in zip(self.logits, boxed, strict=True)]
        )
        self.coverage = self._patch_coverage()
        self.last = matching.remember(self.frames[time_ - 1].features, self.coverage, background_block=2)
        self.box = jitter(boxes(self.logits[:, 0], boxed), self.generator)
        self.confidence, self.maps = self._prior_maps(self.frames[time_])
        logits, scores = self._decode(self.frames[time_], self.logits, self.box)
        self._keep(logits, scores)
        return logits, scores

    def refine(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode the same frame again, prompted by its own mask and box."""
        logits, scores = self._decode(self.frames[time_], self.logits, boxes(self.logits[:, 0], self.box))
        self._keep(logits, scores)
        return logits, scores

    def _patch_coverage(self) -> Tensor:
        """Share of each patch that the last result covers, (N, h, w)."""
        return F.avg_pool2d(self.logits[:, 0].sigmoid(), STRIDE // LOW_RES)

    def _prior_maps(self, frame: Encoded) -> tuple[Tensor, Tensor]:
        """Compute the confidence map and the maps of the dense prompt.

        A tracker mixes the discriminant's maps into the last two. They are left out here: on the sequences
        that the embedding is trained on they are nearly always right, and a decoder would learn to trust
        them too much. Contrasts of the matching maps say the same, less precisely.
        """
        confidence = prior.similarity(frame.features, self.prototype)
        with torch.autocast(confidence.device.type, torch.bfloat16):  # which match is best, not how good it is
            maps = matching.matching_maps(frame.features, confidence, self.first, self.last, self.coverage)
        return confidence, torch.cat([maps, matching.contrasts(maps)], dim=1)

    def _decode(self, frame: Encoded, mask_logits: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        cells, point_labels = prior.extreme_points(self.confidence)
        guidance = Guidance(
            similarity=self.confidence if self.chance() < 0.5 else None,
            target_embedding=self.target if self.chance() < 0.9 else None,
        )
        return self.network.decode(
            frame.embedding,
            (frame.fine4, frame.fine2),
            self.positions,
            cells * STRIDE + (STRIDE - 1) / 2,
            point_labels,
            box if self.chance() < 0.9 else None,
            mask_logits if self.chance() < 0.9 else None,
            self.maps if self.chance() < 0.92 else None,
            guidance,
            multimask=self.chance() < 0.9,
        )

    def _keep(self, logits: Tensor, scores: Tensor) -> None:
        """Keep the best mask by score, or the mean of the three, as the next prompt."""
        by_score = self.chance() < 0.5
        chosen = logits[torch.arange(len(logits)), scores.argmax(1)] if by_score else logits.mean(1)
        self.logits = chosen.detach()[:, None].clamp(-20, 20)


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


def worn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Erode or dilate three masks (H, W) in ten by 1 to 3 pixels, as users' masks are not exact."""
    draw, size = torch.rand(2, generator=generator).tolist()
    if draw >= 0.3:
        return mask
    kernel = 3 + 2 * int(3 * size)
    sign = 1 if draw < 0.15 else -1
    result = sign * F.max_pool2d(sign * mask[None], kernel, 1, kernel // 2)[0]
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
