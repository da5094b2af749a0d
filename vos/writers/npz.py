"""Writes files for other programs: ``masks.npz`` and ``coco.json``."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..files import output_errors, partial_path
from ..structures import Frame, Result


class NpzWriter:
    """``masks.npz``: ``labels_00000`` …, (H, W) uint8, one per frame, and a table of all frames.

    ``numpy.load`` reads each when it is asked for, and writing keeps no frame either. The table:
    ``frame``, ``time_s``, ``object``, ``box`` (inclusive, -1 if absent), ``area`` and ``confidence``, with one
    row per frame and object.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._rows: list[tuple] = []
        self._closed = False
        with output_errors(path):
            self._zip = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    def write(self, result: Result) -> None:
        """Add one frame.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        with output_errors(self._path):
            self._add(f"labels_{frame.index:05d}", result.labels)
        self._rows += [
            (
                frame.index,
                frame.time_s,
                result.object_ids[row],
                result.boxes[row],
                result.areas[row],
                result.scores[row],
            )
            for row in range(len(result.object_ids))
        ]

    def close(self) -> None:
        """Add the table and give the file its name.

        Raises:
            OutputError: it cannot be finished; it is then not there.
        """
        if self._closed:
            return
        self._closed = True
        names = ("frame", "time_s", "object", "box", "area", "confidence")
        types = (np.int64, np.float64, np.uint8, np.int32, np.int64, np.float32)
        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(names)
        with output_errors(self._path):
            try:
                with self._zip:
                    for name, column, type_ in zip(names, columns, types, strict=True):
                        values = np.array(column, type_)
                        self._add(name, values.reshape(-1, 4) if name == "box" else values)
                self._partial.replace(self._path)
            except OSError:
                with suppress(OSError):
                    self._partial.unlink(missing_ok=True)
                raise

    def _add(self, name: str, values: np.ndarray) -> None:
        with self._zip.open(f"{name}.npy", "w") as member:
            np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def open_npz(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> NpzWriter:
    """Write to ``out/masks.npz``."""
    return NpzWriter(out / "masks.npz")
