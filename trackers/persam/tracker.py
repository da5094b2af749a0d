"""PerSAM as a tracker: training-free; objects with windows of one size are decoded as one batch.

One frame, in the order of the calls: ``step`` encodes the region around the last boxes, sorts the objects into groups
with windows of one size (``looks.py``), makes their prompts (``prompts.py``), decodes and refines their masks, and sets
neighbours against each other (``rivals.py``). ``observe`` then remembers what the merged masks show (``objects.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...boxes import tight_boxes
from ...errors import InputError, parameter
from ...geometry import Geometry
from ...interfaces import FrameContext
from ...references import Shown, Sighting
from ...regions import Region
from ...state_file import State
from ...structures import FirstMask, Result, Tracked
from . import rivals
from .absence import Absent, Look, evidence_for, in_front, part_of, places_of, together
from .boxes import trimmed_boxes
from .decoded import Pending
from .looks import AHEAD, LEAST_ROOM, Plan, View, evidence_of, grouped, region_around, with_room
from .objects import Objects, choose_rows, for_each, weighted_mean
from .options import PerSamOptions
from .points import PropagatedPoints, load_point_tracker
from .prompts import inner_points
from .referred import Referred
from .referred import together as joined_references
from .search import Searching
from .segmenting import GIVEN_MASK_LOGIT
from .twins import without_twins
from .worn import mended

AREA_RATE = 0.1
"""Weight of each new frame in the running mean of an object's area."""

TINY = 256
"""Usual area in frame pixels below which a mask may not grow at once: less than four patches say what it is, ..."""

GROWTH = 1.5
"""... so that it gets at most this many times its usual area, and doubles in 14 frames at the earliest."""


SOMETHING_ELSE = 0.1
"""Presence below which a mask that is followed shows something else than the references."""


class PerSAM(Searching):
    """The training-free tracker. See :class:`~vos.interfaces.Tracker`.

    Attributes:
        options: as given; after ``start``, with the segmenter's defaults in the place of None.
        objects: what is known of the objects, after ``start``.
        decoder_calls: passes of the decoder so far.
    """

    objects: Objects
    _absent: Absent | None
    _look: Look | None

    def __init__(self, options: PerSamOptions | None = None):
        super().__init__(options)
        self._propagated: PropagatedPoints | None = None
        self._pending: Pending | None = None
        self._absent, self._look = None, None
        self._referred: Referred | None = None
        self._plan: Plan | None = None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        self._settle_options(context.segmenter)
        self.objects, self._absent, self._referred = self._take(context, first_mask), None, None
        self._plan = None
        if self.options.points != "none":
            self._propagated = PropagatedPoints(load_point_tracker(self.options.points, context.device))
            self._propagated.start(context.frame, self._new_points(View(context), self.objects))

    def region_ahead(self, context: FrameContext) -> Region | None:
        return self._region(context, AHEAD)

    def step(self, context: FrameContext) -> Tracked:
        plan, self._plan = self._plan, Plan(self.region_ahead(context))
        context = context.at(self._planned_region(plan, context))
        if self._absent is None:
            return self._follow(context)
        followed = self._follow(context) if len(self.objects) else None
        view = View(context.at(None))  # the absent objects may be anywhere, and the others are seen as without them
        absent = self._absent.on(view.embedding.geometry)
        everyone = self._referred
        referred = everyone and everyone.pick(absent.rows)
        if referred is None:
            self._look = absent.look(view, self._decode(view, absent.objects), followed)
        else:
            known = self._followed_by_references(absent, followed)
            self._look = self._looked_for(view, absent, referred, followed, known)
        tracked = together(followed, absent.rows, self._look)
        if everyone is None or referred is None or not self._look.found.any():
            return tracked
        return in_front(tracked, referred.rows, everyone.rows)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Remember the objects that were found; the others keep what was last known of them."""
        absent, rows = self._absent, list(range(len(result.object_ids)))
        if absent is None:
            self._remember(result)
        else:
            rows = absent.others(len(rows))
            if rows:
                self._remember(part_of(result, rows))
            self._notice_returns(context, result)
        if self._referred is not None:
            lost = [row for row in rows if row in self._referred.rows and not result.areas[row]]
            self._give_up(lost, context.segmenter.geometry(context.frame.size))

    def _region(self, context: FrameContext, room: float = 1.0) -> Region | None:
        """Choose a region by the objects' last boxes, see :func:`.region_around`; None: the whole frame."""
        objects = self.objects
        if not len(objects) or not objects.found.all():
            return None
        pace, last = objects.course.pace, objects.geometry.region
        return region_around(self._settled, context, objects.boxes, pace, room, last)

    def _planned_region(self, plan: Plan | None, context: FrameContext) -> Region | None:
        """Choose the region of a frame: the planned one if it serves."""
        wanted = self._region(context)
        if plan is None or wanted is None:
            return wanted
        needed = with_room(self._settled, self.objects.boxes, self.objects.course.pace, LEAST_ROOM)
        return plan.region if plan.serves(wanted, Region.within(needed[0], context.frame.size)) else wanted

    def _follow(self, context: FrameContext) -> Tracked:
        """Follow the objects that are not absent into a frame."""
        view = View(context)
        geometry = view.embedding.geometry
        self.objects = self.objects.on(geometry, outside=-GIVEN_MASK_LOGIT)
        lost = ~self._seen_whole(geometry, self.objects, self.objects.mask_logits)
        groups = grouped(self._settled, view, self.objects.boxes, self.objects.course.pace, lost)
        decode = partial(self._decode, propagated=self._propagated)
        decoded = for_each(groups, self.objects, decode)
        logits = decoded.logits
        if self._settled.contest and decoded.match is not None:
            logits = rivals.contest(logits, decoded.match, self._settled.contest)
        if decoded.match is not None:
            logits = rivals.in_one_piece(logits, decoded.match, self.objects.usual_area < TINY)
        logits, doubts = rivals.limited(logits, self._most_cells(geometry)), self.objects.doubts
        if self._settled.patience:
            logits, doubts = without_twins(view, self.objects, logits, self._settled.patience)
        scores = decoded.scores.clamp(0, 1)
        referred = self._referred
        if referred is not None:
            logits, scores, referred = self._checked(view, logits, scores, referred)
        self._pending = Pending(view, groups, logits, doubts, referred)
        return Tracked(logits, scores, geometry, decoded.explanation)

    def _followed_by_references(self, absent: Absent, followed: Tracked | None) -> Tensor | None:
        """Return the pixels of objects that are followed and have references, (H, W) bool; None: there are none."""
        if followed is None or self._referred is None:
            return None
        others = absent.others(len(followed.logits) + len(absent.rows))
        places = [place for place, row in enumerate(others) if row in self._referred.rows]
        return (followed.full_size()[places] > 0).any(0) if places else None

    def _checked(
        self, view: View, logits: Tensor, scores: Tensor, referred: Referred
    ) -> tuple[Tensor, Tensor, Referred]:
        """Give the objects that have references their presence as score; empty masks that show something else."""
        absent = self._absent.rows if self._absent else []
        there = referred.pick([row for row in referred.rows if row not in absent])
        if there is None or view.embedding.coarse is None:
            return logits, scores, referred
        places = places_of(there.rows, self._absent, len(self.objects))
        scores, logits = scores.clone(), logits.clone()
        sure, looks = self._still_there(view, there, logits[places])
        scores[places], right = sure.to(scores.dtype), sure >= SOMETHING_ELSE
        logits[places] = torch.where(right[:, None, None], logits[places], -logits[places].abs())
        rows = [row for row, each in zip(there.rows, right.tolist(), strict=True) if each]
        return logits, scores, referred.followed(rows, looks[right], sure[right])

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
        all_found = bool((result.areas > 0).all())
        found = torch.tensor(result.areas > 0, device=old.boxes.device)
        boxes = old.boxes.new_tensor(trimmed_boxes(result, self._settled.box_trim))
        areas = old.boxes.new_tensor(result.areas)
        logits = pending.logits[:, None].clamp(-20, 20)
        parted = (pending.doubts >= self._settled.patience) & (pending.doubts > 0)
        objects = replace(
            old,
            found=found,
            boxes=torch.where(found[:, None], boxes, old.boxes),
            usual_area=old.usual_area.lerp(areas, AREA_RATE * found),
            mask_logits=torch.where(found[:, None, None, None], logits, old.mask_logits),
            doubts=pending.doubts,
            course=old.course.after(old.boxes, boxes, areas, old.usual_area, parted),
        )
        if old.appearance is not None:
            shown = replace(objects, appearance=None)  # which is not looked at, and large
            observed = for_each(pending.groups, shown, self._observed)
            evidence = evidence_of(pending.view, observed.moments)
            memory = observed.memory  # alone, where that is enough: what it is joined with may be longer
            appearance = replace(
                old.appearance,
                last=memory if all_found else choose_rows(found, memory, old.appearance.last),
                seen=old.appearance.seen.blended(evidence, self._settled.learning_rate * found),
            )
            objects = replace(objects, appearance=appearance)
        self.objects, self._referred = objects, pending.referred

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        more = self._take(context, first_mask).on(whole, outside=-GIVEN_MASK_LOGIT)
        self.objects = self.objects.on(whole, outside=-GIVEN_MASK_LOGIT).with_more(more)
        if self._propagated:
            self._propagated.add(self._new_points(View(context), more))

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        whole = context.segmenter.geometry(context.frame.size)
        taken = self._take(context, first_mask)
        self._referred = self._referred and self._shown_anew(View(context), self._referred, rows, taken)
        taken = taken.on(whole, outside=-GIVEN_MASK_LOGIT)
        if self._absent is not None and (back := [row for row in rows if row in self._absent.rows]):
            self._take_back(back, self._absent.pick(back).on(whole, outside=-GIVEN_MASK_LOGIT))
        index = torch.tensor(places_of(rows, self._absent, len(self.objects)), device=taken.boxes.device)
        self.objects = self.objects.on(whole, outside=-GIVEN_MASK_LOGIT).with_rows(index, taken)
        if self._propagated:
            self._propagated.correct(index, self._new_points(View(context), taken))

    def remove(self, rows: list[int]) -> None:
        self._keep_all_but(places_of(rows, self._absent, len(self.objects)))
        self._absent = self._absent and self._absent.without(rows)
        self._referred = self._referred and self._referred.without(rows)

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
        self._referred = self._referred and self._referred.without_look(leaving)
        referred = self._referred and self._referred.pick(leaving)
        if referred is not None:
            which = [leaving.index(row) for row in referred.rows]
            mistaken[which] = self._presence(view, self._search(view, referred)[0])
        self._absent = Absent(leaving, gone, mistaken).with_others(self._absent)

    def refer(self, context: FrameContext, shown: Sequence[Shown]) -> None:
        if not hasattr(self, "_settled"):
            self._settle_options(context.segmenter)
        referred = self._referred = self._referred_of(shown)
        whole = context.segmenter.geometry(context.frame.size)
        if not hasattr(self, "objects") or not (len(self.objects) or self._absent):
            if self.options.points != "none":
                raise InputError(
                    f"{parameter('points', self.options.points)}: follows points of a first mask; give one"
                )
            self.objects, self._plan = referred.objects.rows([]).forgotten(whole, -GIVEN_MASK_LOGIT), None
        known = len(self.objects) + len(self._absent.rows if self._absent else ())
        unseen = referred.pick([row for row in referred.rows if row >= known])
        if unseen is not None:
            strangers = unseen.objects.forgotten(whole, -GIVEN_MASK_LOGIT)
            nothing = strangers.likeness.new_zeros(len(strangers))
            self._absent = Absent(unseen.rows, strangers, nothing).with_others(self._absent)

    def search(self, context: FrameContext, taken: Tensor | None = None) -> Sighting:
        if self._referred is None:
            raise RuntimeError("refer() must come before search()")
        view = View(context)
        return self._sighting(view, self._referred, self._search(view, self._referred, taken)[0])

    def state(self) -> State:
        return {
            "objects": self.objects.state(),
            "absent": self._absent and self._absent.state(),
            "decoder_calls": self.decoder_calls,
            "points": self._propagated and self._propagated.state(),
            "referred": self._referred and self._referred.state(),
            "plan": self._plan and asdict(self._plan),
        }

    def restore(self, context: FrameContext, state: State) -> None:
        objects, decoder_calls, points = (state[name] for name in ("objects", "decoder_calls", "points"))
        absent, referred = state.get("absent"), state.get("referred")  # which older states lack, as they do the plan
        if (points is None) != (self.options.points == "none"):
            raise ValueError(f"it was saved {'without' if points is None else 'with'} a point tracker")
        objects = Objects.restored(objects, context.device)
        absent = absent and Absent.restored(absent, context.device)
        referred = referred and Referred.restored(referred, context.device)
        propagated = None
        if points is not None:
            propagated = PropagatedPoints(load_point_tracker(self.options.points, context.device))
            propagated.restore(context.frame, points, context.device)
        self._settle_options(context.segmenter)
        self.objects, self._absent, self._referred, self._propagated = objects, absent, referred, propagated
        self.decoder_calls, self._plan = decoder_calls, Plan.restored(state.get("plan"))

    def _take(self, context: FrameContext, first_mask: FirstMask, given: bool = True) -> Objects:
        """Learn objects from a frame by their masks, which may be worn if they were given and not found."""
        masks = torch.tensor(first_mask.masks(), device=context.device)
        context.look_at(region_around(self._settled, context, tight_boxes(masks)))
        if given and self._settled.mend:
            masks = mended(context, first_mask)
        objects = self._learn(View(context), masks, tight_boxes(masks))
        if not given or context.region is None:  # found by references, which tell whether it is there again
            return objects
        whole = View(context.afresh())  # in which they are looked for once they are absent
        coverage = self._foreground(whole.features.geometry, masks)
        return replace(objects, likeness=weighted_mean(objects.confidence(whole), coverage))

    def _new_points(self, view: View, objects: Objects) -> Tensor:
        """Choose the points (N, P, 2) to propagate from a frame whose masks are given."""
        return inner_points(self._settled, view, objects, objects.confidence(view))

    def _keep_all_but(self, places: list[int]) -> None:
        """Drop some of ``objects``."""
        kept = torch.ones(len(self.objects), dtype=torch.bool, device=self.objects.boxes.device)
        kept[places] = False
        self.objects = self.objects.rows(kept)
        if self._propagated:
            self._propagated.keep(kept)

    def _give_up(self, rows: list[int], whole: Geometry) -> None:
        """Let objects be absent that were followed and are lost, so that they are looked for by their references."""
        if not rows:
            return
        places = places_of(rows, self._absent, len(self.objects))
        gone = self.objects.rows(places).forgotten(whole, -GIVEN_MASK_LOGIT)
        self._keep_all_but(places)
        self._absent = Absent(rows, gone, gone.likeness.new_zeros(len(gone))).with_others(self._absent)

    def _notice_returns(self, context: FrameContext, result: Result) -> None:
        """Follow absent objects again that the last look found and that the merged result shows."""
        look, self._look, absent = self._look, None, self._absent
        if look is None or absent is None:
            raise RuntimeError("observe() must come after step()")
        self._absent = absent.after(look)
        back, objects = absent.found(look, result, self._settled.box_trim)
        if objects.appearance is not None and back:
            memory = self._observed(look.view, objects).memory
            objects = replace(objects, appearance=replace(objects.appearance, last=memory))
        referred = self._referred and self._referred.pick(back)
        if referred is not None:
            for row in referred.rows:
                index = torch.tensor([back.index(row)], device=objects.boxes.device)
                objects = objects.with_rows(index, self._met_again(context, result, row, referred, objects.geometry))
        if back:
            self._take_back(back, objects, look.view)

    def _met_again(
        self, context: FrameContext, result: Result, row: int, referred: Referred, whole: Geometry
    ) -> Objects:
        """Learn an object that its references found, from them and from the frame in which it was found."""
        object_id = result.object_ids[row]
        labels = (result.labels == object_id) * np.uint8(object_id)
        fresh = self._take(context.afresh(), FirstMask(labels, (object_id,)), given=False).on(whole, -GIVEN_MASK_LOGIT)
        known = referred.one(row).objects.forgotten(whole, -GIVEN_MASK_LOGIT)
        both = joined_references([known, fresh])
        if both.appearance is not None and fresh.appearance is not None:
            seen = replace(both.appearance, last=fresh.appearance.last, seen=fresh.appearance.given)
            both = replace(both, appearance=seen)
        here = ("boxes", "found", "usual_area", "mask_logits", "course")
        return replace(both, **{name: getattr(fresh, name) for name in here})

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
