"""Reads a folder of numbered images as a video."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from pathlib import Path

import numpy as np
from PIL import ImageOps

from ..errors import InputError, TruncatedVideoError
from .limits import MAX_PIXELS, open_image
from .source import SourceFrame

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FOLDER_FPS = 24.0
"""Images carry no times; they are taken to follow each other at 24 per second, as DAVIS has it."""


class ImagesSource:
    """A folder of images in natural order; see :class:`~vos.readers.open.Source`.

    ``fps`` is None: times are ``index / FOLDER_FPS``.
    """

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._paths = image_paths(folder)
        self._max_pixels = max_pixels
        self.fps: float | None = None
        self.length: int | None = len(self._paths)
        try:
            first = _load(self._paths[0], max_pixels)
        except OSError as error:
            raise InputError(f"{self._paths[0]}: cannot be read as an image ({error}); replace it") from error
        self.size: tuple[int, int] = first.shape[0], first.shape[1]

    def times(self) -> list[float]:
        """Times of all images in seconds."""
        return [index / FOLDER_FPS for index in range(len(self._paths))]

    def frames(self, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        """All images from a time on, each read when its pixels are asked for."""
        for index in range(round(start_s * FOLDER_FPS), len(self._paths)):
            yield SourceFrame(index / FOLDER_FPS, lambda index=index: self._checked(index))

    def _checked(self, index: int) -> np.ndarray:
        path = self._paths[index]
        try:
            rgb = _load(path, self._max_pixels)
        except OSError as error:
            raise TruncatedVideoError(
                f"{path}: cannot be read as an image ({error}); the {index} frames before it were used; replace it",
                index,
            ) from error
        if rgb.shape[:2] != self.size:
            raise InputError(
                f"{path}: {rgb.shape[1]} x {rgb.shape[0]}, but {self._paths[0].name} is "
                f"{self.size[1]} x {self.size[0]}; bring all images to one size"
            )
        return rgb


def open_source(folder: Path, max_pixels: int = MAX_PIXELS) -> ImagesSource:
    """Open a folder of images.

    Raises:
        InputError: it holds no images, or the first cannot be read or is too large.
    """
    return ImagesSource(folder, max_pixels)


def image_paths(folder: Path) -> list[Path]:
    """Images of a folder, sorted by the numbers in their names: frame_2 before frame_10.

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
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path}: is no file that can be read, though it is named like an image; remove it")
    return sorted(paths, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Sort key: text and numbers in turn; the name itself settles 1.jpg against 01.jpg."""
    parts = re.findall(r"(\D*)(\d*)", Path(name).stem)
    return [(text, int(number) if number else -1) for text, number in parts], name


def _load(path: Path, max_pixels: int) -> np.ndarray:
    """Upright pixels (H, W, 3) uint8; grey becomes RGB, transparency lies on black.

    Raises:
        InputError: it has more pixels than that; none were decoded.
        OSError: it is damaged, or none of the formats.
    """
    try:
        with open_image(path, _FORMATS, max_pixels) as file, warnings.catch_warnings(action="ignore"):  # of odd EXIF
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data:
                from .pixels import on_black

                return on_black(np.array(image.convert("RGBA")))
            return np.array(image.convert("RGB"))
    except (InputError, OSError):
        raise
    except Exception as error:  # how PIL reports some damage
        raise OSError(str(error)) from error
