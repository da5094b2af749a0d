"""What PerSAM knows of the objects it follows, and how to pick, add and join objects.

Used by the tracker, which keeps one :class:`Objects`, and by the modules that make its prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, asdict, dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry import Geometry
from ...method import prior
from ...method.discriminant import Evidence
from ...method.matching import Memory
from ...state_file import State
from ...windows import cut
from .course import Course
from .looks import Group, View


class Dataclass(Protocol):
    """A value of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Part = TypeVar("Part", bound=Dataclass)
"""A dataclass whose tensors have one row for each object."""


@dataclass(frozen=True)
class Appearance:
    """What N objects look like in the frames that are remembered, for the prior maps.

    Attributes:
        first: memory of the frame whose mask was given.
        last: memory of the last frame in which the object was found.
        given: evidence of the frame whose mask was given.
        seen: running mean of the evidence of all frames.
    """

    first: Memory
    last: Memory
    given: Evidence
    seen: Evidence


_PARTS: dict[str, type[Memory] | type[Evidence]] = {
    "first": Memory,
    "last": Memory,
    "given": Evidence,
    "seen": Evidence,
}
"""Parts of :class:`Appearance`, which a saved state has beside the other fields of :class:`Objects`."""


@dataclass(frozen=True)
class Objects:
    """N objects; every tensor has one row for each.

    Attributes:
        prototype: see :func:`vos.method.prior.prototype`, (N, C).
        target: ``T_R`` of eq. 9, (N, C).
        boxes: box in the last frame in which the object was found, (N, 4) float, inclusive.
        found: whether that was the last frame, (N,) bool.
        usual_area: running mean of the mask's pixels in the frame, (N,) float.
        mask_logits: low-res logits in the last frame in which the object was found, (N, 1, 4h, 4w), on ``geometry``.
        geometry: of ``mask_logits``.
        doubts: frames in which the mask had a twin, less those in which it had none, (N,) long, see :mod:`.twins`.
        course: where they are going.
        likeness: mean confidence (eq. 6) inside the given mask, as the whole frame shows it, (N,).
        appearance: None if the model takes no prior maps.
        weights: scale weights of eq. 11, (N, 3); None for PerSAM.
        prototypes: of each reference, where one of the objects has several, (N, K, C); None: ``prototype`` is all.
    """

    prototype: Tensor
    target: Tensor
    boxes: Tensor
    found: Tensor
    likeness: Tensor
    usual_area: Tensor
    mask_logits: Tensor
    geometry: Geometry
    doubts: Tensor
    course: Course
    appearance: Appearance | None = None
    weights: Tensor | None = None
    prototypes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def state(self) -> State:
        """Return the objects as a dictionary, see :mod:`vos.state_file`."""
        own = {name: value for name, value in vars(self).items() if name != "appearance"}
        own["course"] = _fields(self.course)
        parts = {name: self.appearance and _fields(getattr(self.appearance, name)) for name in _PARTS}
        return {**own, **parts, "geometry": asdict(self.geometry)}

    @classmethod
    def restored(cls, state: State, device: torch.device) -> Objects:
        """Make objects from what :meth:`state` returned, with their tensors on a device."""
        none = torch.zeros(len(state["found"]))
        state = {"likeness": none, "doubts": none.long(), "course": {}, **state}  # which older states lack
        own = _on_device({name: value for name, value in state.items() if name not in _PARTS}, device)
        begun = Course.begun(own["boxes"], own["usual_area"])
        own["course"] = replace(begun, **_on_device(own["course"], device))  # older ones have no pace
        parts: dict[str, Any] = {
            name: kind(**_on_device(state[name], device)) for name, kind in _PARTS.items() if state[name] is not None
        }
        appearance = Appearance(**parts) if parts else None
        return cls(**{**own, "geometry": Geometry.from_state(state["geometry"]), "appearance": appearance})

    def on(self, geometry: Geometry, outside: float) -> Objects:
        """Return the objects with their logits on another geometry; ``outside`` where they showed nothing."""
        moved = geometry.resample(self.mask_logits, self.geometry, outside=outside)
        return replace(self, mask_logits=moved, geometry=geometry)

    def forgotten(self, geometry: Geometry, outside: float) -> Objects:
        """Return the objects as their given masks taught them, without a place.

        Args:
            geometry: of the whole frame.
            outside: low-res logit of the empty masks.
        """
        height, width = geometry.frame_size
        known, boxes = self.appearance, self.boxes.new_tensor([0, 0, width - 1, height - 1]).expand_as(self.boxes)
        return replace(
            self,
            boxes=boxes,
            found=torch.zeros_like(self.found),
            mask_logits=self.mask_logits.new_full((len(self), 1, *(4 * side for side in geometry.grid)), outside),
            geometry=geometry,
            doubts=torch.zeros_like(self.doubts),
            course=Course.begun(boxes, self.usual_area),
            appearance=known and replace(known, last=known.first, seen=known.given),
        )

    def found_at(self, boxes: np.ndarray, areas: np.ndarray, logits: Tensor) -> Objects:
        """Return forgotten objects that are found again.

        Args:
            boxes: (N, 4), inclusive, in frame pixels.
            areas: (N,) pixels.
            logits: low-res logits (N, 4h, 4w) on ``geometry``.
        """
        return replace(
            self,
            boxes=self.boxes.new_tensor(boxes),
            found=torch.ones_like(self.found),
            usual_area=self.usual_area.new_tensor(areas),
            course=Course.begun(self.boxes.new_tensor(boxes), self.usual_area.new_tensor(areas)),
            mask_logits=logits[:, None].clamp(-20, 20),
        )

    def all_prototypes(self) -> Tensor:
        """Return the prototypes of all references, (N, K, C)."""
        return self.prototype[:, None] if self.prototypes is None else self.prototypes

    def confidence(self, view: View) -> Tensor:
        """Return the confidence maps (eq. 6) in a view, (N, h, w); of several references the largest (D.3)."""
        features = view.features.values
        if self.prototypes is None:
            return prior.similarity(features, self.prototype)
        maps = [prior.similarity(features, self.prototypes[:, index]) for index in range(self.prototypes.shape[1])]
        return torch.stack(maps).amax(0)

    def covered(self, view: View) -> Tensor:
        """Return the share of each patch of the view's embedding inside the masks, (N, 1, h, w) in [0, 1]."""
        return F.avg_pool2d(cut(self.mask_logits, view.embedding.windows).sigmoid(), 4)

    def coverage(self, view: View) -> Tensor:
        """Return the share of each patch of the view's prior features inside the masks, (N, h, w) in [0, 1]."""
        return view.features.geometry.resample(self.covered(view), self.geometry)[:, 0]

    def rows(self, index: Tensor | list[int]) -> Objects:
        """Pick some of the objects, by index (M,) or mask (N,)."""
        return _combine(lambda own: own[index], self)

    def with_more(self, other: Objects) -> Objects:
        """Append other objects, whose logits are on the same geometry."""
        first, second = _alike(self, other)
        return _combine(lambda own, more: torch.cat([own, more]), first, second)

    def with_rows(self, index: Tensor, other: Objects) -> Objects:
        """Replace the rows of ``index`` (M,) by other objects, whose logits are on the same geometry."""
        first, second = _alike(self, other)
        return _combine(lambda own, new: own.index_copy(0, index, new), first, second)


def _alike(*several: Objects) -> list[Objects]:
    """Give objects as many prototypes as the others have, the first ones once more, so that they can be joined."""
    most = max((1 if each.prototypes is None else each.prototypes.shape[1]) for each in several)
    if most == 1 and all(each.prototypes is None for each in several):
        return list(several)

    def filled(each: Objects) -> Objects:
        known = each.all_prototypes()
        more = known[:, :1].expand(-1, most - known.shape[1], -1)
        return replace(each, prototypes=torch.cat([known, more], dim=1))

    return [filled(each) for each in several]


def choose_rows(mask: Tensor, yes: Memory, no: Memory) -> Memory:
    """Take the rows of one memory where ``mask`` (N,) holds, those of the other elsewhere."""
    return _combine(lambda a, b: torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b), yes, no)


def at_least_one_cell(coverage: Tensor) -> Tensor:
    """Let the best cell of each coverage (N, h, w) count fully, so that a small object has features."""
    best = coverage.flatten(1).amax(1)[:, None, None]
    return torch.where((best < 0.5) & (coverage == best), torch.ones_like(coverage), coverage)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average maps (N, h, w) by weight (N, h, w), (N,); 0 where there is no weight."""
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


def joined(parts: Sequence[Part], order: Tensor) -> Part:
    """Join parts that have some of the objects each.

    Args:
        parts: at least one.
        order: permutation (N,) of the rows of all parts, one part after the other.
    """
    if len(parts) == 1:
        return parts[0]
    return _combine(lambda *own: torch.cat(own)[order], *parts)


def for_each(groups: list[Group], objects: Objects, function: Callable[[View, Objects], Part]) -> Part:
    """Call a function for each group of objects; join what it returns, in the order of the objects."""
    if len(groups) == 1:
        return function(groups[0].view, objects)
    order = torch.tensor([row for group in groups for row in group.rows], device=objects.boxes.device).argsort()
    return joined([function(group.view, objects.rows(group.rows)) for group in groups], order)


def _fields(part: Memory | Evidence | Course) -> dict[str, Tensor]:
    """Return a part's tensors by name, without what it has computed from them."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _on_device(values: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors among some values to a device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in values.items()}


def _combine(function: Callable[..., Tensor], first: Part, *others: Part) -> Part:
    """Apply a function to every tensor of one or more values of the same class.

    Banks of a memory may differ in length. Shorter ones are padded with blocks of zeros, which have no weight and
    match nothing.
    """
    changed: dict[str, Any] = {}
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
