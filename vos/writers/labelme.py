"""Writes ``labelme/00000.json`` and so on, each beside its picture, for LabelMe; needs supervision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, parameter
from ..files import make_folder
from ..structures import Frame, Result
from .label_names import class_name
from .outputs import NO_EXTRAS, Extras
from .spool import frame_stem, save_jpeg, save_text

Point = tuple[float, float]
"""x, y in pixels."""

_VERSION = "5.5.0"
"""Version of LabelMe whose layout is written."""


class LabelMeWriter:
    """Writes a picture per frame and its polygons: one for each piece of an object, with holes joined by a seam.

    A polygon goes through the centres of the outermost pixels; that of a line of single pixels encloses nothing.
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
        name = class_name(object_id, self._names)
        own = slice(row, row + 1)
        alone = replace(
            result, object_ids=(object_id,), boxes=result.boxes[own], areas=result.areas[own], scores=result.scores[own]
        )
        return [{**shape, "group_id": object_id} for shape in self._polygons(alone, result.labels == object_id, name)]

    def _polygons(self, alone: Result, mask: np.ndarray, name: str) -> list[dict[str, object]]:
        """Return the shapes of a mask (H, W) bool, which is the only object of a result or a part of it."""
        broad, lines = _part(mask)
        labels = broad.astype(np.uint8) * np.uint8(alone.object_ids[0])
        part = replace(alone, labels=labels, areas=np.array([np.count_nonzero(broad)]))
        try:
            shapes = self._shapes_of(part.to_supervision(), [name])
        except ValueError:  # a hole to which no seam leads, as the piece around it hangs together at corners alone
            return [shape for half in _halves(mask) for shape in self._polygons(alone, half, name)]
        return [*shapes, *(_line_shape(name, *ends) for ends in lines)]


def _part(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[Point, Point]]]:
    """Part a mask (H, W) bool into the pieces of which supervision makes polygons, (H, W) bool, and the others.

    The others are single pixels and straight lines of these, of which only both ends are needed.
    """
    from scipy import ndimage

    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel())
    lines: list[tuple[Point, Point]] = []
    thin = np.zeros(len(areas), bool)
    for number, place in enumerate(ndimage.find_objects(pieces), start=1):
        rows, columns = (each.stop - each.start for each in place)
        if areas[number] == max(rows, columns) and min(rows, columns) in (1, areas[number]):
            thin[number] = True
            ys, xs = np.nonzero(pieces[place] == number)
            ys, xs = ys + place[0].start, xs + place[1].start
            lines.append(((float(xs[0]), float(ys[0])), (float(xs[-1]), float(ys[-1]))))
    return mask & ~thin[pieces], lines


def _halves(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a mask (H, W) bool of several pixels across its longer side; both halves are (H, W) bool."""
    rows, columns = np.nonzero(mask)
    first = np.zeros_like(mask)
    if np.ptp(columns) > np.ptp(rows):
        first[:, : int(columns.mean()) + 1] = True
    else:
        first[: int(rows.mean()) + 1] = True
    return mask & first, mask & ~first


def _line_shape(label: str, start: Point, end: Point) -> dict[str, object]:
    """Return the shape of a straight line of pixels: a polygon there and back."""
    points = [list(each) for each in (start, end, end, start)]
    kind = {"description": "", "shape_type": "polygon", "flags": {}}
    return {"label": label, "points": points, "group_id": None, **kind}


def open_labelme(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> LabelMeWriter:
    """Open the writer of ``out/labelme``.

    Raises:
        InputError: supervision is not installed.
        OutputError: the folder cannot be made.
    """
    return LabelMeWriter(out / "labelme", extras.names)
