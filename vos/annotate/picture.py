"""Pictures for the page: the overlay of a frame, with boxes and points that were marked."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw

from ..palette import bright_palette
from ..structures import Hint, Result
from ..writers.drawing import draw_overlay

LONG_SIDE = 1280
"""Smaller frames are enlarged to about this many pixels, so that marks are sharp and clicks exact."""


def enlargement(frame_size: tuple[int, int]) -> int:
    """How many times as large as a frame of (H, W) its picture is."""
    return max(1, round(LONG_SIDE / max(frame_size)))


def draw_frame(
    result: Result, hints: Mapping[int, Hint], corner: tuple[int, float, float] | None = None
) -> Image.Image:
    """The frame as the overlay has it, enlarged, and marks on it in the objects' colours.

    Args:
        result: of the frame.
        hints: by object id, in frame pixels.
        corner: object id, x and y of a box's first corner.
    """
    times = enlargement(result.frame.size)
    image = Image.fromarray(draw_overlay(result.frame.rgb, result.labels, result.object_ids, result.boxes))
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    size = max(5, round(min(image.size) / 70))
    for object_id, hint in hints.items():
        if hint.box is not None:
            _box(draw, [times * (edge + 0.5) for edge in hint.box], _colour(object_id), size)
        for x, y, inside in hint.points:
            _point(draw, times * (x + 0.5), times * (y + 0.5), inside, _colour(object_id), size)
    if corner is not None:
        _corner(draw, times * (corner[1] + 0.5), times * (corner[2] + 0.5), _colour(corner[0]), size)
    return image


def _colour(object_id: int) -> tuple[int, ...]:
    return tuple(bright_palette()[object_id].tolist())


def _box(draw: ImageDraw.ImageDraw, box: list[float], colour: tuple[int, ...], size: int) -> None:
    width = max(1, size // 3)
    draw.rectangle([box[0] - width, box[1] - width, box[2] + width, box[3] + width], outline="black", width=width)
    draw.rectangle(box, outline=colour, width=width)


def _point(draw: ImageDraw.ImageDraw, x: float, y: float, inside: bool, colour: tuple[int, ...], size: int) -> None:
    """A disc with a plus in it, or a white one with a minus."""
    ring = max(1, size // 4)
    fill, sign = (colour, "black") if inside else ("white", "black")
    draw.ellipse([x - size, y - size, x + size, y + size], fill=fill, outline="black", width=ring)
    arm, thick = size - 2 * ring, max(1, size // 3)
    draw.line([x - arm, y, x + arm, y], fill=sign, width=thick)
    if inside:
        draw.line([x, y - arm, x, y + arm], fill=sign, width=thick)


def _corner(draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, ...], size: int) -> None:
    """A cross of two lines through the whole frame, so that the box's edges can be seen before it is there."""
    width, height = draw.im.size
    for line in ([x, 0, x, height], [0, y, width, y]):
        draw.line(line, fill="black", width=3)
        draw.line(line, fill=colour, width=1)
    draw.ellipse([x - size, y - size, x + size, y + size], outline=colour, width=max(1, size // 3))
