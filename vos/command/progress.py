"""Shows the progress of a run: a bar on a terminal, plain lines elsewhere; the command and the page use it.

tqdm would only replace the fifteen lines that draw the bar: the plain lines need the rate and the time left anyway,
and its bar cannot be given a clock, starts a thread, and raises when its stream can no longer be written to.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_REDRAW_S = 0.1
"""Least seconds between two drawings of the bar."""

_RECENT_UPDATES = 32
"""Updates from which the rate is computed."""

_SHORTEST_BAR = 8
"""Cells below which the bar is left out."""

_LONGEST_BAR = 40
"""Cells of the bar where there is room."""


class Progress:
    """Reports frames done, frames per second and the time left.

    On a terminal one line is redrawn at most ten times a second; elsewhere a line is printed
    every ``interval_s`` seconds, and a final one. Nothing is printed before the first update.
    Once the stream cannot be written to, nothing more is printed and the run goes on.

    Args:
        total: number of frames, or None if unknown; ignored once more frames than that are done.
        stream: where to print; None prints nothing.
        clock: returns seconds that never run backwards.
        interval_s: seconds between plain lines.
        is_terminal: whether ``stream`` is a terminal; None asks the stream.
        quiet: print nothing.
    """

    def __init__(
        self,
        total: int | None,
        stream: TextIO | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_s: float = 5.0,
        is_terminal: bool | None = None,
        quiet: bool = False,
    ) -> None:
        self._total = total
        self._stream = None if quiet else stream
        self._clock = clock
        self._on_terminal = _is_terminal(self._stream) if is_terminal is None else is_terminal
        self._pause_s = _REDRAW_S if self._on_terminal else interval_s
        self._start_s = self._shown_s = clock()
        self._recent = deque([(self._start_s, 0)], maxlen=_RECENT_UPDATES)
        self._done = 0
        self._updated = False
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, done: int) -> None:
        """Take the number of frames done so far, and print it if that is due."""
        if self._stream is None:
            return
        now = self._clock()
        self._done = done
        self._recent.append((now, done))
        due = now - self._shown_s >= self._pause_s
        if due or (self._on_terminal and not self._updated):
            self._shown_s = now
            if self._on_terminal:
                self._draw(self._bar(now))
            else:
                self._print(self._plain(now) + "\n")
        self._updated = True

    def close(self) -> None:
        """Print the final line; safe to repeat."""
        if self._stream is not None and self._updated:
            text = self._final(self._clock())
            if self._on_terminal:
                self._draw(text)
                text = ""
            self._print(text + "\n")
        self._stream = None

    @property
    def _known_total(self) -> int | None:
        """The total; None if it is unknown or has proved too small."""
        return None if self._total is None or self._done > self._total else self._total

    @property
    def _counted(self) -> str:
        total = self._known_total
        return f"{self._done} frames" if total is None else f"{self._done} of {total} frames"

    def _rate(self) -> float | None:
        """Return the frames per second over the recent updates; None while no time has passed."""
        (start_s, start), (end_s, end) = self._recent[0], self._recent[-1]
        return (end - start) / (end_s - start_s) if end_s > start_s and end > start else None

    def _times(self, now: float) -> list[str]:
        """Return the rate and the time left, as far as they are known; without a total the time so far."""
        rate, total = self._rate(), self._known_total
        parts = [] if rate is None else [f"{_rate_text(rate)} frames/s"]
        if total is None:
            parts.append(_duration(now - self._start_s))
        elif rate is not None:
            parts.append(f"{_duration((total - self._done) / rate)} left")
        return parts

    def _plain(self, now: float) -> str:
        return ", ".join([self._counted, *self._times(now)])

    def _final(self, now: float) -> str:
        elapsed = now - self._start_s
        rate = f", {_rate_text(self._done / elapsed)} frames/s" if elapsed > 0 and self._done else ""
        return f"{self._counted} in {_duration(elapsed)}{rate}"

    def _bar(self, now: float) -> str:
        total = self._known_total
        if total is None:
            return "  ".join([f"{self._done} frames", *self._times(now)])
        text = "  ".join([f"{self._done}/{total}", *self._times(now)])
        cells = min(_LONGEST_BAR, shutil.get_terminal_size().columns - 1 - len(text) - 3)
        if cells < _SHORTEST_BAR:
            return text
        filled = cells * self._done // total if total else cells
        return f"[{'#' * filled}{'-' * (cells - filled)}] {text}"

    def _draw(self, text: str) -> None:
        """Redraw the line in place; the last column stays free, because some terminals wrap there."""
        room = max(1, shutil.get_terminal_size().columns - 1)
        text = text[:room]
        self._print("\r" + text.ljust(min(self._width, room)))
        self._width = len(text)

    def _print(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # closed pipe or stream
            self._stream = None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # not a file, or closed
        return False


def _rate_text(rate: float) -> str:
    if rate >= 99.5:
        return f"{rate:.0f}"
    return f"{rate:.1f}" if rate >= 0.95 else f"{rate:.2f}"


def _duration(seconds: float) -> str:
    """Return ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
