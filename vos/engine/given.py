"""What users say which objects to follow: masks as arrays or files, and hints; read for :mod:`vos.pipeline`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..arrays import array_of
from ..errors import InputError, parameter
from ..readers.first_mask import load_first_mask, warn_if_nearly_full
from ..readers.limits import MAX_PIXELS
from ..readers.mask_size import Resize, fit_labels
from ..structures import FirstMask, Hint, first_mask_from_array, object_ids_of
from .hints import fit_hints

MaskSource = np.ndarray | Tensor | Image.Image | str | Path | Sequence[str | Path]
"""A first mask as users give it: labels (H, W), or PNG files."""

Hints = Sequence[Hint]
"""A box or points for each object, from which the segmenter makes the first mask."""

_PIXELS = (np.ndarray, Tensor, Image.Image)
"""Types that hold labels themselves."""


def read_first_mask(
    source: MaskSource | Hints | Hint,
    frame_size: tuple[int, int],
    resize: Resize = False,
    max_pixels: int = MAX_PIXELS,
    threshold: int | None = None,
) -> FirstMask | Hints:
    """Read the first mask from an array or files; hints are clipped to the frame, and stay hints until there is one.

    Args:
        source: the mask, or hints for it; an empty tuple: there are no objects.
        frame_size: (H, W) of the video.
        resize: what to do with a mask of another size, see :func:`~vos.readers.mask_size.fit_labels`.
        max_pixels: refuse larger files before memory is taken for them.
        threshold: 1 to 255: of files, pixels at least as bright are one object.

    Raises:
        InputError: the mask cannot be used, or has another size than the frame, or a hint does not fit it.
    """
    if isinstance(source, tuple) and not source:
        return FirstMask(np.zeros(frame_size, np.uint8), ())
    if isinstance(source, Hint):
        source = [source]
    given = source if isinstance(source, Sequence) else ()
    hints = [each for each in given if isinstance(each, Hint)]
    if not hints:
        return read_mask(source, frame_size, resize, max_pixels, threshold)
    if len(hints) < len(given):
        raise InputError(f"{parameter('first_mask')}: files and hints were given; give only one of them")
    return fit_hints(hints, frame_size)


def read_mask(
    source: MaskSource | Hints,
    frame_size: tuple[int, int],
    resize: Resize,
    max_pixels: int,
    threshold: int | None,
    may_be_empty: bool = False,
    like: Path | str | None = None,
) -> FirstMask:
    """Read a mask from an array or files; for the arguments see :func:`read_first_mask`.

    Args:
        source: the mask; hints are refused.
        frame_size: (H, W) of the video.
        resize: what to do with a mask of another size.
        max_pixels: refuse larger files before memory is taken for them.
        threshold: 1 to 255, of files.
        may_be_empty: take a mask without objects, as of a later frame on which all objects are gone.
        like: for a mask of a later frame, the file of the first mask, whose numbers and colours mean the same objects.

    Raises:
        InputError: it cannot be used, or has another size than the frame.
    """
    if isinstance(source, _PIXELS):
        return _mask_of_pixels(array_of(source), frame_size, resize, may_be_empty)
    return load_first_mask(
        _files(source),
        frame_size,
        resize=resize,
        threshold=threshold,
        max_pixels=max_pixels,
        may_be_empty=may_be_empty,
        like=like,
    )


def _mask_of_pixels(labels: np.ndarray, frame_size: tuple[int, int], resize: Resize, may_be_empty: bool) -> FirstMask:
    """Make a mask of labels, see :func:`read_mask`."""
    if may_be_empty and labels.ndim == 2 and not labels.any():
        return FirstMask(fit_labels("mask", labels.astype(np.uint8), frame_size, resize), ())
    fitted = fit_labels("first mask", first_mask_from_array(labels).labels, frame_size, resize)
    warn_if_nearly_full("first mask", fitted)
    return FirstMask(fitted, object_ids_of(fitted))


def _files(source: Any) -> list[Path]:
    """List the files of a mask.

    Raises:
        InputError: it is something else.
    """
    several = isinstance(source, Iterable) and not isinstance(source, (str, PathLike))
    files: list[Any] = list(source) if several else [source]
    wrong = [each for each in files if not isinstance(each, (str, PathLike))]
    if wrong:
        inside = "" if wrong[0] is source else f"a {type(source).__name__} with "
        raise InputError(
            f"a mask cannot be {inside}a {type(wrong[0]).__name__}; give an array of all objects' numbers, files of "
            f"one object each, or, as {parameter('first_mask')} alone, hints"
        )
    return [Path(each) for each in files]


def only_file(first_mask: MaskSource | Hints | Hint) -> str | Path | None:
    """Return the file of the first mask if it is a single one, whose numbers and colours later masks share."""
    if isinstance(first_mask, (list, tuple)) and len(first_mask) == 1:
        first_mask = first_mask[0]
    return first_mask if isinstance(first_mask, (str, Path)) else None


def object_ids_of_first(first_mask: FirstMask | Hints) -> tuple[int, ...]:
    """Return the ids that the objects of a first mask, or of hints for it, will have."""
    if isinstance(first_mask, FirstMask):
        return first_mask.object_ids
    return tuple(range(1, len(first_mask) + 1))


def first_and_others(
    first_mask: MaskSource | Hints | Hint | None,
    first_frame: int,
    masks_at: Mapping[int, MaskSource],
    may_lack: bool = False,
) -> tuple[MaskSource | Hints | Hint, int, dict[int, MaskSource]]:
    """Take the earliest of several masks as the first one, if none is given as such.

    Args:
        first_mask: the first mask, if one is given as such.
        first_frame: index of its frame.
        masks_at: the others by frame index.
        may_lack: references say what the objects are: without a first mask there is none, an empty tuple.

    Returns:
        The first mask, the index of its frame, and the other masks by theirs.

    Raises:
        InputError: there is no mask, or no frame can have such an index.
    """
    first_frame, others = frame_index("first_frame", first_frame), by_frame("masks_at", masks_at)
    if first_mask is not None:
        return first_mask, first_frame, others
    if may_lack:
        return (), first_frame, others
    if not others:
        raise InputError(f"nothing says which objects to follow: give {parameter('first_mask')}, or a mask by frame")
    if first_frame:
        raise InputError(f"{parameter('first_frame', first_frame)}: is the frame of a first mask, and there is none")
    earliest = min(others)
    return others.pop(earliest), earliest, others


def by_frame(name: str, given: object) -> dict[int, Any]:
    """Copy a dictionary by frame index.

    Args:
        name: parameter that is the dictionary.
        given: the dictionary.

    Raises:
        InputError: it is none, or no frame can have such an index.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{parameter(name)}: give a dictionary by frame index, not a {type(given).__name__}")
    return {frame_index(name, at): value for at, value in given.items()}


def frame_index(name: str, index: Any) -> int:
    """Return the index of a frame.

    Args:
        name: parameter that has it.
        index: what was given.

    Raises:
        InputError: it is no whole number from 0 on.
    """
    whole = isinstance(index, Integral) or (isinstance(index, float) and index.is_integer())
    if not whole or int(index) < 0:
        raise InputError(f"{parameter(name)} {index}: frames are numbered from 0, the first, by whole numbers")
    return int(index)


def gone_by_frame(gone: object) -> dict[int, tuple[int, ...]]:
    """Copy the numbers of objects that are gone, by frame index.

    Raises:
        InputError: it is no dictionary of numbers, or no frame can have such an index.
    """
    taken = by_frame("gone", gone)
    for at, ids in taken.items():
        if isinstance(ids, str) or not isinstance(ids, Iterable) or not all(isinstance(each, Integral) for each in ids):
            raise InputError(f"{parameter('gone')} {at}: give a list of objects' numbers, such as [1], not {ids!r}")
    return {at: tuple(int(each) for each in ids) for at, ids in taken.items()}
