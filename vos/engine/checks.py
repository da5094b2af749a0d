"""Checks of what a session is given: frames and masks by its caller, and masks by its tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import array_of, bool_mask
from ..errors import InputError, PluginError
from ..structures import MAX_OBJECT_ID, FirstMask, Frame, Hint, Result, Tracked, first_mask_from_array
from .merge import result_of_labels

ROUNDING = 1e-3
"""By how much a tracker's score may lie outside of [0, 1]."""


def checked_frame(frame: Any, size: tuple[int, int] | None = None) -> Frame:
    """Return a frame.

    Args:
        frame: what the caller gave.
        size: (H, W) of the frames before; None: it is the first.

    Raises:
        InputError: it is no frame, or has another size.
    """
    if not isinstance(frame, Frame):
        raise InputError(f"a frame is wanted, vos.Frame(index, time_s, rgb), not {_kind(frame)}")
    if size is not None and frame.size != size:
        raise InputError(f"frame {frame.index} is {frame.size} but the first was {size} (H, W)")
    return frame


def checked_first_mask(frame: Frame, first_mask: Any, may_be_empty: bool) -> FirstMask:
    """Make a first mask of what the caller gave.

    Args:
        frame: on which the objects are.
        first_mask: a :class:`~vos.structures.FirstMask`, or labels (H, W) as an array, a tensor or a picture.
        may_be_empty: there are references, so none of the objects need be on the frame.

    Raises:
        InputError: it is nothing of these, has another size than the frame, or no object.
    """
    if not isinstance(first_mask, FirstMask):
        first_mask = _first_mask_of(first_mask, may_be_empty)
    if first_mask.labels.shape != frame.size:
        raise InputError(f"the first mask is {first_mask.labels.shape} but the frame is {frame.size} (H, W)")
    if not first_mask.object_ids and not may_be_empty:
        raise InputError("first mask: it is empty, and there is no reference to look for objects by")
    return first_mask


def _first_mask_of(labels: Any, may_be_empty: bool) -> FirstMask:
    if isinstance(labels, Hint) or (isinstance(labels, Sequence) and any(isinstance(each, Hint) for each in labels)):
        raise InputError("first mask: hints were given; make a mask of them by segment(frame, hints) first")
    if isinstance(labels, (str, bytes, Sequence)):
        raise InputError(f"first mask: labels (H, W) or a FirstMask are wanted, not {_kind(labels)}")
    labels = array_of(labels)
    if may_be_empty and labels.ndim == 2 and not labels.any():
        return FirstMask(labels.astype(np.uint8), ())
    return first_mask_from_array(labels)


def checked_id(object_id: Any) -> int:
    """Return an object id.

    Raises:
        InputError: it is no integer from 1 to 255.
    """
    if isinstance(object_id, bool) or not isinstance(object_id, (int, np.integer)):
        raise InputError(f"object {object_id!r}: the number must be an integer")
    if not 1 <= object_id <= MAX_OBJECT_ID:
        raise InputError(f"object {object_id}: numbers are 1 to {MAX_OBJECT_ID}")
    return int(object_id)


def one_object(mask: Any, object_id: int, frame_size: tuple[int, int]) -> FirstMask:
    """Make a first mask of a single object's mask.

    Args:
        mask: (H, W) bool, integer or float, see :func:`vos.arrays.bool_mask`; or a first mask that shows this
            object, or one object alone.
        object_id: the object's id.
        frame_size: (H, W).

    Raises:
        InputError: it does not fit the frame, is empty, or shows several objects.
    """
    name = f"object {object_id}"
    if isinstance(mask, FirstMask):
        if object_id not in mask.object_ids and len(mask.object_ids) != 1:
            raise InputError(f"{name}: the mask shows objects {', '.join(map(str, mask.object_ids))}, and not this one")
        inside = mask.labels == (object_id if object_id in mask.object_ids else mask.object_ids[0])
    else:
        values = array_of(mask)
        if np.issubdtype(values.dtype, np.integer) and len(several := np.unique(values[values != 0])) > 1:
            numbers = ", ".join(map(str, several[:5])) + (" …" if len(several) > 5 else "")
            raise InputError(f"{name}: the mask shows several objects ({numbers}); give one of them: labels == number")
        inside = bool_mask(values, name)
    if inside.shape != frame_size:
        raise InputError(f"{name}: the mask is {inside.shape} but the frame is {frame_size} (H, W)")
    if not inside.any():
        raise InputError(f"{name}: the mask is empty; an object that is not on the frame is gone(), or removed")
    return FirstMask(inside * np.uint8(object_id), (object_id,))


def result_of_state(frame: Frame, state: Mapping[str, Any], tracker: object) -> Result:
    """Make the last result of a state, see :meth:`.Session.state`.

    Args:
        frame: the last frame of the saved session.
        state: of the session.
        tracker: that is to go on from it.

    Raises:
        KeyError, ValueError: the state is not whole, or of another frame or tracker.
    """
    ids, labels, scores = tuple(state["object_ids"]), state["labels"], state["scores"]
    saved, own = state.get("class"), type(tracker).__name__  # which older states lack
    if saved not in (None, own):
        raise ValueError(f"it is of the tracker {saved}, and this is {own}")
    if labels.shape != frame.size:
        raise ValueError(f"it is of {labels.shape} and the frame {frame.size} (H, W)")
    if len(scores) != len(ids):
        raise ValueError(f"it has {len(scores)} scores of {len(ids)} objects")
    return result_of_labels(frame, ids, labels, scores)


def checked_answer(tracker: object, tracked: Any, count: int, frame_size: tuple[int, int]) -> Tracked:
    """Return what a tracker's ``step`` gave, if it keeps the contract of :class:`~vos.interfaces.Tracker`.

    Args:
        tracker: that gave it.
        tracked: its answer.
        count: number of objects.
        frame_size: (H, W).

    Raises:
        PluginError: it does not.
    """
    fault = _fault(tracked, count, frame_size)
    if fault:
        raise PluginError(f"{type(tracker).__name__}: its step() {fault}")
    return tracked


def _fault(tracked: Any, count: int, frame_size: tuple[int, int]) -> str | None:
    """Tell what is wrong with an answer; None: nothing."""
    if not isinstance(tracked, Tracked):
        return f"must return a vos.structures.Tracked, not {_kind(tracked)}"
    logits, scores = tracked.logits, tracked.scores
    if not (isinstance(logits, Tensor) and isinstance(scores, Tensor)):
        return f"must return tensors, not {_kind(logits)} and {_kind(scores)}"
    wanted = (count, *frame_size) if tracked.geometry is None else (count, *logits.shape[1:])
    if logits.ndim != 3 or logits.shape != wanted:
        words = f"{count}, {frame_size[0]}, {frame_size[1]}" if tracked.geometry is None else f"{count}, 4h, 4w"
        return f"returned logits {tuple(logits.shape)} where ({words}) are wanted"
    if scores.shape != (count,):
        return f"returned scores {tuple(scores.shape)} where ({count},) are wanted"
    if torch.isnan(logits).any():
        return "returned logits that are not numbers"
    if not ((scores >= -ROUNDING) & (scores <= 1 + ROUNDING)).all():
        return f"returned scores outside of 0 to 1: {scores.tolist()}"
    return None


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
