"""Reads frames ahead on a thread, so that decoding goes on while the frame before is tracked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType

from ..structures import Frame
from .source import SourceReader

_PUT_TIMEOUT_S = 0.1
"""How often a thread that waits for room in the queue looks whether it was stopped."""

_JOIN_TIMEOUT_S = 5.0
"""How long :meth:`ReadAhead.close` waits for the thread; a read that hangs longer is left behind."""


class ReadAhead:
    """Reads frames on a thread, a few at most waiting; an iterator of them and a context manager.

    An exception of the reader is raised by the iteration, after the frames before it. The twin for
    results is :class:`vos.writers.thread.WriterThread`.

    Args:
        reader: its frames; iterated, and closed if it is a generator, on the thread.
        depth: number of frames that may wait.
        on_drop: allows dropping. Once the first frame was taken, the thread does not wait for room: a new frame
            replaces the oldest waiting one, for which ``on_drop`` is called on the thread. If None, the thread
            waits while ``depth`` frames are waiting.
    """

    def __init__(self, reader: Iterable[Frame], depth: int = 4, on_drop: Callable[[], None] | None = None) -> None:
        self._reader = reader
        self._on_drop = on_drop
        self._queue: Queue[Frame | BaseException | None] = Queue(max(1, depth))
        self._stop = Event()
        self._first_taken = Event()
        self._ended = False
        self._thread = Thread(target=self._run, name="vos-reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> ReadAhead:
        return self

    def __next__(self) -> Frame:
        """Wait for the next frame.

        Raises:
            Exception: whatever the reader raised.
            StopIteration: there are no more frames, or it was closed.
        """
        if self._ended:
            raise StopIteration
        item = self._queue.get()
        self._first_taken.set()
        if isinstance(item, Frame):
            return item
        self._ended = True
        raise StopIteration if item is None else item

    def close(self) -> None:
        """Stop the thread and forget the frames that wait; a second call does nothing."""
        self._ended = True
        self._stop.set()
        with suppress(Empty):  # make room, so that a waiting put returns at once
            while True:
                self._queue.get_nowait()
        self._thread.join(_JOIN_TIMEOUT_S)

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """Put all frames into the queue, then None or the reader's exception."""
        end: BaseException | None = None
        try:
            frames = iter(self._reader)
            try:
                for frame in frames:
                    if not self._put(frame):
                        return
            finally:
                if isinstance(frames, Generator):
                    frames.close()
        except BaseException as error:  # whatever it is, the consumer must hear of it
            end = error
        self._put(end)

    def _put(self, item: Frame | BaseException | None) -> bool:
        """Wait for room in the queue, or make it; False if stopped before there was any."""
        while not self._stop.is_set():
            if isinstance(item, Frame):
                self._drop_oldest()
            with suppress(Full):
                self._queue.put(item, timeout=_PUT_TIMEOUT_S)
                return True
        return False

    def _drop_oldest(self) -> None:
        """Make room in a full queue, if frames may be dropped."""
        if self._on_drop is not None and self._first_taken.is_set() and self._queue.full():
            with suppress(Empty):  # the consumer was quicker
                self._queue.get_nowait()
                self._on_drop()


def read_ahead(reader: SourceReader) -> Generator[Frame, None, None]:
    """Iterate over a reader with a few frames read ahead; a live reader does so by itself."""
    return iter(reader) if reader.live else prefetch(reader)


def prefetch(
    reader: Iterable[Frame], depth: int = 4, on_drop: Callable[[], None] | None = None
) -> Generator[Frame, None, None]:
    """Iterate over a reader by :class:`ReadAhead`, whose arguments these are.

    The thread starts with the first frame that is asked for; closing the generator stops it.

    Yields:
        The reader's frames, in order.
    """
    with ReadAhead(reader, depth, on_drop) as frames:
        yield from frames
