"""Writes ``labelme/00000.json`` and so on, each beside its picture, for LabelMe; needs supervision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, parameter
from ..files import make_folder
from ..structures import Frame, Result
from .label_names import class_name
from .outputs import NO_EXTRAS, Extras
from .spool import frame_stem, save_jpeg, save_text

_VERSION = "5.5.0"
"""Version of LabelMe whose layout is written."""


class LabelMeWriter:
    """Writes a picture per frame and its polygons: one for each piece of an object, with holes joined by a seam.

    The ``group_id`` of a polygon is the object's number.

    Args:
        folder: where the files go; made if need be.
        names: names of objects by id, which are the labels.

    Raises:
        InputError: supervision is not installed.
        OutputError: the folder cannot be made.
    """

    file_per_frame = True

    def __init__(self, folder: Path, names: Mapping[int, str]) -> None:
        try:
            from supervision.dataset.formats.labelme import detections_to_labelme_shapes
        except ImportError as error:
            raise InputError(f"{parameter('save', 'labelme')} needs supervision: pip install supervision") from error
        self._shapes_of = detections_to_labelme_shapes
        self._folder = folder
        self._names = names
        make_folder(folder)

    def write(self, result: Result) -> None:
        """Write one frame.

        Raises:
            OutputError: a file cannot be written; that file is not left.
        """
        height, width = result.frame.size
        stem = frame_stem(result.frame)
        page: dict[str, object] = {
            "version": _VERSION,
            "flags": {},
            "shapes": [shape for row in range(len(result.object_ids)) for shape in self._shapes(result, row)],
            "imagePath": f"{stem}.jpg",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        save_jpeg(result.frame.rgb, self._folder / f"{stem}.jpg")
        save_text(json.dumps(page, indent=1) + "\n", self._folder / f"{stem}.json")

    def close(self) -> None:
        """Do nothing: no file is open between frames."""

    def _shapes(self, result: Result, row: int) -> list[dict[str, object]]:
        """Return the shapes of one object; none if it is absent."""
        object_id = result.object_ids[row]
        own = slice(row, row + 1)
        alone = replace(
            result,
            object_ids=(object_id,),
            boxes=result.boxes[own],
            areas=result.areas[own],
            scores=result.scores[own],
        )
        shapes = self._shapes_of(alone.to_supervision(), [class_name(object_id, self._names)])
        return [{**shape, "group_id": object_id} for shape in shapes]


def open_labelme(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> LabelMeWriter:
    """Open the writer of ``out/labelme``.

    Raises:
        InputError: supervision is not installed.
        OutputError: the folder cannot be made.
    """
    return LabelMeWriter(out / "labelme", extras.names)
