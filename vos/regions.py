"""Regions of a frame: what a segmenter's input shows, in the shape that enlarges the objects most."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

KEEP_SHAPE = 0.85
"""A region takes another shape than the last one if its sides are shorter than so many times those in that shape."""


def shapes(frame_size: tuple[int, int]) -> list[tuple[float, float]]:
    """List the shapes of regions: that of a frame (H, W), a square of as many pixels, and that of the frame turned."""
    height, width = frame_size
    side = math.sqrt(height * width)
    return [(height, width), (side, side), (width, height)]


@dataclass(frozen=True)
class Region:
    """A rectangle of a frame in pixels: its left, top, width and height."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(
        cls,
        boxes: Tensor,
        frame_size: tuple[int, int],
        zoom: float,
        least: float,
        any_shape: bool = False,
        last: Region | None = None,
    ) -> Region:
        """Find the smallest region that shows all boxes with room around them.

        Args:
            boxes: (N, 4) inclusive, in frame pixels.
            frame_size: (H, W).
            zoom: length of the region's sides as a multiple of the boxes' common extent.
            least: smallest length of the region's sides, as a share of those of the frame in the same shape.
            any_shape: take the best of :func:`shapes` that fits into the frame; False: the frame's own.
            last: the region before this one, see :data:`KEEP_SHAPE`.
        """
        height, width = frame_size
        left, top = boxes[:, :2].amin(0).tolist()
        right, bottom = (boxes[:, 2:].amax(0) + 1).tolist()
        needed = min(zoom * (bottom - top), height), min(zoom * (right - left), width)
        kept = last and last.shape_in(frame_size)
        shortest = math.inf
        for index, (high, wide) in enumerate(shapes(frame_size) if any_shape else [frame_size]):
            share = max(needed[0] / high, needed[1] / wide, min(least, 1.0))
            sides = max(1, round(share * high)), max(1, round(share * wide))
            length = share * (KEEP_SHAPE if index == kept else 1.0)
            if length < shortest and sides[0] <= height and sides[1] <= width:
                shortest, (own_height, own_width) = length, sides
        return cls(
            min(max(round((left + right - own_width) / 2), 0), width - own_width),
            min(max(round((top + bottom - own_height) / 2), 0), height - own_height),
            own_width,
            own_height,
        )

    @classmethod
    def within(cls, box: Tensor, frame_size: tuple[int, int]) -> Region:
        """Return what the frame (H, W) shows of a box (4,), inclusive, in frame pixels; at least a pixel."""
        edges = [math.floor(edge) for edge in box.tolist()]
        left, right = (min(max(edge, 0), frame_size[1] - 1) for edge in edges[::2])
        top, bottom = (min(max(edge, 0), frame_size[0] - 1) for edge in edges[1::2])
        return cls(left, top, right - left + 1, bottom - top + 1)

    @property
    def area(self) -> int:
        """Pixels of the region."""
        return self.width * self.height

    def shape_in(self, frame_size: tuple[int, int]) -> int:
        """Tell which of :func:`shapes` of a frame (H, W) the region has."""
        tall = math.log(self.height / self.width)
        differences = [abs(math.log(height / width) - tall) for height, width in shapes(frame_size)]
        return differences.index(min(differences))

    def shows(self, other: Region) -> bool:
        """Tell whether another region lies inside this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.left + self.width >= other.left + other.width
            and self.top + self.height >= other.top + other.height
        )
