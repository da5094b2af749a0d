"""The protocols of a backend, and the reader over one.

:class:`SourceReader` is the one place that applies start, stride and max_frames.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import InputError
from ..structures import Frame

_FAULTS = {
    "damaged_packets": "damaged packets",
    "dropped_frames": "frames dropped to keep up",
    "reconnections": "reconnections",
}
"""Words for the kinds of :attr:`SourceReader.faults`."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame as a backend delivers it.

    Attributes:
        time_s: presentation time in seconds from the start of the source.
        load: converts to upright pixels, (H, W, 3) uint8; not called for frames that are skipped.
        name: name of the frame's own file without suffix; None: it has none.
        suffix: suffix of that file, with its dot.
    """

    time_s: float
    load: Callable[[], np.ndarray]
    name: str | None = None
    suffix: str = ""

    def at(self, index: int) -> Frame:
        """Load it as the frame with an index."""
        return Frame(index, self.time_s, self.load(), name=self.name, suffix=self.suffix)


class Source(Protocol):
    """A backend's view of one file, folder or stream: all of its frames.

    Attributes:
        fps: frames per second as stated, or None.
        size: (H, W) of the upright frames.
        length: number of frames as stated, or None.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None

    @property
    def damaged(self) -> int | None:
        """Number of packets found damaged in the last pass; None if the backend does not count them."""
        ...

    def frames(self) -> Generator[SourceFrame, None, None]:
        """Deliver all frames in presentation order; each call starts again and owns what it opens."""
        ...


@runtime_checkable
class SeekableSource(Source, Protocol):
    """A source that can also start in the middle, as :mod:`.seek` and :mod:`.backwards` need it."""

    def frames(self, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        """Deliver the frames from about ``start_s`` seconds on, or none if it cannot start there."""
        ...

    def times(self) -> list[float] | None:
        """Times of all frames in seconds, without decoding; None if only decoding can tell them."""
        ...


@runtime_checkable
class IndexedSource(Source, Protocol):
    """A source whose frames can be taken in any order at no cost, such as a list of arrays."""

    def frame(self, position: int) -> SourceFrame:
        """Take one frame; raise an InputError if this source cannot."""
        ...


class SourceReader:
    """A :class:`~vos.io_interfaces.Reader` over every ``stride``-th frame of a source.

    Iterating again starts again.

    Attributes:
        name: of the source, for messages.
        fps: frames per second as the source states it, or None; the stride does not change it.
        size: (H, W) of the upright frames.
        length: number of frames that will be delivered, or None if the source does not state its own.
        live: whether frames are dropped rather than falling behind.
    """

    live = False

    def __init__(
        self, name: str, source: Source, *, start: int = 0, max_frames: int | None = None, stride: int = 1
    ) -> None:
        self.name = name
        self.fps = source.fps
        self.size = source.size
        self.length = _delivered_length(source.length, start, max_frames, stride)
        self._source = source
        self._start = start
        self._stride = stride
        self._max_frames = max_frames
        self._running: Generator[Frame, None, None] | None = None

    def delivers(self, index: int) -> bool | None:
        """Tell before reading whether a frame will be delivered; None if that is not known.

        A source that states too few is counted: a file in fragments may state the frames of the first alone.
        """
        if self.length is None:
            return None
        if index < self.length or not isinstance(self._source, SeekableSource):
            return index < self.length
        times = self._source.times()
        counted = _delivered_length(None if times is None else len(times), self._start, self._max_frames, self._stride)
        return None if counted is None else index < counted

    def __iter__(self) -> Generator[Frame, None, None]:
        """Deliver frames in presentation order; ``index`` counts from 0, ``time_s`` is the source's.

        Raises:
            TruncatedVideoError: the source broke off; its ``frames`` counts frames of the source.
            InputError: a frame does not fit the others, or ``start`` lies behind the last frame.
        """
        self._running = self._frames()
        return self._running

    def _frames(self) -> Generator[Frame, None, None]:
        delivered = total = 0
        frames = self._source.frames()
        try:
            for position, frame in enumerate(frames):
                total = position + 1
                if position < self._start or (position - self._start) % self._stride:
                    continue
                yield frame.at(delivered)
                delivered += 1
                if delivered == self._max_frames:
                    return
        finally:
            frames.close()
        if not delivered:
            raise InputError(
                f"{self.name}: has {total} frames, so none is left from frame {self._start} on; choose a smaller start"
            )

    @property
    def source(self) -> Source:
        """The source that it reads."""
        return self._source

    def position(self, index: int) -> int:
        """Return the index in the source of a frame that is delivered under ``index``."""
        return self._start + index * self._stride

    @property
    def faults(self) -> dict[str, int]:
        """Counts of what went wrong in the last pass without ending it, by kind, zeros included.

        They are complete once the pass is over.
        """
        damaged = self._source.damaged
        return {} if damaged is None else {"damaged_packets": damaged}

    def close(self) -> None:
        """Release the source. Not to be called while another thread is iterating."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def faults_line(reader: SourceReader) -> str | None:
    """Sum up in one line what went wrong without ending the last pass; None if nothing did."""
    told = [f"{_FAULTS[kind]}: {count}" for kind, count in reader.faults.items() if count]
    return f"{reader.name}: {', '.join(told)}" if told else None


def check_range(start: int, max_frames: int | None, stride: int) -> None:
    """Check the options that choose frames.

    Raises:
        InputError: one is out of range.
    """
    if start < 0 or stride < 1 or (max_frames is not None and max_frames < 1):
        raise InputError(
            f"start {start}, stride {stride}, max_frames {max_frames}: "
            "start must be 0 or more, stride and max_frames 1 or more"
        )


def _delivered_length(length: int | None, start: int, max_frames: int | None, stride: int) -> int | None:
    """Number of frames that are left of ``length`` by start, stride and max_frames."""
    if length is None:
        return None
    count = max(0, -(-(length - start) // stride))
    return count if max_frames is None else min(count, max_frames)
