"""Objects that references show: what is known of them, made from one or more pictures of each.

:mod:`.search` looks for them in a picture; the tracker keeps one :class:`Referred`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...geometry import Geometry
from ...method.discriminant import Evidence
from ...method.matching import Memory
from ...references import PRESENT
from ...state_file import State
from .looks import View
from .objects import Appearance, Objects, at_least_one_cell

MOST_OF_A_CELL = 0.5
"""Share of the best covered cell's coverage from which on a cell counts as the object's."""

LOOK_RATE = 0.3
"""Weight of each new frame in the running mean of what an object looks like."""


@dataclass(frozen=True)
class Referred:
    """N objects that have references, with K pictures of each; some pictures stand in for those that others lack.

    Attributes:
        rows: their rows among all objects, ascending.
        objects: as their references show them, without a place, see :meth:`.Objects.forgotten`.
        places: mean features inside the mask that tell where the object is, see :func:`place_features`, (N, K, C).
        whole: mean features that tell what it is, see :func:`kind_features`, of whole pictures, (N, K, C').
        near: the same of pictures that the object fills, (N, K, C').
        look: the same of the object as it was followed, a running mean, (N, C'); 0: it was not yet.
        sure: presence when that was last seen, (N,) in [0, 1].
    """

    rows: list[int]
    objects: Objects
    places: Tensor
    whole: Tensor
    near: Tensor
    look: Tensor
    sure: Tensor

    @classmethod
    def unseen(cls, rows: list[int], objects: Objects, places: Tensor, whole: Tensor, near: Tensor) -> Referred:
        """Make objects that were not followed yet."""
        return cls(rows, objects, places, whole, near, torch.zeros_like(near[:, 0]), near.new_zeros(len(near)))

    def pick(self, rows: Sequence[int]) -> Referred | None:
        """Return those of the objects that have one of these rows; None: there are none."""
        kept = [index for index, row in enumerate(self.rows) if row in rows]
        if not kept:
            return None
        if len(kept) == len(self.rows):
            return self
        own = [self.rows[index] for index in kept]
        features = (self.places, self.whole, self.near, self.look, self.sure)
        return Referred(own, self.objects.rows(kept), *(each[kept] for each in features))

    def one(self, row: int) -> Referred:
        """Return one of the objects alone."""
        picked = self.pick([row])
        if picked is None:
            raise KeyError(row)
        return picked

    def without(self, rows: Sequence[int]) -> Referred | None:
        """Drop the objects of these rows, as they are no more; the rows of the others close up."""
        left = self.pick([row for row in self.rows if row not in rows])
        return left and replace(left, rows=[row - sum(gone < row for gone in rows) for row in left.rows])

    def with_look(self, pictures: Tensor) -> Tensor:
        """Add what the objects look like of late to features of pictures, (N, K, C'): (N, K + 1, C').

        The first picture stands in for it where it is not known, or was not sure.
        """
        known = torch.where((self.sure >= PRESENT)[:, None], self.look, pictures[:, 0])
        return torch.cat([pictures, known[:, None]], dim=1)

    def without_look(self, rows: Sequence[int]) -> Referred:
        """Forget what the objects of some rows looked like of late, as that was something else."""
        kept = torch.tensor([row not in rows for row in self.rows], device=self.sure.device)
        return replace(self, sure=self.sure * kept)

    def followed(self, rows: Sequence[int], looks: Tensor, sure: Tensor, rate: float = LOOK_RATE) -> Referred:
        """Return the same after a frame that showed some of the objects.

        Args:
            rows: theirs, M.
            looks: features inside their masks, see :func:`kind_features`, (M, C').
            sure: how sure it is that these are the objects, (M,).
            rate: weight of this frame in the running mean.
        """
        places = torch.tensor([self.rows.index(row) for row in rows], dtype=torch.long, device=self.look.device)
        old = self.look[places]
        looks = torch.where((self.sure[places] > 0)[:, None], F.normalize(old.lerp(looks, rate), dim=1), looks)
        return replace(self, look=self.look.index_copy(0, places, looks), sure=self.sure.index_copy(0, places, sure))

    def state(self) -> State:
        """Return them as a dictionary, see :mod:`vos.state_file`."""
        return {**vars(self), "objects": self.objects.state()}

    @classmethod
    def restored(cls, state: State, device: torch.device) -> Referred:
        """Make them from what :meth:`state` returned."""
        tensors = {name: state[name].to(device) for name in ("places", "whole", "near")}
        unseen = cls.unseen(list(state["rows"]), Objects.restored(state["objects"], device), **tensors)
        late = {name: state[name].to(device) for name in ("look", "sure") if name in state}  # which older states lack
        return replace(unseen, **late)


def place_features(view: View) -> tuple[Tensor, Geometry]:
    """Return unit features that tell best where something is, (1, C, h, w), and their geometry.

    They are the prior encoder's. Where the prior compares the segmenter's own, the whole image embedding tells more.
    """
    features = view.features
    if features.geometry != view.embedding.geometry:
        return features.values, features.geometry
    return F.normalize(view.embedding.values, dim=1), features.geometry


def kind_features(view: View) -> tuple[Tensor, Geometry]:
    """Return unit features that tell best what something is, (1, C, h, w), and a geometry of their input."""
    coarse = view.embedding.coarse
    if coarse is None:
        return view.features.values, view.features.geometry
    return F.normalize(coarse, dim=1), view.embedding.geometry


def mean_inside(features: tuple[Tensor, Geometry], logits: Tensor, geometry: Geometry) -> Tensor:
    """Average features over the inside of masks, (N, C), of unit length.

    Args:
        features: (1, C, h, w), and the geometry of their input.
        logits: low-res logits of the masks, (N, a, b).
        geometry: of the masks; of the same frame.
    """
    values, own = features
    inside = own.resample((logits[:, None] > 0).to(values.dtype), geometry, outside=0.0)
    covered = F.adaptive_avg_pool2d(inside, (values.shape[2], values.shape[3]))[:, 0]
    covered = covered * (covered >= MOST_OF_A_CELL * covered.amax((1, 2), keepdim=True))
    return F.normalize(torch.einsum("chw,nhw->nc", values[0], at_least_one_cell(covered)), dim=1)


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Stack what is known of N objects, (K_n, C) each, to (N, K, C); the first row stands in for those that lack."""
    most = max(len(part) for part in parts)
    return torch.stack([torch.cat([part, part[:1].expand(most - len(part), -1)]) for part in parts])


def together(parts: Sequence[Objects]) -> Objects:
    """Join what several pictures show of one object, (1,); each part has one row.

    Prototypes stay apart (D.3), as do the features that are matched. Of what is a mean in one picture, the mean is
    taken.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        prototype=_mean([each.prototype for each in parts]),
        prototypes=torch.cat([each.all_prototypes() for each in parts], dim=1),
        target=_mean([each.target for each in parts]),
        likeness=_mean([each.likeness for each in parts]),
        usual_area=_mean([each.usual_area for each in parts]),
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
    """Join memories: a feature of any of them is matched."""
    joined = {name: torch.cat([getattr(each, name) for each in parts], dim=1) for name in vars(parts[0])}
    return Memory(**joined)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)
