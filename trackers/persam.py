"""PerSAM as a tracker: training-free, one decoder batch for all objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos import prior
from vos.engine import FrameContext
from vos.guidance import Guidance
from vos.structures import FirstMask, Masks, Prompts, Result, Tracked

MASK_LOGIT = 8.0
"""A given mask becomes low-res logits of plus or minus this."""


@dataclass(frozen=True)
class PerSamOptions:
    """Options of PerSAM; the defaults follow the paper.

    Attributes:
        positives: most similar patches taken as positive points (top-2 for video, C.2).
        guided_attention: steer the decoder's attention by the confidence map (eq. 8).
        semantic_prompting: add the mean foreground feature to the tokens (eq. 10).
        alpha: balance factor of eq. 8.
        centre_point: the last box's centre as a further positive point (fig. 12); None: only for
            models that take no last mask.
        refine_steps: steps of the cascaded post-refinement, 0 to 2; None: 2 for models that take
            no last mask, else 0.
    """

    positives: int = 2
    guided_attention: bool = True
    semantic_prompting: bool = True
    alpha: float = 1.0
    centre_point: bool | None = None
    refine_steps: int | None = None


class PerSAM:
    """The training-free tracker. See ``Tracker``."""

    def __init__(self, options: PerSamOptions | None = None):
        self.options = options or PerSamOptions()
        self.decoder_calls = 0

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        segmenter, embedding, features = context.segmenter, context.embedding, context.features
        defaults = {
            "centre_point": not segmenter.wants_last_mask,
            "refine_steps": 0 if segmenter.wants_last_mask else 2,
        }
        unset = {name: value for name, value in defaults.items() if getattr(self.options, name) is None}
        self.options = replace(self.options, **unset)

        masks = torch.tensor(first_mask.masks(), device=embedding.values.device)
        coverage = _at_least_one_cell(features.geometry.coverage(masks))
        self.prototype = prior.prototype(features.values, coverage)
        self.target = prior.prototype(
            embedding.values, _at_least_one_cell(embedding.geometry.coverage(masks))
        )
        height, width = embedding.geometry.grid
        self.mask_logits = embedding.geometry.mask_logits(masks, (4 * height, 4 * width), MASK_LOGIT)
        self.boxes = _boxes(masks)
        if segmenter.wants_prior_maps:
            self.first = self.last = prior.remember(features.values, coverage)
            self.coverage = coverage

    def step(self, context: FrameContext) -> Tracked:
        masks = self._decode(context)
        logits, scores = self._choose(masks)
        self._chosen = logits
        return Tracked(logits, scores.clamp(0, 1), context.embedding.geometry)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Remember the objects that were found; the others keep what was last known of them."""
        found = torch.tensor(result.areas > 0, device=self.boxes.device)
        boxes = torch.tensor(result.boxes, device=self.boxes.device, dtype=self.boxes.dtype)
        self.boxes = torch.where(found[:, None], boxes, self.boxes)
        logits = self._chosen[:, None].clamp(-20, 20)
        self.mask_logits = torch.where(found[:, None, None, None], logits, self.mask_logits)
        if context.segmenter.wants_prior_maps:
            embedded = torch.nn.functional.avg_pool2d(self.mask_logits.sigmoid(), 4)
            features = context.features
            self.coverage = features.geometry.resample(embedded, context.embedding.geometry)[:, 0]
            latest = prior.remember(features.values, self.coverage)
            self.last = prior.Memory(
                *(
                    torch.where(found.view(-1, *[1] * (new.ndim - 1)), new, old)
                    for new, old in zip(vars(latest).values(), vars(self.last).values(), strict=True)
                )
            )

    def _choose(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """The best of the three by score: logits (N, 4h, 4w) and scores (N,)."""
        best = masks.scores.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return masks.low_res_logits[rows, best], masks.scores[rows, best]

    def _decode(self, context: FrameContext) -> Masks:
        """First pass, then the cascaded post-refinement: mask, then mask and its box."""
        embedding = context.embedding
        confidence = prior.similarity(context.features.values, self.prototype)
        prompts = self._prompts(context, confidence)
        guidance = self._guidance(context, confidence)
        masks = self._run(context, prompts, guidance)
        for step in range(self.options.refine_steps):
            logits, _ = self._choose(masks)
            boxes = prompts.boxes
            if step == 1:
                inside = embedding.geometry.upsample(logits) > 0
                boxes = _boxes(inside, fallback=self.boxes)
            masks = self._run(context, replace(prompts, boxes=boxes, mask_logits=logits[:, None]), guidance)
        return masks

    def _run(self, context: FrameContext, prompts: Prompts, guidance: Guidance) -> Masks:
        self.decoder_calls += 1
        return context.segmenter.decode(context.embedding, prompts, guidance)

    def _prompts(self, context: FrameContext, confidence: Tensor) -> Prompts:
        geometry = context.features.geometry
        inside = geometry.inside().to(confidence.device)
        points, labels = prior.extreme_points(confidence, self.options.positives, inside)
        points = geometry.cells_to_frame(points)
        if self.options.centre_point:
            centres = (self.boxes[:, None, :2] + self.boxes[:, None, 2:]) / 2
            points = torch.cat([points, centres], dim=1)
            labels = torch.cat([labels, torch.ones_like(labels[:, :1])], dim=1)
        segmenter = context.segmenter
        maps = None
        if segmenter.wants_prior_maps:
            maps = prior.matching_maps(context.features.values, confidence, self.first, self.last, self.coverage)
            maps = context.embedding.geometry.resample(maps, geometry)
        return Prompts(
            points, labels, self.boxes, self.mask_logits if segmenter.wants_last_mask else None, maps
        )

    def _guidance(self, context: FrameContext, confidence: Tensor) -> Guidance:
        options = self.options
        similarity = None
        if options.guided_attention:
            similarity = context.embedding.geometry.resample(confidence[:, None], context.features.geometry)[:, 0]
        return Guidance(similarity, self.target if options.semantic_prompting else None, options.alpha)


def _at_least_one_cell(coverage: Tensor) -> Tensor:
    """Coverage (N, h, w) whose best cell counts fully, so that a small object has features."""
    best = coverage.flatten(1).amax(1)[:, None, None]
    return torch.where((best < 0.5) & (coverage == best), torch.ones_like(coverage), coverage)


def _boxes(masks: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Tight inclusive boxes (N, 4) float of masks (N, H, W) bool; fallback rows where empty."""
    rows, columns = masks.any(2), masks.any(1)
    height, width = masks.shape[1:]
    first = lambda line: line.float().argmax(1)  # noqa: E731
    boxes = torch.stack(
        [first(columns), first(rows), width - 1 - first(columns.flip(1)), height - 1 - first(rows.flip(1))], dim=1
    ).float()
    if fallback is not None:
        boxes = torch.where(rows.any(1)[:, None], boxes, fallback)
    return boxes
