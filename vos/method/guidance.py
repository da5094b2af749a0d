"""Guidance of SAM's mask decoder: target-guided attention (eq. 8) and target-semantic prompting (eq. 9-10).

PerSAM fills a :class:`Guidance` for each frame; :mod:`vos.segmenters.mask_decoder` applies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

AttentionRule = Literal["softmax", "sigmoid"]
"""Form of guided attention.

``softmax`` is eq. 8: the bias ``alpha * softmax(S)`` in every token-to-image attention. ``sigmoid`` is
the published code: the bias ``sigmoid(standardised S)`` in all of them but the last.
"""


@dataclass(frozen=True)
class Guidance:
    """Steers the decoder towards the target, for N objects.

    Attributes:
        similarity: on the grid of the image embedding, (N, h, w) float32: ``S`` of eq. 6 for the
            rule ``softmax``, :func:`standardised` for ``sigmoid``; None: no guided attention.
        target_embedding: ``T_R`` of eq. 9, the mean foreground embedding, (N, C) float; None: no
            semantic prompting.
        alpha: balance factor of eq. 8.
        rule: form of guided attention, see :data:`AttentionRule`.
    """

    similarity: Tensor | None = None
    target_embedding: Tensor | None = None
    alpha: float = 1.0
    rule: AttentionRule = "softmax"

    def attention_bias(self) -> Tensor | None:
        """Compute the term that is added to the attention after its softmax: (N, 1, h * w) float, or None."""
        if self.similarity is None:
            return None
        flat = self.similarity.flatten(1)
        bias = self.alpha * flat.softmax(dim=1) if self.rule == "softmax" else flat.sigmoid()
        return bias[:, None]


def standardised(confidence: Tensor, grid: tuple[int, int]) -> Tensor:
    """Make the map that the published code feeds its sigmoid: (N, H, W) at frame size to (N, h, w).

    The map is standardised over the frame and squeezed onto the whole grid, padding included.
    """
    mean = confidence.mean(dim=(1, 2), keepdim=True)
    spread = confidence.std(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return F.interpolate(((confidence - mean) / spread)[:, None], grid, mode="bilinear")[:, 0]
