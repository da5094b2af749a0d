"""The photographs that show objects in the place of marks in the video: uploaded files, each with a mask.

They become the references that a run finds the objects by, see :mod:`vos.references`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import output_errors
from ..readers.limits import MAX_PIXELS
from ..readers.references import load_rgb, read_references
from ..references import Reference
from ..structures import FirstMask, Frame, Hint
from .marks import box_between, with_point

MOST = 10
"""Most photographs of one object."""

FOLDER = "references"
"""Folder of the download that holds photographs and masks."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
"""Ends of file names that are kept."""


@dataclass(frozen=True)
class Photograph:
    """A picture that shows an object.

    Attributes:
        file: the file as it was uploaded, under a name of its own.
        name: name of the user's file, for messages alone.
        frame: the picture, upright.
        mask: the object in it, (H, W) bool; None: it is not marked yet.
        hint: what was marked in it, if anything was.
        corner: first corner of an unfinished box, x and y.
    """

    file: Path
    name: str
    frame: Frame
    mask: np.ndarray | None = None
    hint: Hint | None = None
    corner: tuple[float, float] | None = None


class Photographs:
    """Holds the photographs of all objects.

    The last one of an object is the one that is marked. One that is not marked gives way to the next.

    Args:
        folder: where the files go; made when the first comes.
        segment: makes a mask from hints, as :meth:`vos.Session.segment` does.
        max_pixels: larger pictures and masks are refused before they are decoded.
    """

    def __init__(
        self,
        folder: Path,
        segment: Callable[[Frame, Sequence[Hint]], FirstMask],
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._folder, self._segment, self._max_pixels = folder, segment, max_pixels
        self._of: dict[int, list[Photograph]] = {}
        self._numbers = count(1)

    def of(self, object_id: int) -> tuple[Photograph, ...]:
        """Return the photographs of an object, the last one last."""
        return tuple(self._of.get(object_id, ()))

    def add(self, object_id: int, file: Path, name: str) -> None:
        """Take over an uploaded photograph of an object; the file is moved.

        Raises:
            InputError: it is no picture, too large, or one too many.
            OutputError: the file cannot be moved.
        """
        taken = self._take(file, name)
        try:
            shown = [each for each in self.of(object_id) if each.mask is not None]
            if len(shown) == MOST:
                raise InputError(f"object {object_id} has {MOST} photographs already; remove one first")
            with _named({taken: name}):
                rgb = load_rgb(taken, self._max_pixels)
        except InputError:
            taken.unlink()
            raise
        for other in self.of(object_id):
            if other.mask is None:
                other.file.unlink()
        self._of[object_id] = [*shown, Photograph(taken, name, Frame(0, 0.0, np.ascontiguousarray(rgb)))]

    def add_mask(self, object_id: int, file: Path, name: str) -> None:
        """Take the mask of an object's last photograph from an uploaded file, which is deleted.

        Raises:
            InputError: there is no photograph, or the mask cannot be read, has another size, is empty or shows several
                objects.
            OutputError: the file cannot be moved.
        """
        taken = self._take(file, name)
        try:
            last = self._last(object_id)
            with _named({taken: name, last.file: last.name}):
                found = read_references(f"{last.file}={taken}", self._max_pixels)
                if len(found) > 1:
                    numbers = ", ".join(str(each.object_id) for each in found)
                    raise InputError(f"{name}: holds objects {numbers}; give a mask of this object alone")
        finally:
            taken.unlink()
        self._of[object_id][-1] = replace(last, mask=found[0].mask, hint=None, corner=None)

    def add_point(self, object_id: int, x: float, y: float, inside: bool = True) -> None:
        """Mark a point inside or outside of the object in its last photograph.

        Raises:
            InputError: there is no photograph, or no object is found there; nothing is changed.
        """
        last = self._last(object_id)
        if not inside and last.hint is None:
            raise InputError("mark the object itself first: a point inside it, or a box around it")
        self._mark(object_id, last, with_point(last.hint or Hint(), x, y, inside))

    def add_corner(self, object_id: int, x: float, y: float) -> None:
        """Mark a corner of a box in an object's last photograph; the second one makes the box.

        Raises:
            InputError: there is no photograph, the box is too small, or no object is found in it.
        """
        last = self._last(object_id)
        if last.corner is None:
            self._of[object_id][-1] = replace(last, corner=(x, y))
            return
        self._of[object_id][-1] = replace(last, corner=None)
        self._mark(object_id, last, Hint(box_between(*last.corner, x, y)))

    def remove(self, object_id: int) -> None:
        """Delete the last photograph of an object.

        Raises:
            InputError: there is none.
        """
        self._last(object_id).file.unlink()
        del self._of[object_id][-1]

    def drop(self, object_id: int) -> None:
        """Delete all photographs of an object."""
        for each in self._of.pop(object_id, ()):
            each.file.unlink()

    def references(self) -> list[Reference]:
        """Return all photographs as references, by ascending ids of their objects.

        Raises:
            InputError: one is not marked.
        """
        return [
            Reference(each.frame.rgb, each.mask, object_id, name=f"object {object_id}, {each.name}")
            for object_id in sorted(self._of)
            for each in self._of[object_id]
        ]

    def records(self) -> dict[int, list[dict[str, object]]]:
        """Describe the photographs by object id; ``reference`` is what ``--reference`` takes, in the download."""
        return {
            object_id: [
                {"name": each.name, "reference": f"{picture}={mask}#{object_id}", **_marks(each.hint)}
                for picture, mask, each in self._filed(object_id)
            ]
            for object_id in sorted(self._of)
            if self._of[object_id]
        }

    def write(self, folder: Path) -> None:
        """Write the photographs and their masks below a folder, under the names of :meth:`records`."""
        for object_id in self._of:
            for picture, mask, each in self._filed(object_id):
                (folder / FOLDER).mkdir(exist_ok=True)
                shutil.copyfile(each.file, folder / picture)
                Image.fromarray(np.uint8(255) * np.asarray(each.mask, np.uint8)).save(folder / mask)

    def _filed(self, object_id: int) -> Iterator[tuple[str, str, Photograph]]:
        """Yield the marked photographs of an object with the names of picture and mask in the download."""
        for number, each in enumerate(self.of(object_id), start=1):
            if each.mask is not None:
                name = f"{FOLDER}/{object_id}-{number}"
                yield f"{name}{each.file.suffix}", f"{name}-mask.png", each

    def _take(self, file: Path, name: str) -> Path:
        """Move an uploaded file into the folder, under a number."""
        suffix = Path(name).suffix.lower()
        taken = self._folder / f"{next(self._numbers)}{suffix if _SUFFIX.fullmatch(suffix) else '.img'}"
        with output_errors(taken):
            self._folder.mkdir(exist_ok=True)
            shutil.move(file, taken)
        return taken

    def _last(self, object_id: int) -> Photograph:
        """Return the last photograph of an object; raise an ``InputError`` if there is none."""
        if not self._of.get(object_id):
            raise InputError("there is no photograph of this object yet: upload one first")
        return self._of[object_id][-1]

    def _mark(self, object_id: int, last: Photograph, hint: Hint) -> None:
        """Make the mask of the last photograph anew."""
        with _named({last.file: last.name}):
            mask = self._segment(last.frame, [hint]).labels > 0
        self._of[object_id][-1] = replace(last, mask=mask, hint=hint, corner=None)


def _marks(hint: Hint | None) -> dict[str, object]:
    return {} if hint is None else {"box": hint.box, "points": hint.points}


@contextmanager
def _named(names: dict[Path, str]) -> Iterator[None]:
    """Write errors with the names that users know in the place of files."""
    try:
        yield
    except InputError as error:
        message = str(error)
        for file, name in names.items():
            message = message.replace(str(file), name)
        raise InputError(message) from error
