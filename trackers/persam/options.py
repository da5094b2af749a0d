"""Options of PerSAM, and those under which the released scripts behave as they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...method.guidance import AttentionRule


@dataclass(frozen=True)
class PerSamOptions:
    """Options of PerSAM; the defaults follow the paper, :meth:`published` the released scripts.

    Attributes:
        positives: most similar patches taken as positive points (top-2 for video, C.2).
        negative_point: the least similar patch as negative point (eq. 7).
        centre_point: the last box's centre as a further positive point (fig. 12); None: only for
            models that take no last mask.
        last_box: the last frame's box as prompt of the first pass.
        box_margin: pixels by which it is widened.
        box_trim: share of the object's area that may lie beyond each side of the last box, so that
            a stray speck does not stretch it; None: 0.005 for models that take the last mask, else 0.
        point_grid: choose points on the patch grid, or on the map up-sampled to the frame.
        prototype: mean of the normalised foreground features (eq. 5-6); or of the features as
            they are, normalised; or half that and half their channel-wise maximum, normalised.
        drawn_value: None weights patches by their coverage; a number counts those that stay
            positive when the mask, drawn with this value, goes through the image's normalisation.
        guided_attention: steer the decoder's attention by the confidence map (eq. 8); None: for models that
            do not take it as a dense prompt, among the prior maps.
        semantic_prompting: add the mean foreground feature to the tokens (eq. 10).
        attention: eq. 8 with its softmax, or the released code's sigmoid, see ``AttentionRule``.
        alpha: balance factor of eq. 8.
        points: a point tracker that propagates the first frame's points (table 12), see
            :mod:`vos.point_trackers`; ``none``: they are chosen anew in each frame.
        guided_refinement: whether the refinement is guided too.
        first_masks: masks of the first pass, 3 or 1.
        first_choice: which mask of the first pass is refined: the best by score, or the first.
        refine_steps: steps of the cascaded post-refinement, 0 to 2; None: 2 for models that take
            no last mask, else 0.
        zoom: encode only the region this many times as long as the last boxes' common extent,
            enlarged; 0: the whole frame; None: 1.25 for models that take the last mask, else 0.
        window: an object that is seen whole is looked for in a part of the region this many times as long
            as its last box or more, see :func:`vos.windows.groups`; 0: all are looked for in all of the
            region; None: 2 for models that take the last mask, else 0.
        learning_rate: share of each new frame in the running discriminant, see :mod:`vos.method.discriminant`.
        given_share: share in it of the frame whose mask was given; 1: of no other frame.
        contrast_share: share of the best matches in the maps that set an object against its surroundings, see
            :func:`vos.method.matching.contrasts`; the rest is the discriminant's, which alone would give up for good a part
            that a mask left out once.
        contest: how strongly objects contest the pixels that any of them claims, in logits per
            unit of cosine, see :func:`vos.trackers.persam.rivals.contest`; None: 100 for models that take prior
            maps, else 0.
        reach: patches from the last mask within which each piece of the mask of an object that is seen
            whole must come, see :func:`vos.trackers.persam.rivals.connected`; 0: pieces may be anywhere; None: 4 for models
            that take the last mask, else 0.
        refine_box: which of these steps get the box of the mask so far; the paper: the second.
    """

    positives: int = 2
    negative_point: bool = True
    centre_point: bool | None = None
    last_box: bool = True
    box_margin: int = 0
    box_trim: float | None = None
    point_grid: Literal["patch", "frame"] = "patch"
    prototype: Literal["mean", "raw-mean", "mean-max"] = "mean"
    drawn_value: int | None = None
    guided_attention: bool | None = None
    semantic_prompting: bool = True
    attention: AttentionRule = "softmax"
    alpha: float = 1.0
    points: str = "none"
    guided_refinement: bool = True
    first_masks: Literal[3, 1] = 3
    first_choice: Literal["best", "first"] = "best"
    zoom: float | None = None
    window: float | None = None
    learning_rate: float = 0.1
    given_share: float = 0.3
    contrast_share: float = 0.5
    contest: float | None = None
    reach: int | None = None
    refine_steps: int | None = None
    refine_box: Literal["second", "both"] = "second"

    @classmethod
    def published(cls, **changes: object) -> PerSamOptions:
        """The released video script's behaviour, ids kept apart (there they may shift)."""
        return cls(**(PUBLISHED_VIDEO | {"first_choice": "first"} | changes))

    @classmethod
    def published_image(cls, **changes: object) -> PerSamOptions:
        """The released image script's: reference is the first frame, test image the second."""
        own = {
            "prototype": "raw-mean",
            "negative_point": True,
            "guided_attention": True,
            "semantic_prompting": True,
            "attention": "sigmoid",
            "first_masks": 1,
        }
        return cls(**(PUBLISHED_IMAGE | own | changes))


PUBLISHED_VIDEO = {
    "negative_point": False,
    "centre_point": True,
    "box_margin": 10,
    "box_trim": 0,
    "point_grid": "frame",
    "prototype": "mean-max",
    "drawn_value": 215,
    "guided_attention": False,
    "semantic_prompting": False,
    "guided_refinement": False,
    "zoom": 0,
    "window": 0,
    "contest": 0,
    "reach": 0,
    "refine_steps": 2,
}
PUBLISHED_IMAGE = PUBLISHED_VIDEO | {"positives": 1, "centre_point": False, "last_box": False, "drawn_value": 255}
