"""Lists the mask files of a folder, and reads one file's pixels without asking what they mean for a sequence.

:mod:`.annotations` builds on it; the benchmarks take the foreground alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ..arrays import value_counts
from ..errors import InputError
from ..readers.labels import read_labels
from ..readers.limits import open_image

MASK_FORMATS = ("PNG", "JPEG")
"""Pillow's names of the formats that masks named ``.png`` may have."""


def foreground(path: Path, threshold: int | None = None) -> np.ndarray:
    """Read a mask without telling objects apart, (H, W) bool; void counts as marked, as in DAVIS 2016.

    Args:
        path: the file.
        threshold: brightness from which on pixels are marked; None: as the file shows.

    Raises:
        InputError: it is unreadable.
    """
    values = plain_values(path) if threshold is None else None
    if values is not None and len(present_in(values)) < 2:
        return values > 0
    indices = plain_values(path, ("P",)) if threshold is None else None
    if indices is not None:
        return indices > 0
    labels = read_labels(path, threshold=threshold)
    inside = labels.values > 0
    return inside if labels.void is None else inside | labels.void


def plain_values(path: Path, modes: tuple[str, ...] = ("P", "L")) -> np.ndarray | None:
    """Read an indexed PNG on black or a grey PNG as it is, (H, W) uint8; None: it takes more to understand it.

    Raises:
        InputError: it is not a readable image.
    """
    with picture(path) as image:
        if image.format != "PNG" or image.mode not in modes or "transparency" in image.info:
            return None
        if image.mode == "P" and tuple((image.getpalette() or [0, 0, 0])[:3]) != (0, 0, 0):
            return None
        return np.array(image)


def colour_pixels(path: Path) -> np.ndarray | None:
    """Read a colour PNG, (H, W, 3) uint8; None: it is none, or has transparency.

    Raises:
        InputError: it is not a readable image.
    """
    with picture(path) as image:
        return np.array(image) if image.mode == "RGB" and "transparency" not in image.info else None


@contextmanager
def picture(path: Path) -> Iterator[Image.Image]:
    """Open an image of a mask; raise an InputError if it cannot be read."""
    try:
        with open_image(path, MASK_FORMATS) as image:
            yield image
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable image") from error


def present_in(values: np.ndarray) -> set[int]:
    """Numbers that occur in values, (H, W) unsigned, without 0."""
    return {int(value) for value in np.flatnonzero(value_counts(values)) if value}


def mask_paths(folder: Path) -> dict[str, Path]:
    """List the PNG files of a folder by the names of their frames, in natural order: 2 before 10.

    Raises:
        InputError: the folder cannot be listed, or two files have one name but for their suffix.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from error
    paths: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: natural(path.name)):
        if path.stem in paths:
            raise InputError(f"{path}: the same frame as {paths[path.stem].name}; remove one of them")
        paths[path.stem] = path
    return paths


def natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Make a sort key of a name's texts and numbers."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", name)
    return [(text, int(number) if number else -1) for text, number in parts], name
