"""Where PerSAM looks: a region of the frame that is encoded for all objects, and in it a window for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...geometry import Region
from ...interfaces import FrameContext, Segmenter
from ...method import discriminant
from ...structures import Frame, ImageEmbedding, PatchFeatures
from ...windows import Windows, cut_patches, groups
from .options import PerSamOptions

SMALLEST_REGION = 0.4
"""A zoom shows at least this share of the frame's sides, ..."""

MAGNIFICATION = 1.5
"""... or, of large frames, a smaller region that gives so many input pixels per frame pixel."""

LEAST_WINDOW = 16
"""Shortest side of an object's window, in patches."""


class View:
    """The encodings of a frame that N objects are looked for in: all of them, or one window for each object.

    Each is computed when it is first asked for, and then kept.

    Args:
        context: the frame.
        windows: one for each object; None: the whole of it for all objects.
        whole: the view of the whole that the windows are cut from.
    """

    def __init__(self, context: FrameContext, windows: Windows | None = None, whole: View | None = None):
        self._context = context
        self._windows = windows
        self._whole = whole

    def within(self, windows: Windows | None) -> View:
        """The same frame, seen through windows; None: this view."""
        return self if windows is None else View(self._context, windows, self)

    @property
    def frame(self) -> Frame:
        """The frame."""
        return self._context.frame

    @property
    def segmenter(self) -> Segmenter:
        """What encoded it."""
        return self._context.segmenter

    @property
    def raw_features(self) -> Tensor:
        """The segmenter's features before normalisation, (1, C, h, w), always of the whole."""
        return self._context.raw_features

    @cached_property
    def embedding(self) -> ImageEmbedding:
        """The segmenter's image embedding."""
        return self._context.embedding.within(self._windows)

    @cached_property
    def features(self) -> PatchFeatures:
        """The prior encoder's patch features."""
        return self._context.features.within(self._windows)

    @cached_property
    def samples(self) -> Tensor:
        """The embedding as a discriminant takes it, see :func:`vos.method.discriminant.samples`."""
        if self._whole is not None:
            return cut_patches(self._whole.samples, self._windows)
        return discriminant.samples(self.embedding.values)


@dataclass(frozen=True)
class Group:
    """Objects that are looked for together, in windows of one size.

    Attributes:
        rows: their rows.
        view: what they are looked for in.
    """

    rows: list[int]
    view: View


def region_around(options: PerSamOptions, context: FrameContext, boxes: Tensor) -> Region | None:
    """The region to encode for objects with these boxes (N, 4); None: the whole frame."""
    if not options.zoom:
        return None
    size = context.frame.size
    least = min(SMALLEST_REGION, context.segmenter.geometry(size).magnification / MAGNIFICATION)
    return Region.around(boxes, size, options.zoom, least)


def grouped(options: PerSamOptions, view: View, boxes: Tensor, lost: Tensor) -> list[Group]:
    """Sort objects into groups: each is looked for around its box, or in the whole view.

    Windows are used where the options and the models allow it; else all objects see the whole view.

    Args:
        options: none of them None.
        view: the whole of the encoded region.
        boxes: of the last frame, (N, 4), inclusive, in frame pixels.
        lost: objects that may be anywhere in the region, (N,) bool.
    """
    geometry = view.embedding.geometry
    by_patch = options.point_grid == "patch" and options.attention == "softmax"  # the rest wants maps at frame size
    propagated = options.points != "none"
    if not (options.window and by_patch) or propagated or view.features.geometry != geometry:
        return [Group(list(range(len(boxes))), view)]
    edges = geometry.boxes_to_input(boxes + boxes.new_tensor([0, 0, 1, 1])) / geometry.stride
    split = groups(edges, lost, geometry.grid, options.window, LEAST_WINDOW)
    return [Group(rows, view.within(windows)) for rows, windows in split]
