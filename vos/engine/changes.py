"""What users say about later frames: true masks, and objects that are gone.

The main loop, :func:`vos.pipeline.follow`, checks these before it tracks, and applies those of each frame after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import InputError, parameter
from ..structures import FirstMask, Result
from .session import Session


class Changes:
    """True masks and gone objects by frame.

    Args:
        first_ids: ids of the first mask's objects.
        masks_at: true masks by frame index: their objects are corrected, or join; one without objects says that all
            are gone.
        gone: ids of objects that are gone, by frame index.
        first_frame: index of the first mask's frame.

    Attributes:
        last: largest frame index of a change, and the parameter that has it; None: there is no change.

    Raises:
        InputError: an object is gone before it is shown, or on a frame that shows it, or a mask is of a frame before
            the first mask's.
    """

    def __init__(
        self,
        first_ids: Collection[int],
        masks_at: Mapping[int, FirstMask] | None = None,
        gone: Mapping[int, Collection[int]] | None = None,
        first_frame: int = 0,
    ) -> None:
        self._masks = masks_at or {}
        self._gone = gone or {}
        self._first_frame = first_frame
        earliest = min(self._masks, default=first_frame)
        if earliest < first_frame:
            raise InputError(
                f"{parameter('masks_at')} {earliest}: lies before {parameter('first_frame', first_frame)}, and objects "
                f"are followed forwards; give the earliest mask as the first, or follow them {parameter('both_ways')}"
            )
        named = [(at, "masks_at") for at in self._masks] + [(at, "gone") for at in self._gone]
        self.last = max(named, default=None)
        for at in sorted(self._gone):
            for object_id in self._gone[at]:
                self._check(at, object_id, first_ids)

    def apply(self, session: Session, result: Result) -> Result:
        """Apply the changes of the session's last frame; return its result with them."""
        index = result.frame.index
        mask = self._masks.get(index)
        if mask is not None and mask.object_ids:
            result = update(session, mask)
        gone = session.object_ids if mask is not None and not mask.object_ids else self._gone.get(index, ())
        for object_id in gone:
            result = session.gone(object_id)
        return result

    def _check(self, at: int, object_id: int, first_ids: Collection[int]) -> None:
        """Check that an object can be gone at a frame."""
        name = parameter("gone")
        if at < 0:
            raise InputError(f"{name} {at}: frames are numbered from 0, the first")
        shown = {self._first_frame: set(first_ids)}
        for index, mask in self._masks.items():
            shown[index] = shown.get(index, set()) | set(mask.object_ids)
        if object_id in shown.get(at, ()):
            raise InputError(f"{name} {at}: object {object_id} is in the mask of this very frame")
        known = sorted({each for index, ids in shown.items() if index < at for each in ids})
        if object_id not in known:
            there = ", ".join(map(str, known)) or "none"
            raise InputError(f"{name} {at}: there is no object {object_id} before this frame; there are: {there}")


def update(session: Session, mask: FirstMask) -> Result:
    """Correct the objects of a mask on the session's last frame, and add those not yet followed."""
    for object_id, own in zip(mask.object_ids, mask.masks(), strict=True):
        known = object_id in session.object_ids
        result = session.correct(object_id, own) if known else session.add_object(own, object_id)
    return result
