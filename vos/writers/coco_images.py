"""Writes ``coco-images/``: COCO instances, with a picture for each frame, in COCO's own folders; needs pycocotools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import InputError, parameter
from ..files import atomic_path, make_folder, output_errors
from ..structures import Frame, Result
from .label_names import Classes
from .outputs import NO_EXTRAS, Extras
from .spool import Spool, frame_stem, save_jpeg


class CocoImagesWriter:
    """Writes ``images/`` and ``annotations/instances_default.json``: an annotation for each object in each frame.

    Categories are the objects' names. Masks are compressed RLE, so that they are kept to the pixel; ``track_id`` is
    the object's number.

    Args:
        folder: where all this goes; made if need be.
        object_ids: the first objects.
        names: names of objects by id.

    Raises:
        InputError: pycocotools is not installed.
        OutputError: a folder cannot be made.
    """

    def __init__(self, folder: Path, object_ids: Sequence[int], names: Mapping[int, str]) -> None:
        try:
            from pycocotools import mask
        except ImportError as error:
            raise InputError(
                f"{parameter('save', 'coco-images')} needs pycocotools: pip install pycocotools"
            ) from error
        self._encode = mask.encode
        self._folder = folder
        self._path = folder / "annotations" / "instances_default.json"
        self._classes = Classes(object_ids, names)
        make_folder(self._path.parent)
        make_folder(folder / "images")
        self._images, self._annotations = Spool(self._path), Spool(self._path)
        self._closed = False

    def write(self, result: Result) -> None:
        """Write the picture of one frame and note its annotations.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        height, width = frame.size
        file = f"{frame_stem(frame)}.jpg"
        save_jpeg(frame.rgb, self._folder / "images" / file)
        image_id = self._images.count + 1
        image = {"id": image_id, "file_name": file, "width": width, "height": height, "frame": frame.index}
        self._images.add(json.dumps(image))
        for row, object_id in enumerate(result.object_ids):
            number = self._classes.number(object_id)
            if result.areas[row]:
                self._annotations.add(json.dumps(self._annotation(result, row, image_id, number + 1)))

    def close(self) -> None:
        """Assemble the annotations; without any frame there are none.

        Raises:
            OutputError: it cannot be written; no file is left.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._images.count:
                with (
                    output_errors(self._path),
                    atomic_path(self._path) as partial,
                    partial.open("w", encoding="utf-8") as file,
                ):
                    self._write_json(file)
        finally:
            self._images.close()
            self._annotations.close()

    def _annotation(self, result: Result, row: int, image_id: int, category_id: int) -> dict[str, object]:
        """Return one object's annotation in a frame."""
        encoded = self._encode(np.asfortranarray(result.labels == result.object_ids[row], np.uint8))
        x0, y0, x1, y1 = result.boxes[row].tolist()
        return {
            "id": self._annotations.count + 1,
            "image_id": image_id,
            "category_id": category_id,
            "track_id": result.object_ids[row],
            "iscrowd": 0,
            "area": int(result.areas[row]),
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
            "score": round(float(result.scores[row]), 4),
        }

    def _write_json(self, file: IO[str]) -> None:
        """Write the whole document line by line, so that no more than one annotation is in memory."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self._classes.names(), start=1)]
        file.write('{"info": {"description": "vos-track"},\n')
        file.write(f'"categories": {json.dumps(categories)}')
        for key, spool in (("images", self._images), ("annotations", self._annotations)):
            file.write(f',\n"{key}": [')
            for number, line in enumerate(spool.lines()):
                file.write((",\n" if number else "\n") + line)
            file.write("]")
        file.write("}\n")


def open_coco_images(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> CocoImagesWriter:
    """Open the writer of ``out/coco-images``.

    Raises:
        InputError: pycocotools is not installed.
        OutputError: a folder cannot be made.
    """
    return CocoImagesWriter(out / "coco-images", object_ids, extras.names)
