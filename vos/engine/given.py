"""What users say which objects to follow: masks as arrays or files, and hints; read for :mod:`vos.pipeline`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, parameter
from ..readers.first_mask import load_first_mask, warn_if_nearly_full
from ..readers.limits import MAX_PIXELS
from ..readers.mask_size import Resize, fit_labels
from ..structures import FirstMask, Hint, first_mask_from_array, object_ids_of
from .hints import fit_hints

MaskSource = np.ndarray | str | Path | Sequence[str | Path]
"""A first mask as users give it: labels (H, W), or PNG files."""

Hints = Sequence[Hint]
"""A box or points for each object, from which the segmenter makes the first mask."""


def read_first_mask(
    source: MaskSource | Hints,
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
    if isinstance(source, (np.ndarray, str, Path)):
        return read_mask(source, frame_size, resize, max_pixels, threshold)
    if isinstance(source, tuple) and not source:
        return FirstMask(np.zeros(frame_size, np.uint8), ())
    hints = [each for each in source if isinstance(each, Hint)]
    files = [each for each in source if not isinstance(each, Hint)]
    if hints and files:
        raise InputError(f"{parameter('first_mask')}: files and hints were given; give only one of them")
    return fit_hints(hints, frame_size) or read_mask(files, frame_size, resize, max_pixels, threshold)


def read_mask(
    source: MaskSource,
    frame_size: tuple[int, int],
    resize: Resize,
    max_pixels: int,
    threshold: int | None,
    may_be_empty: bool = False,
    like: Path | str | None = None,
) -> FirstMask:
    """Read a mask from an array or files; for the arguments see :func:`read_first_mask`.

    Args:
        source: the mask.
        frame_size: (H, W) of the video.
        resize: what to do with a mask of another size.
        max_pixels: refuse larger files before memory is taken for them.
        threshold: 1 to 255, of files.
        may_be_empty: take a mask without objects, as of a later frame on which all objects are gone.
        like: for a mask of a later frame, the file of the first mask, whose numbers and colours mean the same objects.

    Raises:
        InputError: it cannot be used, or has another size than the frame.
    """
    if isinstance(source, np.ndarray):
        if may_be_empty and source.ndim == 2 and not source.any():
            return FirstMask(fit_labels("mask", source.astype(np.uint8), frame_size, resize), ())
        labels = fit_labels("first mask", first_mask_from_array(source).labels, frame_size, resize)
        warn_if_nearly_full("first mask", labels)
        return FirstMask(labels, object_ids_of(labels))
    paths = [source] if isinstance(source, (str, Path)) else list(source)
    return load_first_mask(
        paths,
        frame_size,
        resize=resize,
        threshold=threshold,
        max_pixels=max_pixels,
        may_be_empty=may_be_empty,
        like=like,
    )


def only_file(first_mask: MaskSource | Hints) -> str | Path | None:
    """Return the file of the first mask if it is a single one, whose numbers and colours later masks share."""
    if isinstance(first_mask, (str, Path)):
        return first_mask
    files = [each for each in first_mask if isinstance(each, (str, Path))] if len(first_mask) == 1 else []
    return files[0] if files else None


def object_ids_of_first(first_mask: FirstMask | Hints) -> tuple[int, ...]:
    """Return the ids that the objects of a first mask, or of hints for it, will have."""
    if isinstance(first_mask, FirstMask):
        return first_mask.object_ids
    return tuple(range(1, len(first_mask) + 1))


def first_and_others(
    first_mask: MaskSource | Hints | None,
    first_frame: int,
    masks_at: Mapping[int, MaskSource],
    may_lack: bool = False,
) -> tuple[MaskSource | Hints, int, dict[int, MaskSource]]:
    """Take the earliest of several masks as the first one, if none is given as such.

    Args:
        first_mask: the first mask, if one is given as such.
        first_frame: index of its frame.
        masks_at: the others by frame index.
        may_lack: references say what the objects are: without a first mask there is none, an empty tuple.

    Returns:
        The first mask, the index of its frame, and the other masks by theirs.

    Raises:
        InputError: there is no mask.
    """
    if first_mask is not None:
        return first_mask, first_frame, dict(masks_at)
    if may_lack:
        return (), first_frame, dict(masks_at)
    if not masks_at:
        raise InputError(f"nothing says which objects to follow: give {parameter('first_mask')}, or a mask by frame")
    if first_frame:
        raise InputError(f"{parameter('first_frame', first_frame)}: is the frame of a first mask, and there is none")
    earliest = min(masks_at)
    return masks_at[earliest], earliest, {at: mask for at, mask in masks_at.items() if at != earliest}
