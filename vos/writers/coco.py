"""Writes ``coco.json``: annotations in the layout of YouTube-VIS."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError
from ..files import atomic_path, output_errors
from ..structures import Frame, Result


class CocoWriter:
    """``coco.json`` in the layout of YouTube-VIS: one annotation per object, with a compressed RLE per frame.

    Frames wait in temporary files, so that memory stays flat; needs pycocotools.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pycocotools import mask
        except ImportError as error:
            raise InputError("--save coco needs pycocotools: pip install pycocotools") from error
        self._encode = mask.encode
        self._path = path
        self._stack = ExitStack()
        self._files: dict[int, IO[str]] = {}
        self._size = (0, 0)
        self._names: list[str] = []

    def write(self, result: Result) -> None:
        """Add one frame; an object that joins now was absent before.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self._path):
            for row, object_id in enumerate(result.object_ids):
                lines = self._lines(object_id)
                if not result.areas[row]:
                    lines.write("null\n")
                    continue
                encoded = self._encode(np.asfortranarray(result.labels == object_id, np.uint8))
                x0, y0, x1, y1 = result.boxes[row].tolist()
                entry = {
                    "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
                    "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                    "area": int(result.areas[row]),
                }
                lines.write(json.dumps(entry) + "\n")
            self._size = result.frame.size
            self._names.append(f"{result.frame.index:05d}.jpg")
            for object_id in self._files.keys() - set(result.object_ids):  # it has left
                self._files[object_id].write("null\n")

    def close(self) -> None:
        """Put the file together and give it its name; without any frame there is none.

        Raises:
            OutputError: it cannot be written; it is then not there.
        """
        names, self._names = self._names, []
        with self._stack, output_errors(self._path):
            if not names:
                return
            with atomic_path(self._path) as partial, partial.open("w", encoding="ascii") as file:
                self._write_json(file, names)

    def _lines(self, object_id: int) -> IO[str]:
        if object_id not in self._files:
            file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115
            self._files[object_id] = self._stack.enter_context(file)
            file.write("null\n" * len(self._names))
        return self._files[object_id]

    def _write_json(self, file: IO[str], names: list[str]) -> None:
        height, width = self._size
        video = {"id": 1, "width": width, "height": height, "length": len(names), "file_names": names}
        file.write(f'{{"info": {{"description": "vos-track"}}, "videos": [{json.dumps(video)}],\n')
        categories = [{"id": 1, "name": "object"}]
        file.write(f'"categories": {json.dumps(categories)},\n"annotations": [')
        for number, object_id in enumerate(sorted(self._files)):
            start = {"id": object_id, "video_id": 1, "category_id": 1, "iscrowd": 0, "width": width, "height": height}
            file.write(("," if number else "") + "\n" + json.dumps(start)[:-1])
            for key, of in (("segmentations", "segmentation"), ("bboxes", "bbox"), ("areas", "area")):
                file.write(f', "{key}": [')
                self._files[object_id].seek(0)
                for index, line in enumerate(self._files[object_id]):
                    entry = json.loads(line)
                    file.write((", " if index else "") + json.dumps(entry and entry[of]))
                file.write("]")
            file.write("}")
        file.write("]}\n")


def open_coco(out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]) -> CocoWriter:
    """Write to ``out/coco.json``."""
    return CocoWriter(out / "coco.json")
