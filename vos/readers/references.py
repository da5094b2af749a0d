"""Reads references: pictures with the mask of an object, or a box around it.

A text names each: ``photo.jpg=mask.png`` or ``photo.jpg@x0,y0,x1,y1``. ``#2`` at its end says that it shows object 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, parameter
from ..references import Reference
from ..structures import MAX_OBJECT_ID, FirstMask, Hint
from .depth import depth_of
from .first_mask import load_first_mask
from .labels import read_labels
from .limits import MAX_PIXELS, size_text
from .pictures import read_picture

ReferenceLike = Reference | str
"""A reference as users give it: one in memory, or a text that names files."""

_NUMBER = re.compile(r"^(.*)#(\d{1,9})$", re.DOTALL)
_BOX = re.compile(r"^(.*)@([^@/]*)$", re.DOTALL)

_FORM = "give PHOTO=MASK, such as dog.jpg=dog.png, or PHOTO@X0,Y0,X1,Y1"


def read_references(
    references: ReferenceLike | Iterable[ReferenceLike], max_pixels: int = MAX_PIXELS, threshold: int | None = None
) -> list[Reference]:
    """Read references; one file with several numbers gives one reference of each object.

    Args:
        references: one, or several.
        max_pixels: larger pictures and masks are refused before they are decoded.
        threshold: pixels of a mask file that are at least as bright are one object; None: the mask itself tells.

    Raises:
        InputError: there is none, a text is of another form, a file cannot be read, a picture has another size than
            its mask, or a mask is empty.
    """
    if not isinstance(references, (str, Reference, Iterable)):
        raise InputError(f"{parameter('references', str(references))}: is none; {_FORM}")
    given = [references] if isinstance(references, (str, Reference)) else list(references)
    if not given:
        raise InputError(f"{parameter('references')}: none was given; {_FORM}")
    read: list[Reference] = []
    for each in given:
        read += [each] if isinstance(each, Reference) else _read(str(each), max_pixels, threshold)
    return sorted(read, key=lambda each: each.object_id)


def files_of(text: str) -> list[str]:
    """List the files that the text of a reference names.

    Raises:
        InputError: the text is of another form.
    """
    photo, mask, _, _ = _parts(text)
    return [photo] if mask is None else [photo, mask]


def load_rgb(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture file to (H, W, 3) uint8.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        picture = read_picture(path, max_pixels)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error
    return picture.rgb(depth_of(picture.values), path)


def _read(text: str, max_pixels: int, threshold: int | None) -> list[Reference]:
    """Read the references of one text."""
    photo, mask, box, number = _parts(text)
    rgb = load_rgb(Path(photo), max_pixels)
    size = rgb.shape[0], rgb.shape[1]
    if mask is None:
        return [Reference(rgb, None, number or 1, Hint(box=box), name=photo)]
    labels = read_labels(mask, threshold=threshold, max_pixels=max_pixels)
    if labels.values.shape != size:
        raise InputError(
            f"{mask}: {size_text(labels.values.shape)}, but its picture {photo} is {size_text(size)};"
            " give a mask of the same size"
        )
    first = load_first_mask([mask], size, threshold=threshold, max_pixels=max_pixels)
    return [Reference(rgb, own, one, name=photo) for one, own in _numbered(mask, first, number)]


def _numbered(mask: str, first: FirstMask, number: int | None) -> list[tuple[int, np.ndarray]]:
    """Return the masks of a file with their ids, of which ``number`` takes the place if there is one object."""
    ids: Sequence[int] = first.object_ids
    if number is not None and len(ids) > 1:
        raise InputError(f"{mask}: holds objects {', '.join(map(str, ids))}, so #{number} names none; leave it out")
    return list(zip([number] if number is not None else ids, first.masks(), strict=True))


def _parts(text: str) -> tuple[str, str | None, tuple[float, float, float, float] | None, int | None]:
    """Take a text apart: picture, mask or box, and number.

    Raises:
        InputError: it is of another form.
    """
    body, number = text, None
    found = _NUMBER.match(text)
    if found and not Path(_mask_of(text)).exists():
        body, number = found[1], int(found[2])
        if not 1 <= number <= MAX_OBJECT_ID:
            raise InputError(f"{parameter('references')} {text}: object numbers are 1 to {MAX_OBJECT_ID}, not {number}")
    photo, mask = _split(body)
    if mask is not None:
        return photo, mask, None, number
    boxed = _BOX.match(body)
    if boxed is None:
        raise InputError(f"{parameter('references')} {text}: a reference needs the object's mask or box; {_FORM}")
    try:
        left, top, right, bottom = (float(edge) for edge in boxed[2].split(","))
    except ValueError as error:
        raise InputError(
            f"{parameter('references')} {text}: {boxed[2]!r} is no box of four numbers, X0,Y0,X1,Y1"
        ) from error
    return boxed[1], None, (left, top, right, bottom), number


def _mask_of(text: str) -> str:
    return _split(text)[1] or text


def _split(text: str) -> tuple[str, str | None]:
    """Split ``PHOTO=MASK`` at the sign that leaves a file on its left, as names may hold the sign too.

    ``PHOTO@BOX`` with a file on its left is not split.
    """
    boxed = _BOX.match(text)
    if boxed is not None and "=" not in boxed[2] and Path(boxed[1]).is_file():
        return text, None
    places = [index for index, letter in enumerate(text) if letter == "="]
    for place in places:
        if place and text[place + 1 :] and Path(text[:place]).is_file():
            return text[:place], text[place + 1 :]
    if places and places[0] and text[places[0] + 1 :]:
        return text[: places[0]], text[places[0] + 1 :]
    return text, None
