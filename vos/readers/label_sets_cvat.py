"""Lists what is marked in a file of CVAT, "for video 1.1" or "for images 1.1": masks and polygons."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import InputError
from .marked import Marked, Marks, draw_area

_SHAPES = ("mask", "polygon")
"""Kinds of shapes that are read."""

_OTHERS = ("box", "polyline", "points", "ellipse", "cuboid", "skeleton")
"""Kinds of shapes that have no outline, or none that is read."""


def read_cvat(path: Path) -> Marks:
    """List the shapes that were drawn by hand; those that CVAT has put between them are not true.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return _Shapes(path).read()
    except (OSError, ValueError, KeyError, TypeError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: is no file of CVAT 1.1 ({type(error).__name__}: {error})") from error


class _Shapes:
    """Collects the shapes of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size: tuple[int, int] | None = None
        self._marked: list[tuple[int, Marked]] = []
        self._places: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def read(self) -> Marks:
        """Read the file element by element."""
        for _, element in ElementTree.iterparse(self._path):
            if element.tag == "original_size":
                self._size = int(element.findtext("height") or 0), int(element.findtext("width") or 0)
            elif element.tag == "track":
                for shape in element:
                    if shape.get("outside") != "1" and shape.get("keyframe", "1") == "1":
                        track = element.get("group_id") or "0"
                        own = int(track) if track != "0" else f"track {element.get('id')}"
                        self._add(shape, shape.attrib["frame"], element.get("label", ""), own, self._size)
                element.clear()
            elif element.tag == "image":
                size = int(element.attrib["height"]), int(element.attrib["width"])
                frame = element.get("name") or element.attrib["id"]
                for shape in element:
                    group = int(shape.get("group_id") or 0)
                    self._add(shape, frame, shape.get("label", ""), group or None, size)
                element.clear()
        if self._left_out:
            told = ", ".join(f"{count} of kind {kind}" for kind, count in self._left_out.items())
            return Marks(self._in_order(), notes=[f"shapes are left out that are no masks or polygons: {told}"])
        return Marks(self._in_order())

    def _in_order(self) -> list[Marked]:
        """Return the shapes from the lowest layer up."""
        return [mark for _, mark in sorted(self._marked, key=lambda each: each[0])]

    def _add(
        self, shape: ElementTree.Element, frame: str, label: str, track: int | str | None, size: tuple[int, int] | None
    ) -> None:
        """Note one shape."""
        if shape.tag not in _SHAPES:
            self._left_out[shape.tag] += shape.tag in _OTHERS
            self._left_out += Counter()  # without kinds that do not occur
            return
        self._places[frame] += 1
        if shape.tag == "mask":
            keys = ("left", "top", "width", "height")
            box = [int(float(shape.attrib[key])) for key in keys]
            runs = [int(run) for run in shape.attrib["rle"].split(",")]
            if sum(runs) != box[2] * box[3]:
                raise ValueError(f"a mask of frame {frame} has {sum(runs)} pixels in a box of {box[2]} x {box[3]}")
            draw = partial(_draw_runs, np.array(runs), box)
        else:
            corners = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            draw = partial(draw_area, np.array(corners, float))
        layer = int(shape.get("z_order") or 0)
        self._marked.append((layer, Marked(frame, label, draw, label, track, self._places[frame], size)))


def _draw_runs(runs: np.ndarray, box: list[int], size: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) bool of runs outside and inside by turns, in a box of left, top, width, height."""
    left, top, width, height = box
    mask = np.zeros(size, bool)
    inside = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width).astype(bool)
    place = mask[max(0, top) : top + height, max(0, left) : left + width]
    place[:] = inside[max(0, -top) :, max(0, -left) :][: place.shape[0], : place.shape[1]]
    return mask
