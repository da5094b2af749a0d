"""One line that tells how far a batch is: redrawn on a terminal, printed now and then elsewhere."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

REDRAW_S = 0.5
"""Least seconds between two drawings of the line on a terminal."""

PRINT_S = 30.0
"""Seconds between two lines elsewhere."""


class BatchProgress:
    """Shows videos done, failed and under way, frames per second and the time left.

    The time left follows from the frames that are left; those of videos whose length is unknown are taken for the
    mean of the others.

    Args:
        costs: frames of each video that is to be tracked, infinite if unknown.
        stream: where to print.
        quiet: print nothing.
        clock: returns seconds that never run backwards.
    """

    def __init__(
        self,
        costs: list[float],
        stream: TextIO,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = [cost for cost in costs if math.isfinite(cost)]
        self._mean = sum(known) / len(known) if known else 0.0
        self._left = sum(known) + self._mean * (len(costs) - len(known))
        self._total = len(costs)
        self._stream = None if quiet else stream
        self._on_terminal = stream.isatty()
        self._clock = clock
        self._began_s = self._shown_s = clock()
        self._done = self._failed = self._frames = self._width = 0

    def ended(self, cost: float, frames: int, failed: bool) -> None:
        """Take note of a video that is done or has failed for good.

        Args:
            cost: its frames as they were expected.
            frames: frames that were tracked.
            failed: whether it has failed.
        """
        self._done += not failed
        self._failed += failed
        self._frames += frames
        self._left -= cost if math.isfinite(cost) else self._mean

    def show(self, running: int) -> None:
        """Show the line if that is due."""
        now = self._clock()
        if now - self._shown_s >= (REDRAW_S if self._on_terminal else PRINT_S):
            self._shown_s = now
            self._draw(self.text(running))

    def text(self, running: int) -> str:
        """Return the line."""
        spent = self._clock() - self._began_s
        parts = [f"{self._done} of {self._total} videos"]
        parts += [f"{self._failed} failed"] if self._failed else []
        parts += [f"{running} under way"] if running else []
        if self._frames and spent:
            parts.append(f"{self._frames / spent:.1f} frames/s")
            if running:
                parts.append(f"{_duration(self._left * spent / self._frames)} left")
        return ", ".join([*parts, f"{_duration(spent)} so far" if running else f"in {_duration(spent)}"])

    def say(self, line: str) -> None:
        """Print a line of its own; the line of progress goes on below."""
        if self._stream is not None:
            self._print(("\r" + " " * self._width + "\r" if self._width else "") + line + "\n")
            self._width = 0

    def close(self) -> None:
        """Print the line for the last time."""
        if self._total:
            self.say(self.text(0))
        self._stream = None

    def _draw(self, text: str) -> None:
        if self._on_terminal:
            text = text[: max(1, shutil.get_terminal_size().columns - 1)]
            self._print("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._print(text + "\n")

    def _print(self, text: str) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):  # a terminal that was closed
                self._stream.write(text)
                self._stream.flush()


def _duration(seconds: float) -> str:
    """Return ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
