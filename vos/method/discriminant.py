"""What sets an object apart from its surroundings: a linear discriminant of the image embedding.

The prototype of eq. 5-6 says how much a patch looks like the object; what the object shares with
its surroundings counts there as much as what tells them apart. Ridge regression of foreground (+1)
against background (-1) weights each direction by how well it separates the two in the frames seen
so far: the prototype less that of the background, whitened (Fisher's discriminant). It needs two
small sums for each object, so that frames are added in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the ridge regression, (N, C + 1)."""
        size = self.gram.diagonal(dim1=1, dim2=2).mean(1)
        ridge = RIDGE * size[:, None, None] * torch.eye(self.gram.shape[1], device=size.device, dtype=size.dtype)
        return torch.linalg.solve(self.gram + ridge, self.moment)

    def blended(self, other: Evidence, share: Tensor | float) -> Evidence:
        """These frames and ``share`` (N,) of the others' instead, in [0, 1]."""
        share = torch.as_tensor(share, dtype=self.gram.dtype, device=self.gram.device).view(-1, 1)
        return Evidence(
            self.gram.lerp(other.gram, share[..., None]),
            self.moment.lerp(other.moment, share),
        )


def samples(embedding: Tensor) -> Tensor:
    """Features as the discriminant takes them: of a mean length of 1, and the constant.

    Args:
        embedding: image embedding, all of it, (N or 1, C, h, w).

    Returns:
        (N or 1, h * w, C + 1).
    """
    scale = embedding.square().sum(1).mean((1, 2)).clamp_min(1e-12).rsqrt()
    patches = (embedding * scale[:, None, None, None]).flatten(2).transpose(1, 2)
    return torch.cat([patches, patches.new_full((*patches.shape[:2], 1), _CONSTANT)], dim=2)


def moments(samples: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the features' outer products, (N, C + 1, C + 1); sums of patches that share none add up.

    Args:
        samples: (N or 1, P, C + 1), see :func:`samples`.
        weight: (N or 1, P).
    """
    return (weight[..., None] * samples).transpose(1, 2) @ samples


def evidence(foreground: Tensor, background: Tensor, rivals: Tensor | None = None) -> Evidence:
    """The evidence of one frame; foreground and background weigh the same in all.

    Args:
        foreground: moments of what lies inside each object, (N, C + 1, C + 1).
        background: of what lies outside.
        rivals: of what lies inside the others, which counts once more; None: there are none.
    """
    inside, outside = _mean(foreground), _mean(background)
    if rivals is not None:
        share = RIVALS * (rivals[:, -1:, -1:] > 0)
        outside = (1 - share) * outside + share * _mean(rivals)
    return Evidence(inside + outside, (inside - outside)[:, -1] / _CONSTANT)


def _mean(moments: Tensor) -> Tensor:
    """Moments over the sum of their weights, which they hold as that of the constant's square."""
    return moments / (moments[:, -1:, -1:] / _CONSTANT**2).clamp_min(1e-3)


def maps(samples: Tensor, size: tuple[int, int], *evidences: Evidence) -> Tensor:
    """How clearly each patch is on the object's side of each discriminant, (N, K, h, w) in [0, 1].

    Args:
        samples: of the frame, (N or 1, h * w, C + 1), see :func:`samples`.
        size: (h, w).
        evidences: K of them.
    """
    weights = torch.stack([evidence.weights for evidence in evidences], dim=2)
    margins = (samples @ weights).transpose(1, 2)
    return torch.sigmoid(STEEPNESS * margins).unflatten(2, size)
