"""Looks for objects in a whole picture by their references: coarsely first, then close to each candidate.

1. The whole picture is compared with the references, and the objects are decoded in it.
2. A model that takes the last mask sees more when an object fills its input. So each candidate (the mask found, its
   main piece, and the surroundings of the best match) is encoded again from near by, unless it fills the picture, and
   decoded: first from its box alone, then by what the references say of the object, and this picture of what is
   around it.
3. The candidate whose features are most like those of the references wins, if its mask fits about as well as others
   do. That similarity is how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ...boxes import tight_boxes
from ...geometry import Geometry
from ...hinted import LEAST_REGION, ROOM, HintedObject
from ...references import PRESENT, Shown, Sighting
from ...regions import Region
from ...structures import Explanation, Hint, Tracked
from ...weights.presence import calibration_of
from .absence import CLEARER, EMPTY_LOGIT, Absent, Look, mixed, seen
from .decoded import Decoded
from .looks import View, evidence_of, region_around
from .objects import Objects
from .proposals import LEFT_OVER, Proposal, proposals_for
from .referred import Referred, kind_features, mean_inside, place_features, stacked, together
from .segmenting import GIVEN_MASK_LOGIT, Segmenting

FILLS = 0.8
"""Share of the picture's sides from which on a region is not encoded again: it would be hardly larger."""

SMALL = 0.5
"""Length of an object's longer side, as a share of the picture's, below which its reference is learned enlarged too."""

ENLARGED = 2.0
"""Length of the sides of that enlarged region, as a multiple of the object's."""

FURTHER = 1.5
"""How much longer a region that is followed must be than one from near by for a reference to be learned in it, too."""

SURE = 0.7
"""Likeness from which on no further candidate is looked at."""

CLOSER = 0.05
"""Likeness that a candidate that was decoded from near by may lack: its edges are finer."""

MASKED = 0.5
"""Weight of the predicted IoU against likeness: a mask that fits nothing is no object, whatever it looks like."""

DOUBLED = 0.08
"""Likeness that a candidate of twice the size may lack."""


@dataclass(frozen=True)
class Candidate:
    """One mask that may show the object.

    Attributes:
        logits: low-res logits (1, a, b).
        geometry: of the logits.
        likeness: similarity to the references of what is inside.
        score: IoU with the object that the decoder predicted.
        close: whether it was decoded from near by.
    """

    logits: Tensor
    geometry: Geometry
    likeness: float
    score: float
    close: bool = False

    def rank(self) -> float:
        """Return what the best candidate has most of: likeness, a mask that fits and, as a part looks alike, size."""
        pixels = float((self.logits > 0).sum()) * self.geometry.pixels_per_value(4)
        return self.likeness + MASKED * self.score + DOUBLED * math.log2(max(pixels, 1.0)) + CLOSER * self.close


class Searching(Segmenting):
    """Learns objects from references, and finds them in pictures."""

    def _referred_of(self, shown: Sequence[Shown]) -> Referred:
        """Learn the objects of references, whose pictures may have any size."""
        rows = sorted({each.row for each in shown})
        learned = [self._learn_references([each for each in shown if each.row == row]) for row in rows]
        objects = reduce(Objects.with_more, [each for each, *_ in learned])
        places = stacked([each for _, each, _, _ in learned])
        whole = stacked([each for _, _, each, _ in learned])
        near = stacked([each for *_, each in learned])
        return Referred.unseen(rows, objects, places, whole, near)

    def _learn_references(self, shown: Sequence[Shown]) -> tuple[Objects, Tensor, Tensor, Tensor]:
        """Learn one object from all of its references: the object, and features as in :class:`.Referred`."""
        zooms = bool(self._settled.zoom)
        views, masks = [], []
        near = []
        for each in shown:
            mask = torch.tensor(each.mask.masks(), device=each.context.device)
            box, size = tight_boxes(mask), each.context.frame.size
            views.append(View(each.context.afresh()))
            masks.append(mask)
            if not zooms:
                continue
            if _extent(box, size) < SMALL:
                views.append(View(each.context.afresh(Region.around(box, size, ENLARGED, LEAST_REGION))))
                masks.append(mask)
            region = Region.around(box, size, ROOM, LEAST_REGION)
            near.append((View(each.context.afresh(region)), mask))
            near.append((View(each.context.afresh(region, mirrored=True)), mask.flip(2)))
            followed = region_around(self._settled, each.context, box)
            if followed is not None and followed.area > FURTHER**2 * region.area:
                near.append((View(each.context.afresh(followed)), mask))
        whole = list(zip(views, masks, strict=True))
        objects = self._learn_together(whole)
        return (
            objects,
            torch.cat([_inside(place_features(view), view, mask) for view, mask in whole]),
            torch.cat([_inside(kind_features(view), view, mask) for view, mask in whole]),
            torch.cat([_inside(kind_features(view), view, mask) for view, mask in near or whole]),
        )

    def _learn_together(self, shown: Sequence[tuple[View, Tensor]]) -> Objects:
        """Learn one object from several views, given its mask (1, H, W) bool in each."""
        return self._put_together(shown, [self._learn(view, mask, tight_boxes(mask)) for view, mask in shown])

    def _put_together(self, shown: Sequence[tuple[View, Tensor]], parts: Sequence[Objects]) -> Objects:
        """Join what several views taught of one object, without a place."""
        first = shown[0][0].embedding.geometry
        return together([each.forgotten(first, -GIVEN_MASK_LOGIT) for each in parts])

    def _search(
        self, view: View, referred: Referred, taken: Tensor | None = None
    ) -> tuple[list[Candidate], Explanation]:
        """Find the best candidate of each object in a picture.

        Args:
            view: the whole picture.
            referred: the objects.
            taken: pixels that count no longer, (N, H, W) bool; None: there are none.

        Returns:
            The candidates, and what led to the masks that were decoded in the whole picture.
        """
        objects = referred.objects.forgotten(view.embedding.geometry, -GIVEN_MASK_LOGIT)
        decoded = self._decode(view, objects, options=self._settled.for_search(), taken=taken)
        logits = decoded.logits if taken is None else _without(decoded.logits, view.embedding.geometry, taken)
        best = []
        for row in range(len(objects)):
            one, own = referred.one(referred.rows[row]), None if taken is None else taken[row : row + 1]
            mask, score = logits[row : row + 1], float(decoded.scores[row])
            candidates: list[Candidate] = []
            for proposal in proposals_for(view, one, mask, own) if self._settled.zoom else ():
                candidates += self._close(view, one, proposal, score, own)
                if max(each.likeness for each in candidates) >= SURE:
                    break
            candidates = candidates or [self._judged(view, one, mask, score)]
            best.append(max(candidates, key=Candidate.rank))
        return best, decoded.explanation

    def _close(
        self, view: View, referred: Referred, proposal: Proposal, score: float, taken: Tensor | None
    ) -> list[Candidate]:
        """Look at a candidate from near by; judge the mask of the whole picture, too.

        Args:
            view: the whole picture.
            referred: one object.
            proposal: the candidate.
            score: of the mask of the whole picture.
            taken: see :meth:`_search`.
        """
        box, whole = proposal.box, proposal.logits
        region = Region.around(box, view.frame.size, ROOM, LEAST_REGION)
        fills = region.height >= FILLS * view.frame.size[0]
        close = View(view.context if fills else view.context.afresh(region))  # what is encoded already serves, ...
        geometry = close.embedding.geometry
        guess = whole  # ... and so does the mask that was decoded in it
        if not (fills and proposal.drawn):
            hint = Hint(box=tuple(box[0].tolist()))
            guess = HintedObject(close.context, hint, rounds=1, look=False).low_res_logits()
        decoded = self._decode_close(close, referred, box, guess, taken)
        logits = decoded.logits
        if taken is not None:
            logits = _without(logits, geometry, taken)
        return [
            replace(self._judged_close(view, close, referred, logits, geometry, float(decoded.scores[0])), close=True),
            self._judged_close(view, close, referred, whole, view.embedding.geometry, score),
        ]

    def _decode_close(
        self, close: View, referred: Referred, box: Tensor, guess: Tensor, taken: Tensor | None
    ) -> Decoded:
        """Decode a candidate from near by as if it had been followed there.

        What surrounds it here is known from the guess, and stands in for the surroundings in the references, which
        mean little in a picture from elsewhere.

        Args:
            close: what is near by.
            referred: one object.
            box: of the candidate, (1, 4).
            guess: low-res logits of its mask, (1, 4h, 4w).
            taken: see :meth:`_search`.
        """
        forgotten = referred.objects.forgotten(close.embedding.geometry, -GIVEN_MASK_LOGIT)
        last = guess[:, None].clamp(-GIVEN_MASK_LOGIT, GIVEN_MASK_LOGIT)
        objects, known = replace(forgotten, boxes=box, mask_logits=last), forgotten.appearance
        if known is not None:
            here = self._observed(close, objects)
            names = ("background", "background_weight", "background_place")
            surroundings = {name: getattr(here.memory, name) for name in names}
            first, seen = replace(known.first, **surroundings), evidence_of(close, here.moments)
            objects = replace(objects, appearance=replace(known, first=first, last=here.memory, seen=seen))
        return self._decode(close, objects, options=self._settled.for_search(), taken=taken)

    def _judged_close(
        self, view: View, close: View, referred: Referred, logits: Tensor, geometry: Geometry, score: float
    ) -> Candidate:
        """Judge a mask by how much its inside is like the references, in the whole picture and from near by."""
        if not (logits > 0).any():
            return Candidate(logits, geometry, -1.0, score)
        nearer = _alike(mean_inside(kind_features(close), logits, geometry), referred.with_look(referred.near))
        whole = _alike(mean_inside(kind_features(view), logits, geometry), referred.with_look(referred.whole))
        return Candidate(logits, geometry, float(nearer + whole) / 2, score)

    def _judged(self, view: View, referred: Referred, logits: Tensor, score: float) -> Candidate:
        """Judge a mask that was decoded in the whole picture; of a model without kinds, by its best patch (E.5)."""
        geometry = view.embedding.geometry
        if not (logits > 0).any():
            return Candidate(logits, geometry, -1.0, score)
        if view.embedding.coarse is None:
            likeness = best_similarity(view, referred.objects, logits, geometry)
        else:
            known = referred.with_look(referred.whole)
            likeness = _alike(mean_inside(kind_features(view), logits, geometry), known)
        return Candidate(logits, geometry, float(likeness), score)

    def _presence(self, view: View, candidates: Sequence[Candidate]) -> Tensor:
        """Return how sure it is that the candidates are the objects, (N,)."""
        likeness = torch.tensor([each.likeness for each in candidates], device=view.context.device)
        calibration = calibration_of(view.segmenter.name, view.context.encoder.name)
        return torch.where(likeness > -1, calibration.presence(likeness), 0)

    def _sighting(self, view: View, referred: Referred, candidates: Sequence[Candidate]) -> Sighting:
        """Put the candidates of all objects together at the picture's size."""
        logits = torch.cat([each.geometry.upsample(each.logits) for each in candidates])
        similarity = [
            best_similarity(view, referred.one(referred.rows[row]).objects, each.logits, each.geometry)
            for row, each in enumerate(candidates)
        ]
        return Sighting(logits, self._presence(view, candidates), torch.cat(similarity))

    def _still_there(self, view: View, referred: Referred, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Judge whether masks in a view of the frame, (N, 4h, 4w), still show the objects that were followed.

        They do as far as they look like the references; or as the objects did of late, when they were surely the ones:
        what turns, comes nearer or changes little by little may end up unlike any reference.

        Returns:
            How sure it is, (N,), and what is inside the masks, see :func:`.kind_features`, (N, C').
        """
        looks = mean_inside(kind_features(view), logits, view.embedding.geometry)
        presence = calibration_of(view.segmenter.name, view.context.encoder.name).presence
        by_references = presence(torch.maximum(_alike(looks, referred.near), _alike(looks, referred.whole)))
        as_of_late = referred.sure * presence((looks * referred.look).sum(1))
        there = (logits > 0).flatten(1).any(1)
        return torch.where(there, torch.maximum(by_references, as_of_late), 0), looks

    def _shown_anew(self, view: View, referred: Referred, rows: list[int], objects: Objects) -> Referred:
        """Learn what objects look like now that a user gave masks of these rows, which are seen in a view."""
        own = [row for row in rows if row in referred.rows]
        if not own or view.embedding.coarse is None:
            return referred
        logits = objects.mask_logits[[rows.index(row) for row in own], 0]
        looks = mean_inside(kind_features(view), logits, objects.geometry)
        return referred.followed(own, looks, looks.new_ones(len(own)), rate=1.0)

    def _looked_for(
        self, view: View, absent: Absent, referred: Referred, followed: Tracked | None, known: Tensor | None
    ) -> Look:
        """Look for absent objects of which some have references, see :meth:`.Absent.look`.

        Args:
            view: the whole frame.
            absent: the objects.
            referred: those that have references, all of them absent.
            followed: the masks of the other objects.
            known: pixels of those of the others that have references, too, (H, W) bool, which are taken; None: none.
        """
        taken = None if known is None else known.expand(len(referred.rows), -1, -1)
        candidates, explanation = self._search(view, referred, taken)
        whole = view.embedding.geometry
        logits = torch.cat(
            [whole.resample(each.logits[:, None], each.geometry, outside=EMPTY_LOGIT)[:, 0] for each in candidates]
        )
        presence = self._presence(view, candidates)
        places = [absent.rows.index(row) for row in referred.rows]
        found = (presence >= PRESENT) & (presence >= absent.mistaken[places] + CLEARER)
        own = seen(view, logits, presence, presence, found, explanation)
        rest = absent.without(referred.rows, close_up=False)
        if rest is None:
            return own
        others = rest.look(view, self._decode(view, rest.objects), followed)
        return mixed(others, own, places)


def best_similarity(view: View, objects: Objects, logits: Tensor, geometry: Geometry) -> Tensor:
    """Return the largest confidence (eq. 6) inside a mask, (1,); -1 for an empty one."""
    own = view.features.geometry
    inside = own.resample((logits[:, None] > 0).to(logits.dtype), geometry, outside=0.0)
    covered = F.adaptive_max_pool2d(inside, own.grid)[:, 0] > 0
    return objects.confidence(view).masked_fill(~covered, -1).flatten(1).amax(1)


def _inside(features: tuple[Tensor, Geometry], view: View, mask: Tensor) -> Tensor:
    """Average features of a reference over the inside of its mask (1, H, W) bool, (1, C)."""
    geometry = view.embedding.geometry
    height, width = geometry.grid
    return mean_inside(features, geometry.mask_logits(mask, (4 * height, 4 * width), 1.0)[:, 0], geometry)


def _alike(features: Tensor, references: Tensor) -> Tensor:
    """Return the largest cosine of each feature (N, C) with the object's references (N, K, C), (N,)."""
    return torch.einsum("nc,nkc->nk", features, references).amax(1)


def _extent(box: Tensor, size: tuple[int, int]) -> float:
    """Return how much of a picture of (H, W) the longer side of a box (1, 4) takes."""
    left, top, right, bottom = box[0].tolist()
    return max((right - left + 1) / size[1], (bottom - top + 1) / size[0])


def _without(logits: Tensor, geometry: Geometry, taken: Tensor) -> Tensor:
    """Empty low-res logits (N, a, b) where pixels (N, H, W) are taken; all of them if little is left."""
    there = geometry.mask_logits(taken, (logits.shape[1], logits.shape[2]), 1.0)[:, 0] > 0
    before, left = ((each > 0).flatten(1).sum(1) for each in (logits, torch.where(there, -1, logits)))
    gone = there | (left < (1 - LEFT_OVER) * before)[:, None, None]
    return torch.where(gone, -logits.abs(), logits)
