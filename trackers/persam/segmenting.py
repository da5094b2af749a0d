"""What both PerSAM and PerSAM-F do with one frame: learn objects from their masks, and decode their masks from a view.

:mod:`.tracker` calls it, frame by frame; nothing is remembered here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...boxes import tight_boxes
from ...geometry import Geometry
from ...interfaces import Segmenter
from ...method import discriminant, matching, prior
from ...method.guidance import Guidance
from ...structures import Explanation, Masks, Prompts
from ...windows import paste
from .course import Course
from .decoded import Decoded, Observation
from .looks import View, evidence_of, moments_inside
from .objects import Appearance, Objects, at_least_one_cell, weighted_mean
from .options import PerSamOptions, Settled
from .points import PropagatedPoints
from .prompts import first_guidance, first_prompts

GIVEN_MASK_LOGIT = 8.0
"""Magnitude of the low-res logits that stand for a given mask."""

DISCRIMINANT_SHARE = 0.1
"""Weight of the discriminant, in cosines, where objects contest a pixel."""

PLACE_SHARE = 0.35
"""Weight, in cosines, of whether the object was near by, where objects contest a pixel."""

WHOLE = 0.7
"""Share of its usual area from which on an object counts as seen whole."""


class Segmenting:
    """Learns objects and decodes their masks.

    Attributes:
        options: as given; after the first objects, with the segmenter's defaults in the place of None.
        decoder_calls: passes of the decoder so far.
    """

    Options = PerSamOptions

    options: PerSamOptions
    _settled: Settled

    def __init__(self, options: PerSamOptions | None = None):
        self.options = options or self.Options()
        self.decoder_calls = 0

    def _settle_options(self, segmenter: Segmenter) -> None:
        """Put the segmenter's defaults in the place of options that are None."""
        self._settled = Settled.of(self.options, segmenter)
        self.options = replace(self.options, **vars(self._settled))

    def _learn(self, view: View, masks: Tensor, boxes: Tensor) -> Objects:
        """Learn objects from a view of a frame, given their masks (N, H, W) bool and boxes (N, 4)."""
        embedding, features = view.embedding, view.features
        coverage = self._foreground(features.geometry, masks)
        height, width = embedding.geometry.grid
        embedded = self._foreground(embedding.geometry, masks)
        prototype = self._prototype(view, coverage)
        objects = Objects(
            prototype=prototype,
            likeness=weighted_mean(prior.similarity(features.values, prototype), coverage),
            target=prior.prototype(embedding.values, embedded),
            boxes=boxes,
            found=torch.ones(len(boxes), dtype=torch.bool, device=boxes.device),
            usual_area=masks.flatten(1).sum(1).float(),
            mask_logits=embedding.geometry.mask_logits(masks, (4 * height, 4 * width), GIVEN_MASK_LOGIT),
            geometry=embedding.geometry,
            doubts=torch.zeros(len(boxes), dtype=torch.long, device=boxes.device),
            course=Course.begun(boxes, masks.flatten(1).sum(1)),
        )
        if not view.segmenter.wants_prior_maps:
            return objects
        given = evidence_of(view, moments_inside(view, embedded))
        places = features.places()
        first = matching.remember(features.values, coverage, places)
        last = matching.remember(features.values, coverage, places, background_block=2)
        return replace(objects, appearance=Appearance(first, last, given=given, seen=given))

    def _prototype(self, view: View, coverage: Tensor) -> Tensor:
        """Average the features of the objects' patches (N, h, w), by the rule of the options: (N, C)."""
        if self._settled.prototype == "mean":
            return prior.prototype(view.features.values, coverage)
        if self._settled.prototype == "raw-mean":
            return F.normalize(prior.prototype(view.raw_features, coverage), dim=1)
        return prior.mean_max_prototype(view.raw_features, coverage)

    def _foreground(self, geometry: Geometry, masks: Tensor) -> Tensor:
        """Weight each patch as foreground, (N, h, w); at least one patch of each object counts."""
        value = self._settled.drawn_value
        covered = geometry.coverage(masks) if value is None else geometry.normalised_coverage(masks, value)
        return at_least_one_cell(covered)

    def _decode(
        self,
        view: View,
        objects: Objects,
        propagated: PropagatedPoints | None = None,
        options: Settled | None = None,
        taken: Tensor | None = None,
    ) -> Decoded:
        """Run the first pass, then the cascaded post-refinement: prompted by the mask, then by the mask and its box.

        Args:
            view: the frame, or the objects' windows in it.
            objects: to decode.
            propagated: gives the points, see :meth:`_prompts`.
            options: for the prompts; None: the tracker's own.
            taken: pixels in which an object is not looked for, (N, H, W) bool; None: there are none.
        """
        prompts, guidance, confidence = self._prompts(view, objects, propagated, options, taken)
        masks = self._run(view, prompts, guidance, multimask=self._settled.first_masks == 3)
        logits, scores = self._choose(masks, objects, first=True)
        geometry, windows = view.embedding.geometry, view.embedding.windows
        whole = lambda maps, outside=-GIVEN_MASK_LOGIT: paste(maps[:, None], windows, outside)[:, 0]
        explanation = Explanation(
            paste(confidence[:, None], view.features.windows, outside=-1)[:, 0],
            view.features.geometry,
            replace(prompts, mask_logits=None, prior_maps=None),
            replace(masks, low_res_logits=paste(masks.low_res_logits, windows, outside=-GIVEN_MASK_LOGIT)),
            objects.weights,
        )
        if not self._settled.guided_refinement:
            guidance = Guidance()
        for step in range(1, self._settled.refine_steps + 1):
            boxes = None
            if step == 2 or self._settled.refine_box == "both":
                boxes = tight_boxes(geometry.upsample(whole(logits)) > 0, objects.boxes)
            refined = replace(prompts, boxes=boxes, mask_logits=logits[:, None])
            logits, scores = self._choose(self._run(view, refined, guidance), objects)
        match = None
        if prompts.prior_maps is not None:
            placed = self._seen_whole(geometry, objects, objects.mask_logits)
            match = whole(_match(prompts.prior_maps, placed), -1)
        return Decoded(whole(logits), scores, match, explanation)

    def _prompts(
        self,
        view: View,
        objects: Objects,
        propagated: PropagatedPoints | None = None,
        options: Settled | None = None,
        taken: Tensor | None = None,
    ) -> tuple[Prompts, Guidance, Tensor]:
        """Make the prompts, the guidance and the confidence map (N, h, w) of the first pass.

        The points come from the map; or from ``propagated``, which takes a step then. See :meth:`_decode`.
        """
        options = options or self._settled
        confidence = objects.confidence(view)
        maps = self._maps(view, objects, confidence, options)
        if taken is not None:
            confidence = confidence.masked_fill(view.features.geometry.coverage(taken) > 0.5, 0)  # E.5
            maps = None if maps is None else _emptied(maps, view.embedding.geometry.coverage(taken) > 0.5)
        prompts = first_prompts(options, view, objects, confidence, maps, propagated)
        return prompts, first_guidance(options, view, objects, confidence), confidence

    def _maps(self, view: View, objects: Objects, confidence: Tensor, options: Settled) -> Tensor | None:
        """Make the prior maps (N, K, h, w), see :class:`vos.structures.Prompts`; None if the model takes none."""
        known = objects.appearance
        if known is None:
            return None
        features, embedding = view.features, view.embedding
        spread = matching.spread(objects.boxes, objects.found, view.frame.size) if options.read_out else None
        coverage, places = objects.coverage(view), features.places()
        maps = matching.matching_maps(features.values, confidence, known.first, known.last, coverage, places, spread)
        maps = embedding.geometry.resample(maps, features.geometry)
        seen = known.seen.blended(known.given, options.given_share)
        height, width = embedding.values.shape[-2:]
        separating = discriminant.maps(view.samples, (height, width), known.given, seen)
        return matching.prior_maps(maps, separating, options.contrast_share)

    def _run(self, view: View, prompts: Prompts, guidance: Guidance, multimask: bool = True) -> Masks:
        """Run the decoder once, and count it."""
        self.decoder_calls += 1
        return view.segmenter.decode(view.embedding, prompts, guidance, multimask)

    def _choose(self, masks: Masks, objects: Objects, first: bool = False) -> tuple[Tensor, Tensor]:
        """Choose one mask of each object: logits (N, 4h, 4w) and scores (N,).

        Args:
            masks: the decoder's, one or three of each object.
            objects: whose masks they are.
            first: whether they come from the first pass and are still to be refined.
        """
        best = masks.scores.argmax(dim=1)
        if first and self._settled.first_choice == "first":
            best = torch.zeros_like(best)
        rows = torch.arange(len(best), device=best.device)
        return masks.low_res_logits[rows, best], masks.scores[rows, best]

    def _seen_whole(self, geometry: Geometry, objects: Objects, logits: Tensor) -> Tensor:
        """Tell which objects were found and, by these low-res logits (N, …), are about as large as usual: (N,) bool."""
        area = (logits > 0).flatten(1).sum(1) * geometry.pixels_per_value(4)
        return objects.found & (area > WHOLE * objects.usual_area)

    def _observed(self, view: View, objects: Objects) -> Observation:
        """Observe objects in a view of a frame, from their masks there."""
        covered = objects.covered(view)
        coverage = view.features.geometry.resample(covered, objects.geometry)[:, 0]
        memory = matching.remember(view.features.values, coverage, view.features.places(), background_block=2)
        return Observation(memory, moments_inside(view, covered[:, 0]))


def _match(maps: Tensor, placed: Tensor) -> Tensor:
    """Tell from prior maps (N, K, h, w) how well each patch matches each object, where they contest it, (N, h, w).

    It should look like the object in the last frame, and there look more like it than like its surroundings. Of two
    objects that look the same, the patch belongs to the one that was near it. Those that are not ``placed``, (N,) bool,
    as the last frame did not show them whole, may be anywhere.
    """
    look = maps[:, matching.LAST_FOREGROUND] + DISCRIMINANT_SHARE * maps[:, -1]
    return look + PLACE_SHARE * placed[:, None, None] * matching.out_of_place(maps)


def _emptied(maps: Tensor, taken: Tensor) -> Tensor:
    """Give patches that are taken, (N, h, w) bool, the prior maps (N, K, h, w) of the least similar patch."""
    least = maps[:, 0].flatten(1).argmin(1)
    values = maps.flatten(2).gather(2, least[:, None, None].expand(-1, maps.shape[1], 1))
    return torch.where(taken[:, None], values[..., None], maps)
