"""A first mask from boxes and points, made by the segmenter itself.

:meth:`vos.Session.segment` calls :func:`mask_from_hints`. Each object is decoded several times: the mask of
one round is the mask prompt of the next, and, for a segmenter that uses them, prior maps are made of it as
if it were the mask of the frame before (:mod:`vos.method`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..boxes import tight_boxes
from ..errors import InputError
from ..geometry import Region
from ..interfaces import FrameContext
from ..method import discriminant, matching, prior
from ..structures import FirstMask, Hint, Prompts

ROUNDS = 4
"""Number of decodings; each takes the mask of the one before."""

GUESS_LOGIT = 4.0
"""The first guess of a mask becomes low-res logits of plus or minus this."""

ROOM = 1.6
"""Length of the sides of the region that is encoded, as a multiple of the box's."""

LEAST_REGION = 0.15
"""Smallest length of the sides of that region, as a share of the frame's."""

TOUCHED = 1 / 30
"""Radius of the disc in which a point corrects a given mask, as a share of the frame's shorter side."""

POINT_BOX = 0.3
"""Sides of the box that stands for an object with points alone, as a share of the frame's."""

CONTRAST_SHARE = 0.5
"""Weight of the contrast against the discriminant in the prior maps; a discriminant alone believes any guess."""


def mask_from_hints(
    contexts: Sequence[FrameContext], hints: Sequence[Hint], object_ids: Sequence[int] | None = None
) -> FirstMask:
    """Segment each object from its box and points; where objects overlap, the larger logit wins.

    Args:
        contexts: of one frame, one for each object; a fresh one where the segmenter encodes a region for
            each object, else the same for all.
        hints: one for each object.
        object_ids: their ascending ids; None: they count from 1.

    Raises:
        InputError: a hint does not fit the frame, see :func:`fit_hints`, or no object is found there.
    """
    if not hints:
        raise InputError("neither a mask nor a box or point was given")
    object_ids = tuple(object_ids or range(1, len(hints) + 1))
    hints = fit_hints(hints, contexts[0].frame.size, object_ids)
    logits = torch.stack([_HintedObject(context, hint).logits() for context, hint in zip(contexts, hints, strict=True)])
    best, row = logits.max(dim=0)
    ids = torch.tensor(object_ids, dtype=torch.uint8, device=row.device)
    labels = torch.where(best > 0, ids[row], 0).cpu().numpy()
    for object_id, hint in zip(object_ids, hints, strict=True):
        if not (labels == object_id).any():
            raise InputError(
                f"object {object_id} ({_words(hint)}): no object was found there; give a box around it, or more points"
            )
    return FirstMask(labels, object_ids)


class _HintedObject:
    """Segments one object from its hint, in several rounds of decoding.

    Args:
        context: of the frame.
        hint: where the object is.
    """

    def __init__(self, context: FrameContext, hint: Hint) -> None:
        self._context = context
        self._hint = hint
        self._segmenter = context.segmenter
        self._device = context.segmenter.device
        self._size = context.frame.size
        self._given = self._given_mask()
        self._box = self._first_box()
        if self._segmenter.wants_last_mask:  # such a model is small: it sees more when the object fills its input
            context.look_at(Region.around(self._box, self._size, ROOM, LEAST_REGION))
        self._geometry = context.embedding.geometry

    def logits(self) -> Tensor:
        """Decode the object, (H, W) float, positive inside; negative outside of the encoded region."""
        prompts, guess = self._prompts(), self._first_guess()
        # The ellipse matches its surroundings too, so that prior maps are made of a given mask only at first.
        maps = None if guess is None or self._given is None else self._prior_maps(guess)
        decoded = self._decode(replace(prompts, mask_logits=guess, prior_maps=maps))
        for _ in range(1, ROUNDS):
            maps = self._prior_maps(decoded)
            decoded = self._decode(replace(prompts, mask_logits=decoded, prior_maps=maps))
            if prompts.boxes is None:
                box = tight_boxes(self._geometry.upsample(decoded[:, 0]) > 0, self._box)
                prompts = replace(prompts, boxes=box)
        return self._geometry.upsample(decoded[:, 0])[0]

    def _decode(self, prompts: Prompts) -> Tensor:
        """Decode once; return the low-res logits (1, 1, 4h, 4w) of the best mask."""
        masks = self._segmenter.decode(self._context.embedding, prompts, multimask=True)
        best = masks.scores.argmax(dim=1)
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
        first = matching.remember(features.values, matched)
        last = matching.remember(features.values, matched, background_block=2)
        confidence = prior.similarity(features.values, prior.prototype(features.values, matched))
        return matching.matching_maps(features.values, confidence, first, last, matched)

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


def fit_hints(
    hints: Sequence[Hint], frame_size: tuple[int, int], object_ids: Sequence[int] | None = None
) -> list[Hint]:
    """Clip boxes and points to a frame, as other tools write them a little beyond its edges.

    A box is cut at the edges of the frame. A point may lie outside by one pixel.

    Args:
        hints: one for each object.
        frame_size: (H, W) of the frame.
        object_ids: their ids, for messages; None: they count from 1.

    Raises:
        InputError: a hint says nothing, lies outside of the frame, is smaller than a pixel, has its edges in the
            wrong order, or is written in parts of the frame rather than in pixels.
    """
    ids = object_ids or range(1, len(hints) + 1)
    return [_Fitting(hint, object_id, frame_size).fitted() for object_id, hint in zip(ids, hints, strict=True)]


class _Fitting:
    """Clips one hint to the frame; see :func:`fit_hints`."""

    def __init__(self, hint: Hint, object_id: int, frame_size: tuple[int, int]) -> None:
        self._hint = hint
        self._object_id = object_id
        self._size = frame_size
        self._last = (frame_size[1] - 1.0, frame_size[0] - 1.0)  # x, y of the last pixel

    def fitted(self) -> Hint:
        """Return the hint as it fits the frame; raise an InputError if it does not."""
        hint, size = self._hint, self._size
        if hint.mask is not None and np.shape(hint.mask) != size:
            raise InputError(
                f"object {self._object_id}: its mask is {np.shape(hint.mask)} but the frame is {size} (H, W)"
            )
        if hint.box is None and hint.mask is None and not any(positive for *_, positive in hint.points):
            raise InputError(f"object {self._object_id}: it has neither a box nor a point inside it")
        points = tuple(self._point(*point) for point in hint.points)
        return replace(hint, box=None if hint.box is None else self._box(*hint.box), points=points)

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        if not all(math.isfinite(edge) for edge in (x0, y0, x1, y1)):
            raise self._error("its edges must be finite numbers")
        if max(abs(edge) for edge in (x0, y0, x1, y1)) <= 1 < min(self._last):
            raise self._error("it lies within the first pixel; pixels are wanted, not parts of the frame")
        if x0 >= x1 or y0 >= y1:
            raise self._error("a box is x0,y0,x1,y1 with x0 < x1 and y0 < y1, not a corner with width and height")
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise self._error("it is smaller than a pixel; pixels are wanted, not parts of the frame")
        left, top, right, bottom = max(x0, 0.0), max(y0, 0.0), min(x1, self._last[0]), min(y1, self._last[1])
        if left >= right or top >= bottom:
            raise self._error(f"the box {x0:g},{y0:g},{x1:g},{y1:g} lies outside of the {self._frame()}")
        return left, top, right, bottom

    def _point(self, x: float, y: float, inside: bool) -> tuple[float, float, bool]:
        whole = float(x).is_integer() and float(y).is_integer()
        if not whole and min(x, y) >= 0 and max(x, y) <= 1 < min(self._last):
            raise self._error(f"{x:g},{y:g} is within the first pixel; pixels are wanted, not parts of the frame")
        if not (-1 <= x <= self._last[0] + 1 and -1 <= y <= self._last[1] + 1):
            raise self._error(f"{x:g},{y:g} lies outside of the {self._frame()}")
        return self._clipped(x, 0), self._clipped(y, 1), inside

    def _clipped(self, value: float, axis: int) -> float:
        """Return a coordinate on the frame; one between its last pixel and its edge stays as it is."""
        return value if 0 <= value < self._last[axis] + 1 else min(max(value, 0.0), self._last[axis])

    def _frame(self) -> str:
        return f"{self._size[1]} x {self._size[0]} video"

    def _error(self, what: str) -> InputError:
        return InputError(f"object {self._object_id} ({_words(self._hint)}): {what}")


def _words(hint: Hint) -> str:
    """Write a hint for a message: ``box 10,10,90,50, point 5,5, point 7,9 outside``."""
    box = [] if hint.box is None else ["box " + ",".join(f"{edge:g}" for edge in hint.box)]
    points = [f"point {x:g},{y:g}" + ("" if inside else " outside") for x, y, inside in hint.points]
    return ", ".join(box + points)
