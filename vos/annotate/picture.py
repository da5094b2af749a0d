"""Draws the pictures of the page: overlays of frames and photographs, with the boxes and points marked on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from ..palette import bright_palette
from ..structures import Frame, Hint, Result
from ..writers.contrast import palette_colours
from ..writers.drawing import draw_overlay
from .label_maps import result_with_scores
from .photographs import Photograph

LONG_SIDE = 1280
"""Smaller frames are enlarged to about this length, pixels, so that marks are sharp and clicks are exact."""

PHOTOGRAPH_SIDE = 640
"""Longest side of the picture of a photograph, pixels: twice as wide as it is shown, for dense screens."""


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
    _draw_marks(image, times, max(5, round(min(image.size) / 70)), hints, corner)
    return image


def reduction(size: tuple[int, int]) -> float:
    """Return by which factor, at most 1, the picture of a photograph of size (H, W) is scaled."""
    return min(1.0, PHOTOGRAPH_SIDE / max(size))


def draw_photograph(photograph: Photograph, object_id: int) -> Image.Image:
    """Draw a photograph at the size at which the page shows it, with the mask and the marks of its object."""
    height, width = photograph.frame.size
    times = reduction(photograph.frame.size)
    size = max(1, round(width * times)), max(1, round(height * times))
    small = np.asarray(Image.fromarray(photograph.frame.rgb).resize(size, Image.Resampling.BOX))
    mask = np.zeros((height, width), bool) if photograph.mask is None else photograph.mask
    labels = np.asarray(Image.fromarray(mask.astype(np.uint8) * object_id).resize(size, Image.Resampling.NEAREST))
    result = result_with_scores(Frame(0, 0.0, small), labels, {object_id: 1.0})
    image = Image.fromarray(
        draw_overlay(small, labels, [object_id], result.boxes, colours=palette_colours([object_id]))
    )
    hints = {} if photograph.hint is None else {object_id: photograph.hint}
    corner = None if photograph.corner is None else (object_id, *photograph.corner)
    _draw_marks(image, times, max(6, round(max(image.size) / 60)), hints, corner)
    return image


def _draw_marks(
    image: Image.Image,
    times: float,
    size: int,
    hints: Mapping[int, Hint],
    corner: tuple[int, float, float] | None,
) -> None:
    """Draw boxes, points of ``size`` pixels and an unfinished box into a picture ``times`` as large as theirs."""
    pen = ImageDraw.Draw(image)
    for object_id, hint in hints.items():
        if hint.box is not None:
            _draw_box(pen, [times * (edge + 0.5) for edge in hint.box], _colour(object_id), size)
        for x, y, inside in hint.points:
            _draw_point(pen, times * (x + 0.5), times * (y + 0.5), inside, _colour(object_id), size)
    if corner is not None:
        object_id, x, y = corner
        _draw_corner(pen, image.size, times * (x + 0.5), times * (y + 0.5), _colour(object_id), size)


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
