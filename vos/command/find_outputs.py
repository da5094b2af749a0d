"""What ``vos-find`` writes: masks, overlays, ``found.csv``, ``coco.json`` and the best pictures.

Files of pictures are written at once. The tables are made at the end, from the entries that are noted of each picture
in ``.find/pictures.jsonl``; a run that was stopped goes on from these.
"""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError, OutputError, parameter
from ..files import atomic_path, make_folder, output_errors
from ..finder import Found
from ..writers.drawing import draw_overlay
from ..writers.masks import MaskWriter
from .find_dreambooth import DreamboothWriter

FOLDER = ".find"
"""Folder of what a stopped run goes on from."""

HEADER = ("name", "object", "number", "x0", "y0", "x1", "y1", "area", "confidence", "similarity")
"""Columns of ``found.csv``."""

_QUALITY = 90
"""JPEG quality of overlays."""

Entry = dict[str, Any]
"""What is noted of one picture, as JSON: its name, path, size, and rows."""


class PictureFiles:
    """Writes the files of each picture; several threads may write at a time, each a picture of its own.

    Args:
        out: the result folder.
        saves: what to write, see :data:`.find_options.SAVES`.

    Raises:
        InputError: a package is missing.
        OutputError: a folder cannot be made.
    """

    def __init__(self, out: Path, saves: Sequence[str]) -> None:
        self._masks = MaskWriter(out / "masks") if "masks" in saves else None
        self._overlays = out / "overlay" if "overlay" in saves else None
        self._dreambooth = DreamboothWriter(out / "dreambooth") if "dreambooth" in saves else None
        self._encode = _rle_encoder() if "coco" in saves else None
        if self._overlays is not None:
            make_folder(self._overlays)

    def write(self, found: Found) -> Entry:
        """Write the files of one picture; return its entry.

        Raises:
            OutputError: a file cannot be written; none is left half-written.
        """
        name = found.frame.name or f"{found.frame.index:05d}"
        if self._masks is not None:
            self._masks.write(found.result)
        if self._overlays is not None:
            save_overlay(found, self._overlays / f"{name}.jpg")
        if self._dreambooth is not None:
            self._dreambooth.write(found)
        return {
            "name": name,
            "path": str(found.path),
            "size": list(found.frame.size),
            "rows": [self._row(found, row) for row in range(len(found.object_ids))],
        }

    def _row(self, found: Found, row: int) -> Entry:
        entry: Entry = {
            "object": found.object_ids[row],
            "number": found.numbers[row],
            "box": found.boxes[row].tolist() if found.present[row] else None,
            "area": int(found.areas[row]),
            "confidence": round(float(found.scores[row]), 4),
            "similarity": round(float(found.similarity[row]), 4),
        }
        if self._encode is not None and found.present[row]:
            mask = np.asfortranarray(found.labels == found.numbers[row], np.uint8)
            entry["rle"] = self._encode(mask)["counts"].decode("ascii")
        return entry


def save_overlay(found: Found, path: Path) -> None:
    """Draw the objects of a picture over it, as JPEG.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    result = found.result
    drawn = draw_overlay(found.frame.rgb, result.labels, result.object_ids, result.boxes)
    with output_errors(path), atomic_path(path) as partial:
        Image.fromarray(drawn).save(partial, format="JPEG", quality=_QUALITY)


def confidence_of(entry: Entry) -> float:
    """Return how sure it is that a picture shows one of the objects."""
    return max((row["confidence"] for row in entry["rows"]), default=0.0)


def write_table(path: Path, entries: Sequence[Entry]) -> None:
    """Write ``found.csv``: one line for each object or instance; what is absent has no box, and area 0.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for entry in entries:
        for row in entry["rows"]:
            box = row["box"] or ["", "", "", ""]
            numbers = row["object"], row["number"] or "", *box, row["area"]
            writer.writerow([entry["name"], *numbers, f"{row['confidence']:.4f}", f"{row['similarity']:.4f}"])
    with output_errors(path), atomic_path(path) as partial:
        partial.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))


def write_coco(path: Path, entries: Sequence[Entry]) -> None:
    """Write ``coco.json``: instances of images in COCO's layout, with a category for each object.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    objects = sorted({row["object"] for entry in entries for row in entry["rows"]})
    images: list[Entry] = []
    annotations: list[Entry] = []
    for image_id, entry in enumerate(entries, start=1):
        height, width = entry["size"]
        images.append({"id": image_id, "file_name": entry["path"], "width": width, "height": height})
        for row in entry["rows"]:
            if row["box"] is None:
                continue
            x0, y0, x1, y1 = row["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": row["object"],
                    "segmentation": {"size": [height, width], "counts": row["rle"]},
                    "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                    "area": row["area"],
                    "iscrowd": 0,
                    "score": row["confidence"],
                }
            )
    document = {
        "info": {"description": "vos-find"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": each, "name": f"object {each}"} for each in objects],
    }
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text(json.dumps(document), encoding="ascii")


class Notes:
    """The entries of the pictures that are done, on disk as soon as each is, whichever thread it was done on.

    Args:
        folder: ``OUT/.find``, which exists.
        entries: those of an earlier run.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        self._path = folder / "pictures.jsonl"
        self._writing = Lock()
        with output_errors(self._path):
            self._path.write_text("".join(json.dumps(each) + "\n" for each in entries), encoding="ascii")
            self._file = self._path.open("a", encoding="ascii", buffering=1)

    def add(self, entry: Entry) -> None:
        """Note one picture.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self._path), self._writing:
            self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_notes(folder: Path) -> list[Entry]:
    """Read the entries that a stopped run left; a last line that was written in part does not count."""
    try:
        lines = (folder / "pictures.jsonl").read_text(encoding="ascii").split("\n")[:-1]
        return [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder}: what the stopped run left is damaged; begin anew with --overwrite") from error


def files_of_pictures(out: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of pictures by these names that a run wrote into a result folder."""
    patterns = ["masks/{}.png", "overlay/{}.jpg", "top/[0-9]*-{}.*"]
    patterns += ["dreambooth/*/images/{}.png", "dreambooth/*/masks/{}.png"]
    return [path for name in names for each in patterns for path in out.glob(each.format(glob.escape(name)))]


def _rle_encoder() -> Any:
    """Return pycocotools' encoder of masks.

    Raises:
        InputError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(f"{parameter('save', 'coco')} needs pycocotools: pip install pycocotools") from error
    return mask.encode
