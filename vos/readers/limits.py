"""How large a frame may be: told by its header, before memory is taken for its pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 8192 * 8192
"""Pixels of a frame or mask that are read unless more are allowed."""

_MOST_BYTES = 4
"""Of a file, per pixel: what is kept of one before compression."""

_pillow = Lock()


def check_pixels(name: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse what is larger.

    Args:
        name: of the file, for the message.
        size: (H, W).
        max_pixels: as allowed.

    Raises:
        InputError: it has more pixels.
    """
    if size[0] * size[1] > max_pixels:
        raise InputError(
            f"{name}: {size[1]} x {size[0]}, more than the {max_pixels} pixels that are read; "
            "if it is not damaged, allow it with --max-pixels"
        )


def open_image(path: Path, formats: Sequence[str], max_pixels: int = MAX_PIXELS) -> Image:
    """A picture of which only the header was read.

    Its file is in memory as a whole: chunks that claim gigabytes would have them set aside at once.

    Args:
        path: the file.
        formats: as Pillow names them; no other decoder is tried, whatever the content.
        max_pixels: more are refused. Pillow's own, global limit does not count.

    Raises:
        InputError: it is larger than allowed.
        Exception: whatever Pillow raises for damaged files.
    """
    from PIL import Image

    size = path.stat().st_size
    if size > _MOST_BYTES * max_pixels + (1 << 20):
        raise InputError(f"{path}: {size} bytes, more than an image of {max_pixels} pixels has; see --max-pixels")
    content = io.BytesIO(path.read_bytes())
    with _pillow, warnings.catch_warnings(action="ignore"):
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(content, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    check_pixels(path, image.size[::-1], max_pixels)
    return image
