"""Numbers the colours of a mask: every flat colour on black is one object.

The reader of mask files uses it for colour images, and for indexed images whose palette is in no certain order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError, parameter
from ..grey_masks import NEAR_BLACK, forms_areas, largest_around, smallest_around
from ..palette import davis_palette
from ..structures import MAX_OBJECT_ID

SAME_COLOUR = 24
"""Most that two colours differ in any channel if they are one colour, changed by compression."""

_DAVIS_SAME = 8
"""Most that a compressed colour differs from the colour of the DAVIS palette that it is taken for."""

_FLAT_SHARE = 0.6
"""Least share of the pixels that show a flat colour in a compressed mask."""

_INNER_SHARE = 0.4
"""Least share of the pixels that equal all of their neighbours in a compressed mask."""

_FEWEST_INNER = 9
"""Fewest such pixels of a flat colour."""

_MOST_FLAT = 32
"""Most flat colours that are looked for in a compressed mask."""

_REACH = 16
"""Distance in pixels from an edge up to which compression changes colours."""

_SPILL = 32
"""Most that a pixel of an edge lies outside of the brightness and tint of the colours around it."""

_STRIP = 256
"""Lines that are looked at together, which bounds the memory."""

_MOST_TOLD = 12
"""Most colours that a line lists."""


def pack(rgb: np.ndarray) -> np.ndarray:
    """Pack colours (..., 3) uint8 to (...) uint32, 0xRRGGBB."""
    channels = rgb.astype(np.uint32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def unpack(colours: np.ndarray) -> np.ndarray:
    """Unpack colours (...) uint32, 0xRRGGBB, to (..., 3) uint8."""
    return np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)


def flat_colours(path: Path, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Find the flat colours of an image, and which of them each pixel shows.

    Args:
        path: of the file, for messages.
        rgb: (H, W, 3) uint8.

    Returns:
        The colours, (K,) uint32 ascending; the place of each pixel's own, (H, W) uint8; and whether other colours,
        of soft or compressed edges, were taken for them.

    Raises:
        InputError: the image has no flat colours, or more than objects can have.
    """
    colours = np.zeros(0, np.uint32)
    for lines in _strips(rgb):
        colours = np.union1d(colours, pack(lines))
        if len(colours) > 1 << 16:
            break
    if len(colours) <= MAX_OBJECT_ID + 1:
        places = np.concatenate([np.searchsorted(colours, pack(lines)).astype(np.uint8) for lines in _strips(rgb)])
        if len(colours) <= 2 or (forms_areas(places) and not _has_blends(places, colours)):
            return colours, places, False
    plain = _plain_colours(rgb)
    if len(plain) < 2:
        raise InputError(f"{path}: {_many(len(colours))} colours, a photograph or soft edges; {_advice()}")
    return plain, _snapped(path, rgb, plain), True


def number_colours(
    path: Path, colours: np.ndarray, snapped: bool, known: Mapping[int, int] | None = None
) -> tuple[dict[int, int], bool]:
    """Number the flat colours of a mask.

    Colours of the DAVIS palette have its numbers. Otherwise black, or the one colour near black, is the background, and
    the other colours are numbered from 1 in the order of their value 0xRRGGBB. Known colours keep their numbers.

    Args:
        path: of the file, for messages.
        colours: (K,) uint32 ascending.
        snapped: whether the colours may differ a little from those that were drawn.
        known: numbers of colours in another file of the same sequence.

    Returns:
        The number of each colour, 0 for the background; and whether these are the DAVIS palette's.

    Raises:
        InputError: no colour is the background, or there are too many.
    """
    if not known:
        palette = _davis_numbers(colours, _DAVIS_SAME if snapped else 0)
        if palette is not None:
            return palette, True
    dark = [int(colour) for colour in colours if unpack(colour).max() <= NEAR_BLACK]
    background = 0 if 0 in dark else dark[0] if len(dark) == 1 else None
    others = [int(colour) for colour in colours if int(colour) != background]
    if background is None:
        raise InputError(
            f"{path}: the colours {_listed(others)} without a black background; fill the background with black"
        )
    if len(others) > MAX_OBJECT_ID:
        raise InputError(f"{path}: {len(others)} objects, but at most {MAX_OBJECT_ID} can be followed")
    numbers = {background: 0}
    for colour in others:
        same = [number for each, number in (known or {}).items() if number and _differ(each, colour) <= _DAVIS_SAME]
        taken = {*numbers.values(), *(known or {}).values()}
        numbers[colour] = same[0] if same else next(n for n in range(1, 2 * MAX_OBJECT_ID) if n not in taken)
    return numbers, False


def numbers_note(path: Path, numbers: Mapping[int, int]) -> str:
    """Make the line that lists colours outside of the DAVIS palette with their numbers."""
    shown = [f"#{colour:06x} = {number}" for colour, number in numbers.items() if number]
    more = f" and {len(shown) - _MOST_TOLD} more" if len(shown) > _MOST_TOLD else ""
    return f"{path}: its colours are the objects {', '.join(shown[:_MOST_TOLD])}{more}"


def _strips(values: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(values), _STRIP):
        yield values[start : start + _STRIP]


def _differ(one: int, other: int) -> int:
    """Return the largest difference of two packed colours in any channel."""
    return max(abs((one >> shift & 255) - (other >> shift & 255)) for shift in (16, 8, 0))


def _many(count: int) -> str:
    return f"more than {MAX_OBJECT_ID + 1}" if count > MAX_OBJECT_ID + 1 else str(count)


def _advice() -> str:
    return (
        "a mask has one flat colour per object on black; save it as a PNG without soft edges, "
        f"or cut it by brightness with {parameter('threshold')}"
    )


def _listed(colours: list[int]) -> str:
    more = f" and {len(colours) - _MOST_TOLD} more" if len(colours) > _MOST_TOLD else ""
    return ", ".join(f"#{colour:06x}" for colour in colours[:_MOST_TOLD]) + more


def _davis_numbers(colours: np.ndarray, tolerance: int) -> dict[int, int] | None:
    """Return the DAVIS numbers of colours; None if any is not in the palette."""
    palette = davis_palette().astype(np.int16)
    numbers: dict[int, int] = {}
    for colour in colours:
        differences = np.abs(palette - unpack(colour).astype(np.int16)).max(axis=1)
        nearest = int(differences.argmin())
        if differences[nearest] > tolerance or nearest in numbers.values():
            return None
        numbers[int(colour)] = nearest
    return numbers


def _has_blends(places: np.ndarray, colours: np.ndarray) -> bool:
    """Tell whether many colours without areas lie between others, as those of soft edges do."""
    counts = np.bincount(places.ravel(), minlength=len(colours))
    inner = places[smallest_around(places, 3) == largest_around(places, 3)]
    loose = np.bincount(inner, minlength=len(colours)) < 0.1 * counts
    if not loose.any() or loose.all():
        return False
    known = unpack(colours[~loose]).astype(np.int32)
    blended = 0
    for colour in unpack(colours[loose]).astype(np.int32):
        blended += any(
            np.all((np.minimum(one, other) <= colour) & (colour <= np.maximum(one, other)))
            for index, one in enumerate(known)
            for other in known[:index]
        )
    return blended >= max(3, np.count_nonzero(loose) / 2)


def _plain_colours(rgb: np.ndarray) -> np.ndarray:
    """Find the colours of calm areas, (K,) uint32 ascending; none if they are too few or too many for a mask."""
    seen: dict[int, int] = {}
    for start in range(0, len(rgb), _STRIP):
        strip = rgb[max(0, start - 1) : start + _STRIP + 1]
        packed = pack(strip)
        inner = smallest_around(packed, 3) == largest_around(packed, 3)
        found, counts = np.unique(packed[inner], return_counts=True)
        for colour, count in zip(found.tolist(), counts.tolist(), strict=True):
            seen[colour] = seen.get(colour, 0) + count
        if len(seen) > 1 << 16:
            return np.zeros(0, np.uint32)
    plain: list[int] = []
    pixels = rgb.shape[0] * rgb.shape[1]
    fewest = max(_FEWEST_INNER, pixels // 20_000)
    for colour in sorted((each for each, count in seen.items() if count >= fewest), key=lambda each: -seen[each]):
        if all(_differ(colour, each) > SAME_COLOUR for each in plain):
            plain.append(colour)
        if len(plain) > _MOST_FLAT:
            return np.zeros(0, np.uint32)
    if sum(seen[colour] for colour in plain) < _INNER_SHARE * pixels:
        return np.zeros(0, np.uint32)
    return np.array(sorted(plain), dtype=np.uint32)


def _snapped(path: Path, rgb: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Take every pixel for the nearest of the plain colours around it, (H, W) uint8.

    Raises:
        InputError: too much of the image shows none of these colours.
    """
    flat = doubtful = 0
    result = []
    for start in range(0, len(rgb), _STRIP):
        first = max(0, start - _REACH)
        strip = rgb[first : start + _STRIP + _REACH].astype(np.int16)
        lines = slice(start - first, min(start - first + _STRIP, len(strip)))
        nearest = np.full(strip[lines].shape[:2], np.iinfo(np.int16).max, np.int16)
        place = np.zeros(nearest.shape, np.uint8)
        low = np.full(strip[lines].shape, 999, np.int16)
        high = -low
        for index, colour in enumerate(unpack(plain).astype(np.int16)):
            difference = np.abs(strip - colour).max(axis=2)
            shown = difference <= SAME_COLOUR
            flat += int(np.count_nonzero(shown[lines]))
            around = largest_around(shown, 2 * _REACH + 1)[lines]
            better = around & (difference[lines] < nearest)
            nearest[better], place[better] = difference[lines][better], index
            tint = _brightness_and_tint(colour)
            low[around] = np.minimum(low[around], tint)
            high[around] = np.maximum(high[around], tint)
        tints = _brightness_and_tint(strip[lines])
        outside = np.maximum(low - tints, tints - high).max(axis=2)
        doubtful += int(np.count_nonzero((nearest > SAME_COLOUR) & (outside > _SPILL)))
        result.append(place)
    pixels = rgb.shape[0] * rgb.shape[1]
    if flat < _FLAT_SHARE * pixels or doubtful > max(8, pixels / 5000):
        raise InputError(f"{path}: its colours are not flat, as in a photograph or a compressed mask; {_advice()}")
    return np.concatenate(result)


def _brightness_and_tint(rgb: np.ndarray) -> np.ndarray:
    """Convert colours (..., 3) to brightness and two differences of colour, as JPEG does, (..., 3) int16."""
    red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([brightness, (blue - brightness) * 0.564, (red - brightness) * 0.713], axis=-1).astype(np.int16)
