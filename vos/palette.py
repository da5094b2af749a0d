"""Colours of objects: the palette of DAVIS, and a brighter one for outlines."""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def davis_palette() -> np.ndarray:
    """The PASCAL VOC colour map that DAVIS uses, (256, 3) uint8, read-only.

    The bits of the index go in turn to red, green and blue, each time one bit lower.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for round_ in range(8):
        for channel in range(3):
            bit = (index >> (3 * round_ + channel)) & 1
            palette[:, channel] |= (bit << (7 - round_)).astype(np.uint8)
    palette.flags.writeable = False
    return palette


@cache
def bright_palette() -> np.ndarray:
    """The palette with each colour at its full brightness, (256, 3) uint8: for outlines."""
    palette = davis_palette().astype(np.float32)
    peak = np.maximum(palette.max(axis=1, keepdims=True), 1)
    return (palette * (255 / peak)).astype(np.uint8)
