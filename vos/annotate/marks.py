"""Marks of one object on one frame, beside those that the segmenter takes, and limits of what users enter."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import InputError
from ..structures import Hint

LONGEST_NAME = 60
"""Longest name of an object, characters."""

SMALLEST_BOX = 3
"""Smallest distance of a box's opposite corners along x and along y, pixels."""


@dataclass(frozen=True)
class Gone(Hint):
    """Says that the frame does not show the object."""


def clean_name(name: str) -> str:
    """Remove control characters and outer spaces from a name, and cut it to ``LONGEST_NAME``."""
    return "".join(letter for letter in name if letter.isprintable()).strip()[:LONGEST_NAME]


def is_near(place: float, low: float, high: float) -> bool:
    """Tell whether a coordinate is within an interval, or at most half the interval's length beside it."""
    return abs(place - (low + high) / 2) <= high - low


def with_point(hint: Hint, x: float, y: float, inside: bool) -> Hint:
    """Add a point to a hint; a box grows to hold a point inside the object."""
    if hint.box is not None and inside:
        x0, y0, x1, y1 = hint.box
        hint = replace(hint, box=(min(x0, x), min(y0, y), max(x1, x), max(y1, y)))
    return replace(hint, points=(*hint.points, (float(x), float(y), bool(inside))))


def box_between(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    """Return the box between two opposite corners, as x0, y0, x1, y1.

    Raises:
        InputError: it is too small.
    """
    if min(abs(x1 - x0), abs(y1 - y0)) < SMALLEST_BOX:
        raise InputError("the box is too small: click two opposite corners of it")
    return float(min(x0, x1)), float(min(y0, y1)), float(max(x0, x1)), float(max(y0, y1))
