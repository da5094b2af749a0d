"""Lists what is marked in label files of YOLO: one file a frame, one polygon a line, in parts of the frame."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import InputError
from .marked import Marked, Marks, draw_polygon

_CLASSES = "classes.txt"
"""Name of a file that lies among the labels and lists the classes."""


def read_yolo(folder: Path) -> Marks:
    """List the polygons of all label files below a folder; an empty file says that its frame shows no object.

    Args:
        folder: of a data set, with ``labels/``, or of label files themselves. ``data.yaml``, or ``classes.txt`` as
            labelImg writes it, has the names of the classes.

    Raises:
        InputError: a file cannot be read.
    """
    below = folder / "labels" if (folder / "labels").is_dir() else folder
    names = _class_names(folder) or _listed_names(folder) or _listed_names(below)
    marked: list[Marked] = []
    empty: list[str] = []
    boxes = 0
    for file in sorted(file for file in below.rglob("*.txt") if file.name != _CLASSES):
        before = len(marked), boxes
        for place, line in enumerate(_lines(file), start=1):
            number, values = _parsed(file, line)
            if len(values) < 6:
                boxes += 1
                continue
            points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2)
            marked.append(Marked(file.name, number + 1, partial(_draw, points), names.get(number, ""), place=place))
        if (len(marked), boxes) == before:
            empty.append(file.name)
    notes = [f"{boxes} boxes without an outline are left out"] if boxes else []
    return Marks(marked, empty, notes)


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def _parsed(file: Path, line: str) -> tuple[int, list[float]]:
    """Return the class and the coordinates of a line; a last odd value is a confidence, which is left out."""
    number, *values = line.split()
    with suppress(ValueError):
        numbers = [float(value) for value in values]
        if number.isdecimal() and np.isfinite(numbers).all():
            return int(number), numbers
    raise InputError(f"{file}: {line[:40]!r} is no label of YOLO; give a class and the corners of a polygon")


def _draw(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return draw_polygon(np.round(points * (size[1], size[0])), size)


def _class_names(folder: Path) -> dict[int, str]:
    """Return the names of the classes in ``data.yaml`` by number; none if it is not there.

    Raises:
        InputError: it is damaged.
    """
    path = folder / "data.yaml"
    if not path.is_file():
        return {}
    import yaml

    try:
        names = (yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}).get("names", [])
        listed = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in listed}
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML with names ({str(error).splitlines()[0]})") from error


def _listed_names(folder: Path) -> dict[int, str]:
    """Return the names of the classes in ``classes.txt`` by number, one a line; none if it is not there."""
    path = folder / _CLASSES
    return dict(enumerate(map(str.strip, _lines(path)))) if path.is_file() else {}
