"""References: pictures with the mask of an object, from anywhere, and the trackers that take objects from them.

:mod:`vos.readers.references` reads them from files. :class:`vos.Session` and :func:`vos.find` hand them to a tracker
that is a :class:`ReferringTracker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .arrays import bool_mask, checked_rgb
from .errors import InputError, PluginError
from .interfaces import FrameContext, Tracker
from .structures import MAX_OBJECT_ID, FirstMask, Hint

PRESENT = 0.5
"""Presence from which on an object counts as there, see :class:`Sighting`."""


@dataclass(frozen=True)
class Reference:
    """A picture that shows an object; it may have any size.

    Several references with one object id show the same object.

    Attributes:
        rgb: (H, W, 3) uint8.
        mask: the object in it, (H, W), see :func:`vos.arrays.bool_mask`; None: the segmenter makes it from
            ``hint``.
        object_id: id of the object, 1 to 255.
        hint: a box or points, where there is no mask.
        name: of the picture, for messages.

    Raises:
        InputError: the picture, the mask, the hint or the id has another form, the sizes differ, the mask is empty,
            there is neither mask nor hint, or the id is out of range.
    """

    rgb: np.ndarray = field(repr=False)
    mask: np.ndarray | None = field(default=None, repr=False)
    object_id: int = 1
    hint: Hint | None = None
    name: str = "reference"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rgb", checked_rgb(self.rgb, f"{self.name}: the picture"))
        if not isinstance(self.object_id, Integral) or not 1 <= self.object_id <= MAX_OBJECT_ID:
            raise InputError(f"{self.name}: object {self.object_id}: numbers are 1 to {MAX_OBJECT_ID}")
        if not (self.hint is None or isinstance(self.hint, Hint)):
            raise InputError(f"{self.name}: the hint must be a vos.Hint, not of type {type(self.hint).__name__}")
        if self.mask is None:
            if self.hint is None:
                raise InputError(f"{self.name}: has neither a mask nor a box, so nothing says what the object is")
            return
        object.__setattr__(self, "mask", bool_mask(self.mask, f"{self.name}: the mask"))
        if self.mask.shape != self.rgb.shape[:2]:
            raise InputError(
                f"{self.name}: the mask is {_size(self.mask)}, but its picture is {_size(self.rgb)}; give a mask of the"
                " same size"
            )
        if not self.mask.any():
            raise InputError(f"{self.name}: the mask is empty, every pixel is background")


def _size(array: np.ndarray) -> str:
    """Write the size of a picture or mask for a message."""
    return f"{array.shape[1]} x {array.shape[0]}"


@dataclass(frozen=True)
class Shown:
    """One reference as a tracker gets it.

    Attributes:
        row: the object's row.
        context: the picture, not yet encoded.
        mask: the object in it: its own id alone.
    """

    row: int
    context: FrameContext
    mask: FirstMask


@dataclass(frozen=True)
class Sighting:
    """What a tracker sees of N referenced objects in one picture; each has the mask of its best candidate.

    Attributes:
        logits: (N, H, W) at the picture's size, positive inside.
        presence: how sure it is that the object is there, (N,) in [0, 1]: 0.5 where it is as likely there as not, see
            :mod:`vos.weights.presence`.
        similarity: largest similarity of a patch inside the mask to the references (E.5), (N,) in [-1, 1].
    """

    logits: Tensor
    presence: Tensor
    similarity: Tensor


@runtime_checkable
class ReferringTracker(Tracker, Protocol):
    """A tracker that takes objects from references."""

    def refer(self, context: FrameContext, shown: Sequence[Shown]) -> None:
        """Learn what objects look like from pictures; called after ``start``, or instead of it.

        The objects of rows that the tracker has are found again by these. The others begin absent: they are looked
        for everywhere, and followed once they are found.

        Args:
            context: of the first frame, not yet encoded.
            shown: the references; new rows come after those there are.
        """
        ...

    def search(self, context: FrameContext, taken: Tensor | None = None) -> Sighting:
        """Look for all referenced objects in a picture of any size; nothing is remembered.

        It is called on several threads at a time, each with a picture of its own.

        Args:
            context: of the picture.
            taken: pixels of each object that count no longer, (N, H, W) bool; None: there are none.
        """
        ...


def check_takes_references(tracker: Tracker) -> ReferringTracker:
    """Return a tracker that takes objects from references.

    Raises:
        PluginError: it is none.
    """
    if not isinstance(tracker, ReferringTracker):
        raise PluginError(
            f"{type(tracker).__name__}: this tracker cannot take objects from references; choose persam or persam-f"
        )
    return tracker
