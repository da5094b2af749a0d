"""Chooses the colours of the overlay, so that each object stands out from what is under it.

An object has its colour of the palette, unless the object itself or what is around it has nearly that colour: a red
tint on a red cup cannot be seen. Then it gets the colour that differs most from these and from those of other objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..palette import bright_palette

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_LIGHTNESS = 0.5
"""Weight of a difference in lightness against one in colour; shadows and lights are on every object."""

_SEEN = 0.7
"""Least distance of a colour from an object's own at which the tint is seen at a glance; 1 is that from grey."""

_LESS_AROUND = 0.15
"""By how much less a colour needs to differ from what is around the object."""

_ELSEWHERE = 0.5
"""Weight of the distance to the other objects' colours, where one is chosen."""

_GREY = 50.0
"""Lightness of a middle grey in CIE Lab."""

_SAMPLES = 64
"""Most lines and columns of an object's box that are looked at."""

_NEAREST = 0.3
"""Share of the pixels that a colour may be near to: a red car has dark windows, and is red all the same."""

_OTHERS: tuple[Colour, ...] = (
    (0, 255, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 0),
    (255, 64, 0),
    (48, 96, 255),
)
"""Colours from which one is taken where that of the palette cannot be seen."""


class Colours:
    """The colours of the objects of one video: each is chosen when its object is first seen, and then kept."""

    def __init__(self) -> None:
        self._chosen: dict[int, Colour] = {}

    def of(
        self, rgb: np.ndarray, labels: np.ndarray, object_ids: Sequence[int], boxes: np.ndarray
    ) -> Mapping[int, Colour]:
        """Return the colours of the objects, also of those that were seen before.

        Args:
            rgb: (H, W, 3) uint8.
            labels: (H, W) uint8.
            object_ids: ids in the order of ``boxes``.
            boxes: (N, 4) inclusive; -1 of an absent object.
        """
        for object_id, box in zip(object_ids, boxes, strict=True):
            if object_id in self._chosen or box[2] < 0:
                continue
            seen = _pixels_of(rgb, labels, int(object_id), box)
            if seen is not None:
                self._chosen[int(object_id)] = _choose(int(object_id), *seen, list(self._chosen.values()))
        return self._chosen


def palette_colours(object_ids: Sequence[int]) -> dict[int, Colour]:
    """Return the colours of the palette at full brightness, whatever is under them."""
    return {int(object_id): _palette_colour(int(object_id)) for object_id in object_ids}


def _palette_colour(object_id: int) -> Colour:
    red, green, blue = bright_palette()[object_id].tolist()
    return red, green, blue


def _pixels_of(
    rgb: np.ndarray, labels: np.ndarray, object_id: int, box: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return colours of an object and of what is around it, (P, 3) CIE Lab each; None: it is too thin to tell."""
    left, top, right, bottom = (int(edge) for edge in box)
    down, across = (bottom - top) // 8 + 2, (right - left) // 8 + 2
    left, top, right, bottom = max(0, left - across), max(0, top - down), right + across, bottom + down
    steps = [max(1, (last - first + 1) // _SAMPLES) for first, last in ((top, bottom), (left, right))]
    part = np.s_[top : bottom + 1 : steps[0], left : right + 1 : steps[1]]
    inside = labels[part] == object_id
    if not inside.any():
        return None
    colours = _lab(rgb[part])
    return colours[inside], colours[inside if inside.all() else ~inside]


def _choose(object_id: int, under: np.ndarray, around: np.ndarray, taken: Sequence[Colour]) -> Colour:
    """Choose the colour of an object by the colours (P, 3) of it and of what is around it, and by those taken."""

    def seen(colour: Colour) -> float:
        return min(_distance(colour, under), _distance(colour, around) + _LESS_AROUND)

    def worth(colour: Colour) -> float:
        apart = min((_distance(colour, _lab(np.array([other]))) for other in taken), default=0.0)
        return seen(colour) + _ELSEWHERE * apart

    own = _palette_colour(object_id)
    return own if seen(own) >= _SEEN else max(_OTHERS, key=worth)


def _distance(colour: Colour, others: np.ndarray) -> float:
    """Return how far a colour is from most of the others (P, 3) CIE Lab; 1 is its distance from grey."""
    own = _lab(np.array(colour))
    distances = np.linalg.norm((own - others) * (_LIGHTNESS, 1, 1), axis=1)
    from_grey = np.linalg.norm((own - (_GREY, 0, 0)) * (_LIGHTNESS, 1, 1))
    return float(np.quantile(distances, _NEAREST) / from_grey)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB colours (..., 3) in 0 to 255 to CIE Lab under the light D65."""
    values = rgb / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = (
        linear
        @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
        / np.array([0.9505, 1.0, 1.089])
    )
    cube = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = cube[..., 0], cube[..., 1], cube[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
