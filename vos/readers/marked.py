"""What is marked in the frames of a set of labels; the formats of :mod:`.label_sets` make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

_FINE = 4
"""How many times as fine as the frame an area is drawn."""


@dataclass(frozen=True)
class Marked:
    """One object, or a part of one, in one frame.

    Attributes:
        frame: name of the frame's file, or its number.
        kind: number or name of its class.
        draw: makes its mask, (H, W) bool, for a size (H, W).
        label: name of its class; empty: it has none.
        track: number or name of the object, where the labels tell objects of a class apart; None: they do not.
        place: its place among those marked in the frame, counted from 1.
        size: (H, W) for which it was marked; None: any.
    """

    frame: str
    kind: int | str
    draw: Callable[[tuple[int, int]], np.ndarray]
    label: str = ""
    track: int | str | None = None
    place: int = 1
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Marks:
    """All that is marked.

    Attributes:
        marked: in the order in which it is drawn.
        empty: frames of which the labels say that they show no object.
        notes: what was left out, one line each.
    """

    marked: Sequence[Marked]
    empty: Sequence[str] = field(default=())
    notes: Sequence[str] = field(default=())


def draw_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw a polygon with its edge, (H, W) bool; where it covers itself twice is outside.

    Args:
        points: (P, 2) x and y, where whole numbers are the centres of pixels.
        size: (H, W).
    """
    image = Image.new("L", (size[1], size[0]))
    if len(points) >= 3:
        ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return np.array(image, bool)


def draw_area(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the pixels whose centres a polygon has inside, (H, W) bool, to a quarter of a pixel.

    Args:
        points: (P, 2) x and y, counted from the outer edge of the first pixel.
        size: (H, W).
    """
    mask = np.zeros(size, bool)
    first = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(points.max(axis=0)).astype(int), (size[1], size[0]))
    if (last > first).all():
        fine = draw_polygon(
            (points - first) * _FINE - 0.5, (_FINE * (last[1] - first[1]), _FINE * (last[0] - first[0]))
        )
        mask[first[1] : last[1], first[0] : last[0]] = fine[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
    return mask
