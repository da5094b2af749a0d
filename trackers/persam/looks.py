"""Chooses where PerSAM looks: one encoded region of the frame for all objects, and in it a window for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...interfaces import FrameContext, Segmenter
from ...method import discriminant
from ...regions import Region
from ...structures import Frame, ImageEmbedding, PatchFeatures
from ...windows import Windows, cut, cut_patches, groups
from .options import Settled

SMALLEST_REGION = 0.4
"""Smallest region that is encoded, as a share of the frame's sides; large frames allow a smaller one."""

MAGNIFICATION = 1.5
"""Input pixels per frame pixel up to which regions of large frames may be enlarged."""

AHEAD = 1.05
"""Length of a planned region's sides as a multiple of what would do now: the objects move meanwhile."""

LEAST_ROOM = 0.88
"""A planned region serves if it shows so much of the length that would be chosen now, ..."""

MOST_ROOM = 1.5
"""... and if its sides are at most so many times as long."""

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


def with_room(options: Settled, boxes: Tensor, pace: Tensor | None = None, room: float = 1.0) -> Tensor:
    """Widen boxes (N, 4) to what the next frame should show, and join them, (1, 4); inclusive, in frame pixels.

    Args:
        options: settled for the segmenter; their ``zoom`` is how many times as long each box becomes at least.
        boxes: of the last frame.
        pace: how far their edges may move, (N, 2) xy; there is room for that, too.
        room: factor on the length of the joined box.
    """
    wide = _lengthened(boxes, options.zoom) if pace is None else _widened(boxes, options.zoom, pace)
    return _lengthened(torch.cat([wide[:, :2].amin(0), wide[:, 2:].amax(0)])[None], room)


def _widened(boxes: Tensor, factor: float, pace: Tensor) -> Tensor:
    """Make boxes (N, 4) so many times as long, or longer if their edges may move further, (N, 2) xy."""
    wide = _lengthened(boxes, factor)
    moved = boxes + torch.cat([-pace, pace], dim=1)
    return torch.cat([torch.minimum(wide, moved)[:, :2], torch.maximum(wide, moved)[:, 2:]], dim=1)


def _lengthened(boxes: Tensor, factor: float) -> Tensor:
    """Make boxes (N, 4), inclusive, so many times as long around their centres."""
    more = (factor - 1) / 2 * (boxes[:, 2:] - boxes[:, :2] + 1)
    return boxes + torch.cat([-more, more], dim=1)


def region_around(
    options: Settled,
    context: FrameContext,
    boxes: Tensor,
    pace: Tensor | None = None,
    room: float = 1.0,
    last: Region | None = None,
) -> Region | None:
    """Choose the region to encode for objects with these boxes (N, 4); None: the whole frame.

    The input is worth enlarging up to a limit, so that it is no smaller.

    Args:
        options: see :func:`with_room`, as are ``boxes``, ``pace`` and ``room``.
        context: of the frame, or of another one of the same size.
        last: see :meth:`vos.regions.Region.around`.
    """
    if not options.zoom:
        return None
    size, any_shape = context.frame.size, getattr(context.segmenter, "any_shape", False)
    least = min(SMALLEST_REGION, context.segmenter.geometry(size).magnification / MAGNIFICATION)
    return Region.around(with_room(options, boxes, pace, room), size, 1.0, least, any_shape, last)


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

    def serves(self, wanted: Region, needed: Region) -> bool:
        """Tell whether the region still serves now that the frame before is decoded.

        Args:
            wanted: what would be chosen now.
            needed: what must be seen, of any shape.
        """
        if self.region is None:
            return False
        return self.region.area <= MOST_ROOM**2 * wanted.area and self.region.shows(needed)


def grouped(options: Settled, view: View, boxes: Tensor, pace: Tensor, lost: Tensor) -> list[Group]:
    """Sort objects into groups with windows of one size.

    An object is looked for around its last box if it was seen whole, else in the whole region. Where the options or
    the models rule windows out, all objects form one group that sees the whole region.

    Args:
        options: settled for the segmenter.
        view: the whole of the encoded region.
        boxes: of the last frame, (N, 4), inclusive, in frame pixels.
        pace: how far their edges may move, (N, 2) xy.
        lost: objects that may be anywhere in the region, (N,) bool.
    """
    geometry = view.embedding.geometry
    by_patch = options.point_grid == "patch" and options.attention == "softmax"  # else maps at frame size are needed
    propagated = options.points != "none"
    if not (options.window and by_patch) or propagated or view.features.geometry != geometry:
        return [Group(list(range(len(boxes))), view)]
    wide = _widened(boxes, options.window, pace)
    edges = geometry.boxes_to_input(wide + wide.new_tensor([0, 0, 1, 1])) / geometry.stride
    split = groups(edges, lost, geometry.grid, SHORTEST_WINDOW)
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
