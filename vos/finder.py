"""Finds objects in single pictures, given references: :func:`find`, and :class:`Finder`, which it is made of."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from .boxes import tight_box
from .engine.device import pick_device, pick_dtype
from .engine.models import defer_encoder, defer_segmenter, new_tracker
from .engine.session import Session
from .engine.side_by_side import side_by_side
from .errors import InputError, parameter
from .interfaces import FrameContext, PriorEncoder, Seconds, Segmenter, Tracker
from .readers.albums import AlbumPicture, ImageLike, list_pictures
from .readers.limits import MAX_PIXELS
from .readers.references import ReferenceLike, read_references
from .references import PRESENT, Reference
from .structures import MAX_OBJECT_ID, Frame, Result

_log = logging.getLogger(__name__)

SMALLER = 0.6
"""Share of another mask's area below which one that it hides lies in front of it, ..."""

HIDDEN = 0.3
"""... if that would hide so much of it."""

MOST = 30
"""Most instances of one object that are looked for in one picture."""

SPECK = 0.01
"""Share of the surest instance's area up to which a further one is taken for what is left over of others."""


@dataclass(frozen=True)
class Found:
    """What was found in one picture; row i of every array is one object, or one instance of it.

    Without ``many`` there is one row for each object, whether it is there or not, and its number is the object id.
    With ``many``, an object has a row for each instance, each with a number of its own from 1 on; or one row, absent,
    with number 0.

    Attributes:
        frame: the picture.
        labels: (H, W) uint8, 0 background, else the number of an instance.
        object_ids: (N,) the object that each row shows.
        numbers: (N,) its number in ``labels``.
        present: (N,) bool.
        boxes: (N, 4) int32, inclusive; all -1 for what is absent.
        areas: (N,) int64 pixels; 0 for what is absent.
        scores: (N,) float32, how sure it is that the object is there, in [0, 1]; also of what is absent.
        similarity: (N,) float32, largest similarity to the references inside the best candidate, in [-1, 1].
        path: file of the picture; None: it was handed over in Python.
    """

    frame: Frame
    labels: np.ndarray
    object_ids: tuple[int, ...]
    numbers: tuple[int, ...]
    present: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    similarity: np.ndarray
    path: Path | None = field(default=None)

    @cached_property
    def result(self) -> Result:
        """The same as the result of a frame, by number, for writers and drawing."""
        rows = [row for row, number in enumerate(self.numbers) if number]
        numbers = tuple(self.numbers[row] for row in rows)
        return Result(self.frame, numbers, self.labels, self.boxes[rows], self.areas[rows], self.scores[rows])

    def __repr__(self) -> str:
        present = [number for number, there in zip(self.numbers, self.present, strict=True) if there]
        return f"Found({self.frame!r}, present={present} of {list(self.numbers)})"


class Finder:
    """Finds the objects of references in pictures; several threads may use one at a time.

    Args:
        tracker: takes objects from references, see :class:`~vos.references.ReferringTracker`; a fresh one.
        segmenter: encodes and decodes.
        encoder: makes the features of the location prior.
        references: one or more of each object.
        many: find several instances of each object (E.5).
        threshold: presence from which on an object counts as there, in [0, 1]; 0: always show the best candidate;
            None: that of the model.

    Attributes:
        session: does the work.
        object_ids: ids of the objects, ascending.
        threshold: in use.

    Raises:
        InputError: there is no reference, no object is found where one points, or the threshold is no number.
        PluginError: the tracker cannot take objects from references.
    """

    def __init__(
        self,
        tracker: Tracker,
        segmenter: Segmenter,
        encoder: PriorEncoder,
        references: Sequence[Reference],
        *,
        many: bool = False,
        threshold: float | None = None,
    ) -> None:
        if not (threshold is None or isinstance(threshold, Real)):
            raise InputError(f"{parameter('threshold', str(threshold))}: must be a number, as a presence is")
        self.session = Session(tracker, segmenter, encoder, references)
        self.session.learn()
        self.object_ids = self.session.object_ids
        self._many = many
        self._counting = Lock()
        self.threshold = PRESENT if threshold is None else threshold

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the tracker release its files, processes and the like; safe to repeat."""
        self.session.close()

    @torch.inference_mode()
    def find(self, frame: Frame, path: Path | None = None) -> Found:
        """Look for the objects in one picture.

        Args:
            frame: the picture; its index and name are its own.
            path: its file.
        """
        session, seconds = self.session, Seconds()
        context = FrameContext(frame, session.segmenter, session.encoder, seconds)
        best = self._look(context)
        instances = list(best)
        taken = np.zeros((len(best), *frame.size), bool)
        specks = [SPECK * np.count_nonzero(each.mask) for each in best]
        for _ in range(MOST - 1 if self._many else 0):
            more = [each.presence >= self.threshold and bool(each.mask.any()) for each in best]
            if not any(more):
                break
            for row, each in enumerate(best):
                taken[row] |= each.mask if more[row] else True  # nothing is left to find of the others
            best = self._look(context, taken)
            instances += [
                each
                for each, speck in zip(best, specks, strict=True)
                if each.presence >= self.threshold and np.count_nonzero(each.mask) > speck
            ]
        instances.sort(key=lambda each: each.object_id)
        with self._counting:
            for stage, spent in seconds.items():
                session.seconds[stage] += spent
        return _found(frame, instances, self.threshold, path, self._many)

    def _look(self, context: FrameContext, taken: np.ndarray | None = None) -> list[_Instance]:
        """Look for the best candidate of each object, outside of the pixels that are taken, (N, H, W) bool."""
        sighting = self.session.search(context, taken)
        masks = (sighting.logits > 0).cpu().numpy()
        return [
            _Instance(object_id, masks[row], float(sighting.presence[row]), float(sighting.similarity[row]))
            for row, object_id in enumerate(self.object_ids)
        ]


@dataclass(frozen=True)
class _Instance:
    """One candidate: its object, mask (H, W) bool, presence and similarity."""

    object_id: int
    mask: np.ndarray
    presence: float
    similarity: float


def _found(frame: Frame, instances: Sequence[_Instance], threshold: float, path: Path | None, many: bool) -> Found:
    """Number the candidates that are present, and draw them; a surer one wins over the others."""
    present = np.array([each.presence >= threshold and bool(each.mask.any()) for each in instances])
    present &= np.cumsum(present) <= MAX_OBJECT_ID
    count = np.cumsum(present)
    numbers = [int(count[row]) if many else each.object_id for row, each in enumerate(instances)]
    numbers = [number if not many or there else 0 for number, there in zip(numbers, present, strict=True)]
    labels = np.zeros(frame.size, np.uint8)
    for row in _from_back_to_front(instances, np.flatnonzero(present).tolist()):
        labels[instances[row].mask] = numbers[row]
    boxes = np.full((len(instances), 4), -1, np.int32)
    areas = np.zeros(len(instances), np.int64)
    for row in np.flatnonzero(present).tolist():
        mask = labels == numbers[row]
        box = tight_box(mask)
        if box is None:  # hidden by surer ones
            present[row] = False
        else:
            boxes[row], areas[row] = box, np.count_nonzero(mask)
    return Found(
        frame,
        labels,
        tuple(each.object_id for each in instances),
        tuple(numbers),
        present,
        boxes,
        areas,
        np.array([each.presence for each in instances], np.float32),
        np.array([each.similarity for each in instances], np.float32),
        path,
    )


def _from_back_to_front(instances: Sequence[_Instance], rows: Sequence[int]) -> list[int]:
    """Order candidates where they overlap: a surer one lies in front, but a small one never behind a large one."""
    order = sorted(rows, key=lambda row: instances[row].presence)
    areas = {row: int(instances[row].mask.sum()) for row in rows}
    hidden = [
        row
        for row in order
        for other in rows
        if areas[row] < SMALLER * areas[other]
        and np.count_nonzero(instances[row].mask & instances[other].mask) > HIDDEN * areas[row]
    ]
    return order + list(dict.fromkeys(sorted(hidden, key=lambda row: -areas[row])))


def find(
    images: ImageLike | Iterable[ImageLike],
    references: ReferenceLike | Iterable[ReferenceLike],
    *,
    many: bool = False,
    threshold: float | None = None,
    max_pixels: int = MAX_PIXELS,
    tracker: str = "persam",
    model: str = "lite",
    prior: str = "same",
    device: str = "auto",
    dtype: str = "auto",
) -> Generator[Found, None, None]:
    """Look for the objects of references in pictures; give one record per picture.

    Args:
        images: picture files, folders of them, globs such as ``photos/*.jpg``, or pictures: RGB arrays (H, W, 3)
            uint8, PIL images, or tensors; of any sizes. One, or an iterable. A file that cannot be read is logged as a
            warning, and the rest goes on.
        references: what shows the objects: :class:`~vos.Reference`, or texts ``photo.jpg=mask.png`` and
            ``photo.jpg@x0,y0,x1,y1``. One, or an iterable.
        many: find several instances of each object.
        threshold: presence from which on an object counts as there; 0: always show the best candidate; None: that of
            the model.
        max_pixels: refuse larger pictures before memory is taken for them.
        tracker: name of an installed tracker that takes references.
        model: see :func:`vos.open_session`.
        prior: see :func:`vos.open_session`.
        device: see :func:`vos.open_session`.
        dtype: see :func:`vos.open_session`.

    Raises:
        VosError: a reference cannot be used, no picture is found, or a model does not load.
    """
    pictures = list_pictures(images, max_pixels)
    read = read_references(references, max_pixels)
    chosen = pick_device(device)
    precision = pick_dtype(dtype, chosen)
    segmenter, encoder = defer_segmenter(model, chosen, precision), defer_encoder(prior, chosen, precision)
    with Finder(new_tracker(tracker), segmenter, encoder, read, many=many, threshold=threshold) as finder:

        def found_in(numbered: tuple[int, AlbumPicture, np.ndarray | None]) -> Found | InputError:
            index, picture, rgb = numbered
            try:
                rgb = picture.rgb() if rgb is None else rgb
            except InputError as error:
                return error
            return finder.find(Frame(index, 0.0, rgb, name=picture.name), picture.path)

        for found in side_by_side(found_in, _numbered(pictures)):
            if isinstance(found, Found):
                yield found
            else:
                _log.warning("%s; it is left out", found)


def _numbered(pictures: Iterable[AlbumPicture]) -> Iterator[tuple[int, AlbumPicture, np.ndarray | None]]:
    """Number pictures, and take the pixels of those that were handed over; None: they are still to be read."""
    for index, picture in enumerate(pictures):
        yield index, picture, picture.rgb() if picture.path is None else None
