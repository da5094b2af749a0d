"""Writes ``masks.npz``: the label maps and a table of all frames, for numpy."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import completed, output_errors, partial_path
from ..structures import Frame, Result
from .outputs import NO_EXTRAS, Extras

_COLUMNS = {
    "frame": np.int64,
    "time_s": np.float64,
    "object": np.uint8,
    "box": np.int32,
    "area": np.int64,
    "confidence": np.float32,
}
"""Arrays of the table, in the order of the fields of a record, and their types."""


class NpzWriter:
    """Writes ``labels_00000`` and so on, (H, W) uint8, one array per frame, and a table of all frames.

    The table is one array per column: ``frame``, ``time_s``, ``object``, ``box`` (R, 4, inclusive, -1 if absent),
    ``area`` and ``confidence``, with R records, one per frame and object. Where frames have names, ``name`` holds
    those of all frames, (T,) text, in the order of the label maps. ``numpy.load`` reads each array when it is asked
    for. Label maps are not kept in memory.

    Args:
        path: of the file.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: list[tuple[object, ...]] = []
        self._names: list[str] = []
        self._closed = False
        with output_errors(path):
            self._zip = zipfile.ZipFile(partial_path(path), "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    def write(self, result: Result) -> None:
        """Add one frame.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        with output_errors(self._path):
            self._add(f"labels_{frame.index:05d}", result.labels)
        if frame.name is not None:
            self._names.append(frame.name)
        for object_id, box, area, score in zip(
            result.object_ids, result.boxes, result.areas, result.scores, strict=True
        ):
            self._records.append((frame.index, frame.time_s, object_id, box, area, score))

    def close(self) -> None:
        """Add the table and give the file its name.

        Raises:
            OutputError: it cannot be finished; no file is left.
        """
        if self._closed:
            return
        self._closed = True
        columns = zip(*self._records, strict=True) if self._records else [()] * len(_COLUMNS)
        with completed(self._path), self._zip:
            for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True):
                values = np.array(column, dtype)
                self._add(name, values.reshape(-1, 4) if name == "box" else values)
            if self._names:
                self._add("name", np.array(self._names))

    def _add(self, name: str, values: np.ndarray) -> None:
        with self._zip.open(f"{name}.npy", "w") as member:
            np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def open_npz(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> NpzWriter:
    """Open the writer of ``out/masks.npz``.

    Raises:
        OutputError: the file cannot be made.
    """
    return NpzWriter(out / "masks.npz")
