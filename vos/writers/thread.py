"""Runs writers on a thread, so that encoding and tracking go on side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from queue import Queue
from threading import Thread
from types import TracebackType

from ..io_interfaces import Writer
from ..structures import Result

_log = logging.getLogger(__name__)


class WriterThread:
    """Passes results to writers on a thread, through a bounded queue; a context manager.

    An exception of a writer is raised by the next :meth:`write`, or on leaving the context. On leaving, also after an
    error, the queued results are written and all writers are closed.

    Args:
        writers: each gets every result, in this order.
        depth: largest number of results in the queue.

    Attributes:
        written: number of results that all writers have taken.
    """

    def __init__(self, writers: Sequence[Writer], depth: int = 4) -> None:
        self.written = 0
        self._writers = list(writers)
        self._queue: Queue[Result | None] = Queue(max(1, depth))
        self._error: BaseException | None = None
        self._closed = self._dropping = False
        self._thread = Thread(target=self._run, name="vos-writer", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Queue one result; blocks while the queue is full.

        Raises:
            OutputError: an earlier result could not be written.
            ValueError: the thread is closed.
        """
        if self._closed:
            raise ValueError("WriterThread is closed")
        self._raise_error()
        self._queue.put(result)

    def close(self) -> None:
        """Write the queued results, then close all writers; a second call does nothing.

        Raises:
            OutputError: a result could not be written, or a file could not be finished.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
        except BaseException:  # a second Ctrl-C; the thread must end before its writers are closed
            self._dropping = True
            self._finish()
            raise
        finally:
            error = close_all(self._writers)
            self._error = self._error or error
        self._raise_error()

    def __enter__(self) -> WriterThread:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an error of closing gives way to one that is already under way."""
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            if late is not error:  # the caller's own exception says more
                _log.warning("while closing the outputs: %s", late)

    def _run(self) -> None:
        """Write results until None comes; after an error only empty the queue, so that :meth:`write` never blocks."""
        while (result := self._queue.get()) is not None:
            if self._error is not None or self._dropping:
                continue
            try:
                for writer in self._writers:
                    writer.write(result)
                self.written += 1
            except BaseException as error:  # of any kind, as it has to reach the caller
                self._error = error

    def _finish(self) -> None:
        """Let the thread end after the queued results, and wait for that."""
        self._queue.put(None)
        self._thread.join()

    def _raise_error(self) -> None:
        """Raise the first error of a writer, if there was one."""
        if self._error is not None:
            raise self._error


def close_all(writers: Sequence[Writer]) -> BaseException | None:
    """Close every writer, also after an error of another; return the first error, or None."""
    first: BaseException | None = None
    for writer in writers:
        try:
            writer.close()
        except Exception as error:
            if first is not None:  # most likely the same trouble
                _log.info("while closing the outputs: %s", error)
            first = first or error
    return first
