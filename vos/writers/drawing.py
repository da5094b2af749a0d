"""Draws the overlay: the objects tinted, outlined and numbered over their frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..boxes import tight_box
from ..palette import bright_palette, davis_palette


def draw_overlay(rgb: np.ndarray, labels: np.ndarray, object_ids: Sequence[int], boxes: np.ndarray) -> np.ndarray:
    """Tint each object half in its palette colour, outline it and write its number above its box.

    Args:
        rgb: (H, W, 3) uint8; not changed.
        labels: (H, W) uint8, 0 background, else the object id.
        object_ids: ids in the order of ``boxes``.
        boxes: (N, 4) inclusive; an absent object, whose box is -1, is not numbered.

    Returns:
        (H, W, 3) uint8.
    """
    out = rgb.copy()
    everything = tight_box(labels > 0)
    if everything is not None:
        left, top, right, bottom = everything
        region = np.s_[top : bottom + 1, left : right + 1]
        width = 1 if min(labels.shape) < 360 else 2
        _tint(out[region], labels[region], _edges(labels, width)[region])
    size = max(10, round(min(labels.shape) / 22))
    for object_id, box in zip(object_ids, boxes, strict=True):
        if box[2] >= 0:
            _stamp(out, *_number(int(object_id), size), box)
    return out


def _tint(region: np.ndarray, labels: np.ndarray, edges: np.ndarray) -> None:
    """Colour a part of the frame in place; ``labels`` and ``edges`` are of that part."""
    inside = labels > 0
    half = davis_palette() >> 1
    region[inside] = (region[inside] >> 1) + half[labels[inside]]
    region[edges] = bright_palette()[labels[edges]]


def _edges(labels: np.ndarray, width: int) -> np.ndarray:
    """Mark the pixels of objects that are within ``width`` of another label along x or y, (H, W) bool."""
    edges = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        across = labels[:, step:] != labels[:, :-step]
        edges[:, step:] |= across
        edges[:, :-step] |= across
        down = labels[step:] != labels[:-step]
        edges[step:] |= down
        edges[:-step] |= down
    return edges & (labels > 0)


@cache
def _number(object_id: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw white digits with a dark outline; return colour (h, w, 3) uint8 and opacity (h, w, 1) uint16, 0 to 255."""
    font = ImageFont.load_default(size)
    stroke = max(1, size // 9)
    text = str(object_id)
    x0, y0, x1, y1 = (
        round(edge)
        for edge in ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font=font, stroke_width=stroke)
    )
    image = Image.new("RGBA", (x1 - x0 + 1, y1 - y0 + 1))
    ImageDraw.Draw(image).text(
        (-x0, -y0), text, font=font, fill=(255, 255, 255, 255), stroke_width=stroke, stroke_fill=(0, 0, 0, 255)
    )
    pixels = np.array(image)
    return pixels[..., :3], pixels[..., 3:].astype(np.uint16)


def _stamp(out: np.ndarray, colour: np.ndarray, opacity: np.ndarray, box: np.ndarray) -> None:
    """Put a number above the box, or inside it at its top where there is no room above; in place."""
    height, width = out.shape[:2]
    tall, wide = min(colour.shape[0], height), min(colour.shape[1], width)
    top = int(box[1]) - tall - 2
    top = min(int(box[1]) + 2 if top < 0 else top, height - tall)
    left = min(max(int(box[0]), 0), width - wide)
    place = out[top : top + tall, left : left + wide]
    weight = opacity[:tall, :wide]
    place[:] = (colour[:tall, :wide] * weight + place * (255 - weight)) // 255
