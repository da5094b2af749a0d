"""PerSAM as a tracker: training-free, objects that are looked for in windows of one size are decoded as one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry import Geometry
from ...interfaces import FrameContext, Segmenter
from ...method import discriminant, matching, prior
from ...method.guidance import Guidance
from ...structures import Explanation, FirstMask, Masks, Prompts, Result, Tracked
from ...windows import cut, paste
from . import rivals
from .boxes import tight_boxes, trimmed_boxes
from .looks import Group, View, grouped, region_around
from .objects import Objects, Part, choose_rows, joined
from .options import PerSamOptions
from .points import PropagatedPoints, load_point_tracker
from .prompts import first_guidance, first_prompts, inner_points

MASK_LOGIT = 8.0
"""A given mask becomes low-res logits of plus or minus this."""

DISCRIMINANT_SHARE = 0.1
"""Cosines that the discriminant is worth where objects contest a pixel."""

AREA_RATE = 0.1
"""Share of each new frame in an object's usual area."""

WHOLE = 0.7
"""Share of its usual area from which on an object counts as seen whole."""


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of N objects.

    Attributes:
        logits: for all of the segmenter's input, (N, 4h, 4w).
        scores: (N,).
        match: how well each patch matches what the objects look like, (N, h, w); None without prior maps.
        explanation: how it came to that.
    """

    logits: Tensor
    scores: Tensor
    match: Tensor | None
    explanation: Explanation


@dataclass(frozen=True)
class Observation:
    """What is to be remembered of N objects in one frame.

    Attributes:
        memory: for the matching maps.
        moments: for the discriminant, (N, C + 1, C + 1).
    """

    memory: matching.Memory
    moments: Tensor


@dataclass(frozen=True)
class Pending:
    """A frame between ``step``, which segmented it, and ``observe``, which remembers it.

    Attributes:
        view: the whole of the encoded region.
        groups: what the objects were looked for in.
        logits: of the chosen masks, (N, 4h, 4w).
    """

    view: View
    groups: list[Group]
    logits: Tensor


class PerSAM:
    """The training-free tracker. See ``Tracker``.

    Attributes:
        objects: what is known of the objects, after ``start``.
        decoder_calls: passes so far.
    """

    Options = PerSamOptions

    def __init__(self, options: PerSamOptions | None = None):
        self.options = options or self.Options()
        self.decoder_calls = 0
        self._propagated: PropagatedPoints | None = None
        self._pending: Pending | None = None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        self._settle_options(context.segmenter)
        self.objects = self._take(context, first_mask)
        if self.options.points != "none":
            self._propagated = PropagatedPoints(load_point_tracker(self.options.points, context.segmenter.device))
            self._propagated.start(context.frame, self._new_points(context, self.objects))

    def state(self) -> dict:
        return {
            "objects": self.objects.state(),
            "decoder_calls": self.decoder_calls,
            "points": self._propagated and self._propagated.state(),
        }

    def restore(self, context: FrameContext, state: dict) -> None:
        device = context.segmenter.device
        self._settle_options(context.segmenter)
        self.objects = Objects.restored(state["objects"], device)
        self.decoder_calls = state["decoder_calls"]
        if self.options.points != "none":
            self._propagated = PropagatedPoints(load_point_tracker(self.options.points, device))
            self._propagated.restore(context.frame, state["points"], device)

    def _settle_options(self, segmenter: Segmenter) -> None:
        """Put the segmenter's defaults in the place of options that are None."""
        defaults = {
            "centre_point": not segmenter.wants_last_mask,
            "refine_steps": 0 if segmenter.wants_last_mask else 2,
            "box_trim": 0.005 if segmenter.wants_last_mask else 0,
            "zoom": 1.25 if segmenter.wants_last_mask else 0,
            "guided_attention": not segmenter.wants_prior_maps,
            "contest": 100.0 if segmenter.wants_prior_maps else 0,
            "reach": 4 if segmenter.wants_last_mask else 0,
            "window": 2.0 if segmenter.wants_last_mask else 0,
        }
        unset = {name: value for name, value in defaults.items() if getattr(self.options, name) is None}
        self.options = replace(self.options, **unset)

    def step(self, context: FrameContext) -> Tracked:
        context.look_at(region_around(self.options, context, self.objects.boxes) if self.objects.found.all() else None)
        view = View(context)
        geometry = view.embedding.geometry
        self.objects = self.objects.on(geometry, outside=-MASK_LOGIT)
        lost = ~self._whole(geometry, self.objects, self.objects.mask_logits)
        groups = grouped(self.options, view, self.objects.boxes, lost)
        decoded = self._of_each(groups, self._decode)
        logits = decoded.logits
        if self.options.contest and decoded.match is not None:
            logits = rivals.contest(logits, decoded.match, self.options.contest)
        self._pending = Pending(view, groups, logits)
        return Tracked(logits, decoded.scores.clamp(0, 1), geometry, decoded.explanation)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Remember the objects that were found; the others keep what was last known of them."""
        pending, self._pending, old = self._pending, None, self.objects
        found = torch.tensor(result.areas > 0, device=old.boxes.device)
        boxes = trimmed_boxes(result, self.options.box_trim)
        boxes = torch.tensor(boxes, device=old.boxes.device, dtype=old.boxes.dtype)
        areas = torch.tensor(result.areas, device=old.boxes.device, dtype=old.boxes.dtype)
        logits = pending.logits[:, None].clamp(-20, 20)
        self.objects = replace(
            old,
            found=found,
            boxes=torch.where(found[:, None], boxes, old.boxes),
            usual_area=old.usual_area.lerp(areas, AREA_RATE * found),
            mask_logits=torch.where(found[:, None, None, None], logits, old.mask_logits),
        )
        if old.last is not None:
            observed = self._of_each(pending.groups, self._observed)
            evidence = self._evidence(pending.view, observed.moments)
            seen = old.seen.blended(evidence, self.options.learning_rate * found)
            self.objects = replace(self.objects, last=choose_rows(found, observed.memory, old.last), seen=seen)

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        more = self._take(context, first_mask).on(whole, outside=-MASK_LOGIT)
        self.objects = self.objects.on(whole, outside=-MASK_LOGIT).with_more(more)
        if self._propagated:
            self._propagated.more(self._new_points(context, more))

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        taken = self._take(context, first_mask).on(whole, outside=-MASK_LOGIT)
        index = torch.tensor(rows, device=taken.boxes.device)
        self.objects = self.objects.on(whole, outside=-MASK_LOGIT).with_rows(index, taken)
        if self._propagated:
            self._propagated.anew(index, self._new_points(context, taken))

    def remove(self, rows: list[int]) -> None:
        kept = torch.ones(len(self.objects), dtype=torch.bool, device=self.objects.boxes.device)
        kept[rows] = False
        self.objects = self.objects.rows(kept)
        if self._propagated:
            self._propagated.keep(kept)

    def _take(self, context: FrameContext, first_mask: FirstMask) -> Objects:
        """Objects as they are on a frame whose masks are given."""
        masks = torch.tensor(first_mask.masks(), device=context.segmenter.device)
        boxes = tight_boxes(masks)
        context.look_at(region_around(self.options, context, boxes))
        return self._learn(View(context), masks, boxes)

    def _learn(self, view: View, masks: Tensor, boxes: Tensor) -> Objects:
        """What a frame tells of objects with these masks (N, H, W) bool and boxes (N, 4)."""
        embedding, features = view.embedding, view.features
        coverage = self._foreground(features.geometry, masks)
        height, width = embedding.geometry.grid
        embedded = self._foreground(embedding.geometry, masks)
        objects = Objects(
            prototype=self._prototype(view, coverage),
            target=prior.prototype(embedding.values, embedded),
            boxes=boxes,
            found=torch.ones(len(boxes), dtype=torch.bool, device=boxes.device),
            usual_area=masks.flatten(1).sum(1).float(),
            mask_logits=embedding.geometry.mask_logits(masks, (4 * height, 4 * width), MASK_LOGIT),
            geometry=embedding.geometry,
        )
        if not view.segmenter.wants_prior_maps:
            return objects
        given = self._evidence(view, self._moments(view, embedded))
        first = matching.remember(features.values, coverage)
        last = matching.remember(features.values, coverage, background_block=2)
        return replace(objects, first=first, last=last, given=given, seen=given)

    def _prototype(self, view: View, coverage: Tensor) -> Tensor:
        if self.options.prototype == "mean":
            return prior.prototype(view.features.values, coverage)
        if self.options.prototype == "raw-mean":
            return F.normalize(prior.prototype(view.raw_features, coverage), dim=1)
        return prior.mean_max_prototype(view.raw_features, coverage)

    def _of_each(self, groups: list[Group], function: Callable[[View, Objects], Part]) -> Part:
        """Call a function for each group of objects; join the parts in the order of the objects."""
        if len(groups) == 1:
            return function(groups[0].view, self.objects)
        order = torch.tensor(
            [row for group in groups for row in group.rows], device=self.objects.boxes.device
        ).argsort()
        return joined([function(group.view, self.objects.rows(group.rows)) for group in groups], order)

    def _observed(self, view: View, objects: Objects) -> Observation:
        """What a frame shows of objects, whose masks are known."""
        covered = objects.covered(view)
        coverage = view.features.geometry.resample(covered, objects.geometry)[:, 0]
        memory = matching.remember(view.features.values, coverage, background_block=2)
        return Observation(memory, self._moments(view, covered[:, 0]))

    def _moments(self, view: View, coverage: Tensor) -> Tensor:
        """Moments of what objects cover, as share of each of the embedding's patches that are shown, (N, h, w)."""
        embedding = view.embedding
        inside = cut(embedding.geometry.inside().to(coverage)[None, None], embedding.windows)[:, 0]
        return discriminant.moments(view.samples, (coverage * inside).flatten(1))

    def _evidence(self, view: View, own: Tensor) -> discriminant.Evidence:
        """What tells objects, of which these are the moments, from each other and from the rest of a frame."""
        inside = view.embedding.geometry.inside().to(own)
        everything = discriminant.moments(view.samples, inside.flatten()[None])
        others = own.sum(0) - own if len(own) > 1 else None
        return discriminant.evidence(own, everything - own, others)

    def _maps(self, view: View, objects: Objects, confidence: Tensor) -> Tensor:
        """Prior maps of the objects, (N, K, h, w), see :class:`vos.structures.Prompts`."""
        features, embedding = view.features, view.embedding
        maps = matching.matching_maps(features.values, confidence, objects.first, objects.last, objects.coverage(view))
        maps = embedding.geometry.resample(maps, features.geometry)
        seen = objects.seen.blended(objects.given, self.options.given_share)
        separating = discriminant.maps(view.samples, embedding.values.shape[-2:], objects.given, seen)
        return torch.cat([maps, separating.lerp(matching.contrasts(maps), self.options.contrast_share)], dim=1)

    def _foreground(self, geometry: Geometry, masks: Tensor) -> Tensor:
        """Weight of each patch as foreground, (N, h, w); at least one patch of each object counts."""
        value = self.options.drawn_value
        covered = geometry.coverage(masks) if value is None else geometry.normalised_coverage(masks, value)
        return _at_least_one_cell(covered)

    def _choose(self, masks: Masks, objects: Objects, first: bool = False) -> tuple[Tensor, Tensor]:
        """One mask per object: logits (N, 4h, 4w) and scores (N,).

        Args:
            masks: the decoder's three.
            objects: whose masks they are.
            first: whether they are those of the first pass, still to be refined.
        """
        best = masks.scores.argmax(dim=1)
        if first and self.options.first_choice == "first":
            best = torch.zeros_like(best)
        rows = torch.arange(len(best), device=best.device)
        return masks.low_res_logits[rows, best], masks.scores[rows, best]

    def _decode(self, view: View, objects: Objects) -> Decoded:
        """First pass, then the cascaded post-refinement: mask, then mask and its box."""
        prompts, guidance, confidence = self._prompts(view, objects, self._propagated)
        masks = self._run(view, prompts, guidance, multimask=self.options.first_masks == 3)
        logits, scores = self._choose(masks, objects, first=True)
        geometry, windows = view.embedding.geometry, view.embedding.windows
        everywhere = lambda maps, value=-MASK_LOGIT: paste(maps[:, None], windows, value)[:, 0]
        explanation = Explanation(
            paste(confidence[:, None], view.features.windows, outside=-1)[:, 0],
            view.features.geometry,
            replace(prompts, mask_logits=None, prior_maps=None),
            replace(masks, low_res_logits=paste(masks.low_res_logits, windows, outside=-MASK_LOGIT)),
            objects.weights,
        )
        if not self.options.guided_refinement:
            guidance = Guidance()
        for step in range(1, self.options.refine_steps + 1):
            boxes = None
            if step == 2 or self.options.refine_box == "both":
                boxes = tight_boxes(geometry.upsample(everywhere(logits)) > 0, objects.boxes)
            refined = replace(prompts, boxes=boxes, mask_logits=logits[:, None])
            logits, scores = self._choose(self._run(view, refined, guidance), objects)
        if self.options.reach:
            logits = self._connected(view, objects, logits)
        match = None
        if prompts.prior_maps is not None:
            match = prompts.prior_maps[:, matching.LAST_FOREGROUND] + DISCRIMINANT_SHARE * prompts.prior_maps[:, -1]
            match = everywhere(match, -1)
        return Decoded(everywhere(logits), scores, match, explanation)

    def _connected(self, view: View, objects: Objects, logits: Tensor) -> Tensor:
        """Without pieces that the last masks do not explain; behind something, an object may come out anywhere."""
        embedding = view.embedding
        near = rivals.connected(logits, cut(objects.mask_logits, embedding.windows)[:, 0], self.options.reach)
        whole = self._whole(embedding.geometry, objects, near)
        return torch.where(whole[:, None, None], near, logits)

    def _whole(self, geometry: Geometry, objects: Objects, logits: Tensor) -> Tensor:
        """Which objects are found and, by these low-res logits (N, …), about as large as usual, (N,) bool."""
        area = (logits > 0).flatten(1).sum(1) * geometry.pixels_per_value(4)
        return objects.found & (area > WHOLE * objects.usual_area)

    def _run(self, view: View, prompts: Prompts, guidance: Guidance, multimask: bool = True) -> Masks:
        self.decoder_calls += 1
        return view.segmenter.decode(view.embedding, prompts, guidance, multimask)

    def _prompts(
        self, view: View, objects: Objects, propagated: PropagatedPoints | None = None
    ) -> tuple[Prompts, Guidance, Tensor]:
        """Prompts, guidance and confidence map of the first pass; points from the map, or else propagated ones."""
        confidence = prior.similarity(view.features.values, objects.prototype)
        maps = self._maps(view, objects, confidence) if view.segmenter.wants_prior_maps else None
        prompts = first_prompts(self.options, view, objects, confidence, maps, propagated)
        return prompts, first_guidance(self.options, view, objects, confidence), confidence

    def _new_points(self, context: FrameContext, objects: Objects) -> Tensor:
        """Points (N, P, 2) to propagate from a frame whose masks are given."""
        view = View(context)
        confidence = prior.similarity(view.features.values, objects.prototype)
        return inner_points(self.options, view, objects, confidence)


def _at_least_one_cell(coverage: Tensor) -> Tensor:
    """Coverage (N, h, w) whose best cell counts fully, so that a small object has features."""
    best = coverage.flatten(1).amax(1)[:, None, None]
    return torch.where((best < 0.5) & (coverage == best), torch.ones_like(coverage), coverage)
