"""The colours of the objects, for indexed masks, overlays and the page."""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def davis_palette() -> np.ndarray:
    """Return the PASCAL VOC colour map that DAVIS uses, (256, 3) uint8 RGB, read-only; row i is object i.

    The lowest three bits of the index are the highest bits of red, green and blue, the next three the
    second highest, and so on.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (index >> (3 * place + channel)) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    palette.flags.writeable = False
    return palette


@cache
def bright_palette() -> np.ndarray:
    """Return the palette with each colour at full brightness, (256, 3) uint8 RGB, for outlines and marks."""
    palette = davis_palette().astype(np.float32)
    peak = np.maximum(palette.max(axis=1, keepdims=True), 1)
    return (palette * (255 / peak)).astype(np.uint8)
