"""What PerSAM knows of the objects it follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry import Geometry
from ...method.discriminant import Evidence
from ...method.matching import Memory
from ...windows import cut
from .looks import View

Part = TypeVar("Part")

_PARTS = {"first": Memory, "last": Memory, "given": Evidence, "seen": Evidence}


@dataclass(frozen=True)
class Objects:
    """N objects; every tensor has one row for each.

    Attributes:
        prototype: see :func:`vos.method.prior.prototype`, (N, C).
        target: ``T_R`` of eq. 9, (N, C).
        boxes: of the last frame in which the object was found, (N, 4) float, inclusive.
        found: whether that was the last frame, (N,) bool.
        usual_area: running mean of the mask's pixels in the frame, (N,) float.
        mask_logits: low-res logits there, (N, 1, 4h, 4w), on ``geometry``.
        geometry: of ``mask_logits``.
        first: memory of the frame whose mask was given; None unless the model wants prior maps.
        last: memory of the frame of ``mask_logits``; None likewise.
        given: evidence of the frame whose mask was given; None likewise.
        seen: running mean of the evidence of all frames; None likewise.
        weights: scale weights of eq. 11, (N, 3); None for PerSAM.
    """

    prototype: Tensor
    target: Tensor
    boxes: Tensor
    found: Tensor
    usual_area: Tensor
    mask_logits: Tensor
    geometry: Geometry
    first: Memory | None = None
    last: Memory | None = None
    given: Evidence | None = None
    seen: Evidence | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def state(self) -> dict:
        """As a dictionary, see :mod:`vos.state_file`."""
        parts = {name: part and _fields(part) for name, part in vars(self).items() if name in _PARTS}
        return {**vars(self), **parts, "geometry": asdict(self.geometry)}

    @classmethod
    def restored(cls, state: dict, device: torch.device) -> Objects:
        """From :meth:`state`."""
        on_device = lambda values: {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in values.items()
        }
        parts = {name: state[name] and kind(**on_device(state[name])) for name, kind in _PARTS.items()}
        return cls(**{**on_device(state), **parts, "geometry": Geometry.from_state(state["geometry"])})

    def on(self, geometry: Geometry, outside: float) -> Objects:
        """The same with the logits on another geometry; ``outside`` where they showed nothing."""
        moved = geometry.resample(self.mask_logits, self.geometry, outside=outside)
        return replace(self, mask_logits=moved, geometry=geometry)

    def covered(self, view: View) -> Tensor:
        """The masks as share of each of the embedding's patches that the view shows, (N, 1, h, w) in [0, 1]."""
        return F.avg_pool2d(cut(self.mask_logits, view.embedding.windows).sigmoid(), 4)

    def coverage(self, view: View) -> Tensor:
        """The same of the prior's patches, (N, h, w)."""
        return view.features.geometry.resample(self.covered(view), self.geometry)[:, 0]

    def rows(self, index: Tensor) -> Objects:
        """Some of the objects, by index (M,) or mask (N,)."""
        return _combine(lambda own: own[index], self)

    def with_more(self, other: Objects) -> Objects:
        """These objects and then the others, whose logits are on the same geometry."""
        return _combine(lambda own, more: torch.cat([own, more]), self, other)

    def with_rows(self, index: Tensor, other: Objects) -> Objects:
        """These objects with the rows of ``index`` (M,) replaced by ``other``."""
        return _combine(lambda own, new: own.index_copy(0, index, new), self, other)


def _fields(part: Memory | Evidence) -> dict:
    return {field.name: getattr(part, field.name) for field in fields(part)}


def choose_rows(mask: Tensor, yes: Memory, no: Memory) -> Memory:
    """Rows of one memory where ``mask`` (N,) holds, of the other elsewhere."""
    return _combine(lambda a, b: torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


def joined(parts: Sequence[Part], order: Tensor) -> Part:
    """Parts with some of the objects each as one with all of them, whose rows are put into an order (N,)."""
    if len(parts) == 1:
        return parts[0]
    return _combine(lambda *own: torch.cat(own)[order], *parts)


def _combine(function: Callable, first: Part, *others: Part) -> Part:
    """Apply a function to every tensor of one or more values of the same class.

    Banks of a memory may differ in length: shorter ones get blocks of zeros, which have no weight and match nothing.
    """
    changed = {}
    for field in fields(first):
        values = [getattr(each, field.name) for each in (first, *others)]
        if isinstance(values[0], Tensor):
            if isinstance(first, Memory):
                longest = max(bank.shape[1] for bank in values)
                values = [F.pad(bank, [0, 0] * (bank.ndim - 2) + [0, longest - bank.shape[1]]) for bank in values]
            changed[field.name] = function(*values)
        elif is_dataclass(values[0]):
            changed[field.name] = _combine(function, *values)
    return replace(first, **changed)
