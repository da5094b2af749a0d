"""Tells a black-and-white mask with compressed or soft edges from a map of object numbers, by its grey values.

The reader of mask files uses it, and so do first masks that are given as arrays. JPEG leaves a fringe of values near
black and white around every edge; anti-aliasing and mattes leave values in between. Neither forms areas: hardly a pixel
equals all of its neighbours. The objects of a map do form areas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

NEAR_BLACK = 40
"""Largest of the 8-bit values that compression makes of black."""

NEAR_WHITE = 215
"""Smallest of the 8-bit values that compression makes of white."""

MIDDLE = 128
"""8-bit values from here on are the object, where a mask is cut into object and background."""

_EDGE_SHARE = 0.8
"""Least share of a value's pixels with both a darker and a lighter neighbour that makes the value an edge."""

_AREA_SHARE = 0.1
"""Least share of a value's pixels that equal all of their neighbours that makes the value an area."""

_AREA_PIXELS = 8
"""Least mean size of a value's pieces, in pixels, that makes the value an area."""

_PLAIN_SHARE = 0.25
"""Least share of the pixels with the commonest dark or light value in a mask with soft edges."""

_CALM = 12
"""Most that the values around a pixel differ in a calm area."""

_REACH = 16
"""Distance in pixels from an edge up to which compression changes values."""

_STRIP = 512
"""Lines that are looked at together, which bounds the memory."""

Meaning = Literal["numbers", "one object", "unclear"]
"""What grey values mean: numbers of objects, one object in black and white, or neither for certain."""


@dataclass(frozen=True)
class _Values:
    """The values of an image, each with counts of its pixels, all (V,) int64.

    Attributes:
        levels: the values in ascending order.
        pixels: all of the value's pixels.
        inner: those that equal all of their eight neighbours.
        edge: those between a darker and a lighter neighbour.
        pieces: those that equal no earlier neighbour; about the number of connected pieces.
    """

    levels: np.ndarray
    pixels: np.ndarray
    inner: np.ndarray
    edge: np.ndarray
    pieces: np.ndarray

    @property
    def is_area(self) -> np.ndarray:
        """Mark the values that form areas, (V,) bool."""
        return (self.inner >= _AREA_SHARE * self.pixels) & (self.pixels >= _AREA_PIXELS * self.pieces)


def smallest_around(values: np.ndarray, size: int) -> np.ndarray:
    """Return the smallest value in the square of ``size`` pixels around each pixel, (H, W).

    SciPy loads when a mask is first looked at: it takes a quarter of a second, which others need not wait for.
    """
    from scipy import ndimage

    smallest: np.ndarray = ndimage.minimum_filter(values, size)
    return smallest


def largest_around(values: np.ndarray, size: int) -> np.ndarray:
    """Return the largest value in the square of ``size`` pixels around each pixel, (H, W)."""
    from scipy import ndimage

    largest: np.ndarray = ndimage.maximum_filter(values, size)
    return largest


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale grey values (H, W) of unsigned integers to 8 bits; the full range is that of the bits in use.

    The largest value of 4095 means 12 bits. Values that fit 8 bits stay as they are.
    """
    bits = int(values.max()).bit_length()
    if bits <= 8:
        return values.astype(np.uint8)
    return (values.astype(np.uint32) * 255 // (2**bits - 1)).astype(np.uint8)


def meaning_of(values: np.ndarray) -> Meaning:
    """Tell what grey values (H, W) of unsigned integers mean, where there are three or more of them."""
    found = _look_at(values)
    grey = to_8_bits(values)
    meaning = _as_black_and_white(grey, _look_at(grey) if values.max() > 255 else found)
    if meaning is not None:
        return meaning
    return "unclear" if _are_soft(found) or _has_fringes(values, found) else "numbers"


def forms_areas(values: np.ndarray) -> bool:
    """Tell whether values (H, W), in whatever order, form areas as flat colours do."""
    return not _has_fringes(values, _look_at(values))


def has_soft_edges(values: np.ndarray) -> bool:
    """Tell whether many of the values (H, W) lie only between a darker and a lighter one."""
    return _are_soft(_look_at(values))


def _strips(values: np.ndarray, margin: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Cut an image into strips of lines with a margin; also give the lines of each strip without its margin."""
    for start in range(0, len(values), _STRIP):
        first = max(0, start - margin)
        count = min(_STRIP, len(values) - start)
        yield values[first : start + count + margin], slice(start - first, start - first + count)


def _look_at(values: np.ndarray) -> _Values:
    size = int(values.max()) + 1
    counts = np.zeros((4, size), dtype=np.int64)
    for strip, lines in _strips(values, 1):
        low, high = smallest_around(strip, 3)[lines], largest_around(strip, 3)[lines]
        own = strip[lines]
        kinds = (None, low == high, (low < own) & (own < high), ~_equals_earlier(strip)[lines])
        for row, kind in zip(counts, kinds, strict=True):
            row += np.bincount((own if kind is None else own[kind]).ravel(), minlength=size)
    levels = np.flatnonzero(counts[0])
    return _Values(levels, *counts[:, levels])


def _equals_earlier(values: np.ndarray) -> np.ndarray:
    """Mark the pixels that equal their left neighbour or one of the three above, (H, W) bool."""
    same = np.zeros(values.shape, dtype=bool)
    same[:, 1:] |= values[:, 1:] == values[:, :-1]
    same[1:] |= values[1:] == values[:-1]
    same[1:, 1:] |= values[1:, 1:] == values[:-1, :-1]
    same[1:, :-1] |= values[1:, :-1] == values[:-1, 1:]
    return same


def _as_black_and_white(grey: np.ndarray, found: _Values) -> Meaning | None:
    """Tell what 8-bit values mean that look like black and white with fringes or soft edges; None if they do not."""
    levels, pixels = found.levels, found.pixels
    dark, light = levels <= NEAR_BLACK, levels >= NEAR_WHITE
    if not (dark.any() and light.any()):
        return None
    black, white = levels[dark][pixels[dark].argmax()], levels[light][pixels[light].argmax()]
    plain = (levels == black) | (levels == white)
    if np.any(found.is_area & ~plain):
        return None
    if pixels[plain].sum() < _PLAIN_SHARE * grey.size:
        return None
    others = ~plain
    if np.any(others & (levels > NEAR_BLACK) & (levels < NEAR_WHITE)):
        return None if _has_third_level(grey) else "one object"
    if not _lie_near_edges(grey, int(black), int(white)):
        return "numbers"  # such as a rope that is too thin to be an area
    one_sided = not (np.any(others & dark) and np.any(others & light))
    few_and_long = np.count_nonzero(others) <= 2 and pixels[others].sum() > 3 * found.pieces[others].sum()
    return "unclear" if one_sided and few_and_long else "one object"


def _has_third_level(grey: np.ndarray) -> bool:
    """Tell whether calm areas between black and white have one level in common, as those of a third value do."""
    counts = np.zeros(256, dtype=np.int64)
    between_count = 0
    for strip, lines in _strips(grey, 1):
        low, high = smallest_around(strip, 3)[lines], largest_around(strip, 3)[lines]
        own = strip[lines]
        between_count += int(np.count_nonzero((own > NEAR_BLACK) & (own < NEAR_WHITE)))
        counts += np.bincount(own[high - low <= _CALM], minlength=256)
    between = counts[NEAR_BLACK + 1 : NEAR_WHITE]
    largest = np.convolve(between, np.ones(_CALM + 1, dtype=np.int64), "valid").max()
    return bool(largest >= 9 and largest >= 0.1 * between_count)


def _lie_near_edges(grey: np.ndarray, black: int, white: int) -> bool:
    """Tell whether the values beside black and white lie where dark meets light, as those of compression do."""
    others = near = 0
    for strip, lines in _strips(grey, _REACH):
        other = ((strip != black) & (strip != white))[lines]
        size = 2 * _REACH + 1
        low, high = smallest_around(strip, size)[lines], largest_around(strip, size)[lines]
        others += int(np.count_nonzero(other))
        near += int(np.count_nonzero(other & (low < MIDDLE) & (high >= MIDDLE)))
    return near >= 0.9 * others


def _are_soft(found: _Values) -> bool:
    """Tell whether many values are edges between a darker and a lighter value."""
    above = found.levels > 0
    count = np.count_nonzero(above)
    if count < 2:
        return False
    edges = np.count_nonzero(found.edge[above] >= _EDGE_SHARE * found.pixels[above])
    fewest = 1 if found.levels[-1] >= MIDDLE else 3  # small values are more likely the numbers of objects
    return bool(edges >= max(fewest, count / 4))


def _has_fringes(values: np.ndarray, found: _Values) -> bool:
    """Tell whether most values form no areas but lie among each other or scattered."""
    loose = ~found.is_area
    count = np.count_nonzero(loose)
    if count < 3 or count <= np.count_nonzero(found.is_area):
        return False
    if found.pieces[loose].sum() >= 4 * count:
        return True
    is_loose = np.zeros(int(found.levels[-1]) + 1, dtype=bool)
    is_loose[found.levels[loose]] = True
    mixed = 0
    for strip, lines in _strips(values, 1):
        within = is_loose[strip]
        low = smallest_around(np.where(within, strip, strip.dtype.type(np.iinfo(strip.dtype).max)), 3)
        high = largest_around(np.where(within, strip, strip.dtype.type(0)), 3)
        mixed += int(np.count_nonzero((within & (low != high))[lines]))
    return bool(mixed >= 0.2 * found.pixels[loose].sum())
