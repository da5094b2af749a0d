"""The backend for folders of images, which it reads as a video."""

from __future__ import annotations

import logging
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError, TruncatedVideoError
from .depth import depth_of
from .limits import MAX_PIXELS, size_text
from .pictures import read_picture
from .series import find_series
from .source import SourceFrame

_log = logging.getLogger(__name__)

FOLDER_FPS = 24.0
"""Frames per second of a folder, as in DAVIS; images carry no times of their own."""

_MOST_CLIPPED = 1 / 4
"""Share of a picture's values above the range of the first from which on it is told."""


class ImagesSource:
    """A folder of images, in natural order, as a :class:`~vos.readers.source.SeekableSource`.

    Times are ``index / FOLDER_FPS``, while ``fps`` is None as no file states it. Images of more than 8 bits are
    brought to 8 in the way that the first of the folder decides. Lines tell of this, and of files left out.
    """

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        series = find_series(folder, max_pixels)
        for note in series.notes:
            _log.warning("%s", note)
        self._paths = series.paths
        self._max_pixels = max_pixels
        self.fps: float | None = None
        self.length: int | None = len(self._paths)
        self.damaged: int | None = None
        try:
            first = read_picture(self._paths[0], max_pixels)
        except OSError as error:
            raise InputError(f"{self._paths[0]}: cannot be read as an image ({error}); replace it") from error
        self.size: tuple[int, int] = first.values.shape[0], first.values.shape[1]
        self._depth = depth_of(first.values)
        self._told_of_clipping = False
        if self._depth is not None:
            _log.warning("%s: %s", folder, self._depth.describe())
        if first.several:
            _log.warning("%s: holds several pictures; the first of each file is used", self._paths[0])

    def times(self) -> list[float]:
        """Times of all images in seconds."""
        return [index / FOLDER_FPS for index in range(len(self._paths))]

    def frames(self, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        """Deliver all images from a time on; each is read when its pixels are asked for."""
        for index in range(round(start_s * FOLDER_FPS), len(self._paths)):
            path = self._paths[index]
            yield SourceFrame(index / FOLDER_FPS, partial(self._pixels, index), path.stem, path.suffix)

    def _pixels(self, index: int) -> np.ndarray:
        """Load an image, (H, W, 3) uint8.

        Raises:
            TruncatedVideoError: it cannot be read.
            InputError: it has another size than the first, or its depth does not go with that of the first.
        """
        path = self._paths[index]
        try:
            picture = read_picture(path, self._max_pixels)
        except OSError as error:
            raise TruncatedVideoError(
                f"{path}: cannot be read as an image ({error}); the {index} frames before it were used; replace it",
                index,
            ) from error
        size = picture.values.shape[0], picture.values.shape[1]
        if size != self.size:
            raise InputError(
                f"{path}: {size_text(size)}, but {self._paths[0].name} is {size_text(self.size)}; "
                "bring all images to one size"
            )
        self._tell_of_clipping(path, picture.values)
        return picture.rgb(self._depth, path)

    def _tell_of_clipping(self, path: Path, values: np.ndarray) -> None:
        """Tell once if much of a picture is brighter than the range of the first."""
        depth = self._depth
        if depth is None or depth.full or self._told_of_clipping or values.dtype != depth.dtype:
            return
        if depth.clipped_share(values) > _MOST_CLIPPED:
            self._told_of_clipping = True
            _log.warning(
                "%s: much of it is brighter than the range of %s, and becomes white; begin with a brighter picture, or "
                "bring all to 8 bits",
                path,
                self._paths[0].name,
            )


def open_source(folder: Path, max_pixels: int = MAX_PIXELS) -> ImagesSource:
    """Open a folder of images.

    Raises:
        InputError: it holds no images, two of them are the same frame, or the first cannot be read or is too large.
    """
    return ImagesSource(folder, max_pixels)


def image_paths(folder: Path) -> list[Path]:
    """List the images of a folder that are its frames, sorted by the numbers in their names.

    Raises:
        InputError: there are none, the folder cannot be listed, or two of them are the same frame.
    """
    return find_series(folder).paths
