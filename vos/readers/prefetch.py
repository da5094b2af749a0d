"""Reads frames ahead on a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread

from ..structures import Frame
from .source import SourceReader


def read_ahead(reader: SourceReader) -> Generator[Frame, None, None]:
    """The reader's frames, read on a thread: a few in advance, or of a live one the newest."""
    return iter(reader) if reader.live else prefetch(reader)


def prefetch(
    reader: Iterable[Frame], depth: int = 4, on_drop: Callable[[], None] | None = None
) -> Generator[Frame, None, None]:
    """Read ahead by up to ``depth`` frames on a thread.

    With ``on_drop`` the thread does not wait: the oldest waiting frame gives way to a new one, and
    ``on_drop`` is called for it; but the first frame stays until it is taken.

    An exception of the reader is raised here, after the frames before it. Closing the generator
    stops the thread.

    Yields:
        The reader's frames, in order.
    """
    queue: Queue[Frame | BaseException | None] = Queue(max(1, depth))
    stop, taken = Event(), Event()

    def put(item: Frame | BaseException | None) -> bool:
        while not stop.is_set():
            if on_drop is not None and isinstance(item, Frame) and taken.is_set() and queue.full():
                with suppress(Empty):  # taken just now
                    queue.get_nowait()
                    on_drop()
            try:
                queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def read() -> None:
        end: BaseException | None = None
        try:
            frames = iter(reader)
            try:
                for frame in frames:
                    if not put(frame):
                        return
            finally:
                if isinstance(frames, Generator):
                    frames.close()
        except BaseException as error:  # whatever it is, the consumer must hear of it
            end = error
        put(end)

    thread = Thread(target=read, name="vos-reader", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            taken.set()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        _drain(queue)
        thread.join(timeout=5)


def _drain(queue: Queue[Frame | BaseException | None]) -> None:
    """Empty the queue, so that a waiting put returns at once."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
