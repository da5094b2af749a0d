"""The backend for folders of numbered images, which it reads as a video."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ImageOps

from ..errors import InputError, TruncatedVideoError
from .limits import MAX_PIXELS, open_image, size_text
from .source import SourceFrame

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Names of files that are taken for images, in small or capital letters."""

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Pillow's names of the formats that are decoded."""

FOLDER_FPS = 24.0
"""Frames per second of a folder, as in DAVIS; images carry no times of their own."""


class ImagesSource:
    """A folder of images, in natural order, as a :class:`~vos.readers.source.SeekableSource`.

    Times are ``index / FOLDER_FPS``, while ``fps`` is None as no file states it.
    """

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._paths = image_paths(folder)
        self._max_pixels = max_pixels
        self.fps: float | None = None
        self.length: int | None = len(self._paths)
        self.damaged: int | None = None
        try:
            first = _load(self._paths[0], max_pixels)
        except OSError as error:
            raise InputError(f"{self._paths[0]}: cannot be read as an image ({error}); replace it") from error
        self.size: tuple[int, int] = first.shape[0], first.shape[1]

    def times(self) -> list[float]:
        """Times of all images in seconds."""
        return [index / FOLDER_FPS for index in range(len(self._paths))]

    def frames(self, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        """Deliver all images from a time on; each is read when its pixels are asked for."""
        for index in range(round(start_s * FOLDER_FPS), len(self._paths)):
            yield SourceFrame(index / FOLDER_FPS, partial(self._pixels, index))

    def _pixels(self, index: int) -> np.ndarray:
        """Load an image, (H, W, 3) uint8.

        Raises:
            TruncatedVideoError: it cannot be read.
            InputError: it has another size than the first.
        """
        path = self._paths[index]
        try:
            rgb = _load(path, self._max_pixels)
        except OSError as error:
            raise TruncatedVideoError(
                f"{path}: cannot be read as an image ({error}); the {index} frames before it were used; replace it",
                index,
            ) from error
        height, width, _ = rgb.shape
        if (height, width) != self.size:
            raise InputError(
                f"{path}: {size_text((height, width))}, but {self._paths[0].name} is {size_text(self.size)}; "
                "bring all images to one size"
            )
        return rgb


def open_source(folder: Path, max_pixels: int = MAX_PIXELS) -> ImagesSource:
    """Open a folder of images.

    Raises:
        InputError: it holds no images, or the first cannot be read or is too large.
    """
    return ImagesSource(folder, max_pixels)


def image_paths(folder: Path) -> list[Path]:
    """List the images of a folder, sorted by the numbers in their names: frame_2 before frame_10.

    Raises:
        InputError: there are none, or the folder cannot be listed.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check the permissions") from error
    paths = [path for path in entries if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not paths:
        raise InputError(f"{folder}: holds no images ({', '.join(SUFFIXES)}); give a folder of frames or a video")
    for path in paths:
        if not path.is_file():  # reading a named pipe would wait for ever
            raise InputError(f"{path}: is no file that can be read, though it is named like an image; remove it")
    return sorted(paths, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Make a sort key of a name's texts and numbers; the name itself decides between 1.jpg and 01.jpg."""
    parts = re.findall(r"(\D*)(\d*)", Path(name).stem)
    return [(text, int(number) if number else -1) for text, number in parts], name


def _load(path: Path, max_pixels: int) -> np.ndarray:
    """Decode an image to upright pixels (H, W, 3) uint8; grey becomes RGB, transparency lies on black.

    Raises:
        InputError: it has more than ``max_pixels``; none were decoded.
        OSError: it is damaged, or has none of the formats.
    """
    with open_image(path, _FORMATS, max_pixels) as file, warnings.catch_warnings(action="ignore"):  # of odd EXIF
        image = ImageOps.exif_transpose(file)
        if image.has_transparency_data:
            from .pixels import on_black

            return on_black(np.array(image.convert("RGBA")))
        return np.array(image.convert("RGB"))
