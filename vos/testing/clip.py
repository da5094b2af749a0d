"""Draws an endless clip with exact masks, for tests and benchmarks that need no data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..structures import FirstMask, Frame, first_mask_from_array

COLUMNS, ROWS = 8, 5
"""Size of the grid in which the discs stand; a clip has at most ``COLUMNS * ROWS`` of them."""


def clip(size: tuple[int, int] = (480, 854)) -> Iterator[Frame]:
    """Yield frames of coloured discs that sway over a softly shaded ground, without end.

    Args:
        size: (H, W) of the frames.
    """
    height, width = size
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(90, 170, (4, 6, 3)).astype(np.uint8))
    ground = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    colours = rng.integers(0, 255, (COLUMNS * ROWS + 1, 3)).astype(np.uint8)
    index = 0
    while True:
        labels = disc_labels(size, COLUMNS * ROWS, sway(size, index))
        rgb = np.where((labels > 0)[..., None], colours[labels], ground)
        yield Frame(index, index / 24, np.ascontiguousarray(rgb))
        index += 1


def sway(size: tuple[int, int], index: int) -> int:
    """Return by how many pixels the discs are moved to the right in a frame.

    Args:
        size: (H, W) of the frames.
        index: of the frame.
    """
    return round(size[1] / 120 * np.sin(index / 5))


def disc_labels(size: tuple[int, int], count: int, shift: int = 0) -> np.ndarray:
    """Draw the labels of the first ``count`` discs, (H, W) uint8: 1, 2 and so on in reading order.

    Args:
        size: (H, W) of the frame.
        count: number of discs.
        shift: pixels to the right, see :func:`sway`.
    """
    height, width = size
    ys, xs = np.ogrid[:height, :width]
    radius = 0.38 * min(height / ROWS, width / COLUMNS)
    labels = np.zeros(size, np.uint8)
    for index in range(count):
        x, y = width * (index % COLUMNS + 0.5) / COLUMNS + shift, height * (index // COLUMNS + 0.5) / ROWS
        rows = slice(max(0, int(y - radius)), max(0, int(y + radius) + 1))
        columns = slice(max(0, int(x - radius)), max(0, int(x + radius) + 1))
        labels[rows, columns][(xs[:, columns] - x) ** 2 + (ys[rows] - y) ** 2 < radius**2] = index + 1
    return labels


def discs(count: int, size: tuple[int, int] = (480, 854)) -> FirstMask:
    """Return the first mask of the clip's first ``count`` discs, for frames of size (H, W)."""
    return first_mask_from_array(disc_labels(size, count))
