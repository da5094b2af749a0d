"""A first mask from boxes and points, made by the segmenter itself.

:meth:`vos.Session.segment` calls :func:`mask_from_hints`; :mod:`vos.hinted` makes the mask of each object.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..boxes import tight_box
from ..errors import InputError
from ..hinted import HintedObject, mean_of_looks
from ..interfaces import FrameContext
from ..structures import MAX_OBJECT_ID, FirstMask, Hint


def mask_from_hints(
    contexts: Sequence[FrameContext], hints: Sequence[Hint] | Hint, object_ids: Sequence[int] | None = None
) -> FirstMask:
    """Segment each object from its box and points; where objects overlap, the larger logit wins.

    A box always gives a mask, if the segmenter takes a guess: where it sees nothing, that is the ellipse in the box.

    Args:
        contexts: of one frame, one for each object; a fresh one where the segmenter encodes a region for
            each object, else the same for all.
        hints: one for each object.
        object_ids: their ascending ids, 1 to 255; None: they count from 1.

    Raises:
        InputError: the ids are others, a hint does not fit the frame, see :func:`fit_hints`, or no object is found
            there.
    """
    hints = list_of_hints(hints)
    if not hints:
        raise InputError("neither a mask nor a box or point was given")
    object_ids = _checked_ids(object_ids, len(hints))
    hints = fit_hints(hints, contexts[0].frame.size, object_ids)
    logits = torch.stack([_logits(context, hint) for context, hint in zip(contexts, hints, strict=True)])
    best, row = logits.max(dim=0)
    ids = torch.tensor(object_ids, dtype=torch.uint8, device=row.device)
    labels = torch.where(best > 0, ids[row], 0).cpu().numpy()
    for object_id, hint in zip(object_ids, hints, strict=True):
        if not (labels == object_id).any():
            raise InputError(
                f"object {object_id} ({_words(hint)}): no object was found there; give a box around it, or more points"
            )
    return FirstMask(labels, object_ids)


def list_of_hints(hints: object) -> list[Hint]:
    """List hints; a single one is that of one object.

    Raises:
        InputError: it is something else.
    """
    listed: list[Any] = list(hints) if isinstance(hints, Iterable) else [hints]
    wrong = [each for each in listed if not isinstance(each, Hint)]
    if wrong:
        raise InputError(f"hints are vos.Hint objects, one for each object, not {type(wrong[0]).__name__}")
    return listed


def _checked_ids(object_ids: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return the ids of so many objects; raise an InputError for any that a first mask cannot have."""
    ids = tuple(range(1, count + 1) if object_ids is None else object_ids)
    numbers = all(isinstance(each, Integral) and 1 <= each <= MAX_OBJECT_ID for each in ids)
    if len(ids) != count or not numbers or any(one >= other for one, other in pairwise(ids)):
        raise InputError(f"object_ids: {count} ascending numbers from 1 to {MAX_OBJECT_ID} are wanted, not {ids}")
    return tuple(int(each) for each in ids)


def _logits(context: FrameContext, hint: Hint) -> Tensor:
    """Decode one object, (H, W); take the guess instead if there is a box and the mask is empty."""
    if not context.segmenter.wants_last_mask or hint.mask is not None:
        logits = HintedObject(context, hint).logits()
    else:
        logits = mean_of_looks(context, hint)
        if hint.box is None and (box := _box_of(logits)):  # what points showed from afar is seen again from near by
            nearer = mean_of_looks(context, replace(hint, box=box))
            logits = nearer if (nearer > 0).any() else logits
    if hint.box is None or (logits > 0).any():
        return logits
    guess = HintedObject(context, hint).guess()
    return logits if guess is None else guess


def _box_of(logits: Tensor) -> tuple[float, float, float, float] | None:
    """Return the box of a mask (H, W) for a hint; None if it is empty or a line."""
    box = tight_box((logits > 0).cpu().numpy())
    return None if box is None or box[0] == box[2] or box[1] == box[3] else box


def fit_hints(
    hints: Sequence[Hint] | Hint, frame_size: tuple[int, int], object_ids: Sequence[int] | None = None
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
    hints = list_of_hints(hints)
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
