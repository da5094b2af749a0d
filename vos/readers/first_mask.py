"""Reads the first mask, the objects to follow, from one or more files; also the masks of later frames.

Each file is read by :mod:`.labels`. Several files are one object each: file i, counted from 0, has number i + 1. Where
they overlap, the later file wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from ..arrays import value_counts
from ..errors import InputError, parameter
from ..structures import MAX_OBJECT_ID, FirstMask, check_object_count, object_ids_of
from .labels import WHITES, Labels, number_among, read_labels
from .limits import MAX_PIXELS
from .mask_size import Resize, fit_labels

_log = logging.getLogger(__name__)

_NEARLY_ALL = 0.9
"""Share of the frame from which on an object may be the background, of an inverted mask."""

_MOST_TOLD = 12
"""Most numbers that a line lists."""


def load_first_mask(
    paths: Sequence[Path | str],
    frame_size: tuple[int, int],
    *,
    resize: Resize = False,
    threshold: int | None = None,
    max_pixels: int = MAX_PIXELS,
    may_be_empty: bool = False,
    like: Path | str | None = None,
) -> FirstMask:
    """Read the objects to follow from files; ``docs/masks.md`` says which are accepted.

    What a user should know about how a file was read is logged as a warning.

    Args:
        paths: one file with all objects, or several files of one object each.
        frame_size: (H, W) of the video.
        resize: what to do with a mask of another size, see :func:`~vos.readers.mask_size.fit_labels`.
        threshold: 1 to 255; pixels at least as bright are one object, whatever the file shows.
        max_pixels: larger files are refused before they are decoded.
        may_be_empty: take a mask without objects, as of a later frame on which all objects are gone.
        like: for a mask of a later frame, the file of the first mask, whose numbers and colours mean the same objects.

    Raises:
        InputError: a file cannot be read or understood, has another size, or has no object.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise InputError("no first mask was given")
    if len(files) > MAX_OBJECT_ID:
        raise InputError(f"{len(files)} first masks were given; at most {MAX_OBJECT_ID} objects can be followed")
    known = read_labels(like, max_pixels=max_pixels) if like is not None and threshold is None else None
    read = [_load_one(file, frame_size, resize, threshold, max_pixels, may_be_empty, known) for file in files]
    labels = read[0] if len(files) == 1 else _combined(files, read)
    return FirstMask(labels, object_ids_of(labels))


def warn_if_nearly_full(name: str | Path, labels: np.ndarray) -> None:
    """Log a warning if one object covers nearly all of the frame, as that of an inverted mask does.

    Args:
        name: of the mask.
        labels: (H, W) uint8.
    """
    counts = value_counts(labels)
    counts[0] = 0
    share = counts.max() / labels.size
    if share > _NEARLY_ALL:
        which = f"object {counts.argmax()} " if np.count_nonzero(counts) > 1 else ""
        _log.warning("%s: %scovers %d %% of the frame; is it inverted?", name, which, int(100 * share))


def _load_one(
    path: Path,
    frame_size: tuple[int, int],
    resize: Resize,
    threshold: int | None,
    max_pixels: int,
    may_be_empty: bool,
    like: Labels | None,
) -> np.ndarray:
    """Read one file to labels at frame size, (H, W) uint8, with at least one object unless it may be empty."""
    read = read_labels(path, threshold=threshold, max_pixels=max_pixels, like=like)
    for note in read.notes:
        _log.warning("%s", note)
    if not read.object_ids:
        # A threshold that is too high must not pass for a mask on which everything is gone.
        if may_be_empty and (threshold is None or not read_labels(path, max_pixels=max_pixels).object_ids):
            _log.warning("%s: the mask is empty, so all objects are gone there", path)
            return fit_labels(path, read.values, frame_size, resize)
        if threshold is not None:
            raise InputError(f"{path}: no pixel reaches {parameter('threshold', threshold)}, so the mask is empty")
        raise InputError(f"{path}: the mask is empty, every pixel is background")
    check_object_count(str(path), len(read.object_ids))
    labels = fit_labels(path, _as_objects(path, read, like), frame_size, resize)
    warn_if_nearly_full(path, labels)
    return labels


def _as_objects(path: Path, labels: Labels, first: Labels | None) -> np.ndarray:
    """Number the objects of a mask as they are followed, and log it where these are not the file's own numbers.

    Args:
        path: of the mask.
        labels: of the mask, with numbers of any size.
        first: labels of the first mask, whose objects keep their numbers; None: this is the first mask.

    Returns:
        (H, W) uint8.

    Raises:
        InputError: these are more objects than can be followed, or it is not clear which of them the mask shows.
    """
    known: Mapping[int, int] = {}
    reason = f"numbers above {MAX_OBJECT_ID}"
    if first is not None and first.kind != "one object":
        labels = number_among(path, labels, first.object_ids, first.kind == "numbers")
        known = object_numbers(first.object_ids, {})
    elif first is not None and first.grey is not None and first.grey not in WHITES:
        if labels.kind == "numbers" and first.grey in labels.object_ids:
            known = {first.grey: 1}
            reason = f"{first.grey}, the only value of the first mask, is object 1"
        else:
            _warn_of_other_greys(path, labels, first.grey)
    if labels.kind != "numbers":
        return labels.values
    numbers = object_numbers(labels.object_ids, known)
    check_object_count(str(path), len(numbers))
    return renumbered(path, labels, numbers, reason)


def _warn_of_other_greys(path: Path, labels: Labels, first_grey: int) -> None:
    """Log a warning if a later mask may call object 1 otherwise than the first mask, which shows it in one grey."""
    one = labels.kind == "one object" and labels.grey not in (None, first_grey, *WHITES)
    if one or (labels.kind == "numbers" and first_grey != 1):
        _log.warning(
            "%s: the only value of the first mask is %d, which does not occur here; check that object 1 is the same",
            path,
            first_grey,
        )


def object_numbers(values: Iterable[int], known: Mapping[int, int]) -> dict[int, int]:
    """Number objects: by their values where all can be numbers, else from 1 in ascending order.

    Args:
        values: of the objects in mask files, 1 to 65535.
        known: numbers that some values have already.

    Returns:
        The number of each value, of the known ones too; above 255 only if there are so many.
    """
    numbers = dict(known)
    kept = max([*values, *known], default=0) <= MAX_OBJECT_ID and all(each == known[each] for each in known)
    for value in sorted(set(values) - set(known)):
        taken = set(numbers.values())
        numbers[value] = value if kept else next(number for number in count(1) if number not in taken)
    return numbers


def renumbered(name: Path, labels: Labels, numbers: Mapping[int, int], reason: str) -> np.ndarray:
    """Give objects other numbers, and log them with the reason.

    Args:
        name: of the mask, for the line.
        labels: with one of the values at least.
        numbers: by value; nothing is done if all are the same.
        reason: begins the line.

    Returns:
        (H, W) uint8.
    """
    if all(numbers[each] == each for each in labels.object_ids):
        return labels.values
    lut = np.zeros(max(numbers) + 1, np.uint8)
    lut[list(numbers)] = list(numbers.values())
    told = [f"{numbers[each]} (was {each})" for each in labels.object_ids[:_MOST_TOLD]]
    more = f" and {len(labels.object_ids) - _MOST_TOLD} more" if len(labels.object_ids) > _MOST_TOLD else ""
    _log.warning("%s: %s, so its objects are %s%s", name, reason, ", ".join(told), more)
    return lut[labels.values]


def _combined(files: list[Path], masks: list[np.ndarray]) -> np.ndarray:
    """Merge masks of one object each into one array of labels; later files win.

    Raises:
        InputError: a file holds several objects, or its object is wholly covered.
    """
    combined = np.zeros_like(masks[0])
    for number, (file, mask) in enumerate(zip(files, masks, strict=True), start=1):
        ids = object_ids_of(mask)
        if len(ids) > 1:
            raise InputError(f"{file}: {len(ids)} objects; of several first masks each must hold one object")
        combined[mask > 0] = number
    present = object_ids_of(combined)
    for number, file in enumerate(files, start=1):
        if number not in present:
            raise InputError(f"{file}: its object is wholly covered by the first masks after it")
    return combined
