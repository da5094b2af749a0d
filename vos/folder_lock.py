"""The lock of a folder that a command writes to, so that a second command cannot write there at the same time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from .errors import OutputError
from .files import make_folder, output_errors

LOCK = ".vos-lock"
"""Name of the lock file in the folder."""

_PATIENCE_S = 0.3
"""Seconds to try: a run that ends removes its lock file, and one that is refused holds it for a moment."""


class FolderLock:
    """Keeps others from writing into a folder; a context manager that releases the lock.

    The system releases the lock also if the process is killed. The lock file is then left behind, and the next run
    takes it over. A file system without locks is used without one.

    Args:
        folder: to lock; :meth:`acquire` makes it.
        program: name of the command, for the message.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._path = folder / LOCK
        self._program = program
        self._file_lock: FileLock | None = None
        self._made: os.stat_result | None = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Make the folder and lock it.

        Raises:
            OutputError: another run is writing there, or the folder cannot be written.
        """
        make_folder(self._folder)
        file_lock = FileLock(self._path, timeout=_PATIENCE_S, fallback_to_soft=False)  # a soft one outlives a crash
        with output_errors(self._folder):
            try:
                file_lock.acquire(poll_interval=_PATIENCE_S / 10)
                self._file_lock = file_lock
            except Timeout as error:
                message = f"{self._folder}: another {self._program} is writing there; wait for it, or stop it"
                raise OutputError(message) from error
            except OSError as error:
                if error.filename is not None:  # the file itself cannot be opened
                    raise
            with suppress(FileNotFoundError):
                self._made = os.stat(self._path)

    def release(self) -> None:
        """Remove the lock file and release the lock, if it is held."""
        if os.name == "nt":  # an open file cannot be removed there, and one that another run has opened stays
            self._unlock()
            self._remove_file()
        else:  # a file removed after its release could be another run's
            self._remove_file()
            self._unlock()

    def _remove_file(self) -> None:
        made, self._made = self._made, None
        with suppress(OSError):
            if made is not None and os.path.samestat(made, os.stat(self._path)):
                self._path.unlink()

    def _unlock(self) -> None:
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None
