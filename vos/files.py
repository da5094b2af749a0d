"""Files that appear under their own name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from .errors import OutputError


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
