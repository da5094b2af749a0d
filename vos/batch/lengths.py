"""How many frames each video of a batch has, as far as its header tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..command.options import Options
from ..errors import VosError
from ..readers.open import open_reader
from .manifest import Row

READERS = 8
"""Videos that are looked at side by side: opening one is mostly waiting for a disk."""


def frames_of(options: Options) -> float:
    """Return the number of frames that a video will have; infinite if it cannot be told, or read at all."""
    try:
        with open_reader(
            options.video,
            backend=options.reader,
            start=options.start,
            max_frames=options.max_frames,
            stride=options.stride,
            max_pixels=options.max_pixels,
        ) as reader:
            return math.inf if reader.length is None else float(reader.length)
    except (VosError, OSError):
        return math.inf  # its worker tells what is wrong with it


def lengths(rows: Sequence[Row]) -> list[float]:
    """Return the frames of each video, see :func:`frames_of`."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(frames_of, (row.options for row in rows)))
