"""Objects that were said to be gone: what is still known of them, and what it takes to find them again.

The tracker keeps one :class:`Absent` while there are such objects. They are looked for in the whole frame. The other
objects are followed as if these did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry import Geometry
from ...state_file import State
from ...structures import Explanation, Masks, Prompts, Result, Tracked
from .boxes import trimmed_boxes
from .decoded import Decoded
from .looks import View
from .objects import Objects, weighted_mean

FOUND = 0.72
"""Evidence from which on an object counts as found, see :func:`evidence_for`."""

CLEARER = 0.1
"""By how much the evidence must exceed that of frames without the object."""

FADING = 0.5
"""Share by which the evidence of such frames falls towards a frame that has less of it."""

EMPTY_LOGIT = -8.0
"""Low-res logits of an object that is absent."""


@dataclass(frozen=True)
class Look:
    """What was seen of M absent objects in one frame.

    Attributes:
        view: the whole frame.
        logits: low-res logits, (M, 4h, 4w); negative everywhere for those not found.
        scores: (M,); for those not found 0, or with references how sure it is that they are there.
        evidence: see :func:`evidence_for`, (M,).
        found: (M,) bool.
        explanation: what led to the masks.
    """

    view: View
    logits: Tensor
    scores: Tensor
    evidence: Tensor
    found: Tensor
    explanation: Explanation


@dataclass(frozen=True)
class Absent:
    """M objects that were said to be gone and have not been found since.

    Attributes:
        rows: their rows among all objects, ascending.
        objects: the objects, from :meth:`.Objects.forgotten`.
        mistaken: evidence that frames without the object gave for it, (M,) in [0, 1].
    """

    rows: list[int]
    objects: Objects
    mistaken: Tensor

    def others(self, count: int) -> list[int]:
        """Return the rows of the objects, ``count`` in all, that are not absent."""
        return [row for row in range(count) if row not in self.rows]

    def on(self, geometry: Geometry) -> Absent:
        """Return the same with the logits on another geometry."""
        return replace(self, objects=self.objects.on(geometry, outside=EMPTY_LOGIT))

    def pick(self, rows: list[int]) -> Objects:
        """Return the objects of these rows, which must be absent."""
        return self.objects.rows([self.rows.index(row) for row in rows])

    def with_others(self, others: Absent | None) -> Absent:
        """Add objects that were absent before."""
        if others is None:
            return self
        rows = self.rows + others.rows
        order = sorted(range(len(rows)), key=rows.__getitem__)
        objects = self.objects.with_more(others.on(self.objects.geometry).objects).rows(order)
        return Absent(sorted(rows), objects, torch.cat([self.mistaken, others.mistaken])[order])

    def without(self, rows: list[int], close_up: bool = True) -> Absent | None:
        """Drop the objects of these rows; None if no object is left.

        Args:
            rows: of any objects.
            close_up: renumber the rows that are left, as the objects of ``rows`` are no more.
        """
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        left = [self.rows[index] for index in kept]
        if close_up:
            left = [row - sum(gone < row for gone in rows) for row in left]
        return Absent(left, self.objects.rows(kept), self.mistaken[kept]) if kept else None

    def look(self, view: View, decoded: Decoded, followed: Tracked | None) -> Look:
        """Judge what was decoded in a frame: is it the object?

        It is, if the evidence is strong, and clearly stronger than what frames without the object gave: a mask that
        goes on where it was wrong is not found again.

        Args:
            view: the whole frame.
            decoded: the masks of these objects in it.
            followed: the masks of the other objects, whose pixels are no evidence.
        """
        claimed = None
        if followed is not None and followed.geometry is not None:
            geometry = view.embedding.geometry
            others = geometry.resample(followed.logits[:, None], followed.geometry, outside=EMPTY_LOGIT)
            claimed = others[:, 0].amax(0) > 0
        evidence = evidence_for(self.objects, view, decoded, claimed)
        found = (evidence >= FOUND) & (evidence >= self.mistaken + CLEARER)
        scores = torch.where(found, decoded.scores.clamp(0, 1), 0)
        return seen(view, decoded.logits, scores, evidence, found, decoded.explanation)

    def after(self, look: Look) -> Absent:
        """Return the same after a look; what was mistaken for an object is slowly forgotten once it is not seen."""
        less = look.evidence < self.mistaken
        return replace(self, mistaken=self.mistaken.lerp(look.evidence, FADING * less))

    def found(self, look: Look, result: Result, box_trim: float) -> tuple[list[int], Objects]:
        """Return the rows of the objects that a look found and that the merged result shows, and the objects.

        Args:
            look: at these objects.
            result: of all objects.
            box_trim: see :class:`.PerSamOptions`.
        """
        seen = look.found.tolist()
        rows = [row for row, found in zip(self.rows, seen, strict=True) if found and result.areas[row]]
        boxes = trimmed_boxes(part_of(result, rows), box_trim)
        logits = look.logits[[self.rows.index(row) for row in rows]]
        objects = self.on(look.view.embedding.geometry).pick(rows)
        return rows, objects.found_at(boxes, result.areas[rows], logits)

    def state(self) -> State:
        """Return the absent objects as a dictionary, see :mod:`vos.state_file`."""
        return {"rows": self.rows, "objects": self.objects.state(), "mistaken": self.mistaken}

    @classmethod
    def restored(cls, state: State, device: torch.device) -> Absent:
        """Make them from what :meth:`state` returned."""
        return cls(list(state["rows"]), Objects.restored(state["objects"], device), state["mistaken"].to(device))


def seen(view: View, logits: Tensor, scores: Tensor, evidence: Tensor, found: Tensor, explanation: Explanation) -> Look:
    """Make a look, in which objects that were not found have empty masks; see :class:`Look` for the arguments."""
    return Look(view, torch.where(found[:, None, None], logits, EMPTY_LOGIT), scores, evidence, found, explanation)


def mixed(others: Look, own: Look, places: list[int]) -> Look:
    """Join two looks at a frame: ``own`` gets these places among all; only ``others`` are explained."""
    return Look(
        own.view,
        in_order(places, others.logits, own.logits),
        in_order(places, others.scores, own.scores),
        in_order(places, others.evidence, own.evidence),
        in_order(places, others.found, own.found),
        _with_blanks(others.explanation, places, others.explanation.geometry),
    )


def evidence_for(objects: Objects, view: View, decoded: Decoded, claimed: Tensor | None = None) -> Tensor:
    """Measure how clearly masks show their objects, (N,) in [0, 1].

    It is the mean probability inside the mask, times how much the object's features there are like those of the given
    mask. An empty mask is no evidence.

    Args:
        objects: that were looked for.
        view: the whole frame.
        decoded: their masks in it.
        claimed: low-res pixels of other objects, which are certainly not these, (4h, 4w) bool.
    """
    inside = (decoded.logits > 0).to(decoded.logits.dtype)
    certain = decoded.logits.sigmoid() if claimed is None else decoded.logits.sigmoid() * ~claimed
    features, confidence = view.features.geometry, decoded.explanation.confidence
    coverage = features.resample(F.avg_pool2d(inside[:, None], 4), view.embedding.geometry)[:, 0]
    share = weighted_mean(confidence, coverage) / objects.likeness.clamp_min(1e-6)
    share = torch.where(objects.likeness > 0, share, 1).clamp(0, 1)
    return weighted_mean(certain, inside) * share


def places_of(rows: list[int], absent: Absent | None, followed: int) -> list[int]:
    """Return where these rows are among the ``followed`` objects that are not absent; absent rows have no place."""
    if absent is None:
        return rows
    others = absent.others(followed + len(absent.rows))
    return [others.index(row) for row in rows if row in others]


def part_of(result: Result, rows: list[int]) -> Result:
    """Return a result with some of its objects alone; the labels keep all."""
    ids = tuple(result.object_ids[row] for row in rows)
    return replace(
        result, object_ids=ids, boxes=result.boxes[rows], areas=result.areas[rows], scores=result.scores[rows]
    )


def together(followed: Tracked | None, rows: list[int], look: Look) -> Tracked:
    """Join the answers for the objects that are followed and for the absent ones.

    Args:
        followed: of the objects that are not absent; None: there are none.
        rows: of the absent objects among all.
        look: at the absent objects.
    """
    whole = look.view.embedding.geometry
    if followed is None:
        return Tracked(look.logits, look.scores, whole, look.explanation)
    others, geometry = followed.logits, followed.geometry
    own = look.logits.new_full((len(rows), *others.shape[1:]), EMPTY_LOGIT)
    if look.found.any():  # perhaps outside of the region that shows the others
        others, own, geometry = followed.full_size(), whole.upsample(look.logits), None
    explanation = followed.explanation and _with_blanks(followed.explanation, rows, followed.geometry)
    return Tracked(in_order(rows, others, own), in_order(rows, followed.scores, look.scores), geometry, explanation)


def in_front(tracked: Tracked, found: list[int], referred: list[int]) -> Tracked:
    """Give pixels that both want to an object that its references found, not to one that has no references.

    Args:
        tracked: all objects.
        found: rows of the objects that were looked for by their references.
        referred: rows of all objects that have references.
    """
    logits = tracked.full_size()
    taken = (logits[found] > 0).any(0)
    others = [row for row in range(len(logits)) if row not in referred]
    logits = logits.clone()
    logits[others] = torch.where(taken, -logits[others].abs(), logits[others])
    return replace(tracked, logits=logits, geometry=None)


def in_order(rows: list[int], others: Tensor, own: Tensor) -> Tensor:
    """Join the values of the objects that are followed with those of the absent ones, which get these rows."""
    count = len(rows) + len(others)
    order = torch.tensor([row for row in range(count) if row not in rows] + rows, device=own.device).argsort()
    return torch.cat([others, own])[order]


def _with_blanks(explanation: Explanation, rows: list[int], geometry: Geometry | None) -> Explanation:
    """Add objects that are not explained, at these rows; ``geometry`` is that of the explanation's masks."""

    def grown(values: Tensor, blank: float) -> Tensor:
        return in_order(rows, values, values.new_full((len(rows), *values.shape[1:]), blank))

    prompts, masks, weights = explanation.prompts, explanation.masks, explanation.weights
    boxes = None if prompts.boxes is None else grown(prompts.boxes, 0)
    return Explanation(
        grown(explanation.confidence, -1),
        explanation.prior_geometry,
        Prompts(grown(prompts.points, 0), grown(prompts.point_labels, -1), boxes),
        Masks(grown(masks.low_res_logits, EMPTY_LOGIT), grown(masks.scores, 0)),
        None if weights is None else grown(weights, 0),
        geometry,
    )
