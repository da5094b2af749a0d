"""How many frames each video of a batch has, as far as its header tells, and soon enough."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..command.options import Options
from ..errors import VosError
from ..readers.open import open_reader
from .manifest import Row

READERS = 8
"""Videos that are looked at side by side: opening one is mostly waiting for a disk."""

PATIENCE_S = 20.0
"""Seconds without another length after which those that are left are not waited for: their disk may never answer."""


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


def lengths(rows: Sequence[Row], patience_s: float = PATIENCE_S) -> list[float]:
    """Return the frames of each video, see :func:`frames_of`; infinite if a video does not answer.

    Args:
        rows: of the videos.
        patience_s: see :data:`PATIENCE_S`.
    """
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
    for index in range(len(rows)):
        asked.put(index)

    def read() -> None:
        with suppress(queue.Empty):
            while True:
                index = asked.get_nowait()
                answers.put((index, frames_of(rows[index].options)))

    for _ in range(min(READERS, len(rows))):
        threading.Thread(target=read, daemon=True).start()  # one that hangs is not waited for at the end either
    frames = [math.inf] * len(rows)
    with suppress(queue.Empty):
        for _ in rows:
            index, found = answers.get(timeout=patience_s)
            frames[index] = found
    return frames
