"""Makes of references what a tracker gets of them; :class:`~vos.engine.session.Session` hands it over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError
from ..interfaces import FrameContext
from ..references import Reference, Shown
from ..structures import FirstMask, Frame, Hint


def with_first_masks(
    references: Sequence[Reference], object_ids: Sequence[int], frame: Frame | None, first_mask: FirstMask | None
) -> tuple[tuple[int, ...], list[Reference]]:
    """Add the first masks of the objects that have references, as further ones.

    Args:
        references: of any objects.
        object_ids: of the objects that the tracker has.
        frame: first frame of the video, if there is one.
        first_mask: the objects on it, if some are given.

    Returns:
        The ids of all objects, those of the tracker first, and all references.
    """
    named = {each.object_id for each in references}
    ids = (*object_ids, *sorted(named - set(object_ids)))
    given = list(references)
    if frame is not None and first_mask is not None:
        masks = zip(first_mask.object_ids, first_mask.masks(), strict=True)
        given += [Reference(frame.rgb, mask, each) for each, mask in masks if each in named]
    return ids, given


def shown_of(
    reference: Reference,
    row: int,
    context_of: Callable[[Frame], FrameContext],
    segment: Callable[[Frame, Sequence[Hint]], FirstMask],
) -> Shown:
    """Make what the tracker gets of a reference; a mask is made if it has only a hint.

    Args:
        reference: the picture.
        row: of the object.
        context_of: makes the context of a picture.
        segment: makes a mask from hints.

    Raises:
        InputError: no object is found where the hint points.
    """
    picture = Frame(0, 0.0, np.ascontiguousarray(reference.rgb))
    mask = reference.mask
    if mask is None:
        try:
            mask = segment(picture, [reference.hint or Hint()]).labels > 0
        except InputError as error:
            raise InputError(f"{reference.name}: {error}") from error
    labels = mask.astype(np.uint8) * np.uint8(reference.object_id)
    return Shown(row, context_of(picture), FirstMask(labels, (reference.object_id,)))
