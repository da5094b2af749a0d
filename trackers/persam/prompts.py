"""Makes the prompts and the guidance of the first pass: they tell the decoder where N objects may be in a new frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ...method import prior
from ...method.guidance import Guidance, standardised
from ...structures import PatchFeatures, Prompts
from ...windows import cut
from .boxes import widened_boxes
from .looks import View
from .objects import Objects
from .options import Settled
from .points import PropagatedPoints


def first_prompts(
    options: Settled,
    view: View,
    objects: Objects,
    confidence: Tensor,
    maps: Tensor | None,
    propagated: PropagatedPoints | None = None,
) -> Prompts:
    """Make the points, boxes, masks and maps of the first pass.

    Args:
        options: settled for the segmenter.
        view: the frame, or the objects' windows in it.
        objects: as they were in the last frame.
        confidence: S of eq. 6, (N, h, w).
        maps: prior maps, see :class:`vos.structures.Prompts`.
        propagated: takes a step to this frame, and gives the points in the place of the confidence map.
    """
    boxes = widened_boxes(objects.boxes, options.box_margin, view.frame.size)
    points, labels = prior_points(options, view.features, confidence)
    if propagated:
        points = propagated.step(view.frame, inner_points(options, view, objects, confidence))
    if options.centre_point:
        centres = ((boxes[:, None, :2] + boxes[:, None, 2:]) / 2).floor()
        points = torch.cat([points, centres], dim=1)
        labels = torch.cat([labels, torch.ones_like(labels[:, :1])], dim=1)
    last_mask = cut(objects.mask_logits, view.features.windows) if view.segmenter.wants_last_mask else None
    return Prompts(points, labels, boxes if options.last_box else None, last_mask, maps)


def prior_points(options: Settled, features: PatchFeatures, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Choose points by the location prior: (N, P, 2) in frame pixels, and their labels (N, P)."""
    geometry = features.geometry
    if options.point_grid == "frame":
        points, labels = prior.extreme_points(geometry.upsample_region(prior.quadrupled(confidence)), options.positives)
        points = points + torch.tensor([geometry.region.left, geometry.region.top], device=points.device)
        points = points.float()
    else:
        points, labels = prior.extreme_points(confidence, options.positives, features.inside())
        points = features.cells_to_frame(points)
    if not options.negative_point:
        points, labels = points[:, :-1], labels[:, :-1]
    return points, labels


def inner_points(options: Settled, view: View, objects: Objects, confidence: Tensor) -> Tensor:
    """Choose points as :func:`prior_points` does, the positive ones inside the last masks if they fit, (N, P, 2)."""
    features = view.features
    points, _ = prior_points(options, features, confidence)
    within = (objects.coverage(view) > 0.5) & features.inside()
    inner, _ = prior.extreme_points(confidence, options.positives, within)
    roomy = within.flatten(1).sum(1) >= options.positives
    positive = torch.arange(points.shape[1], device=points.device) < options.positives
    take = roomy[:, None] & positive
    inner = features.cells_to_frame(inner)[:, : points.shape[1]]
    return torch.where(take[..., None], inner, points)


def first_guidance(options: Settled, view: View, objects: Objects, confidence: Tensor) -> Guidance:
    """Make what steers the decoder's attention (eq. 8) and what joins its tokens (eq. 10)."""
    geometry = view.embedding.geometry
    similarity = None
    if options.guided_attention and options.attention == "softmax":
        similarity = geometry.resample(confidence[:, None], view.features.geometry)[:, 0]
    elif options.guided_attention:
        whole = view.features.geometry.upsample_region(prior.quadrupled(confidence))
        similarity = standardised(whole, geometry.grid)
    target = objects.target if options.semantic_prompting else None
    return Guidance(similarity, target, options.alpha, options.attention)
