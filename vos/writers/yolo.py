"""Writes ``yolo/``: pictures with the objects' outlines, as YOLO learns segmentation from; needs supervision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, parameter
from ..files import make_folder
from ..structures import Frame, Result
from .label_names import Classes
from .outputs import NO_EXTRAS, Extras
from .spool import frame_stem, save_jpeg, save_text


class YoloWriter:
    """Writes ``images/train``, ``labels/train`` and ``data.yaml``, with one line of a label file for each object.

    A line is one polygon, the outline of the object's largest piece. Holes are joined to it by a seam without width, so
    that they stay holes. Other pieces of the object are left out, as YOLO would take each for an object.

    Args:
        folder: where all this goes; made if need be.
        object_ids: the first objects.
        names: names of objects by id, which are the classes.

    Raises:
        InputError: supervision is not installed.
        OutputError: a folder cannot be made.
    """

    def __init__(self, folder: Path, object_ids: Sequence[int], names: Mapping[int, str]) -> None:
        try:
            from supervision.dataset.formats.yolo import detections_to_yolo_annotations
        except ImportError as error:
            raise InputError(f"{parameter('save', 'yolo')} needs supervision: pip install supervision") from error
        self._lines_of = detections_to_yolo_annotations
        self._folder = folder
        self._classes = Classes(object_ids, names)
        self._frames = 0
        for kind in ("images", "labels"):
            make_folder(folder / kind / "train")

    def write(self, result: Result) -> None:
        """Write the picture and the label file of one frame; a frame without objects has an empty one.

        Raises:
            OutputError: a file cannot be written; that file is not left.
        """
        stem = frame_stem(result.frame)
        lines = [line for object_id in result.object_ids for line in self._line(result, object_id)]
        save_jpeg(result.frame.rgb, self._folder / "images" / "train" / f"{stem}.jpg")
        save_text("".join(line + "\n" for line in lines), self._folder / "labels" / "train" / f"{stem}.txt")
        self._frames += 1

    def close(self) -> None:
        """Write ``data.yaml``; without any frame there is none.

        Raises:
            OutputError: it cannot be written; no file is left.
        """
        if not self._frames:
            return
        names = self._classes.names()  # a list in JSON is one in YAML
        text = "train: images/train\nval: images/train\n" + f"nc: {len(names)}\nnames: {json.dumps(names)}\n"
        save_text(text, self._folder / "data.yaml")

    def _line(self, result: Result, object_id: int) -> list[str]:
        """Return an object's line, or none for an absent object."""
        number = self._classes.number(object_id)
        mask = largest_piece_mask(result.labels == object_id)
        if not mask.any():
            return []
        row = result.object_ids.index(object_id)
        alone = replace(
            result,
            object_ids=(object_id,),
            boxes=result.boxes[row : row + 1],
            areas=result.areas[row : row + 1],
            scores=result.scores[row : row + 1],
        )
        try:
            line = self._polygon(alone, mask, number)
        except ValueError:  # a hole to which no seam leads, as the piece around it hangs together at corners alone
            line = self._polygon(alone, _filled(mask), number)
        return [line if len(line.split()) > 5 else _rectangle(number, mask)]

    def _polygon(self, alone: Result, mask: np.ndarray, number: int) -> str:
        """Return the line of one piece, (H, W) bool, of a result's only object; empty for one that is too thin."""
        labels = mask.astype(np.uint8) * np.uint8(alone.object_ids[0])
        detections = replace(alone, labels=labels).to_supervision()
        detections.class_id = np.array([number])
        lines: list[str] = self._lines_of(detections, mask.shape, approximation_percentage=0.0)
        return lines[0] if lines else ""


def largest_piece_mask(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a mask (H, W) bool; pixels that touch at a corner are connected."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    largest: np.ndarray = mask if count < 2 else pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


def _filled(mask: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool without holes."""
    from scipy import ndimage

    without: np.ndarray = ndimage.binary_fill_holes(mask)
    return without


def _rectangle(number: int, mask: np.ndarray) -> str:
    """Return the line of a mask that is too thin for a polygon: the edges of its pixels' box."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    x0, x1 = columns.min() / width, (columns.max() + 1) / width
    y0, y1 = rows.min() / height, (rows.max() + 1) / height
    corners = (x0, y0, x1, y0, x1, y1, x0, y1)
    return " ".join([str(number), *(f"{each:.5f}" for each in corners)])


def open_yolo(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> YoloWriter:
    """Open the writer of ``out/yolo``.

    Raises:
        InputError: supervision is not installed.
        OutputError: a folder cannot be made.
    """
    return YoloWriter(out / "yolo", object_ids, extras.names)
