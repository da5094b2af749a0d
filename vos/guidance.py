"""Target guidance of SAM's mask decoder: guided attention (eq. 8) and semantic prompting (eq. 9-10).

``transformers`` differs from the published decoder in three places (its LayerNorm epsilon, the
query of the last attention, and where the similarity enters); :class:`GuidedMaskDecoder` mends
the last two without copying the decoder, :data:`PUBLISHED_LAYER_NORM_EPS` the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

PUBLISHED_LAYER_NORM_EPS = 1e-5
ATTENTION_NAME = "vos_guided"

FEW_KEYS = 32
"""So many times more queries than keys: attention keeps them side by side in memory.

Image patches that attend to a few tokens take a CPU a fifth of the time that way.
"""

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
        """The term added to the attention after its softmax: (N, 1, 1, h * w) float."""
        if self.similarity is None:
            return None
        flat = self.similarity.flatten(1)
        bias = self.alpha * flat.softmax(dim=1) if self.rule == "softmax" else flat.sigmoid()
        return bias[:, None, None, :]


def standardised(confidence: Tensor, grid: tuple[int, int]) -> Tensor:
    """What the published code feeds its sigmoid: (N, H, W) at frame size to (N, h, w).

    The map is standardised over the frame and squeezed onto the whole grid, padding included.
    """
    mean = confidence.mean(dim=(1, 2), keepdim=True)
    spread = confidence.std(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return F.interpolate(((confidence - mean) / spread)[:, None], grid, mode="bilinear")[:, 0]


def guided_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention whose ``attention_mask`` is the bias of eq. 8: ``softmax(softmax(QK) + bias) V``.

    Without a bias this is plain attention. Query, key and value are (N, heads, length, c). The two
    softmaxes are float32 whatever these are: in half precision the bias would be rounded away.
    """
    if attention_mask is None and key.shape[2] * FEW_KEYS < query.shape[2]:
        weights = (key * scaling @ query.transpose(2, 3)).softmax(dim=2)
        return (value.transpose(2, 3) @ weights).permute(0, 3, 1, 2).contiguous(), None
    if attention_mask is None:
        attended = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    else:
        weights = (query @ key.transpose(2, 3) * scaling).softmax(dim=-1, dtype=torch.float32)
        weights = (weights + attention_mask).softmax(dim=-1)
        attended = weights.to(value.dtype) @ value
    return attended.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION_NAME, guided_attention)


class GuidedMaskDecoder(SamMaskDecoder):
    """SAM's mask decoder with the guidance of the paper; parameter names are unchanged.

    The target embedding joins the tokens as in eq. 10, before the first block and so in their
    role as positional term too, and again before each later attention block ("all three blocks",
    section C.1). It is added by hooks because the base class adds it in place, which autograd
    does not survive, and leaves out the last attention.
    """

    def __init__(self, config: SamMaskDecoderConfig):
        config._attn_implementation = ATTENTION_NAME
        super().__init__(config)
        self._target: Tensor | None = None
        self._last_bias: Tensor | None = None
        for block in self.transformer.layers:
            block.register_forward_pre_hook(self._guide_block, with_kwargs=True)
        self.transformer.final_attn_token_to_image.register_forward_pre_hook(
            self._guide_last_attention, with_kwargs=True
        )

    def _guide_block(self, module: torch.nn.Module, args: tuple, kwargs: dict):
        if self._target is not None:
            kwargs["queries"] = kwargs["queries"] + self._target
            kwargs["query_point_embedding"] = kwargs["query_point_embedding"] + self._target
        return args, kwargs

    def _guide_last_attention(self, module: torch.nn.Module, args: tuple, kwargs: dict):
        if self._target is not None:  # twice: as token and as positional term
            kwargs["query"] = kwargs["query"] + 2 * self._target
        if self._last_bias is not None:
            kwargs["attention_similarity"] = self._last_bias
        return args, kwargs

    def predict(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Decode N objects as one batch, in the precision of the decoder's own weights.

        Args:
            embeddings: image embedding, (1 or N, C, h, w).
            positions: its positional encoding, (1, C, h, w).
            sparse: prompt tokens, (N, n, C).
            dense: dense prompt embedding, (N, C, h, w).
            guidance: see :class:`Guidance`.
            multimask: the three scales, or the decoder's single mask.

        Returns:
            Low-res logits (N, M, 4h, 4w) and scores (N, M) float32, with M = 3 or 1.
        """
        guidance = guidance or Guidance()
        bias = guidance.attention_bias()
        dtype = self.iou_token.weight.dtype
        if guidance.target_embedding is not None:
            self._target = guidance.target_embedding[:, None, None, :].to(dtype)
        if guidance.rule == "softmax":
            self._last_bias = bias
        try:
            logits, scores = self(
                image_embeddings=embeddings.to(dtype).expand(sparse.shape[0], -1, -1, -1),
                image_positional_embeddings=positions.to(dtype),
                sparse_prompt_embeddings=sparse[:, None].to(dtype),
                dense_prompt_embeddings=dense.to(dtype),
                multimask_output=multimask,
                attention_similarity=bias,
            )
        finally:
            self._target = self._last_bias = None
        return logits[:, 0].float(), scores[:, 0].float()
