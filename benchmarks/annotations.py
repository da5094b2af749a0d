"""The masks of a sequence as scoring reads them: a folder of annotations, and a folder of results beside it.

Every file is read by :func:`vos.readers.labels.read_labels`, as a first mask is. What one file cannot tell is settled
for the whole sequence here: whether 0 and 255 are one object or background and void, which object a frame shows that
has one object alone, and in which frame each object appears. Used by ``vos-davis`` and the benchmarks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..grey_masks import MIDDLE
from ..palette import davis_palette
from ..readers.colours import number_colours, pack
from ..readers.labels import Kind, Labels, read_labels
from ..readers.limits import size_text
from ..structures import MAX_OBJECT_ID, FirstMask, object_ids_of
from .mask_folder import colour_pixels, foreground, mask_paths, plain_values, present_in

_log = logging.getLogger(__name__)

VOID = 255
"""Label of the pixels that DAVIS 2017 does not decide on; in DAVIS 2016 it marks the object."""

DAVIS_NUMBERS = {int(colour): number for number, colour in enumerate(pack(davis_palette()))}
"""Number of each colour of the DAVIS palette, 0xRRGGBB."""


class MaskReader:
    """Reads the files of one sequence alike, and logs the notes on how they were read once.

    Attributes:
        like: labels of the file that the others are read like; None: each is read for itself. Its colours are those of
            all files so far.
        threshold: brightness from which on pixels are one object in all files; None: as each file shows.
        coloured: whether objects are colours, so that grey is the colour of one of them.
    """

    def __init__(self, like: Labels | None = None, threshold: int | None = None, coloured: bool = False) -> None:
        self.like = like
        self.threshold = threshold
        self.coloured = coloured
        self._told = False

    def read(self, path: Path) -> Labels:
        """Read the labels of a file.

        Raises:
            InputError: it is unreadable, or has object ids that scores are not made for.
        """
        greys = self.grey_objects(path) if self.coloured else None
        if greys is not None:
            return Labels(greys, object_ids_of(greys))
        labels = read_labels(path, threshold=self.threshold, like=self.like)
        if labels.object_ids and labels.object_ids[-1] > MAX_OBJECT_ID:
            raise InputError(
                f"{path}: object {labels.object_ids[-1]}, but scores are for ids of 1 to {MAX_OBJECT_ID}; renumber "
                "the objects, in all annotations and results alike"
            )
        if self.like is not None and labels.kind == "colours":
            self._keep(labels.colours)
        if not self._told:
            for note in labels.notes:
                _log.warning("%s", note)
        self._told |= bool(labels.notes)
        return labels

    def grey_objects(self, path: Path) -> np.ndarray | None:
        """Read a colour image that is all grey by the colours of the sequence, (H, W) uint8; None if it is not so.

        Raises:
            InputError: the objects have the colours of the DAVIS palette, and one grey is not in it.
        """
        rgb = colour_pixels(path)
        if rgb is None or np.any(rgb != rgb[..., :1]):
            return None
        colours = [0x010101 * level for level in sorted(present_in(rgb[..., 0]))]
        known = self.like.colours if self.like is not None else {}
        if known:
            numbers = dict(number_colours(path, np.array([0, *colours], np.uint32), False, known)[0])
            self._keep(numbers)
        else:
            numbers = DAVIS_NUMBERS
            strange = [colour for colour in colours if colour not in numbers]
            if strange and self.coloured:
                raise InputError(
                    f"{path}: the colour #{strange[0]:06x} is not in the DAVIS palette, as others here are"
                )
            if strange:
                return None
        table = np.array([numbers.get(0x010101 * level, 0) for level in range(256)], dtype=np.uint8)
        return table[rgb[..., 0]]

    def _keep(self, colours: Mapping[int, int]) -> None:
        """Keep the numbers of colours for the files to come."""
        assert self.like is not None  # colours are numbered once there is a file that others are read like
        self.like = replace(self.like, colours={**self.like.colours, **colours})


class Truth:
    """The annotations of one sequence, by the names of their frames.

    Args:
        folder: holds a PNG for each annotated frame.
        year: 2016: all that is marked is one object; 2017: objects are told apart, and void is ignored.
        threshold: brightness from which on pixels are one object, in truth and results; None: as each file shows.

    Attributes:
        paths: file of each annotated frame, in the natural order of their names.

    Raises:
        InputError: there is no annotation, one is unreadable, or none holds an object.
    """

    def __init__(self, folder: Path, year: int, threshold: int | None = None) -> None:
        self.folder = folder
        self.year = year
        self.paths = mask_paths(folder)
        if not self.paths:
            raise InputError(f"{folder}: holds 0 annotations; put a PNG named after its frame there")
        self.reader = MaskReader(threshold=threshold)
        reference = self._reference()
        self._kind: Kind = reference.kind
        self._known = set(reference.object_ids)
        self.reader.like = reference

    @cached_property
    def introductions(self) -> dict[int, str]:
        """Name of the frame in which each object appears, by object id in ascending order.

        Raises:
            InputError: an annotation is unreadable, or none holds an object.
        """
        found: dict[int, str] = {}
        for name in self.paths:
            for object_id in self._ids[name]:
                found.setdefault(object_id, name)
        if not found:
            raise InputError(f"{self.folder}: no annotation holds an object")
        return dict(sorted(found.items()))

    @property
    def objects(self) -> list[int]:
        """Ids of the objects, ascending."""
        return list(self.introductions)

    @property
    def in_own_colours(self) -> bool:
        """Whether objects have colours other than those of the DAVIS palette."""
        return self.reader.like is not None and bool(self.reader.like.colours)

    @cached_property
    def first_annotations_only(self) -> bool:
        """Whether each object is annotated where it appears and nowhere else, so that there is nothing to score."""
        introduced = {name: set(ids) for name, ids in self._ids.items()}
        together = [object_id for ids in introduced.values() for object_id in ids]
        return all(introduced.values()) and len(together) == len(set(together))

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Read an annotation as it is scored.

        Returns:
            Labels (H, W) uint8, and void pixels (H, W) bool or None if there are none.

        Raises:
            InputError: it is unreadable.
        """
        labels, void = self._numbered(self.paths[name])
        if self.year == 2016:
            inside = labels > 0
            return (inside if void is None else inside | void).astype(np.uint8), None
        return labels, void

    def first_mask(self, name: str, frame_size: tuple[int, int]) -> FirstMask:
        """Read the objects that appear in a frame, to be given to a tracker.

        Args:
            name: name of the frame.
            frame_size: (H, W) that the annotation must have.

        Raises:
            InputError: the annotation is unreadable or has another size.
        """
        labels, _ = self._numbered(self.paths[name])
        if labels.shape != frame_size:
            height, width = labels.shape
            size = size_text((height, width))
            raise InputError(f"{self.paths[name]}: {size}, but the pictures are {size_text(frame_size)}")
        if self.year != 2016:
            new = [object_id for object_id, first in self.introductions.items() if first == name]
            labels = np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
        return FirstMask(labels, object_ids_of(labels))

    @cached_property
    def _ids(self) -> dict[str, tuple[int, ...]]:
        """Ids of the objects in each annotation; of DAVIS 2016 only up to the first that holds an object."""
        found: dict[str, tuple[int, ...]] = dict.fromkeys(self.paths, ()) if self.year == 2016 else {}
        for name in self.paths:
            found[name] = object_ids_of(self.read(name)[0])
            if self.year == 2016 and found[name]:
                break
        return found

    def _reference(self) -> Labels:
        """Read the annotation that the others are read like: the first in which objects are told apart.

        If it has soft edges, the others are cut in the middle as well.
        """
        first: Labels | None = None
        for path in self.paths.values():
            labels = self.reader.read(path)
            if labels.kind != "one object" and set(labels.object_ids) - {VOID}:
                rgb = colour_pixels(path)
                self.reader.coloured = rgb is not None and bool(np.any(rgb != rgb[..., :1]))
                return labels
            if labels.kind == "one object" and labels.object_ids and labels.notes:
                self.reader.threshold = MIDDLE
            if labels.object_ids and (self.year == 2016 or self.reader.threshold is not None):
                return labels
            first = first if first is not None and first.object_ids else labels
        assert first is not None  # there is an annotation
        return first

    def _numbered(self, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Read labels (H, W) uint8 with the numbers of the whole sequence, and void (H, W) bool or None."""
        values = None if self.reader.threshold is not None else plain_values(path)
        present = set() if values is None else present_in(values)
        numbers = self._kind == "numbers"
        if values is not None and self._kind == "one object" and len(present) < 2:
            return (values > 0).astype(np.uint8), None
        if values is not None and numbers and (len(present) < 2 or present <= self._known | {VOID}):
            self._known |= present
            return without_void(values)
        labels = self.reader.read(path)
        alone = numbers and labels.kind == "one object" and bool(labels.object_ids)
        if alone and len(self._known) == 1:
            return (labels.values > 0) * np.uint8(min(self._known)), labels.void
        if alone and not self.reader.coloured:
            raise InputError(f"{path}: one object in a single colour, but other annotations have numbers")
        if alone or (numbers and labels.kind == "colours"):
            raise InputError(f"{path}: its colours are not in the DAVIS palette, as those of other annotations are")
        self._known |= set(labels.object_ids)
        read = labels.values.astype(np.uint8)
        return without_void(read) if numbers and labels.void is None else (read, labels.void)


class Predictions:
    """The result masks of one sequence, by the names of their frames.

    Args:
        folder: holds a PNG for each frame.
        truth: annotations of the sequence; masks are read with its numbers.

    Attributes:
        paths: file of each frame.

    Raises:
        InputError: there is no such folder, or it cannot be listed.
    """

    def __init__(self, folder: Path, truth: Truth) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; every sequence needs one with its masks")
        self.folder = folder
        self.truth = truth
        self.paths = mask_paths(folder)
        self._grey: int | None = None

    @cached_property
    def _reader(self) -> MaskReader:
        """Reads masks as the truth is read; a single object may have any grey, also where the truth has colours."""
        reader = self.truth.reader
        return MaskReader(reader.like, reader.threshold, reader.coloured and len(self.truth.objects) > 1)

    def read(self, name: str) -> np.ndarray:
        """Read the mask of a frame, labels (H, W) uint8.

        Raises:
            InputError: it is missing or unreadable, or has objects that the truth lacks.
        """
        path = self.paths.get(name)
        if path is None:
            raise InputError(f"{self.folder / name}.png: no such mask; every annotated frame of the sequence needs one")
        if self.truth.year == 2016:
            return foreground(path, self.truth.reader.threshold).astype(np.uint8)
        values, known = plain_values(path), set(self.truth.objects)
        if values is not None and present_in(values) <= known:
            if len(known) == 1 and present_in(values):
                self._check_grey(path, min(known))
            return values
        greys = None if values is not None else self._reader.grey_objects(path)
        if greys is not None and present_in(greys) and present_in(greys) <= known:
            return greys
        labels = self._reader.read(path)
        if labels.kind == "colours" and not self.truth.in_own_colours:
            raise InputError(f"{path}: its colours are not in the DAVIS palette, so that objects cannot be matched")
        found = set(labels.object_ids) | (set() if labels.void is None else {VOID})
        one = labels.kind == "one object" or (values is not None and present_in(values) == {VOID})
        if labels.grey is not None and not one and len(known) == 1:
            self._check_grey(path, labels.grey)
            one = True
        if one and len(known) == 1:
            return (labels.values > 0) * np.uint8(min(known))
        if one and labels.object_ids:
            raise InputError(f"{path}: one object in a single colour, but {self.truth.folder} has {sorted(known)}")
        check_objects(self.truth, found, path)
        return labels.values.astype(np.uint8)

    def _check_grey(self, path: Path, value: int) -> None:
        """Raise an InputError if the single object had another grey value, so that these may be two objects."""
        self._grey = self._grey or value
        if value != self._grey:
            raise InputError(
                f"{path}: object {value}, but other masks have object {self._grey}; {self.truth.folder} has only one"
            )


def check_objects(truth: Truth, found: Iterable[int], source: object) -> None:
    """Raise an InputError, which begins with ``source``, if the truth lacks one of the objects found."""
    extra = sorted(set(found) - {0, *truth.objects})
    if extra:
        void = f"; {VOID} is void in the truth, and must be 0 in results" if VOID in extra else ""
        raise InputError(f"{source}: object {extra[0]} is not in {truth.folder}, which has {truth.objects}{void}")


def without_void(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Part labels from void, see :meth:`Truth.read`."""
    void = values == VOID
    return (np.where(void, 0, values).astype(np.uint8), void) if void.any() else (values, None)
