"""Limits on the size of frames and masks, checked in a file's header before memory is taken for its pixels.

All readers and the first mask use them, and so does the command where it reads back a stopped run.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import InputError, parameter

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 8192 * 8192
"""Default limit: pixels of the largest frame or mask that is read."""

_MAX_BYTES_PER_PIXEL = 4
"""Limit on an image file's own size: an uncompressed RGBA image, and 1 MiB for metadata, still fits."""

_pillow_lock = Lock()
"""Held while Pillow's global limit is switched off."""


def size_text(size: tuple[int, int]) -> str:
    """Write a size (H, W) as messages show it, ``width x height``."""
    return f"{size[1]} x {size[0]}"


def check_pixels(name: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a frame or mask that is too large.

    Args:
        name: of the file, for the message.
        size: (H, W).
        max_pixels: the limit.

    Raises:
        InputError: it has more pixels than that.
    """
    if size[0] * size[1] > max_pixels:
        raise InputError(
            f"{name}: {size_text(size)}, more than the {max_pixels} pixels that are read; "
            f"if it is not damaged, allow it with {parameter('max_pixels')}"
        )


@contextmanager
def open_image(path: Path, formats: tuple[str, ...], max_pixels: int = MAX_PIXELS) -> Iterator[Image]:
    """Open an image for a ``with`` block, in which its pixels may be decoded.

    The file is read into memory first. Otherwise Pillow would allocate whatever length a chunk claims to
    have, even gigabytes.

    Args:
        path: the file.
        formats: Pillow's names of the formats to try; no other decoder sees the file.
        max_pixels: larger images are refused. Pillow's own, global limit does not count.

    Yields:
        The image, of which only the header has been read.

    Raises:
        InputError: the image is larger than allowed.
        OSError: the file cannot be read, is damaged or has another format, also where Pillow raises another
            type while it decodes in the block.
    """
    from PIL import Image

    try:
        size = path.stat().st_size
        if size > _MAX_BYTES_PER_PIXEL * max_pixels + (1 << 20):
            raise InputError(
                f"{path}: {size} bytes, more than an image of {max_pixels} pixels has; see {parameter('max_pixels')}"
            )
        content = io.BytesIO(path.read_bytes())
        with _pillow_lock, warnings.catch_warnings(action="ignore"):
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(content, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = before
        width, height = image.size
        check_pixels(path, (height, width), max_pixels)
        with image:
            yield image
    except (InputError, OSError):
        raise
    except Exception as error:  # Pillow raises half a dozen types for damaged files
        raise OSError(str(error)) from error
