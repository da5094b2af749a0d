"""A linear discriminant of the image embedding, which sets an object apart from its surroundings.

The prototype of eq. 5-6 measures how much a patch looks like the object. Features that the object
shares with its surroundings count there as much as those that tell them apart. This module weights
each direction by how well it separates foreground (+1) from background (-1) in the frames seen so
far, by ridge regression. That is the prototype less that of the background, whitened (Fisher's
discriminant). Only two small sums are kept for each object, so that frames are added in constant
memory. PerSAM and the engine's hints use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

RIDGE = 0.01
"""Strength of the ridge, as a share of the mean squared feature."""

STEEPNESS = 6.0
"""Steepness of the sigmoid that turns margins into maps in [0, 1]."""

RIVALS = 0.3
"""Weight of the other objects within the background class, if there are others."""

_CONSTANT = 0.3
"""Value of the constant feature; the others together have a mean length of 1."""


@dataclass(frozen=True)
class Evidence:
    """Sums over the frames seen that ridge regression needs, for N objects.

    Attributes:
        gram: weighted mean of the features' outer products, (N, C + 1, C + 1).
        moment: weighted mean of features times side, +1 foreground and -1 background, (N, C + 1).
    """

    gram: Tensor
    moment: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """Weights of the discriminant, solved on first use, (N, C + 1)."""
        size = self.gram.diagonal(dim1=1, dim2=2).mean(1)
        ridge = RIDGE * size[:, None, None] * torch.eye(self.gram.shape[1], device=size.device, dtype=size.dtype)
        return torch.linalg.solve(self.gram + ridge, self.moment)

    def blended(self, other: Evidence, share: Tensor | float) -> Evidence:
        """Mix in other frames: ``share`` of them, in [0, 1], (N,) or one for all, and the rest of these."""
        share = torch.as_tensor(share, dtype=self.gram.dtype, device=self.gram.device).view(-1, 1)
        return Evidence(
            self.gram.lerp(other.gram, share[..., None]),
            self.moment.lerp(other.moment, share),
        )


def samples(embedding: Tensor) -> Tensor:
    """Scale an image embedding to features of mean length 1, and add the constant feature.

    Args:
        embedding: the whole image embedding, (N or 1, C, h, w).

    Returns:
        (N or 1, h * w, C + 1).
    """
    scale = embedding.square().sum(1).mean((1, 2)).clamp_min(1e-12).rsqrt()
    patches = (embedding * scale[:, None, None, None]).flatten(2).transpose(1, 2)
    return torch.cat([patches, patches.new_full((*patches.shape[:2], 1), _CONSTANT)], dim=2)


def moments(samples: Tensor, weight: Tensor) -> Tensor:
    """Sum up the outer products of features by weight.

    The sums of two sets of patches add up to that of both.

    Args:
        samples: from :func:`samples`, (N or 1, P, C + 1).
        weight: (N or 1, P).

    Returns:
        (N, C + 1, C + 1).
    """
    return (weight[..., None] * samples).transpose(1, 2) @ samples


def evidence(foreground: Tensor, background: Tensor, rivals: Tensor | None = None) -> Evidence:
    """Make the evidence of one frame; foreground and background weigh the same in total.

    Args:
        foreground: moments of the patches inside each object, (N, C + 1, C + 1).
        background: moments of the patches outside, the same shape.
        rivals: moments of the patches inside the other objects, which count once more by
            :data:`RIVALS`, the same shape; None: there are no others.
    """
    inside, outside = _mean(foreground), _mean(background)
    if rivals is not None:
        share = RIVALS * (rivals[:, -1:, -1:] > 0)
        outside = (1 - share) * outside + share * _mean(rivals)
    return Evidence(inside + outside, (inside - outside)[:, -1] / _CONSTANT)


def _mean(moments: Tensor) -> Tensor:
    """Divide moments by the sum of their weights, which stands in their last element, times the constant's square."""
    return moments / (moments[:, -1:, -1:] / _CONSTANT**2).clamp_min(1e-3)


def maps(samples: Tensor, size: tuple[int, int], *evidences: Evidence) -> Tensor:
    """Apply discriminants to a frame: how clearly each patch is on the object's side.

    Args:
        samples: of the frame, from :func:`samples`, (N or 1, h * w, C + 1).
        size: (h, w).
        *evidences: K of them, each of all N objects.

    Returns:
        (N, K, h, w) in [0, 1].
    """
    weights = torch.stack([evidence.weights for evidence in evidences], dim=2)
    margins = (samples @ weights).transpose(1, 2)
    return torch.sigmoid(STEEPNESS * margins).unflatten(2, size)
