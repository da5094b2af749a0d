"""Opens writers by name, and runs them on a thread of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from queue import Queue
from threading import Thread
from types import TracebackType

from ..interfaces import Writer
from ..structures import Result

_log = logging.getLogger(__name__)


class WriterThread:
    """Hands results to writers on a thread, a few at most waiting; a context manager.

    An exception of a writer is raised by the next :meth:`write`, or on leaving. On leaving, for
    whatever reason, what was handed over is written and all writers are closed.

    Attributes:
        written: results that all writers have taken.
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
        """Hand over one result; waits while ``depth`` are waiting.

        Raises:
            OutputError: an earlier result could not be written.
            ValueError: it is closed.
        """
        if self._closed:
            raise ValueError("WriterThread is closed")
        self._raise_error()
        self._queue.put(result)

    def close(self) -> None:
        """Write what is waiting, then close all writers; a second call does nothing.

        Raises:
            OutputError: a result could not be written, or a file not finished.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._finish()
        except BaseException:  # a second Ctrl-C: no writer may be closed while the thread uses it
            self._dropping = True
            self._finish()
            raise
        finally:
            error = _close_all(self._writers)
            self._error = self._error or error
        self._raise_error()

    def __enter__(self) -> WriterThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            if late is not error:  # the caller's own exception says more
                _log.warning("while closing the outputs: %s", late)

    def _run(self) -> None:
        """Runs until None; after an error it only empties the queue, so that no one waits."""
        while (result := self._queue.get()) is not None:
            if self._error is not None or self._dropping:
                continue
            try:
                for writer in self._writers:
                    writer.write(result)
                self.written += 1
            except BaseException as error:  # whatever it is, the caller must hear of it
                self._error = error

    def _finish(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _close_all(writers: Sequence[Writer]) -> BaseException | None:
    """Close every writer, whatever the others do; the first error."""
    first: BaseException | None = None
    for writer in writers:
        try:
            writer.close()
        except Exception as error:
            if first is not None:  # one line tells of the trouble, which is likely the same
                _log.info("while closing the outputs: %s", error)
            first = first or error
    return first
