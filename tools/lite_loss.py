"""The loss of training clips that ``lite`` follows frame by frame, as a tracker does.

Used by ``train_lite.py``, which calls :func:`clip_loss`. The network gets its own last output as mask
prompt and box, with the prior's points and maps. The output is sometimes damaged, so that the network
learns to mend it.
"""

from __future__ import annotations

import torch
from lite_hints import hint_losses
from lite_masks import LOW_RES, SMALLEST_OBJECT, Encoded, boxes, damaged, jitter, mask_loss, places_of, worn
from torch import Tensor
from torch.nn import functional as F

from vos.geometry import PIXEL_MEAN, PIXEL_STD
from vos.method import matching, prior
from vos.method.guidance import Guidance
from vos.method.matching import READ_OUT
from vos.segmenters.lite_network import STRIDE, Backbone, LiteNetwork
from vos.trackers.persam.objects import choose_rows
from vos.trackers.persam.segmenting import GIVEN_MASK_LOGIT

READ_OUT_WEIGHT = 0.15
"""Weight of :func:`read_out_loss`."""

HINT_WEIGHT = 0.5
"""Weight of the masks from boxes and points, see ``lite_hints.py``."""


def clip_loss(
    network: LiteNetwork,
    frozen: Backbone,
    frames: Tensor,
    labels: Tensor,
    jumps: Tensor,
    refined: list[bool],
    generator: torch.Generator,
) -> tuple[Tensor, tuple[float, float, float]]:
    """Compute the loss of a batch of clips.

    Args:
        network: the network, in training mode.
        frozen: the frozen part of its backbone, see ``prepare`` in ``train_lite.py``.
        frames: (B, T, H, W, 3) uint8; frame 0 is the reference.
        labels: (B, T, H, W) uint8, 0 is background.
        jumps: whether frame 1 shows the objects elsewhere, so that they have to be found, (B,) bool.
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

    track = Track(network, frames, masks[:, 0], jumps[clip.cpu()], generator)
    losses, overlaps, errors = [], [], []
    hinted = hint_losses(network, frames[0], masks[:, 0], track.positions, generator)
    for time_ in range(1, times):
        truth = masks[:, time_]
        logits, scores = track.step(time_)
        loss, overlap, error = mask_loss(logits, scores, truth)
        losses.append(loss + READ_OUT_WEIGHT * read_out_loss(track.maps, F.avg_pool2d(truth, STRIDE)))
        overlaps.append(overlap)
        errors.append(error)
        if refined[time_]:
            logits, scores = track.refine(time_)
            losses.append(mask_loss(logits, scores, truth)[0])
    loss = torch.stack(losses).mean() + HINT_WEIGHT * torch.stack(hinted).mean()
    return loss, (loss.item(), sum(overlaps) / len(overlaps), sum(errors) / len(errors))


def read_out_loss(maps: Tensor, coverage: Tensor) -> Tensor:
    """Measure how well memory alone tells the object from its surroundings; both weigh the same.

    Args:
        maps: prior maps, (N, K, h, w).
        coverage: the true share of each patch inside the object, (N, h, w).
    """
    read = maps[:, READ_OUT].float().clamp(1e-4, 1 - 1e-4)
    inside = coverage / coverage.flatten(1).sum(1).clamp_min(1)[:, None, None]
    outside = (1 - coverage) / (1 - coverage).flatten(1).sum(1).clamp_min(1)[:, None, None]
    cross = -(inside[:, None] * read.log() + outside[:, None] * (1 - read).log())
    return cross.sum((2, 3)).mean()


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

    def __init__(
        self,
        network: LiteNetwork,
        frames: list[Encoded],
        mask: Tensor,
        jumps: Tensor,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.frames = frames
        self.positions = network.positions(*frames[0].embedding.shape[-2:]).detach()
        self.places = places_of(frames[0].embedding)
        self.generator = generator
        mask = torch.stack([worn(one, generator) for one in mask])
        coverage = F.avg_pool2d(mask, STRIDE)
        self.size = mask.shape[-2:]
        self.prototype = prior.prototype(frames[0].features, coverage)
        self.target = prior.prototype(frames[0].embedding, coverage)
        self.first = matching.remember(frames[0].features, coverage, self.places)
        jumped = jumps.to(mask.device)[:, None, None, None]
        self.logits = ((F.avg_pool2d(mask, LOW_RES) * 2 - 1)[:, None] * GIVEN_MASK_LOGIT).masked_fill(
            jumped, -GIVEN_MASK_LOGIT
        )
        height, width = self.size
        self.box = mask.new_tensor([0.0, 0.0, width, height]).repeat(len(mask), 1)
        self.last = matching.remember(frames[0].features, coverage, self.places, background_block=2)

    def chance(self) -> float:
        """Draw a number in [0, 1)."""
        return torch.rand((), generator=self.generator).item()

    def step(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode a frame, prompted by the last one's result: logits (N, M, h, w) and scores (N, M)."""
        found = (self.logits > 0).flatten(1).any(1)
        boxed = boxes(self.logits[:, 0], self.box)
        shown = torch.stack([damaged(one, box, self.generator) for one, box in zip(self.logits, boxed, strict=True)])
        self.logits = torch.where(found[:, None, None, None], shown, self.logits)
        self.coverage = F.avg_pool2d(self.logits[:, 0].sigmoid(), STRIDE // LOW_RES)
        self._remember(time_, found)
        self.box = jitter(boxes(self.logits[:, 0], boxed), self.generator)
        spread = matching.spread(self.box, found, self.size)
        self.confidence, self.maps = self._prior_maps(self.frames[time_], spread)
        logits, scores = self._decode(self.frames[time_], self.logits, self.box)
        self._keep(logits, scores)
        return logits, scores

    def _remember(self, time_: int, found: Tensor) -> None:
        """Remember the last frame, of objects that were found there; the others keep what was last known of them."""
        features = self.frames[time_ - 1].features
        seen = matching.remember(features, self.coverage, self.places, background_block=2)
        self.last = choose_rows(found, seen, self.last)

    def refine(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode the same frame again, prompted by its own mask and box."""
        logits, scores = self._decode(self.frames[time_], self.logits, boxes(self.logits[:, 0], self.box))
        self._keep(logits, scores)
        return logits, scores

    def _prior_maps(self, frame: Encoded, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the confidence map and the maps of the dense prompt.

        A tracker mixes the discriminant's maps into the last two. They are left out here: on the sequences
        that the embedding is trained on they are nearly always right, and a decoder would learn to trust
        them too much. Contrasts of the matching maps say the same, less precisely.
        """
        confidence = prior.similarity(frame.features, self.prototype)
        with torch.autocast(confidence.device.type, torch.bfloat16):  # which match is best, not how good it is
            maps = matching.matching_maps(
                frame.features, confidence, self.first, self.last, self.coverage, self.places, spread
            )
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
