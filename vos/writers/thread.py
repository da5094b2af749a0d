"""Opens writers by name, and runs them on a thread of their own."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType

from PIL import Image

from ..errors import InputError, OutputError
from ..interfaces import Writer
from ..structures import Frame, Result

_log = logging.getLogger(__name__)

WRITERS = {
    "masks": (".masks", "open_writer"),
    "overlay": (".overlay", "open_writer"),
    "csv": (".table", "open_writer"),
    "cutout": (".matte", "open_cutout"),
    "matte": (".matte", "open_matte"),
    "matte-webm": (".matte", "open_matte_webm"),
    "npz": (".archive", "open_npz"),
    "coco": (".archive", "open_coco"),
}
"""Names, their modules and functions ``open(out, *, fps, first_frame, object_ids)``."""

FILES = ("overlay.mp4", "objects.csv", "matte.mov", "matte.webm", "green.mp4", "masks.npz", "coco.json")
FOLDERS = ("masks", "cutout", "debug")
"""What they write, the folders with one PNG per frame."""


def open_writers(
    names: Sequence[str], out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]
) -> list[Writer]:
    """Open the named writers in a folder, which is made if need be.

    Args:
        names: among ``WRITERS``.
        out: the folder to write to.
        fps: frames per second of the video, None if not known.
        first_frame: tells the frame size and the first time.
        object_ids: ids of the objects, 1 to 255.

    Raises:
        InputError: a name is unknown.
        OutputError: the folder or a file cannot be written.
    """
    unknown = [name for name in names if name not in WRITERS]
    if unknown:
        raise InputError(f"output {', '.join(unknown)} is unknown; choose among {', '.join(WRITERS)}")
    out = Path(out)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    writers: list[Writer] = []
    try:
        for name in dict.fromkeys(names):
            module, function = WRITERS[name]
            opened = getattr(importlib.import_module(module, __package__), function)
            writers.append(opened(out, fps=fps, first_frame=first_frame, object_ids=object_ids))
    except BaseException:
        _close_all(writers)
        raise
    return writers


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


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, with its suffix; renamed to ``path`` on success, else removed."""
    partial = partial_path(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_path(path: Path) -> Path:
    """The name of a file that is not finished: ``.overlay.partial.mp4`` for ``overlay.mp4``."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def save_png(image: Image.Image, path: Path) -> None:
    """Write a picture under a temporary name first.

    Raises:
        OutputError: it cannot be written; it is then not there.
    """
    with output_errors(path), atomic_path(path) as partial:
        image.save(partial, format="PNG", compress_level=1)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` into an :class:`~vos.errors.OutputError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space there or choose another folder"
        ) from error


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
