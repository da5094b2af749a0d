"""Writes ``objects.csv``: one row per frame and object."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..files import output_errors, partial_path
from ..structures import Frame, Result

HEADER = "frame,time_s,object,x0,y0,x1,y1,area,confidence"


class TableWriter:
    """The table of boxes, areas and confidences.

    Boxes are inclusive; an object that is absent has empty box fields and area 0. Every frame is
    on the disk when :meth:`write` returns, under a temporary name until :meth:`close`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._good = 0  # bytes that are whole rows
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
        """Append the rows of one frame.

        Raises:
            OutputError: they cannot be written.
        """
        self._append("".join(_row(result, row) for row in range(len(result.object_ids))))

    def close(self) -> None:
        """Give the table its name; half a frame, left by an error, is cut off.

        Raises:
            OutputError: it cannot be finished.
        """
        if self._closed:
            return
        self._closed = True
        with output_errors(self._path):
            try:
                with self._file:
                    if self._file.seek(0, 2) != self._good:
                        self._file.truncate(self._good)
                self._partial.replace(self._path)
            except OSError:
                with suppress(OSError):
                    self._partial.unlink(missing_ok=True)
                raise

    def _append(self, text: str) -> None:
        rest = memoryview(text.encode("ascii"))
        size = len(rest)
        with output_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        self._good += size


def _row(result: Result, row: int) -> str:
    area = int(result.areas[row])
    box = ",".join(str(int(edge)) for edge in result.boxes[row]) if area else ",,,"
    frame = result.frame
    return f"{frame.index},{frame.time_s:.6f},{result.object_ids[row]},{box},{area},{result.scores[row]:.4f}\n"


def open_writer(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> TableWriter:
    """Write to ``out/objects.csv``.

    Raises:
        OutputError: the file cannot be made.
    """
    return TableWriter(out / "objects.csv")
