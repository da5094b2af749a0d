"""The contract, second part: protocols that readers and writers follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from .structures import Frame, Result


class Reader(Protocol):
    """An iterator of frames; also a context manager.

    Attributes:
        fps: frames per second as the source states it, or None.
        size: (H, W) of the upright frames.
        length: number of frames as the source states it, or None.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frames in presentation order.

        Raises:
            TruncatedVideoError: the source breaks off after some frames.
        """
        ...

    def close(self) -> None:
        """Release the source."""
        ...


class Writer(Protocol):
    """Receives results in order, on the writer thread.

    It writes under temporary names: a file appears under its own name only when it is whole. A resumed run
    hands all frames to it again, unless it has a true attribute ``file_per_frame``; then it gets new
    frames only.
    """

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish the files; called also after an error or Ctrl-C, so that they are valid."""
        ...
