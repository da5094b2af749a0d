"""Marks of one object on one frame, beside those that the segmenter takes, and limits of what users enter."""

from __future__ import annotations

from dataclasses import dataclass

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
