"""Output files that appear under their own name only once they are complete.

The writers, the journal of a run and the reports of the benchmarks write through these functions.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image

from .errors import OutputError

_LONGEST_NAME = 255
"""Bytes of the longest name that usual file systems take."""

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Errors that more room would mend."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any error."""
    partial = partial_path(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def completed(path: Path) -> Iterator[None]:
    """Run the block that completes the partial file of ``path``, then rename that file to ``path``.

    For a file that is written bit by bit; :func:`atomic_path` is for one that is written at once. An interruption
    leaves the partial file where it is.

    Raises:
        OutputError: the file cannot be completed; the partial file is then removed.
    """
    partial = partial_path(path)
    with output_errors(path):
        try:
            yield
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def partial_path(path: Path) -> Path:
    """Return the temporary name of an unfinished file: ``.overlay.partial.mp4`` for ``overlay.mp4``.

    A name that would become too long for the file system gives way to a digest of it.
    """
    name = f".{path.stem}.partial{path.suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32]}.partial{path.suffix}"
    return path.with_name(name)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that exists is left as it is.

    Raises:
        OutputError: it cannot be made.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def frame_png(folder: Path, index: int, name: str | None = None) -> Path:
    """Return the path of a frame's picture in a folder with one PNG per frame.

    Args:
        folder: the folder.
        index: index of the frame; frame 0 without a name has ``00000.png``.
        name: name of the frame, if it has one, which takes the place of the number.
    """
    return folder / (f"{index:05d}.png" if name is None else f"{name}.png")


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    with output_errors(path), atomic_path(path) as partial:
        image.save(partial, format="PNG", compress_level=1)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an :class:`~vos.errors.OutputError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> OutputError:
    """Return the error that tells why ``path`` cannot be written and what to do."""
    reason = getattr(error, "strerror", None) or error
    remedy = "free some space there or choose" if getattr(error, "errno", None) in _FULL else "choose"
    return OutputError(f"{path}: cannot be written ({reason}); {remedy} another folder")
