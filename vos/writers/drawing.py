"""Draws the overlay: the objects tinted, outlined and labelled over their frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..boxes import tight_box
from .contrast import Colour, Colours

_LINES_PER_PIXEL = 320
"""Lines of a frame, or columns of an upright one, for each pixel of an outline's thickness."""

_COVERED = 0.1
"""Share of other objects up to which a place is free for a label."""

_PIECES_SIDE = 256
"""Most lines and columns in which the largest piece of an object is looked for."""


def draw_overlay(
    rgb: np.ndarray,
    labels: np.ndarray,
    object_ids: Sequence[int],
    boxes: np.ndarray,
    *,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, Colour] | None = None,
) -> np.ndarray:
    """Tint and outline each object in its colour, and write its name or number beside its largest piece.

    Args:
        rgb: (H, W, 3) uint8; not changed.
        labels: (H, W) uint8, 0 background, else the object id.
        object_ids: ids in the order of ``boxes``.
        boxes: (N, 4) inclusive; an absent object, whose box is -1, is not labelled.
        names: names of objects by id; the others go by their numbers.
        colours: of the objects by id; None: those that stand out in this frame.

    Returns:
        (H, W, 3) uint8.
    """
    out = rgb.copy()
    if colours is None:
        colours = Colours().of(rgb, labels, object_ids, boxes)
    _tint(out, labels, _table(colours))
    texts = label_texts(object_ids, names or {})
    size = max(10, round(min(labels.shape) / 24))
    taken: list[tuple[int, int, int, int]] = []
    for object_id, box in zip(object_ids, boxes, strict=True):
        if box[2] >= 0:
            piece = largest_piece(labels, int(object_id), box)
            plate = _plate(texts[int(object_id)], str(object_id), size, colours.get(int(object_id), (255, 255, 255)))
            places = _places(labels == int(object_id), piece, plate[0].shape)
            taken.append(_stamp(out, *plate, places, taken, labels, int(object_id)))
    return out


def outline_thickness(size: Sequence[int]) -> int:
    """Return the thickness of outlines in pixels for frames of size (H, W): 2 at 480, 3 at 1080, 7 at 2160."""
    return max(1, round(min(size) / _LINES_PER_PIXEL))


def label_texts(object_ids: Sequence[int], names: Mapping[int, str]) -> dict[int, str]:
    """Return what is written beside each object: its name, with its number if others have that name; or the number."""
    every = list(names.values())
    texts = {}
    for object_id in map(int, object_ids):
        name = names.get(object_id)
        shared = name is not None and every.count(name) > 1
        texts[object_id] = str(object_id) if name is None else f"{name} {object_id}" if shared else name
    return texts


def largest_piece(labels: np.ndarray, object_id: int, box: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box, inclusive, of an object's largest connected piece, about right for large objects.

    Args:
        labels: (H, W) uint8.
        object_id: of the object.
        box: (4,) of all of the object.
    """
    from scipy import ndimage

    left, top, right, bottom = (int(edge) for edge in box)
    step = max(1, -(-max(bottom - top + 1, right - left + 1) // _PIECES_SIDE))
    pieces, count = ndimage.label(labels[top : bottom + 1 : step, left : right + 1 : step] == object_id)
    if count < 2:
        return left, top, right, bottom
    largest = int(np.bincount(pieces.ravel())[1:].argmax())
    lines, columns = ndimage.find_objects(pieces)[largest]
    return (
        left + columns.start * step,
        top + lines.start * step,
        min(right, left + columns.stop * step - 1),
        min(bottom, top + lines.stop * step - 1),
    )


def _table(colours: Mapping[int, Colour]) -> np.ndarray:
    """Return the colours as a table by id, (256, 3) uint8; white for an object without one."""
    table = np.full((256, 3), 255, np.uint8)
    for object_id, colour in colours.items():
        table[object_id] = colour
    return table


def _tint(out: np.ndarray, labels: np.ndarray, table: np.ndarray) -> None:
    """Colour a frame in place: objects tinted half and outlined, and a darkened rim around them.

    Pixels are taken by their positions, which is several times as fast as by a mask.
    """
    everything = tight_box(labels > 0)
    if everything is None:
        return
    pixels, numbers = out.reshape(-1, 3), np.ravel(labels)
    inside = np.flatnonzero(numbers)
    pixels[inside] = (np.take(pixels, inside, 0) >> 1) + np.take(table >> 1, np.take(numbers, inside), 0)
    edges = _edges(labels, everything, outline_thickness(labels.shape))
    within = np.take(numbers, edges) > 0
    edges, rim = edges[within], edges[~within]
    dark = np.take(pixels, rim, 0)
    pixels[rim] = (dark >> 1) + (dark >> 3)
    pixels[edges] = np.take(table, np.take(numbers, edges), 0)


def _edges(labels: np.ndarray, box: tuple[int, int, int, int], thickness: int) -> np.ndarray:
    """Return the positions, row by row, of the pixels that are within ``thickness`` of another label along x or y.

    Args:
        labels: (H, W) uint8.
        box: of all objects, inclusive.
        thickness: in pixels.
    """
    left, top = max(0, box[0] - thickness), max(0, box[1] - thickness)
    part = labels[top : box[3] + 1 + thickness, left : box[2] + 1 + thickness]
    edges = np.zeros(part.shape, bool)
    for step in range(1, thickness + 1):
        across = part[:, step:] != part[:, :-step]
        edges[:, step:] |= across
        edges[:, :-step] |= across
        down = part[step:] != part[:-step]
        edges[step:] |= down
        edges[:-step] |= down
    rows, columns = np.divmod(np.flatnonzero(edges), part.shape[1])
    positions: np.ndarray = (rows + top) * labels.shape[1] + columns + left
    return positions


@cache
def _plate(text: str, number: str, size: int, colour: Colour) -> tuple[np.ndarray, np.ndarray]:
    """Draw a text on a plate of a colour; return its pixels (h, w, 3) uint8 and its opacity (h, w, 1) uint16 to 255.

    A text that the font cannot show gives way to the object's number.
    """
    font = ImageFont.load_default(size)
    text = text if _shows(font, text) else number
    pad = max(2, size // 5)
    x0, y0, x1, y1 = (round(edge) for edge in ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font=font))
    tall, wide = y1 - y0 + 2 * pad, max(x1 - x0, y1 - y0) + 2 * pad
    image = Image.new("RGBA", (wide, tall))
    pen = ImageDraw.Draw(image)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
    ink = (0, 0, 0, 255) if light else (255, 255, 255, 255)
    pen.rounded_rectangle((0, 0, wide - 1, tall - 1), radius=pad, fill=(*colour, 255), outline=ink)
    pen.text(((wide - (x1 - x0)) // 2 - x0, pad - y0), text, font=font, fill=ink)
    pixels = np.array(image)
    return pixels[..., :3], pixels[..., 3:].astype(np.uint16)


def _shows(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> bool:
    """Tell whether a font has all characters of a text, rather than the box for those that it has not."""
    missing = bytes(font.getmask("\uffff"))
    return bool(text.strip()) and all(each.isspace() or bytes(font.getmask(each)) != missing for each in text)


def _places(inside: np.ndarray, piece: tuple[int, int, int, int], plate: Sequence[int]) -> list[tuple[int, int]]:
    """List where a plate may go, the best place first: x and y of its corner.

    It goes above, below, right or left of the piece of an object, where the piece ends on that side.

    Args:
        inside: (H, W) bool, pixels of the object.
        piece: box of the piece, inclusive.
        plate: height and width of the plate.
    """
    left, top, right, bottom = piece
    tall, wide = plate[:2]
    columns = [left + _middle(inside[y, left : right + 1]) - wide // 2 for y in (top, bottom)]
    rows = [top + _middle(inside[top : bottom + 1, x]) - tall // 2 for x in (right, left)]
    return [
        (columns[0], top - tall - 2),
        (columns[1], bottom + 3),
        (right + 3, rows[0]),
        (left - wide - 2, rows[1]),
        (columns[0], top + 2),
    ]


def _middle(line: np.ndarray) -> int:
    """Return the mean position of what is marked in a line (P,) bool; its middle if nothing is."""
    marked = np.flatnonzero(line)
    return int(marked.mean()) if len(marked) else len(line) // 2


def _stamp(
    out: np.ndarray,
    colour: np.ndarray,
    opacity: np.ndarray,
    places: Sequence[tuple[int, int]],
    taken: Sequence[tuple[int, int, int, int]],
    labels: np.ndarray,
    object_id: int,
) -> tuple[int, int, int, int]:
    """Put a plate on a frame, in place; return where: its box, inclusive.

    Of the places those count that are in the frame up to half of the plate, into which it is then moved. It gets the
    first of them that has neither another plate nor another object, else the first without a plate, else the first,
    else the last of all.
    """
    height, width = out.shape[:2]
    tall, wide = min(colour.shape[0], height), min(colour.shape[1], width)
    moved = [(min(max(x, 0), width - wide), min(max(y, 0), height - tall)) for x, y in places]
    near = [new for old, new in zip(places, moved, strict=True) if _moved_little(old, new, tall, wide)]
    free = [place for place in near if not any(_overlap((*place, wide, tall), other) for other in taken)]
    others = lambda part: float(np.mean((part > 0) & (part != object_id)))
    clear = [(x, y) for x, y in free if others(labels[y : y + tall, x : x + wide]) < _COVERED]
    x, y = (clear or free or near or moved[-1:])[0]
    place = out[y : y + tall, x : x + wide]
    weight = opacity[:tall, :wide]
    place[:] = (colour[:tall, :wide] * weight + place * (255 - weight)) // 255
    return x, y, x + wide - 1, y + tall - 1


def _moved_little(old: tuple[int, int], new: tuple[int, int], tall: int, wide: int) -> bool:
    """Tell whether a plate that was moved into the frame still lies beside its object."""
    (old_x, old_y), (x, y) = old, new
    return (y == old_y and abs(x - old_x) <= wide // 2) or (x == old_x and abs(y - old_y) <= tall // 2)


def _overlap(place: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Tell whether a place (x, y, width, height) overlaps a box, inclusive."""
    x, y, wide, tall = place
    return x <= other[2] and x + wide > other[0] and y <= other[3] and y + tall > other[1]
