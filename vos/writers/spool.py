"""What the outputs for labelling tools share: the files of a frame, and lines that wait for the end of the run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import atomic_path, output_errors
from ..structures import Frame

_QUALITY = 95
"""Quality of the JPEG pictures, of 100."""


def frame_stem(frame: Frame) -> str:
    """Return the name of a frame's files without suffix: its own name, or its index in five digits."""
    return f"{frame.index:05d}" if frame.name is None else frame.name


def save_jpeg(rgb: np.ndarray, path: Path) -> None:
    """Write a picture (H, W, 3) uint8 under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    with output_errors(path), atomic_path(path) as partial:
        Image.fromarray(rgb).save(partial, format="JPEG", quality=_QUALITY)


def save_text(text: str, path: Path) -> None:
    """Write a text in UTF-8 under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


class Spool:
    """Lines that wait in a temporary file until the document that holds them can be written.

    Args:
        path: of the document, named in errors.

    Attributes:
        count: number of lines.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        with output_errors(path):
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def add(self, line: str) -> None:
        """Append a line, which holds no line break.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self._path):
            self._file.write(line + "\n")
        self.count += 1

    def lines(self) -> Iterator[str]:
        """Yield the lines from the first on, without their breaks."""
        self._file.seek(0)
        for line in self._file:
            yield line.rstrip("\n")

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()
