"""What sets an object apart from its surroundings: a linear discriminant of the image embedding.

The prototype of eq. 5-6 says how much a patch looks like the object; what the object shares with
its surroundings counts there as much as what tells them apart. Ridge regression of foreground (+1)
against background (-1) weights each direction by how well it separates the two in the frames seen
so far: the prototype less that of the background, whitened (Fisher's discriminant). It needs two
small sums for each object, so that frames are added in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 0.01
"""Share of the mean squared feature that is added to the diagonal."""

STEEPNESS = 6.0
"""Of the sigmoid by which margins become maps in [0, 1]."""

RIVALS = 0.3
"""Share of the other objects in the weight of what an object is set against, where there are any."""

_CONSTANT = 0.3
"""The feature that stands for the constant; the others have a mean length of 1."""


@dataclass(frozen=True)
class Evidence:
    """What ridge regression needs to know of the frames seen, for N objects.

    Attributes:
        gram: weighted mean of the features' outer products, (N, C + 1, C + 1).
        moment: weighted mean of features times side, +1 foreground and -1 background, (N, C + 1).
    """

    gram: Tensor
    moment: Tensor

    def blended(self, other: Evidence, share: Tensor | float) -> Evidence:
        """These frames and ``share`` (N,) of the others' instead, in [0, 1]."""
        share = torch.as_tensor(share, dtype=self.gram.dtype, device=self.gram.device).view(-1, 1)
        return Evidence(
            self.gram.lerp(other.gram, share[..., None]),
            self.moment.lerp(other.moment, share),
        )


def gather(
    embedding: Tensor, coverage: Tensor, inside: Tensor | None = None, rivals: Tensor | None = None
) -> Evidence:
    """The evidence of one frame; foreground and background weigh the same in all.

    Args:
        embedding: image embedding, (N or 1, C, h, w).
        coverage: share of each patch inside each object, (N, h, w) in [0, 1].
        inside: cells that count, (h, w) bool; None for all.
        rivals: share of each patch inside the other objects, (N, h, w); None: they are background like any.
    """
    patches = _patches(embedding)
    there = 1.0 if inside is None else inside.flatten().to(coverage)
    foreground, background = (_normalised(side.flatten(1) * there) for side in (coverage, 1 - coverage))
    if rivals is not None:
        others = rivals.flatten(1) * there
        share = RIVALS * (others.sum(1, keepdim=True) > 0)
        background = (1 - share) * background + share * _normalised(others)
    weighted = (foreground + background)[..., None] * patches
    gram = weighted.transpose(1, 2) @ patches
    moment = torch.einsum("npc,np->nc", patches.expand(len(coverage), -1, -1), foreground - background)
    return Evidence(gram, moment)


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum(1, keepdim=True).clamp_min(1e-3)


def maps(embedding: Tensor, *evidences: Evidence) -> Tensor:
    """How clearly each patch is on the object's side of each discriminant, (N, K, h, w) in [0, 1].

    Args:
        embedding: image embedding of the frame, (N or 1, C, h, w).
        evidences: K of them.
    """
    weights = torch.stack([_solve(evidence) for evidence in evidences], dim=2)
    margins = (_patches(embedding) @ weights).transpose(1, 2)
    return torch.sigmoid(STEEPNESS * margins).unflatten(2, embedding.shape[-2:])


def _solve(evidence: Evidence) -> Tensor:
    """Weights of the ridge regression, (N, C + 1)."""
    size = evidence.gram.diagonal(dim1=1, dim2=2).mean(1)
    ridge = RIDGE * size[:, None, None] * torch.eye(evidence.gram.shape[1], device=size.device, dtype=size.dtype)
    return torch.linalg.solve(evidence.gram + ridge, evidence.moment)


def _patches(embedding: Tensor) -> Tensor:
    """Features of a mean length of 1 and the constant, (N or 1, P, C + 1)."""
    scale = embedding.square().sum(1).mean((1, 2)).clamp_min(1e-12).rsqrt()
    patches = (embedding * scale[:, None, None, None]).flatten(2).transpose(1, 2)
    return torch.cat([patches, patches.new_full((*patches.shape[:2], 1), _CONSTANT)], dim=2)
