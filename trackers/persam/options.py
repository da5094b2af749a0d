"""Options of PerSAM: as a user gives them, as the released scripts have them, and settled for one segmenter."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from ...interfaces import Segmenter
from ...method.guidance import AttentionRule


@dataclass(frozen=True)
class PerSamOptions:
    """Options of PerSAM; the defaults follow the paper, :meth:`published` the released scripts.

    Some defaults depend on the segmenter. They are None here; :class:`Settled` has the values.

    Attributes:
        positives: number of most similar patches that become positive points (top-2 for video, C.2).
        negative_point: add the least similar patch as a negative point (eq. 7).
        centre_point: add the centre of the last box as a positive point (fig. 12). None: only for models that
            take no last mask.
        last_box: prompt the first pass with the last frame's box.
        box_margin: widen that box by so many pixels on each side.
        box_trim: share of the object's area that may lie beyond each side of the last box, so that a stray
            speck does not stretch it. None: 0.005 for models that take the last mask, else 0.
        point_grid: choose points on the patch grid, or on the map up-sampled to the frame.
        prototype: ``mean``: mean of the normalised foreground features (eq. 5-6). ``raw-mean``: mean of the
            features as they are, then normalised. ``mean-max``: half that mean, half the channel-wise
            maximum, then normalised.
        drawn_value: None: weight patches by their coverage. A number: draw the mask with this value, put it
            through the image's normalisation, and count the patches that stay positive.
        guided_attention: steer the decoder's attention by the confidence map (eq. 8). None: only for models
            that do not take this map among the prior maps.
        semantic_prompting: add the mean foreground feature to the tokens (eq. 10).
        attention: eq. 8 with its softmax, or the released code's sigmoid, see
            :data:`vos.method.guidance.AttentionRule`.
        alpha: balance factor of eq. 8.
        points: name of a point tracker that propagates the first frame's points (table 12), see
            :mod:`vos.point_trackers`. ``none``: choose the points anew in each frame.
        guided_refinement: guide the refinement steps too.
        first_masks: number of masks of the first pass, 3 or 1.
        first_choice: refine the best mask of the first pass by score, or the first.
        zoom: encode only the region that shows each last box this many times as long, and as much more as the object
            may move, enlarged to the input. 0: the whole frame. None: 1.25 for models that take the last mask, else 0.
        window: look for an object that was seen whole in a part of the region at least this many times as long
            as its last box, with room for its motion, see :func:`vos.windows.groups`. 0: look for every object in the
            whole region. None: 1.6 for models that take the last mask, else 0.
        learning_rate: weight of each new frame in the running discriminant, see :mod:`vos.method.discriminant`.
        given_share: weight in it of the frame whose mask was given. 1: no other frame counts.
        contrast_share: weight of the best matches in the maps that set an object against its surroundings, see
            :func:`vos.method.matching.contrasts`. The rest is the discriminant's weight. On its own, the
            discriminant would give up for good a part that a mask left out once.
        read_out: read from memory what each patch shows, for models that take such prior maps, see
            :func:`vos.method.matching.read_out`. Where an object is looked for by its references nothing is read:
            their surroundings are not those of the picture.
        mend: learn an object whose given mask is too small or too large all round from the mask that the model sees
            there, see :mod:`vos.trackers.persam.worn`. None: only with models that take the last mask.
        contest: strength with which objects contest the pixels that any of them claims, in logits per unit of
            cosine, see :func:`vos.trackers.persam.rivals.contest`. None: 100 for models that take prior maps,
            else 0.
        patience: drop a piece of a mask that shows only parts of which the rest has its own, when it did so in this
            many frames, see :mod:`vos.trackers.persam.twins`. 0: keep all. None: 5 for models that take prior maps,
            else 0.
        refine_steps: steps of the cascaded post-refinement, 0 to 2. None: 2 for models that take no last mask,
            else 0.
        refine_box: which of these steps get the box of the mask so far; in the paper the second.
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
    read_out: bool = True
    mend: bool | None = None
    contest: float | None = None
    patience: int | None = None
    refine_steps: int | None = None
    refine_box: Literal["second", "both"] = "second"

    @classmethod
    def published(cls, **changes: Any) -> PerSamOptions:
        """Behave as the released video script does, except that object ids never shift."""
        return cls(**(PUBLISHED_VIDEO | {"first_choice": "first"} | changes))

    @classmethod
    def published_image(cls, **changes: Any) -> PerSamOptions:
        """Behave as the released image script does: its reference is the first frame, its test image the second."""
        own: dict[str, Any] = {
            "prototype": "raw-mean",
            "negative_point": True,
            "guided_attention": True,
            "semantic_prompting": True,
            "attention": "sigmoid",
            "first_masks": 1,
        }
        return cls(**(PUBLISHED_IMAGE | own | changes))


PUBLISHED_VIDEO: dict[str, Any] = {
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
    "mend": False,
    "contest": 0,
    "patience": 0,
    "refine_steps": 2,
}
"""Options of the released video scripts that both trackers share."""

PUBLISHED_IMAGE = PUBLISHED_VIDEO | {"positives": 1, "centre_point": False, "last_box": False, "drawn_value": 255}
"""Options of the released image scripts that both trackers share."""

_FOR_LAST_MASK = {
    "centre_point": False,
    "box_trim": 0.005,
    "zoom": 1.25,
    "window": 1.6,
    "mend": True,
    "refine_steps": 0,
}
"""Defaults for segmenters that take the last frame's mask as a prompt."""

_FOR_PRIOR_MAPS = {"guided_attention": False, "contest": 100.0, "patience": 5}
"""Defaults for segmenters that take prior maps."""


@dataclass(frozen=True)
class Settled(PerSamOptions):
    """Options of PerSAM with a value for each that was left to the segmenter.

    The defaults are those for a segmenter that takes neither the last mask nor prior maps, such as SAM.
    """

    centre_point: bool = True
    guided_attention: bool = True
    box_trim: float = 0
    zoom: float = 0
    window: float = 0
    mend: bool = False
    contest: float = 0
    patience: int = 0
    refine_steps: int = 2

    @classmethod
    def of(cls, options: PerSamOptions, segmenter: Segmenter) -> Self:
        """Settle options for a segmenter: what they leave open gets its default."""
        given = {field.name: getattr(options, field.name) for field in fields(cls)}
        values: dict[str, Any] = {}
        if segmenter.wants_last_mask:
            values |= _FOR_LAST_MASK
        if segmenter.wants_prior_maps:
            values |= _FOR_PRIOR_MAPS
        return cls(**values | {name: value for name, value in given.items() if value is not None})

    def for_search(self) -> Self:
        """Return the same for a picture in which an object may be anywhere: no last box or frame says where."""
        anywhere = self if self.zoom else replace(self, centre_point=False, last_box=False)
        return replace(anywhere, read_out=False)
