"""Chooses where PerSAM looks: one encoded region of the frame for all objects, and in it a window for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ...geometry import Region
from ...interfaces import FrameContext, Segmenter
from ...method import discriminant
from ...structures import Frame, ImageEmbedding, PatchFeatures
from ...windows import Windows, cut, cut_patches, groups
from .options import Settled

SMALLEST_REGION = 0.4
"""Smallest region that is encoded, as a share of the frame's sides; large frames allow a smaller one."""

MAGNIFICATION = 1.5
"""Input pixels per frame pixel up to which regions of large frames may be enlarged."""

AHEAD = 1.05
"""Length of a planned region's sides as a multiple of what the options' ``zoom`` gives: the objects move meanwhile."""

LEAST_ROOM = 0.88
"""A planned region serves if it shows what so many times ``zoom`` gives now, however small, ..."""

MOST_ROOM = 1.5
"""... and if its sides are at most so many times as long as those that would be chosen now."""

SHORTEST_WINDOW = 16
"""Shortest side of an object's window, in patches."""


class View:
    """The encodings of a frame as N objects see them: all of its region, or one window of it for each object.

    Each encoding is computed on first use and then kept.

    Args:
        context: the frame and its encoders.
        windows: one for each object; None: the whole region for all objects.
        whole: the view of the whole region from which the windows are cut; None: this is one.

    Attributes:
        context: the frame and its encoders.
    """

    def __init__(self, context: FrameContext, windows: Windows | None = None, whole: View | None = None):
        self.context = context
        self._windows = windows
        self._whole = whole

    def within(self, windows: Windows | None) -> View:
        """Return a view of the same frame through windows; None: this view."""
        return self if windows is None else View(self.context, windows, self)

    @property
    def frame(self) -> Frame:
        """The frame that is seen."""
        return self.context.frame

    @property
    def segmenter(self) -> Segmenter:
        """The segmenter that encoded the frame."""
        return self.context.segmenter

    @property
    def raw_features(self) -> Tensor:
        """The segmenter's features before normalisation, (1, C, h, w), always of the whole region."""
        return self.context.raw_features

    @cached_property
    def embedding(self) -> ImageEmbedding:
        """The segmenter's image embedding."""
        return self.context.embedding.within(self._windows)

    @cached_property
    def features(self) -> PatchFeatures:
        """The prior encoder's patch features."""
        return self.context.features.within(self._windows)

    @cached_property
    def samples(self) -> Tensor:
        """The embedding in the form of :func:`vos.method.discriminant.samples`."""
        if self._whole is not None:
            return cut_patches(self._whole.samples, self._windows)  # its scale is that of the whole region
        return discriminant.samples(self.embedding.values)


@dataclass(frozen=True)
class Group:
    """Objects that are looked for as one batch, in windows of one size.

    Attributes:
        rows: their rows.
        view: their windows of the frame.
    """

    rows: list[int]
    view: View


def region_around(
    options: Settled, context: FrameContext, boxes: Tensor, room: float = 1.0, least: float | None = None
) -> Region | None:
    """Choose the region to encode for objects with these boxes (N, 4); None: the whole frame.

    Args:
        options: settled for the segmenter.
        context: of the frame, or of another one of the same size.
        boxes: inclusive, in frame pixels.
        room: factor on the options' ``zoom``.
        least: shortest sides, as a share of the frame's; None: as far as the input is worth enlarging.
    """
    if not options.zoom:
        return None
    size = context.frame.size
    if least is None:
        least = min(SMALLEST_REGION, context.segmenter.geometry(size).magnification / MAGNIFICATION)
    return Region.around(boxes, size, room * options.zoom, least)


@dataclass(frozen=True)
class Plan:
    """The region of a frame that was chosen before the frame before it was decoded, so that it is encoded early.

    Attributes:
        region: to encode; None: the whole frame.
    """

    region: Region | None

    @classmethod
    def restored(cls, state: Mapping[str, Any] | None) -> Plan | None:
        """Make a plan from its ``dataclasses.asdict``; None: there was none."""
        return None if state is None else cls(state["region"] and Region(**state["region"]))

    def serves(self, wanted: Region | None, needed: Region | None) -> bool:
        """Tell whether the region still serves now that the frame before is decoded.

        Args:
            wanted: what would be chosen now.
            needed: what must be seen.
        """
        if self.region is None or wanted is None or needed is None:
            return self.region == wanted
        return self.region.width <= MOST_ROOM * wanted.width and self.region.shows(needed)


def grouped(options: Settled, view: View, boxes: Tensor, lost: Tensor) -> list[Group]:
    """Sort objects into groups with windows of one size.

    An object is looked for around its last box if it was seen whole, else in the whole region. Where the options or
    the models rule windows out, all objects form one group that sees the whole region.

    Args:
        options: settled for the segmenter.
        view: the whole of the encoded region.
        boxes: of the last frame, (N, 4), inclusive, in frame pixels.
        lost: objects that may be anywhere in the region, (N,) bool.
    """
    geometry = view.embedding.geometry
    by_patch = options.point_grid == "patch" and options.attention == "softmax"  # else maps at frame size are needed
    propagated = options.points != "none"
    if not (options.window and by_patch) or propagated or view.features.geometry != geometry:
        return [Group(list(range(len(boxes))), view)]
    edges = geometry.boxes_to_input(boxes + boxes.new_tensor([0, 0, 1, 1])) / geometry.stride
    split = groups(edges, lost, geometry.grid, options.window, SHORTEST_WINDOW)
    return [Group(rows, view.within(windows)) for rows, windows in split]


def moments_inside(view: View, coverage: Tensor) -> Tensor:
    """Sum the moments inside each object, (N, C + 1, C + 1).

    Args:
        view: what the objects were looked for in.
        coverage: share of each patch of its embedding inside each object, (N, h, w).
    """
    embedding = view.embedding
    inside = cut(embedding.geometry.inside().to(coverage)[None, None], embedding.windows)[:, 0]
    return discriminant.moments(view.samples, (coverage * inside).flatten(1))


def evidence_of(view: View, own: Tensor) -> discriminant.Evidence:
    """Make the evidence of one frame: what sets each object apart from the others and from its surroundings.

    Args:
        view: the whole of the encoded region.
        own: moments inside each object, see :func:`moments_inside`.
    """
    inside = view.embedding.geometry.inside().to(own)
    everything = discriminant.moments(view.samples, inside.flatten()[None])
    others = own.sum(0) - own if len(own) > 1 else None
    return discriminant.evidence(own, everything - own, others)
