"""Recognises given masks that are worn, too small all round, or swollen, and mends them.

People draw masks by hand, and programs make them from outlines that they thicken or thin. The model sees where the
object ends: what it decodes from the box of the mask. If the given mask is that, eroded or dilated by several pixels,
the object is learned from what was decoded. A mask that differs from it in any other way is meant as it is.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...boxes import tight_box
from ...hinted import HintedObject, mean_of_looks
from ...interfaces import FrameContext
from ...structures import FirstMask, Hint

SHORT_SIDE = 480
"""Shorter side of a frame in whose pixels wear is measured."""

LEAST = 4
"""Wear from which on a mask is mended, in these pixels; what is decoded from a true mask's box is off by one or two."""

MOST = 14
"""Most wear that is looked for, in these pixels; one that fits best with so much differs in another way."""

SUSPECTED = 3
"""Wear in a first, quick look from which on a mask gets further ones from near by, in these pixels."""

TOO_SMALL = 0.28
"""Share of the difference between a smaller given mask and the decoded one, 1 - IoU, that wear alone must make up."""

TOO_LARGE = 0.5
"""The same of a larger one. What is decoded leaves out parts more often than it adds some, and a mask that is too large
does less harm."""

PIXELS = 256
"""Masks of fewer pixels are meant as they are."""

_log = logging.getLogger(__name__)

_NOTE = "object %d: its mask is about %d pixels too %s all round; it is followed as the model sees it"


def mended(context: FrameContext, first_mask: FirstMask) -> Tensor:
    """Return the masks of a frame, (N, H, W) bool, those that are worn mended, and say so.

    No object gets pixels that were given to another.

    Args:
        context: of the frame, whose region shows all of the objects.
        first_mask: what was given.
    """
    masks = first_mask.masks()
    free = ~masks.any(axis=0)
    for object_id, given in zip(first_mask.object_ids, masks, strict=True):
        box = tight_box(given)
        if box is None or np.count_nonzero(given) < PIXELS:
            continue
        hint = Hint(box)
        step = max(1, min(given.shape) // SHORT_SIDE)
        quickly = _inside(HintedObject(context, hint, rounds=1, look=False).logits())
        if abs(wear(given[::step, ::step], quickly[::step, ::step])[0]) < SUSPECTED:
            continue
        decoded = _inside(mean_of_looks(context, hint))
        pixels, explained = wear(given[::step, ::step], decoded[::step, ::step])
        if LEAST <= abs(pixels) < MOST and explained >= (TOO_SMALL if pixels > 0 else TOO_LARGE):
            _log.warning(_NOTE, object_id, abs(pixels) * step, "small" if pixels > 0 else "large")
            given[:] = decoded & (given | free)
            free &= ~given
    return torch.tensor(masks, device=context.device)


def wear(given: np.ndarray, decoded: np.ndarray) -> tuple[int, float]:
    """Find out by how many pixels a mask is smaller than another all round.

    Args:
        given: (H, W) bool.
        decoded: (H, W) bool.

    Returns:
        The pixels by which ``decoded`` must be eroded to be most like ``given``, negative: dilated; and the share of
        their difference, 1 - IoU, that is gone then. 0 and 0 if one of them is empty.
    """
    box = tight_box(given | decoded)
    if box is None or not (given.any() and decoded.any()):
        return 0, 0.0
    left, top, right, bottom = box
    part = np.s_[max(0, top - MOST - 1) : bottom + MOST + 2, max(0, left - MOST - 1) : right + MOST + 2]
    mask, shown = (torch.tensor(each[part])[None, None].float() for each in (given, decoded))
    differences = {0: _difference(mask, shown)}
    larger, outside = shown, 1 - shown
    for pixels in range(1, MOST + 1):
        larger, outside = _grown(larger, pixels), _grown(outside, pixels)
        differences[-pixels], differences[pixels] = _difference(mask, larger), _difference(mask, 1 - outside)
    best = min(differences, key=lambda pixels: (differences[pixels], abs(pixels)))
    return best, (differences[0] - differences[best]) / max(differences[0], 1e-9)


def _grown(mask: Tensor, step: int) -> Tensor:
    """Dilate a mask (1, 1, h, w) of 0 and 1 by a pixel; alternate steps make octagons. The border is no edge."""
    if step % 2:
        return F.max_pool2d(mask, 3, 1, 1)
    return torch.maximum(F.max_pool2d(mask, (3, 1), 1, (1, 0)), F.max_pool2d(mask, (1, 3), 1, (0, 1)))


def _difference(one: Tensor, other: Tensor) -> float:
    """Return 1 - IoU of two masks of 0 and 1."""
    return 1 - float((one * other).sum() / torch.maximum(one, other).sum().clamp_min(1))


def _inside(logits: Tensor) -> np.ndarray:
    """Return the mask of logits (H, W) bool."""
    return (logits > 0).cpu().numpy()
