"""Plans a run in both directions: what is followed forwards, what backwards, and which of the two counts where.

Every object is followed away from each of its masks, to both sides. So a frame between two masks of an object is
reached from both, and :mod:`.joining` makes one mask of the two. :func:`vos.pipeline.follow_backwards` and
:func:`vos.pipeline.follow_forwards` carry a plan out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, parameter
from ..references import Reference
from ..structures import FirstMask, object_ids_of
from .session import Session


@dataclass(frozen=True)
class Direction:
    """What a session is told on its way in one direction.

    Attributes:
        first_frame: index of the first frame with an object.
        first_mask: its objects.
        masks_at: masks of later frames on the way, by index.
        gone: ids of objects that are gone, by index.
    """

    first_frame: int
    first_mask: FirstMask
    masks_at: Mapping[int, FirstMask]
    gone: Mapping[int, Collection[int]]


class BothWays:
    """The plan of a run in both directions.

    The way back counts its frames from 0 as the way there does: frame ``last`` is its frame 0, frame 0 its ``last``.
    So whatever follows objects need not know of directions.

    Args:
        masks: true masks by frame index; one without objects says that all are gone.
        gone: ids of objects that a frame does not show, by its index.
        referred: ids of the objects that have references; those without a mask are looked for on both ways.

    Attributes:
        first: index of the first frame whose mask has an object.
        last: index of the last one.
        forwards: from ``first`` to the end, by frame index.
        backwards: from ``last`` to frame 0, by ``last - index``.

    Raises:
        InputError: there is no mask with an object, or an object is gone that no other frame shows.
    """

    def __init__(
        self,
        masks: Mapping[int, FirstMask],
        gone: Mapping[int, Collection[int]] | None = None,
        referred: Collection[int] = (),
    ) -> None:
        shown = [at for at, mask in masks.items() if mask.object_ids]
        if not shown:
            raise InputError(f"{parameter('masks_at')}: all masks are empty; give one that shows an object")
        self.first, self.last = min(shown), max(shown)
        self._referred = frozenset(referred)
        nothing_said: dict[int, dict[int, bool]] = {each: {} for each in referred}
        self._marks = nothing_said | _marks(masks, gone or {})
        for at, ids in (gone or {}).items():
            for object_id in ids:
                self._check_gone(at, object_id)
        self.forwards = self._direction(masks, gone or {}, 1)
        self.backwards = self._direction(masks, gone or {}, -1)

    def forward_share(self, object_id: int, index: int) -> float:
        """Return how much the way forwards counts for an object on a frame, 0 to 1; the way back counts for the rest.

        Between two masks it falls evenly from 1 at the first to 0 at the second. Where only one of the two ways begins
        at a mask of the object, that one counts alone: before its first mask and after its last one, and beside a frame
        on which it is gone. An object without a mask is found by its references on either way, which count the same.
        """
        marks = self._marks[object_id]
        if not any(marks.values()):
            return 0.5
        before = max((at for at in marks if at <= index), default=None)
        after = min((at for at in marks if at >= index), default=None)
        shown_before = before is not None and marks[before]
        shown_after = after is not None and marks[after]
        if before is None or after is None or shown_before != shown_after:
            return float(shown_before or (before is not None and not shown_after))
        return (after - index) / (after - before) if after > before else 1.0

    def _direction(self, masks: Mapping[int, FirstMask], gone: Mapping[int, Collection[int]], step: int) -> Direction:
        """Choose what is said on the way in one direction, ``step`` 1 or -1, by the indices of that way."""
        origin, start = (0, self.first) if step > 0 else (self.last, self.last)
        later = {(at - origin) * step: mask for at, mask in masks.items() if (at - start) * step > 0}
        known: set[int] = set()
        absent: dict[int, list[int]] = {}
        for at in sorted({*masks, *gone}, key=lambda at: at * step):
            sought = self._referred if (at - start) * step > 0 else ()
            ids = [each for each in gone.get(at, ()) if each in known or each in sought]
            if ids:
                absent[(at - origin) * step] = ids
            known |= set(masks[at].object_ids) if at in masks else set()
        return Direction((start - origin) * step, masks[start], later, absent)

    def _check_gone(self, at: int, object_id: int) -> None:
        name, marks = parameter("gone"), self._marks.get(object_id, {})
        if marks.get(at):
            raise InputError(f"{name} {at}: object {object_id} is in the mask of this very frame")
        if object_id in self._referred:
            if at in (self.first, self.last):
                raise InputError(
                    f"{name} {at}: both ways begin on the first and the last frame with a mask, and look for object "
                    f"{object_id} by its references there; give another frame"
                )
        elif not any(marks.values()):
            there = ", ".join(str(each) for each, known in sorted(self._marks.items()) if any(known.values()))
            raise InputError(f"{name} {at}: there is no object {object_id} on any frame; there are: {there}")


def with_references(session: Session, references: Sequence[Reference]) -> Session:
    """Give references to a fresh session, which shares its parts and its clock with the one that is returned."""
    other = Session(session.tracker, session.segmenter, session.encoder, references)
    other.seconds = session.seconds
    return other


def with_first(first_frame: int, first_mask: FirstMask, masks_at: Mapping[int, FirstMask]) -> dict[int, FirstMask]:
    """Put a first mask among the others; of a mask for the same frame the objects take the place of the first one's."""
    masks = dict(masks_at)
    other = masks.get(first_frame)
    if other is not None and other.object_ids:
        kept = np.where(np.isin(first_mask.labels, other.object_ids), 0, first_mask.labels)
        labels = np.where(other.labels > 0, other.labels, kept).astype(np.uint8)
        first_mask = FirstMask(labels, object_ids_of(labels))
    masks[first_frame] = first_mask if other is None or other.object_ids else other
    return masks


def _marks(masks: Mapping[int, FirstMask], gone: Mapping[int, Collection[int]]) -> dict[int, dict[int, bool]]:
    """Collect by object id on which frames it is shown (True) or gone (False)."""
    everything = {each for mask in masks.values() for each in mask.object_ids}
    marks: dict[int, dict[int, bool]] = {each: {} for each in everything}
    for at, ids in gone.items():
        for each in ids:
            marks.setdefault(each, {})[at] = False
    for at, mask in masks.items():
        for each in mask.object_ids or everything:
            marks[each][at] = bool(mask.object_ids)
    return marks
