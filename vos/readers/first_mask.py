"""Reads the first mask, the objects to follow, from one or more PNG files.

These are accepted:

- Indexed PNG: every index but 0 is an object and keeps its number. Index 255 beside other objects is the
  *void* of DAVIS 2017 and PASCAL VOC, and is ignored. Indices 0 and 255 alone are one object, number 1.
- Grey PNG, 1 to 16 bits: two values are one object, number 1, and the darker value is the background.
  Otherwise every value but 0 is an object and keeps its number, 255 included.
- Colour PNG: colours of the DAVIS palette are objects, numbered as in the palette. One other colour on black
  is one object, number 1. Three equal channels count as grey.
- Transparency: ignored where all pixels are opaque. On a single colour, the two values of alpha are the mask.
  Otherwise fully transparent pixels are background.
- Several files: one object each; file i, counted from 0, has number i + 1. Where they overlap, the later
  file wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, parameter
from ..structures import MAX_OBJECT_ID, FirstMask, object_ids_of
from .labels import read_labels
from .limits import MAX_PIXELS, size_text


def load_first_mask(
    paths: Sequence[Path | str],
    frame_size: tuple[int, int],
    *,
    resize: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> FirstMask:
    """Read the objects to follow from PNG files; the module's docstring says which are accepted.

    Args:
        paths: one file with all objects, or several files of one object each.
        frame_size: (H, W) of the video.
        resize: scale a mask of another size to the frame's, nearest neighbour.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        InputError: a file cannot be read or understood, has another size, or has no object.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise InputError("no first mask was given")
    if len(files) > MAX_OBJECT_ID:
        raise InputError(f"{len(files)} first masks were given; at most {MAX_OBJECT_ID} objects can be followed")
    height, width = frame_size
    read = [_read_labels(file, (height, width), resize, max_pixels) for file in files]
    labels = read[0] if len(files) == 1 else _combined(files, read)
    return FirstMask(labels, object_ids_of(labels))


def _resized(path: Path, labels: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Scale labels to frame size (H, W), nearest neighbour.

    Raises:
        InputError: an object vanishes.
    """
    height, width = frame_size
    resized = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    lost = sorted(set(object_ids_of(labels)) - set(object_ids_of(resized)))
    if lost:
        raise InputError(f"{path}: objects {lost} vanish when the mask is resized to {size_text(frame_size)}")
    return resized


def _combined(files: list[Path], masks: list[np.ndarray]) -> np.ndarray:
    """Merge masks of one object each into one array of labels; later files win.

    Raises:
        InputError: a file holds several objects, or its object is wholly covered.
    """
    combined = np.zeros_like(masks[0])
    for number, (file, mask) in enumerate(zip(files, masks, strict=True), start=1):
        ids = object_ids_of(mask)
        if len(ids) > 1:
            raise InputError(f"{file}: {len(ids)} objects; of several first masks each must hold one object")
        combined[mask > 0] = number
    present = object_ids_of(combined)
    for number, file in enumerate(files, start=1):
        if number not in present:
            raise InputError(f"{file}: its object is wholly covered by the first masks after it")
    return combined


def _read_labels(path: Path, frame_size: tuple[int, int], resize: bool, max_pixels: int) -> np.ndarray:
    """Read one file to labels at frame size, (H, W) uint8, with at least one object."""
    read = read_labels(path, max_pixels=max_pixels)
    labels = read.values
    size = labels.shape[0], labels.shape[1]
    if size != frame_size and not resize:
        raise InputError(
            f"{path}: {size_text(size)}, but the video is {size_text(frame_size)}; "
            f"pass {parameter('resize_mask', True)}"
        )
    if not labels.any():
        raise InputError(f"{path}: the mask is empty, every pixel is background")
    return labels if size == frame_size else _resized(path, labels, frame_size)
