"""What steers SAM's mask decoder to the target: guided attention (eq. 8) and semantic prompting (eq. 9-10).

:mod:`vos.segmenters.mask_decoder` is the decoder that takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

AttentionRule = Literal["softmax", "sigmoid"]
"""``softmax``: eq. 8, bias ``alpha * softmax(S)`` in every token-to-image attention;
``sigmoid``: the published code, bias ``sigmoid(standardised S)``, not in the last attention."""


@dataclass(frozen=True)
class Guidance:
    """What steers the decoder towards the target, for N objects; either part may be None.

    Attributes:
        similarity: on the grid of the image embedding, (N, h, w) float32: ``S`` of eq. 6 for the
            rule ``softmax``, :func:`standardised` for ``sigmoid``.
        target_embedding: ``T_R`` of eq. 9, the mean foreground embedding, (N, C) float.
        alpha: balance factor of eq. 8.
        rule: which form of guided attention, see :data:`AttentionRule`.
    """

    similarity: Tensor | None = None
    target_embedding: Tensor | None = None
    alpha: float = 1.0
    rule: AttentionRule = "softmax"

    def attention_bias(self) -> Tensor | None:
        """The term added to the attention after its softmax: (N, 1, h * w) float."""
        if self.similarity is None:
            return None
        flat = self.similarity.flatten(1)
        bias = self.alpha * flat.softmax(dim=1) if self.rule == "softmax" else flat.sigmoid()
        return bias[:, None]


def standardised(confidence: Tensor, grid: tuple[int, int]) -> Tensor:
    """What the published code feeds its sigmoid: (N, H, W) at frame size to (N, h, w).

    The map is standardised over the frame and squeezed onto the whole grid, padding included.
    """
    mean = confidence.mean(dim=(1, 2), keepdim=True)
    spread = confidence.std(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return F.interpolate(((confidence - mean) / spread)[:, None], grid, mode="bilinear")[:, 0]
