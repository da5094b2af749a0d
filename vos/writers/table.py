"""Writes ``objects.csv``: one record per frame and object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import completed, output_errors, partial_path
from ..structures import Frame, Result

HEADER = "frame,time_s,object,x0,y0,x1,y1,area,confidence"
"""First line of the table."""


class TableWriter:
    """Writes boxes, areas and confidences.

    Boxes are inclusive; an absent object has empty box fields and area 0. Every frame is on the disk when
    :meth:`write` returns, under a temporary name until :meth:`close`.

    Args:
        path: of the table.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._good = 0  # bytes that hold whole frames
        self._closed = False
        with output_errors(path):
            self._file = self._partial.open("wb", buffering=0)
        try:
            self._append(HEADER + "\n")
        except BaseException:
            self._file.close()
            self._partial.unlink(missing_ok=True)
            raise

    def write(self, result: Result) -> None:
        """Append the records of one frame.

        Raises:
            OutputError: they cannot be written.
        """
        self._append("".join(_record(result, row) for row in range(len(result.object_ids))))

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
        rest = memoryview(text.encode("ascii"))
        size = len(rest)
        with output_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        self._good += size


def _record(result: Result, row: int) -> str:
    """Format one object of a frame as a line of the table."""
    area = int(result.areas[row])
    box = ",".join(str(int(edge)) for edge in result.boxes[row]) if area else ",,,"
    frame = result.frame
    return f"{frame.index},{frame.time_s:.6f},{result.object_ids[row]},{box},{area},{result.scores[row]:.4f}\n"


def open_table(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> TableWriter:
    """Open the writer of ``out/objects.csv``.

    Raises:
        OutputError: the file cannot be made.
    """
    return TableWriter(out / "objects.csv")
