"""One object from a hint: a box, points or a mask that is about right; decoded in several rounds.

Each round takes the mask of the one before as its prompt; for a segmenter that uses them, prior maps are made of it as
if it were the mask of the frame before (:mod:`vos.method`). The engine makes first masks so, and PerSAM the masks of
what references show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import tight_boxes
from .interfaces import FrameContext
from .method import discriminant, matching, prior
from .regions import Region
from .structures import Hint, Prompts

ROUNDS = 2
"""Number of decodings; each takes the mask of the one before. For points alone one more: the first finds a box."""

GUESS_LOGIT = 4.0
"""The first guess of a mask becomes low-res logits of plus or minus this."""

ROOM = 1.6
"""Length of the sides of the region that is encoded, as a multiple of the box's."""

OTHER_ROOMS = (1.3, 2.2)
"""Further lengths of that region in :func:`mean_of_looks`."""

PART = 0.8
"""Sides of the parts of a box, one at each corner, that :func:`mean_of_looks` sees from near by, as a share of its."""

PART_ROOM = 1.15
"""Length of the sides of the region that is encoded for a part, as a multiple of the part's."""

PART_WEIGHT = 2.0
"""Weight of the look at a part in the mean, against the mean of all looks at the whole."""

PART_PIXELS = 50
"""Pixels of an object that a part must show to be looked at."""

MOST_SURE = 8.0
"""Largest magnitude of a logit that counts in the mean of several looks."""

LEAST_REGION = 0.15
"""Smallest length of the sides of that region, as a share of the frame's."""

TOUCHED = 1 / 30
"""Radius of the disc in which a point corrects a given mask, as a share of the frame's shorter side."""

POINT_BOX = 0.45
"""Sides of the box that stands for an object with points alone, as a share of the frame's."""

CONTRAST_SHARE = 0.5
"""Weight of the contrast against the discriminant in the prior maps; a discriminant alone believes any guess."""


class HintedObject:
    """Segments one object from its hint, in several rounds of decoding.

    Args:
        context: of the frame.
        hint: where the object is.
        rounds: number of decodings, see :data:`ROUNDS`.
        room: see :data:`ROOM`.
        look: choose the region to encode; False: take the context as it is.
    """

    def __init__(
        self, context: FrameContext, hint: Hint, rounds: int = ROUNDS, room: float = ROOM, look: bool = True
    ) -> None:
        self._rounds = rounds + (hint.box is None and hint.mask is None)
        self._context = context
        self._hint = hint
        self._segmenter = context.segmenter
        self._device = context.segmenter.device
        self._size = context.frame.size
        self._given = self._given_mask()
        self._box = self._first_box()
        if (
            look and self._segmenter.wants_last_mask
        ):  # such a model is small: it sees more when the object fills its input
            context.look_at(Region.around(self._box, self._size, room, LEAST_REGION))
        self._geometry = context.embedding.geometry

    def logits(self) -> Tensor:
        """Decode the object, (H, W) float, positive inside; negative outside of the encoded region."""
        return self._geometry.upsample(self.low_res_logits())[0]

    def guess(self) -> Tensor | None:
        """Return what stands for the mask before it is decoded, (H, W) logits; None if the segmenter takes no guess."""
        guess = self._first_guess()
        return None if guess is None else self._geometry.upsample(guess[:, 0])[0]

    def low_res_logits(self) -> Tensor:
        """Decode the object on the grid of the encoded region, (1, 4h, 4w)."""
        prompts, guess = self._prompts(), self._first_guess()
        # The ellipse matches its surroundings too, so that prior maps are made of a given mask only at first.
        maps = None if guess is None or self._given is None else self._prior_maps(guess)
        decoded = self._decode(replace(prompts, mask_logits=guess, prior_maps=maps))
        for _ in range(1, self._rounds):
            maps = self._prior_maps(decoded)
            decoded = self._decode(replace(prompts, mask_logits=decoded, prior_maps=maps))
            if prompts.boxes is None:
                box = tight_boxes(self._geometry.upsample(decoded[:, 0]) > 0, self._box)
                prompts = replace(prompts, boxes=box)
        return decoded[:, 0]

    def _decode(self, prompts: Prompts) -> Tensor:
        """Decode once; return the low-res logits (1, 1, 4h, 4w) of the best mask that is not empty, if there is one."""
        masks = self._segmenter.decode(self._context.embedding, prompts, multimask=True)
        empty = (masks.low_res_logits <= 0).flatten(2).all(2)
        best = masks.scores.masked_fill(empty, -torch.inf).argmax(dim=1)
        return masks.low_res_logits[:, best[0]][:, None].clamp(-20, 20)

    def _given_mask(self) -> Tensor | None:
        """Take the hint's mask, corrected around its points, (1, H, W) bool; None if it has none."""
        if self._hint.mask is None:
            return None
        return torch.tensor(_touched_up(self._hint.mask, self._hint.points), device=self._device)[None]

    def _first_box(self) -> Tensor:
        """Find the box to start from, (1, 4) float: the hint's, that of its mask, or one around its points."""
        height, width = self._size
        edges = self._hint.box or _box_around(self._hint, width, height)
        box = torch.tensor([edges], device=self._device, dtype=torch.float32)
        return box if self._given is None or self._hint.box is not None else tight_boxes(self._given, box)

    def _prompts(self) -> Prompts:
        """Make prompts of the hint; a model with mask prompts gets a point in the middle of a box alone."""
        points = torch.tensor([[(x, y) for x, y, _ in self._hint.points]], device=self._device).view(1, -1, 2)
        labels = torch.tensor([[int(inside) for *_, inside in self._hint.points]], device=self._device).view(1, -1)
        if not self._hint.points and self._segmenter.wants_last_mask:
            points = (self._box[:, None, :2] + self._box[:, None, 2:]) / 2
            labels = torch.ones(1, 1, dtype=torch.long, device=self._device)
        return Prompts(points.float(), labels, self._box if self._hint.box else None)

    def _first_guess(self) -> Tensor | None:
        """Make low-res logits (1, 1, 4h, 4w) of the given mask or of the ellipse in the box.

        None: there is no mask, and the segmenter has no use for a guess.
        """
        mask = self._given
        if mask is None:
            if not (self._segmenter.wants_last_mask or self._segmenter.wants_prior_maps):
                return None
            mask = _ellipse(self._box, *self._size)
        height, width = self._geometry.grid
        return self._geometry.mask_logits(mask, (4 * height, 4 * width), GUESS_LOGIT)

    def _prior_maps(self, guess: Tensor) -> Tensor | None:
        """Make prior maps (1, K, h, w) as if the guess were the mask of the frame before; None if none are used."""
        if not self._segmenter.wants_prior_maps:
            return None
        coverage = F.avg_pool2d(guess.sigmoid(), 4)
        maps = self._geometry.resample(self._matching_maps(coverage), self._context.features.geometry)
        return matching.prior_maps(maps, self._separating_maps(coverage), CONTRAST_SHARE)

    def _matching_maps(self, coverage: Tensor) -> Tensor:
        """Match the frame with itself, given the object's coverage (1, 1, h, w) of the embedding's patches."""
        features = self._context.features
        matched = features.geometry.resample(coverage, self._geometry)[:, 0]
        places = features.places()
        first = matching.remember(features.values, matched, places)
        last = matching.remember(features.values, matched, places, background_block=2)
        confidence = prior.similarity(features.values, prior.prototype(features.values, matched))
        boxes = tight_boxes(self._geometry.upsample(coverage[:, 0]) > 0.5, self._box)
        spread = matching.spread(boxes, torch.ones_like(boxes[:, 0], dtype=torch.bool), self._size)
        return matching.matching_maps(features.values, confidence, first, last, matched, places, spread)

    def _separating_maps(self, coverage: Tensor) -> Tensor:
        """Set the object apart from the rest of the frame, (1, 2, h, w) in [0, 1]; points overrule the coverage."""
        coverage, rivals = coverage[:, 0].clone(), torch.zeros_like(coverage[:, 0])
        for x, y, inside in self._hint.points:
            column, line = self._geometry.cells_of(coverage.new_tensor([x, y]))
            coverage[:, line, column] = float(inside)
            rivals[:, line, column] = float(not inside)
        on_frame = self._geometry.inside().to(coverage)[None]
        own, against, everything = (
            discriminant.moments(self._samples, (on_frame * weight).flatten(1))
            for weight in (coverage, rivals, on_frame)
        )
        given = discriminant.evidence(own, everything - own, against)
        return discriminant.maps(self._samples, self._geometry.grid, given, given)

    @cached_property
    def _samples(self) -> Tensor:
        return discriminant.samples(self._context.embedding.values)


def mean_of_looks(context: FrameContext, hint: Hint) -> Tensor:
    """Decode one object in several looks at a frame: mirrored, and, if a box tells its size, from nearer and further.

    With a box, its parts are then seen from near by, prompted by the mask so far.

    Args:
        context: of the frame; its segmenter takes last masks, see :class:`vos.interfaces.Segmenter`.
        hint: a box or points, no mask.

    Returns:
        Mean logits (H, W), positive inside.
    """
    mirrored = HintedObject(context.afresh(mirrored=True), _mirrored(hint, context.frame.size[1])).logits().flip(1)
    rooms = (ROOM, *OTHER_ROOMS) if hint.box is not None else (ROOM,)
    looks = [mirrored, *(HintedObject(context.afresh(), hint, room=room).logits() for room in rooms)]
    mean = torch.stack(looks).clamp(-MOST_SURE, MOST_SURE).mean(0)
    return mean if hint.box is None else _with_parts(context, hint, hint.box, mean)


def _with_parts(context: FrameContext, hint: Hint, box: tuple[float, float, float, float], logits: Tensor) -> Tensor:
    """Look at the parts of an object's box from near by; return the mean with what the whole showed, (H, W) logits."""
    left, top, right, bottom = box
    width, height = PART * (right - left), PART * (bottom - top)
    mask, total, weight = (logits > 0).cpu().numpy(), logits.clone(), torch.ones_like(logits)
    for x, y in ((left, top), (right - width, top), (left, bottom - height), (right - width, bottom - height)):
        shown = np.s_[int(y) : int(y + height) + 1, int(x) : int(x + width) + 1]
        if np.count_nonzero(mask[shown]) < PART_PIXELS:
            continue
        points = tuple(point for point in hint.points if x <= point[0] <= x + width and y <= point[1] <= y + height)
        part = Hint((x, y, x + width, y + height), points, mask)
        seen = HintedObject(context.afresh(), part, room=PART_ROOM).logits()[shown]
        total[shown] += PART_WEIGHT * seen.clamp(-MOST_SURE, MOST_SURE)
        weight[shown] += PART_WEIGHT
    return total / weight


def _mirrored(hint: Hint, width: int) -> Hint:
    """Turn a hint over, left to right, in a frame of so many columns."""
    points = tuple((width - 1 - x, y, inside) for x, y, inside in hint.points)
    if hint.box is None:
        return Hint(points=points)
    left, top, right, bottom = hint.box
    return Hint((width - 1 - right, top, width - 1 - left, bottom), points)


def _ellipse(box: Tensor, height: int, width: int) -> Tensor:
    """Draw the ellipse that a box (1, 4) encloses, (1, H, W) bool: few objects fill their corners."""
    (left, top), (right, bottom) = box[0, :2], box[0, 2:]
    y = torch.arange(height, device=box.device)[:, None]
    x = torch.arange(width, device=box.device)
    across = (x - (left + right) / 2) / ((right - left + 1) / 2)
    along = (y - (top + bottom) / 2) / ((bottom - top + 1) / 2)
    return (across**2 + along**2 <= 1)[None]


def _touched_up(mask: np.ndarray, points: Sequence[tuple[float, float, bool]]) -> np.ndarray:
    """Copy a mask (H, W) bool with a disc around each point, filled or cut out."""
    mask = np.array(mask, dtype=bool)
    ys, xs = np.ogrid[: mask.shape[0], : mask.shape[1]]
    for x, y, inside in points:
        mask[(xs - x) ** 2 + (ys - y) ** 2 <= (TOUCHED * min(mask.shape)) ** 2] = inside
    return mask


def _box_around(hint: Hint, width: int, height: int) -> tuple[float, ...]:
    """Make a box for an object of which only points are known: around the positive ones, with room."""
    inside = [(x, y) for x, y, positive in hint.points if positive] or [(width / 2, height / 2)]
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    room_x, room_y = POINT_BOX * width / 2, POINT_BOX * height / 2
    return (
        max(0.0, min(xs) - room_x),
        max(0.0, min(ys) - room_y),
        min(width - 1.0, max(xs) + room_x),
        min(height - 1.0, max(ys) + room_y),
    )
