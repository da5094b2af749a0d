"""Writes ``coco.json``: annotations in the layout of YouTube-VIS; needs pycocotools."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError, parameter
from ..files import atomic_path, output_errors
from ..structures import Frame, Result
from .outputs import NO_EXTRAS, Extras

_ABSENT = "null\n"
"""Entry of a frame in which the object has no mask."""


class CocoWriter:
    """Writes one annotation per object, with a compressed RLE, a box and an area per frame.

    Until :meth:`close` the entries of each object lie in a temporary file, one line of JSON per frame, so that memory
    stays flat.

    Args:
        path: of the file.

    Raises:
        InputError: pycocotools is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pycocotools import mask
        except ImportError as error:
            raise InputError(f"{parameter('save', 'coco')} needs pycocotools: pip install pycocotools") from error
        self._encode = mask.encode
        self._path = path
        self._stack = ExitStack()
        self._entries: dict[int, IO[str]] = {}
        self._size = (0, 0)
        self._names: list[str] = []

    def write(self, result: Result) -> None:
        """Add one frame; an object that joins here is absent from the earlier frames.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self._path):
            for row, object_id in enumerate(result.object_ids):
                self._entries_of(object_id).write(self._entry(result, row))
            self._size = result.frame.size
            self._names.append(_file_name(result.frame))
            for object_id in self._entries.keys() - set(result.object_ids):  # objects that have left
                self._entries[object_id].write(_ABSENT)

    def close(self) -> None:
        """Assemble the file and give it its name; without any frame there is none.

        Raises:
            OutputError: it cannot be written; no file is left.
        """
        names, self._names = self._names, []
        with self._stack, output_errors(self._path):
            if not names:
                return
            with atomic_path(self._path) as partial, partial.open("w", encoding="ascii") as file:
                self._write_json(file, names)

    def _entry(self, result: Result, row: int) -> str:
        """Return one object's entry of a frame, a line of JSON."""
        if not result.areas[row]:
            return _ABSENT
        encoded = self._encode(np.asfortranarray(result.labels == result.object_ids[row], np.uint8))
        x0, y0, x1, y1 = result.boxes[row].tolist()
        entry = {
            "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            "area": int(result.areas[row]),
        }
        return json.dumps(entry) + "\n"

    def _entries_of(self, object_id: int) -> IO[str]:
        """Return the temporary file of an object, up to date with the earlier frames."""
        if object_id not in self._entries:
            file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - the stack closes it
            self._entries[object_id] = self._stack.enter_context(file)
            file.write(_ABSENT * len(self._names))
        return self._entries[object_id]

    def _write_json(self, file: IO[str], names: list[str]) -> None:
        """Write the whole document piece by piece, so that no more than one entry is in memory."""
        height, width = self._size
        video = {"id": 1, "width": width, "height": height, "length": len(names), "file_names": names}
        file.write(f'{{"info": {{"description": "vos-track"}}, "videos": [{json.dumps(video)}],\n')
        categories = [{"id": 1, "name": "object"}]
        file.write(f'"categories": {json.dumps(categories)},\n"annotations": [')
        for number, object_id in enumerate(sorted(self._entries)):
            start = {"id": object_id, "video_id": 1, "category_id": 1, "iscrowd": 0, "width": width, "height": height}
            file.write(("," if number else "") + "\n" + json.dumps(start)[:-1])
            for plural, key in (("segmentations", "segmentation"), ("bboxes", "bbox"), ("areas", "area")):
                file.write(f', "{plural}": [')
                self._entries[object_id].seek(0)
                for index, line in enumerate(self._entries[object_id]):
                    entry = json.loads(line)
                    file.write((", " if index else "") + json.dumps(entry and entry[key]))
                file.write("]")
            file.write("}")
        file.write("]}\n")


def _file_name(frame: Frame) -> str:
    """Name of the frame's own file; of a frame without one, its index in five digits."""
    return (f"{frame.index:05d}" if frame.name is None else frame.name) + (frame.suffix or ".jpg")


def open_coco(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> CocoWriter:
    """Open the writer of ``out/coco.json``.

    Raises:
        InputError: pycocotools is not installed.
    """
    return CocoWriter(out / "coco.json")
