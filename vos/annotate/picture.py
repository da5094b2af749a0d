"""Draws the pictures of the page: the overlay of a frame, with the boxes and points that were marked on it."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw

from ..palette import bright_palette
from ..structures import Hint, Result
from ..writers.contrast import palette_colours
from ..writers.drawing import draw_overlay

LONG_SIDE = 1280
"""Smaller frames are enlarged to about this length, pixels, so that marks are sharp and clicks are exact."""


def enlargement(frame_size: tuple[int, int]) -> int:
    """Return by which whole number the picture of a frame of size (H, W) is enlarged."""
    return max(1, round(LONG_SIDE / max(frame_size)))


def draw_frame(
    result: Result, hints: Mapping[int, Hint], corner: tuple[int, float, float] | None = None
) -> Image.Image:
    """Draw the enlarged overlay of a frame, with marks in the colours of their objects.

    Args:
        result: of the frame.
        hints: marks by object id, in frame pixels.
        corner: object id, x and y of the first corner of an unfinished box, in frame pixels.
    """
    times = enlargement(result.frame.size)
    colours = palette_colours(result.object_ids)  # those of the list of objects on the page
    overlay = draw_overlay(result.frame.rgb, result.labels, result.object_ids, result.boxes, colours=colours)
    image = Image.fromarray(overlay)
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    size = max(5, round(min(image.size) / 70))
    for object_id, hint in hints.items():
        if hint.box is not None:
            _draw_box(pen, [times * (edge + 0.5) for edge in hint.box], _colour(object_id), size)
        for x, y, inside in hint.points:
            _draw_point(pen, times * (x + 0.5), times * (y + 0.5), inside, _colour(object_id), size)
    if corner is not None:
        object_id, x, y = corner
        _draw_corner(pen, image.size, times * (x + 0.5), times * (y + 0.5), _colour(object_id), size)
    return image


def _colour(object_id: int) -> tuple[int, ...]:
    return tuple(bright_palette()[object_id].tolist())


def _draw_box(pen: ImageDraw.ImageDraw, box: list[float], colour: tuple[int, ...], size: int) -> None:
    width = max(1, size // 3)
    pen.rectangle([box[0] - width, box[1] - width, box[2] + width, box[3] + width], outline="black", width=width)
    pen.rectangle(box, outline=colour, width=width)


def _draw_point(pen: ImageDraw.ImageDraw, x: float, y: float, inside: bool, colour: tuple[int, ...], size: int) -> None:
    """Draw a coloured disc with a plus for a point inside the object, a white one with a minus for one outside."""
    ring = max(1, size // 4)
    pen.ellipse(
        [x - size, y - size, x + size, y + size], fill=colour if inside else "white", outline="black", width=ring
    )
    arm, thick = size - 2 * ring, max(1, size // 3)
    pen.line([x - arm, y, x + arm, y], fill="black", width=thick)
    if inside:
        pen.line([x, y - arm, x, y + arm], fill="black", width=thick)


def _draw_corner(
    pen: ImageDraw.ImageDraw, picture_size: tuple[int, int], x: float, y: float, colour: tuple[int, ...], size: int
) -> None:
    """Draw two lines through the whole picture, which show where two of the box's edges will be."""
    width, height = picture_size
    for ends in ([x, 0, x, height], [0, y, width, y]):
        pen.line(ends, fill="black", width=3)
        pen.line(ends, fill=colour, width=1)
    pen.ellipse([x - size, y - size, x + size, y + size], outline=colour, width=max(1, size // 3))
