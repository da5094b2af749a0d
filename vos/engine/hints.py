"""A first mask from boxes and points, made by the segmenter itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..geometry import Region
from ..interfaces import FrameContext
from ..method import discriminant, matching, prior
from ..structures import FirstMask, Hint, Prompts

ROUNDS = 4
"""Decodings: each sees the mask of the one before."""

MASK_LOGIT = 4.0
"""A box that stands for an unknown mask becomes low-res logits of plus or minus this."""

ROOM = 1.6
"""How many times as long as the box the region is that is encoded."""

TOUCHED = 1 / 30
"""A point corrects a given mask in a disc of this radius, as a share of the frame's shorter side."""

POINT_BOX = 0.3
"""Share of the frame's sides of the box that stands for an object with points alone."""


def mask_from_hints(
    contexts: Sequence[FrameContext], hints: Sequence[Hint], object_ids: Sequence[int] | None = None
) -> FirstMask:
    """Segment each object from its box and points.

    Segmenters that take a mask prompt get the ellipse in the box as the first guess; the mask that comes
    back takes its place in the next round, and matching maps are made of it. Where objects overlap the larger
    logit wins.

    Args:
        contexts: of one frame, a fresh one for each object where the segmenter looks at objects closely.
        hints: one for each object.
        object_ids: their ascending ids; None: they count from 1.

    Raises:
        InputError: a box or point lies outside the frame, or nothing was found there.
    """
    if not hints:
        raise InputError("neither a mask nor a box or point was given")
    height, width = contexts[0].frame.size
    object_ids = tuple(object_ids or range(1, len(hints) + 1))
    for number, hint in zip(object_ids, hints, strict=True):
        _check(hint, number, width, height)
    logits = torch.stack([_segment(context, hint) for context, hint in zip(contexts, hints, strict=True)])
    best, row = logits.max(dim=0)
    ids = torch.tensor(object_ids, dtype=torch.uint8, device=row.device)
    labels = torch.where(best > 0, ids[row], 0).cpu().numpy()
    for number, hint in zip(object_ids, hints, strict=True):
        if not (labels == number).any():
            raise InputError(
                f"object {number} ({_words(hint)}): no object was found there; give a box around it, or more points"
            )
    return FirstMask(labels, object_ids)


def _segment(context: FrameContext, hint: Hint) -> Tensor:
    """Logits (H, W) of one object; negative outside of the encoded region."""
    segmenter, (height, width) = context.segmenter, context.frame.size
    device = segmenter.device
    given = None if hint.mask is None else torch.tensor(_touched_up(hint.mask, hint.points), device=device)
    box = torch.tensor([hint.box or _box_around(hint, width, height)], device=device, dtype=torch.float32)
    if given is not None and hint.box is None:
        box = _tight(given, box)
    if segmenter.wants_last_mask:  # such a model is small: it sees more when the object fills its input
        context.look_at(Region.around(box, (height, width), ROOM, 0.15))
    embedding = context.embedding
    samples = discriminant.samples(embedding.values) if segmenter.wants_prior_maps else None
    geometry = embedding.geometry
    grid = tuple(4 * side for side in geometry.grid)
    points = torch.tensor([[(x, y) for x, y, _ in hint.points]], device=device).view(1, -1, 2)
    labels = torch.tensor([[int(inside) for *_, inside in hint.points]], device=device).view(1, -1)
    if not hint.points and segmenter.wants_last_mask:
        points, labels = (box[:, None, :2] + box[:, None, 2:]) / 2, torch.ones(1, 1, dtype=torch.long, device=device)
    prompts = Prompts(points.float(), labels, box if hint.box else None)
    guess = None
    if given is not None or segmenter.wants_last_mask or segmenter.wants_prior_maps:
        shape = _ellipse(box, height, width) if given is None else given[None]
        guess = geometry.mask_logits(shape, grid, MASK_LOGIT)
    for number in range(ROUNDS):
        prompts = replace(prompts, mask_logits=guess)
        if segmenter.wants_prior_maps and (number or given is not None):  # an ellipse matches its surroundings too
            prompts = replace(prompts, prior_maps=_maps(context, samples, guess, hint.points))
        masks = segmenter.decode(embedding, prompts, multimask=True)
        best = masks.scores.argmax(dim=1)
        guess = masks.low_res_logits[:, best[0]][:, None].clamp(-20, 20)
        if prompts.boxes is None and number:
            prompts = replace(prompts, boxes=_tight(geometry.upsample(guess[:, 0])[0], box))
    return geometry.upsample(guess[:, 0])[0]


def _maps(context: FrameContext, samples: Tensor, guess: Tensor, clicks: Sequence[tuple[float, float, bool]]) -> Tensor:
    """Prior maps (1, K, h, w) as if the guess were the mask of the frame before, right where there are points."""
    features, geometry = context.features, context.embedding.geometry
    coverage = F.avg_pool2d(guess.sigmoid(), 4)
    matched = features.geometry.resample(coverage, geometry)[:, 0]
    first = matching.remember(features.values, matched)
    last = matching.remember(features.values, matched, background_block=2)
    confidence = prior.similarity(features.values, prior.prototype(features.values, matched))
    maps = matching.matching_maps(features.values, confidence, first, last, matched)
    rivals = torch.zeros_like(coverage)
    for x, y, inside in clicks:
        column, row = geometry.cells_of(coverage.new_tensor([x, y]))
        coverage[..., row, column] = float(inside)
        rivals[..., row, column] = float(not inside)
    inside = geometry.inside().to(coverage)
    own, against, everything = (
        discriminant.moments(samples, (inside * maps).flatten(1))
        for maps in (coverage[:, 0], rivals[:, 0], inside[None])
    )
    given = discriminant.evidence(own, everything - own, against)
    separating = discriminant.maps(samples, geometry.grid, given, given)
    maps = geometry.resample(maps, features.geometry)
    return torch.cat([maps, (separating + matching.contrasts(maps)) / 2], dim=1)  # a discriminant believes any guess


def _ellipse(box: Tensor, height: int, width: int) -> Tensor:
    """The ellipse that a box (1, 4) encloses, (1, H, W) bool: few objects fill their corners."""
    (left, top), (right, bottom) = box[0, :2], box[0, 2:]
    y = torch.arange(height, device=box.device)[:, None]
    x = torch.arange(width, device=box.device)
    across = (x - (left + right) / 2) / ((right - left + 1) / 2)
    along = (y - (top + bottom) / 2) / ((bottom - top + 1) / 2)
    return (across**2 + along**2 <= 1)[None]


def _touched_up(mask: np.ndarray, points: Sequence[tuple[float, float, bool]]) -> np.ndarray:
    """A mask (H, W) bool with a disc around each point, filled or cut out."""
    mask = np.array(mask, dtype=bool)
    ys, xs = np.ogrid[: mask.shape[0], : mask.shape[1]]
    for x, y, inside in points:
        mask[(xs - x) ** 2 + (ys - y) ** 2 <= (TOUCHED * min(mask.shape)) ** 2] = inside
    return mask


def _box_around(hint: Hint, width: int, height: int) -> tuple[float, ...]:
    """A box for an object of which only points are known: around the positive ones, with room."""
    inside = [(x, y) for x, y, positive in hint.points if positive] or [(width / 2, height / 2)]
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    room_x, room_y = POINT_BOX * width / 2, POINT_BOX * height / 2
    return (
        max(0.0, min(xs) - room_x),
        max(0.0, min(ys) - room_y),
        min(width - 1.0, max(xs) + room_x),
        min(height - 1.0, max(ys) + room_y),
    )


def _tight(logits: Tensor, fallback: Tensor) -> Tensor:
    """Tight box (1, 4) of the positive logits (H, W); the fallback (1, 4) where there are none."""
    rows, columns = (logits > 0).any(1).nonzero(), (logits > 0).any(0).nonzero()
    if not len(rows):
        return fallback.float()
    return torch.stack([columns[0, 0], rows[0, 0], columns[-1, 0], rows[-1, 0]])[None].float()


def _check(hint: Hint, number: int, width: int, height: int) -> None:
    if hint.mask is not None and np.shape(hint.mask) != (height, width):
        raise InputError(
            f"object {number}: its mask is {np.shape(hint.mask)} but the frame is {(height, width)} (H, W)"
        )
    if hint.box is None and hint.mask is None and not any(positive for *_, positive in hint.points):
        raise InputError(f"object {number}: it has neither a box nor a point inside it")
    corners = [] if hint.box is None else [hint.box[:2], hint.box[2:]]
    for x, y in corners + [point[:2] for point in hint.points]:
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(
                f"object {number} ({_words(hint)}): {x:g},{y:g} lies outside of the {width} x {height} video"
            )
    if hint.box is not None and (hint.box[0] >= hint.box[2] or hint.box[1] >= hint.box[3]):
        raise InputError(f"object {number} ({_words(hint)}): a box is x0,y0,x1,y1 with x0 < x1 and y0 < y1")


def _words(hint: Hint) -> str:
    """The hint as it would be written on the command line."""
    box = [] if hint.box is None else ["--box " + ",".join(f"{edge:g}" for edge in hint.box)]
    return " ".join(box + [f"--point {x:g},{y:g}" + ("" if inside else ":0") for x, y, inside in hint.points])
