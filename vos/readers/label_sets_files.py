"""Reads a folder of mask files, one for each frame, whose numbers and colours mean the same objects in all of them.

What one file cannot tell is settled here for the whole folder: whether a single grey value is the number of an object,
and which object a file shows that has one object alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..structures import MAX_OBJECT_ID, FirstMask, check_object_count, object_ids_of
from .first_mask import object_numbers, renumbered, warn_if_nearly_full
from .labels import WHITES, Labels, number_among, read_labels
from .mask_size import Resize, fit_labels

_log = logging.getLogger(__name__)


def read_mask_files(
    folder: Path, files: Mapping[int, Path], frame_size: tuple[int, int], resize: Resize, max_pixels: int
) -> dict[int, FirstMask]:
    """Read mask files; what a user should know about how they were read is logged.

    Args:
        folder: of the files, for messages.
        files: by index of their frame.
        frame_size: (H, W) of the video.
        resize: what to do with masks of another size, see :func:`~vos.readers.mask_size.fit_labels`.
        max_pixels: larger masks are refused.

    Raises:
        InputError: a file cannot be read or has another size, or the files do not go together.
    """
    read = _read_alike([file for _, file in sorted(files.items())], max_pixels)
    values = sorted({value for labels in read.values() for value in labels.object_ids})
    check_object_count(str(folder), len(values))
    numbers = object_numbers(values, {})
    masks: dict[int, FirstMask] = {}
    for at, file in sorted(files.items()):
        for note in read[file].notes:
            _log.warning("%s", note)
        if not read[file].object_ids:
            _log.warning("%s: the mask is empty, so all objects are gone there", file)
        fitted = renumbered(file, read[file], numbers, f"the folder has numbers above {MAX_OBJECT_ID}")
        fitted = fit_labels(file, fitted, frame_size, resize)
        warn_if_nearly_full(file, fitted)
        masks[at] = FirstMask(fitted, object_ids_of(fitted))
    return masks


def _read_alike(paths: Sequence[Path], max_pixels: int) -> dict[Path, Labels]:
    """Read files, each object of which has one number in all of them.

    Raises:
        InputError: a file cannot be read, or nothing says which of several objects it shows.
    """
    read = {path: read_labels(path, max_pixels=max_pixels) for path in paths}
    shown = [labels for labels in read.values() if labels.object_ids]
    coloured = [labels for labels in shown if labels.coloured]
    by_colour = bool(coloured) and all(labels.coloured or labels.kind == "one object" for labels in shown)
    if by_colour:
        read = _read_by_colour(paths, coloured, max_pixels)
        shown = [labels for labels in read.values() if labels.object_ids]
    told_apart = [labels for labels in shown if labels.kind != "one object"]
    greys = {labels.grey for labels in shown if labels.kind == "one object" and labels.grey is not None} - {*WHITES}
    known = {number for labels in told_apart for number in labels.object_ids}
    if not by_colour and (known or len(greys) > 1):
        known |= greys
    strange = [path for path, labels in read.items() if labels.kind == "colours" and not by_colour]
    if strange:
        raise InputError(f"{strange[0]}: its colours are not in the DAVIS palette, and other masks here have numbers")
    return {path: number_among(path, labels, sorted(known), not by_colour) for path, labels in read.items()}


def _read_by_colour(paths: Sequence[Path], coloured: Sequence[Labels], max_pixels: int) -> dict[Path, Labels]:
    """Read files by the colours of all of them: those of the DAVIS palette, unless one of the files has others."""
    like = next((labels for labels in coloured if labels.colours), coloured[0])
    read: dict[Path, Labels] = {}
    for path in paths:
        read[path] = read_labels(path, max_pixels=max_pixels, like=like)
        like = replace(like, colours={**like.colours, **read[path].colours})
    return read
