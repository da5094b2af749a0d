"""PerSAM as a tracker: training-free; objects with windows of one size are decoded as one batch.

One frame, in the order of the calls: ``step`` encodes the region around the last boxes, sorts the objects into groups
with windows of one size (``looks.py``), makes their prompts (``prompts.py``), decodes and refines their masks, and sets
neighbours against each other (``rivals.py``). ``observe`` then remembers what the merged masks show (``objects.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ...boxes import tight_boxes
from ...geometry import Geometry
from ...interfaces import FrameContext, Segmenter
from ...method import discriminant, matching, prior
from ...method.guidance import Guidance
from ...state_file import State
from ...structures import Explanation, FirstMask, Masks, Prompts, Result, Tracked
from ...windows import cut, paste
from . import rivals
from .absence import Absent, Look, evidence_for, part_of, places_of, together
from .boxes import trimmed_boxes
from .decoded import Decoded, Observation, Pending
from .looks import Group, View, evidence_of, grouped, moments_inside, region_around
from .objects import Appearance, Objects, Part, at_least_one_cell, choose_rows, joined, weighted_mean
from .options import PerSamOptions, Settled
from .points import PropagatedPoints, load_point_tracker
from .prompts import first_guidance, first_prompts, inner_points

GIVEN_MASK_LOGIT = 8.0
"""Magnitude of the low-res logits that stand for a given mask."""

DISCRIMINANT_SHARE = 0.1
"""Weight of the discriminant, in cosines, where objects contest a pixel."""

AREA_RATE = 0.1
"""Weight of each new frame in the running mean of an object's area."""

TINY = 256
"""Usual area in frame pixels below which a mask may not grow at once: less than four patches say what it is, ..."""

GROWTH = 1.5
"""... so that it gets at most this many times its usual area, and doubles in 14 frames at the earliest."""

WHOLE = 0.7
"""Share of its usual area from which on an object counts as seen whole."""


class PerSAM:
    """The training-free tracker. See :class:`~vos.interfaces.Tracker`.

    Attributes:
        options: as given; after ``start``, with the segmenter's defaults in the place of None.
        objects: what is known of the objects, after ``start``.
        decoder_calls: passes of the decoder so far.
    """

    Options = PerSamOptions

    options: PerSamOptions
    objects: Objects
    _settled: Settled
    _absent: Absent | None
    _look: Look | None

    def __init__(self, options: PerSamOptions | None = None):
        self.options = options or self.Options()
        self.decoder_calls = 0
        self._propagated: PropagatedPoints | None = None
        self._pending: Pending | None = None
        self._absent, self._look = None, None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        self._settle_options(context.segmenter)
        self.objects, self._absent = self._take(context, first_mask), None
        if self.options.points != "none":
            self._propagated = PropagatedPoints(load_point_tracker(self.options.points, context.device))
            self._propagated.start(context.frame, self._new_points(View(context), self.objects))

    def step(self, context: FrameContext) -> Tracked:
        if self._absent is None:
            return self._follow(context)
        followed = self._follow(context) if len(self.objects) else None
        if context.region is not None:  # the absent objects may be anywhere, and the others are seen as without them
            context = FrameContext(context.frame, context.segmenter, context.encoder, context.seconds)
        view = View(context)
        absent = self._absent.on(view.embedding.geometry)
        self._look = absent.look(view, self._decode(view, absent.objects), followed)
        return together(followed, absent.rows, self._look)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Remember the objects that were found; the others keep what was last known of them."""
        if self._absent is None:
            self._remember(result)
            return
        rows = self._absent.others(len(result.object_ids))
        if rows:
            self._remember(part_of(result, rows))
        self._notice_returns(result)

    def _follow(self, context: FrameContext) -> Tracked:
        """Follow the objects that are not absent into a frame."""
        all_found = self.objects.found.all()
        context.look_at(region_around(self._settled, context, self.objects.boxes) if all_found else None)
        view = View(context)
        geometry = view.embedding.geometry
        self.objects = self.objects.on(geometry, outside=-GIVEN_MASK_LOGIT)
        lost = ~self._seen_whole(geometry, self.objects, self.objects.mask_logits)
        groups = grouped(self._settled, view, self.objects.boxes, lost)
        decoded = self._for_each(groups, partial(self._decode, propagated=self._propagated))
        logits = decoded.logits
        if self._settled.contest and decoded.match is not None:
            logits = rivals.contest(logits, decoded.match, self._settled.contest)
        logits = rivals.limited(logits, self._most_cells(geometry))
        self._pending = Pending(view, groups, logits)
        return Tracked(logits, decoded.scores.clamp(0, 1), geometry, decoded.explanation)

    def _most_cells(self, geometry: Geometry) -> Tensor:
        """Cells of the low-res logits that each mask may have, (N,) long: a tiny one grows little by little only."""
        area = self.objects.usual_area
        cells = (GROWTH * area / geometry.pixels_per_value(4)).ceil().long().clamp_min(1)
        return torch.where(area < TINY, cells, torch.iinfo(torch.long).max)

    def _remember(self, result: Result) -> None:
        """Remember the objects of the last :meth:`_follow`, from the merged result of these alone."""
        pending, self._pending, old = self._pending, None, self.objects
        if pending is None:
            raise RuntimeError("observe() must come after step()")
        found = torch.tensor(result.areas > 0, device=old.boxes.device)
        boxes = old.boxes.new_tensor(trimmed_boxes(result, self._settled.box_trim))
        areas = old.boxes.new_tensor(result.areas)
        logits = pending.logits[:, None].clamp(-20, 20)
        self.objects = replace(
            old,
            found=found,
            boxes=torch.where(found[:, None], boxes, old.boxes),
            usual_area=old.usual_area.lerp(areas, AREA_RATE * found),
            mask_logits=torch.where(found[:, None, None, None], logits, old.mask_logits),
        )
        if old.appearance is not None:
            observed = self._for_each(pending.groups, self._observed)
            evidence = evidence_of(pending.view, observed.moments)
            appearance = replace(
                old.appearance,
                last=choose_rows(found, observed.memory, old.appearance.last),
                seen=old.appearance.seen.blended(evidence, self._settled.learning_rate * found),
            )
            self.objects = replace(self.objects, appearance=appearance)

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        more = self._take(context, first_mask).on(whole, outside=-GIVEN_MASK_LOGIT)
        self.objects = self.objects.on(whole, outside=-GIVEN_MASK_LOGIT).with_more(more)
        if self._propagated:
            self._propagated.add(self._new_points(View(context), more))

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        taken = self._take(context, first_mask).on(whole, outside=-GIVEN_MASK_LOGIT)
        if self._absent is not None and (back := [row for row in rows if row in self._absent.rows]):
            self._take_back(back, self._absent.pick(back).on(whole, outside=-GIVEN_MASK_LOGIT))
        index = torch.tensor(places_of(rows, self._absent, len(self.objects)), device=taken.boxes.device)
        self.objects = self.objects.on(whole, outside=-GIVEN_MASK_LOGIT).with_rows(index, taken)
        if self._propagated:
            self._propagated.correct(index, self._new_points(View(context), taken))

    def remove(self, rows: list[int]) -> None:
        self._keep_all_but(places_of(rows, self._absent, len(self.objects)))
        self._absent = self._absent and self._absent.without(rows)

    def forget(self, context: FrameContext, rows: list[int]) -> None:
        """Let objects be absent until they are found again, with what their given masks taught.

        Whatever looks like them on the last frame is none of them; see :meth:`.Absent.look`.
        """
        leaving = sorted(set(rows) - set(self._absent.rows if self._absent else ()))
        if not leaving:
            return
        places, view = places_of(leaving, self._absent, len(self.objects)), View(context)
        gone = self.objects.rows(places).forgotten(view.embedding.geometry, outside=-GIVEN_MASK_LOGIT)
        self._keep_all_but(places)
        mistaken = evidence_for(gone, view, self._decode(view, gone))
        self._absent = Absent(leaving, gone, mistaken).with_others(self._absent)

    def state(self) -> State:
        return {
            "objects": self.objects.state(),
            "absent": self._absent and self._absent.state(),
            "decoder_calls": self.decoder_calls,
            "points": self._propagated and self._propagated.state(),
        }

    def restore(self, context: FrameContext, state: State) -> None:
        self._settle_options(context.segmenter)
        self.objects = Objects.restored(state["objects"], context.device)
        absent = state.get("absent")  # which older states lack
        self._absent = absent and Absent.restored(absent, context.device)
        self.decoder_calls = state["decoder_calls"]
        if self.options.points != "none":
            self._propagated = PropagatedPoints(load_point_tracker(self.options.points, context.device))
            self._propagated.restore(context.frame, state["points"], context.device)

    def _settle_options(self, segmenter: Segmenter) -> None:
        """Put the segmenter's defaults in the place of options that are None."""
        self._settled = Settled.of(self.options, segmenter)
        self.options = replace(self.options, **vars(self._settled))

    def _take(self, context: FrameContext, first_mask: FirstMask) -> Objects:
        """Learn objects from a frame whose masks are given."""
        masks = torch.tensor(first_mask.masks(), device=context.device)
        boxes = tight_boxes(masks)
        context.look_at(region_around(self._settled, context, boxes))
        return self._learn(View(context), masks, boxes)

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
        )
        if not view.segmenter.wants_prior_maps:
            return objects
        given = evidence_of(view, moments_inside(view, embedded))
        first = matching.remember(features.values, coverage)
        last = matching.remember(features.values, coverage, background_block=2)
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

    def _new_points(self, view: View, objects: Objects) -> Tensor:
        """Choose the points (N, P, 2) to propagate from a frame whose masks are given."""
        confidence = prior.similarity(view.features.values, objects.prototype)
        return inner_points(self._settled, view, objects, confidence)

    def _keep_all_but(self, places: list[int]) -> None:
        """Drop some of ``objects``."""
        kept = torch.ones(len(self.objects), dtype=torch.bool, device=self.objects.boxes.device)
        kept[places] = False
        self.objects = self.objects.rows(kept)
        if self._propagated:
            self._propagated.keep(kept)

    def _notice_returns(self, result: Result) -> None:
        """Follow absent objects again that the last look found and that the merged result shows."""
        look, self._look, absent = self._look, None, self._absent
        if look is None or absent is None:
            raise RuntimeError("observe() must come after step()")
        self._absent = absent.after(look)
        back, objects = absent.found(look, result, self._settled.box_trim)
        if objects.appearance is not None and back:
            memory = self._observed(look.view, objects).memory
            objects = replace(objects, appearance=replace(objects.appearance, last=memory))
        if back:
            self._take_back(back, objects, look.view)

    def _take_back(self, rows: list[int], objects: Objects, view: View | None = None) -> None:
        """Put absent objects back to their rows; points are chosen from their masks if there is a view of the frame."""
        if self._absent is None:
            raise RuntimeError("no object is absent")
        followed = self._absent.others(len(self.objects) + len(self._absent.rows))
        order = torch.tensor([*followed, *rows], device=objects.boxes.device).argsort()
        self.objects = self.objects.on(objects.geometry, outside=-GIVEN_MASK_LOGIT).with_more(objects).rows(order)
        self._absent = self._absent.without(rows, close_up=False)
        if self._propagated:
            fresh = self._propagated.points.new_zeros(len(rows), *self._propagated.points.shape[1:])
            self._propagated.add(fresh if view is None else self._new_points(view, objects), order)

    def _for_each(self, groups: list[Group], function: Callable[[View, Objects], Part]) -> Part:
        """Call a function for each group of objects; join what it returns, in the order of the objects."""
        if len(groups) == 1:
            return function(groups[0].view, self.objects)
        order = torch.tensor(
            [row for group in groups for row in group.rows], device=self.objects.boxes.device
        ).argsort()
        return joined([function(group.view, self.objects.rows(group.rows)) for group in groups], order)

    def _decode(self, view: View, objects: Objects, propagated: PropagatedPoints | None = None) -> Decoded:
        """Run the first pass, then the cascaded post-refinement: prompted by the mask, then by the mask and its box."""
        prompts, guidance, confidence = self._prompts(view, objects, propagated)
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
        if self._settled.reach:
            logits = self._connected(view, objects, logits)
        match = None
        if prompts.prior_maps is not None:
            match = prompts.prior_maps[:, matching.LAST_FOREGROUND] + DISCRIMINANT_SHARE * prompts.prior_maps[:, -1]
            match = whole(match, -1)
        return Decoded(whole(logits), scores, match, explanation)

    def _prompts(
        self, view: View, objects: Objects, propagated: PropagatedPoints | None = None
    ) -> tuple[Prompts, Guidance, Tensor]:
        """Make the prompts, the guidance and the confidence map (N, h, w) of the first pass.

        The points come from the map; or from ``propagated``, which takes a step then.
        """
        confidence = prior.similarity(view.features.values, objects.prototype)
        maps = self._maps(view, objects, confidence)
        prompts = first_prompts(self._settled, view, objects, confidence, maps, propagated)
        return prompts, first_guidance(self._settled, view, objects, confidence), confidence

    def _maps(self, view: View, objects: Objects, confidence: Tensor) -> Tensor | None:
        """Make the prior maps (N, K, h, w), see :class:`vos.structures.Prompts`; None if the model takes none."""
        known = objects.appearance
        if known is None:
            return None
        features, embedding = view.features, view.embedding
        maps = matching.matching_maps(features.values, confidence, known.first, known.last, objects.coverage(view))
        maps = embedding.geometry.resample(maps, features.geometry)
        seen = known.seen.blended(known.given, self._settled.given_share)
        height, width = embedding.values.shape[-2:]
        separating = discriminant.maps(view.samples, (height, width), known.given, seen)
        return matching.prior_maps(maps, separating, self._settled.contrast_share)

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

    def _connected(self, view: View, objects: Objects, logits: Tensor) -> Tensor:
        """Drop pieces of masks that have no link to the last ones.

        Only for objects seen whole: one that is partly hidden may reappear anywhere.
        """
        embedding = view.embedding
        near = rivals.connected(logits, cut(objects.mask_logits, embedding.windows)[:, 0], self._settled.reach)
        whole = self._seen_whole(embedding.geometry, objects, near)
        return torch.where(whole[:, None, None], near, logits)

    def _seen_whole(self, geometry: Geometry, objects: Objects, logits: Tensor) -> Tensor:
        """Tell which objects were found and, by these low-res logits (N, …), are about as large as usual: (N,) bool."""
        area = (logits > 0).flatten(1).sum(1) * geometry.pixels_per_value(4)
        return objects.found & (area > WHOLE * objects.usual_area)

    def _observed(self, view: View, objects: Objects) -> Observation:
        """Observe objects in a view of a frame, from their masks there."""
        covered = objects.covered(view)
        coverage = view.features.geometry.resample(covered, objects.geometry)[:, 0]
        memory = matching.remember(view.features.values, coverage, background_block=2)
        return Observation(memory, moments_inside(view, covered[:, 0]))
