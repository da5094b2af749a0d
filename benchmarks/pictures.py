"""Reads the pictures of sets that are no sequences. Used by the benchmarks with references."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..readers.depth import depth_of
from ..readers.pictures import read_picture


def read_rgb(path: Path) -> np.ndarray:
    """Read a picture, upright, (H, W, 3) uint8.

    Raises:
        InputError: it is not there or cannot be read.
    """
    try:
        picture = read_picture(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as an image ({error.strerror or error}); the set needs it") from error
    return picture.rgb(depth_of(picture.values), path)
