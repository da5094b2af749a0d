"""Objects that references show: what is known of them, made from one or more pictures of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...method.discriminant import Evidence
from ...method.matching import Memory
from .objects import Appearance, Objects


@dataclass(frozen=True)
class Referred:
    """The objects that have references.

    Attributes:
        rows: their rows among all objects, ascending.
        objects: as their references show them, without a place, see :meth:`.Objects.forgotten`.
    """

    rows: list[int]
    objects: Objects


def together(parts: Sequence[Objects]) -> Objects:
    """Join what several pictures show of one object, (1,); each part has one row.

    Prototypes stay apart (D.3), as do the features that are matched. Of what is a mean in one picture, the mean is
    taken.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    height, width = (4 * side for side in first.geometry.grid)
    logits = first.mask_logits.new_zeros(1, 1, height, width)
    return replace(
        first,
        prototype=_mean([each.prototype for each in parts]),
        prototypes=torch.stack([each.prototype for each in parts], dim=1),
        target=_mean([each.target for each in parts]),
        likeness=_mean([each.likeness for each in parts]),
        usual_area=_mean([each.usual_area for each in parts]),
        mask_logits=logits,
        appearance=_appearance([each.appearance for each in parts if each.appearance is not None]),
    )


def _appearance(parts: Sequence[Appearance]) -> Appearance | None:
    """Join appearances: all features of the memories, and the mean of the evidence."""
    if not parts:
        return None
    given = Evidence(_mean([each.given.gram for each in parts]), _mean([each.given.moment for each in parts]))
    first, last = _memory([each.first for each in parts]), _memory([each.last for each in parts])
    return Appearance(first, last, given=given, seen=given)


def _memory(parts: Sequence[Memory]) -> Memory:
    return Memory(
        torch.cat([each.foreground for each in parts], dim=1),
        torch.cat([each.foreground_weight for each in parts], dim=1),
        torch.cat([each.background for each in parts], dim=1),
        torch.cat([each.background_weight for each in parts], dim=1),
    )


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)
