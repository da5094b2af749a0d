"""Writes ``objects.csv``: one record per frame and object."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..files import completed, output_errors, partial_path
from ..structures import Frame, Result
from .outputs import NO_EXTRAS, Extras

HEADER = "frame,time_s,object,x0,y0,x1,y1,area,confidence"
"""First line of the table; ``,name`` follows where frames have names."""


class TableWriter:
    """Writes boxes, areas and confidences.

    Boxes are inclusive; an absent object has empty box fields and area 0. Every frame is on the disk when
    :meth:`write` returns, under a temporary name until :meth:`close`. The table is UTF-8; bytes of a name that are
    not are written as ``\\udcff`` for FF, and so on.

    Args:
        path: of the table.
        named: add a column with the frames' names.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path, named: bool = False) -> None:
        self._path = path
        self._named = named
        self._partial = partial_path(path)
        self._good = 0  # bytes that hold whole frames
        self._closed = False
        with output_errors(path):
            self._file = self._partial.open("wb", buffering=0)
        try:
            self._append(HEADER + (",name" if named else "") + "\n")
        except BaseException:
            self._file.close()
            self._partial.unlink(missing_ok=True)
            raise

    def write(self, result: Result) -> None:
        """Append the records of one frame.

        Raises:
            OutputError: they cannot be written.
        """
        ending = f",{_field(result.frame.name or '')}\n" if self._named else "\n"
        self._append("".join(_record(result, row) + ending for row in range(len(result.object_ids))))

    def close(self) -> None:
        """Cut off a frame that was written in part, then give the table its name.

        Raises:
            OutputError: it cannot be finished; no file is left.
        """
        if self._closed:
            return
        self._closed = True
        with completed(self._path), self._file:
            if self._file.seek(0, 2) != self._good:
                self._file.truncate(self._good)

    def _append(self, text: str) -> None:
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        size = len(rest)
        with output_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        self._good += size


def _record(result: Result, row: int) -> str:
    """Format one object of a frame as the first fields of a line of the table."""
    area = int(result.areas[row])
    box = ",".join(str(int(edge)) for edge in result.boxes[row]) if area else ",,,"
    frame = result.frame
    return f"{frame.index},{frame.time_s:.6f},{result.object_ids[row]},{box},{area},{result.scores[row]:.4f}"


def _field(text: str) -> str:
    """Quote a text where a field of a table needs it."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text


def open_table(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> TableWriter:
    """Open the writer of ``out/objects.csv``.

    Raises:
        OutputError: the file cannot be made.
    """
    return TableWriter(out / "objects.csv", named=first_frame.name is not None)
