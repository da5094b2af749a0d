"""SAM's mask decoder with the target guidance of the paper, for N objects at once.

Parameters and their names are those of ``transformers``' class; what is computed with them is written
here. Two things differ from a decoder that follows the formulas step by step, neither of them the result:

- Image patches are never projected to queries, keys and values. A decoder has some ten tokens and
  thousands of patches, so the projections are applied to the tokens: ``q (x W)^T = (q W^T) x^T``.
- Up-sampling by transposed convolutions of stride 2 is a product for each patch; the patches' 4 x 4
  values are put in their places at the end, when they are masks of one channel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamAttention, SamMaskDecoder

from ..method.guidance import Guidance

PUBLISHED_LAYER_NORM_EPS = 1e-5
"""Of the decoder's blocks; ``transformers`` has 1e-6 by default."""


class GuidedMaskDecoder(SamMaskDecoder):
    """SAM's mask decoder with guided attention (eq. 8) and semantic prompting (eq. 9-10).

    The target embedding joins the tokens as in eq. 10, before the first block and so in their
    role as positional term too, and again before each later attention block ("all three blocks",
    section C.1).

    Attributes:
        image_dtype: precision of what has the image's size; None: that of the weights, which the
            tokens have in any case.
    """

    image_dtype: torch.dtype | None = None

    def __init__(self, config: SamMaskDecoderConfig):
        config._attn_implementation = "sdpa"  # of no effect here, but without it the library warns
        super().__init__(config)

    def predict(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        guidance: Guidance | None = None,
        multimask: bool = True,
        **upscaling: object,
    ) -> tuple[Tensor, Tensor]:
        """Decode N objects as one batch.

        Args:
            embeddings: image embedding, (1 or N, C, h, w).
            positions: its positional encoding, (1, C, h, w).
            sparse: prompt tokens, (N, n, C).
            dense: dense prompt embedding, (N, C, h, w).
            guidance: see :class:`Guidance`.
            multimask: the three scales, or the decoder's single mask.
            upscaling: what the up-sampling of a subclass wants besides.

        Returns:
            Low-res logits (N, M, 4h, 4w) and scores (N, M) float32, with M = 3 or 1.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        dtype = self.image_dtype or own.dtype
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse.to(own.dtype)], dim=1)
        image = patches(embeddings.to(dtype)) + patches(dense.to(dtype))
        tokens, image = self._attend(tokens, image, patches(positions.to(dtype)), guidance or Guidance())
        chosen = slice(1, None) if multimask else slice(0, 1)
        scores = self.iou_prediction_head(tokens[:, 0])[:, chosen]
        heads = list(zip(self.output_hypernetworks_mlps, tokens[:, 1:].unbind(1), strict=False))
        kernels = torch.stack([head(token) for head, token in heads[chosen]], dim=1)
        logits = kernels.to(dtype) @ self._upscaled(image, **upscaling).flatten(1, 2).transpose(1, 2)
        return assembled(logits, embeddings.shape[-2:]).float(), scores.float()

    def _attend(self, tokens: Tensor, image: Tensor, positions: Tensor, guidance: Guidance) -> tuple[Tensor, Tensor]:
        """The two-way transformer: tokens (N, n, C) and patches (N, P, C), both as they come out of it."""
        bias = guidance.attention_bias()
        target = 0 if guidance.target_embedding is None else guidance.target_embedding[:, None].to(tokens.dtype)
        places = tokens + target
        for block in self.transformer.layers:
            tokens = tokens + target
            if block.skip_first_layer_pe:
                tokens = attend(block.self_attn, tokens, tokens, tokens)
            else:
                tokens = tokens + attend(block.self_attn, tokens + places, tokens + places, tokens)
            tokens = block.layer_norm1(tokens)
            placed = image + positions
            tokens = tokens + from_image(block.cross_attn_token_to_image, tokens + places, placed, image, bias)
            tokens = block.layer_norm2(tokens)
            tokens = block.layer_norm3(tokens + block.mlp(tokens))
            image = image_plus(block.cross_attn_image_to_token, image, placed, tokens + places, tokens)
            image = normalised(block.layer_norm4, image)
        last = self.transformer.final_attn_token_to_image
        if guidance.rule == "sigmoid":  # the published code leaves the last attention alone
            bias = None
        attended = from_image(last, tokens + target + places, image + positions, image, bias)
        return self.transformer.layer_norm_final_attn(tokens + attended), image

    def _upscaled(self, image: Tensor, fine: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Patches (N, P, C) as 4 x 4 finer cells each, (N, P, 16, C / 8), see :func:`assembled`.

        Args:
            fine: what the two convolutions' products are added to instead of their bias:
                (1 or N, P, 4, C / 4) and (1 or N, P, 16, C / 8).
        """
        fine4, fine2 = fine or (None, None)
        x = self.activation(normalised(self.upscale_layer_norm, doubled(self.upscale_conv1, image, fine4)))
        return self.activation(doubled(self.upscale_conv2, x, fine2))


def patches(maps: Tensor) -> Tensor:
    """Maps (N, C, h, w) as rows, (N, h * w, C)."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def attend(attention: SamAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention among tokens (N, n, C)."""
    heads = lambda x: x.unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2)
    attended = F.scaled_dot_product_attention(
        heads(attention.q_proj(query)),
        heads(attention.k_proj(key)),
        heads(attention.v_proj(value)),
        scale=attention.scaling,
    )
    return attention.out_proj(attended.transpose(1, 2).flatten(2))


def from_image(attention: SamAttention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Tokens attend to the image, with the bias of eq. 8: ``softmax(softmax(QK) + bias) V``.

    The softmaxes are float32 whatever the rest is: in half precision the bias would be rounded away.

    Args:
        query: tokens (N, n, C). key, value: patches (N, P, C) with and without their positions.
        bias: (N, 1, P), or None.

    Returns:
        (N, n, C).
    """
    heads = attention.num_attention_heads
    q = (attention.q_proj(query) * attention.scaling).unflatten(2, (heads, -1))
    q = torch.einsum("nihd,hdc->nihc", q, attention.k_proj.weight.unflatten(0, (heads, -1)))  # its bias cancels out
    weights = (q.flatten(1, 2).to(key.dtype) @ key.transpose(1, 2)).softmax(dim=2, dtype=torch.float32)
    if bias is not None:
        weights = (weights + bias).softmax(dim=2)
    attended = (weights.to(value.dtype) @ value).to(q.dtype).unflatten(1, (-1, heads))
    attended = torch.einsum("nihc,hdc->nihd", attended, attention.v_proj.weight.unflatten(0, (heads, -1)))
    return attention.out_proj(attended.flatten(2) + attention.v_proj.bias)


def image_plus(attention: SamAttention, image: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The image and what its patches get from the tokens.

    Args:
        image, query: patches (N, P, C) without and with their positions.
        key, value: tokens (N, n, C) with and without theirs.

    Returns:
        (N, P, C).
    """
    heads = attention.num_attention_heads
    k = (attention.k_proj(key) * attention.scaling).unflatten(2, (heads, -1))
    constant = torch.einsum("nihd,hd->nih", k, attention.q_proj.bias.unflatten(0, (heads, -1)))
    k = torch.einsum("nihd,hdc->nihc", k, attention.q_proj.weight.unflatten(0, (heads, -1)))
    constant, k = constant.flatten(1)[..., None].to(query.dtype), k.flatten(1, 2).to(query.dtype)
    scores = torch.baddbmm(constant, k, query.transpose(1, 2))
    weights = scores.unflatten(1, (-1, heads)).softmax(dim=1).flatten(1, 2)
    v = attention.v_proj(value).unflatten(2, (heads, -1))
    v = torch.einsum("nihd,chd->nihc", v, attention.out_proj.weight.unflatten(1, (heads, -1)))
    v = v + attention.out_proj.bias / heads  # the weights of each head sum to 1
    return torch.baddbmm(image, weights.transpose(1, 2), v.flatten(1, 2).to(image.dtype))


def normalised(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the last dimension, whatever layout the module expects."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def doubled(convolution: torch.nn.ConvTranspose2d, x: Tensor, start: Tensor | None) -> Tensor:
    """A transposed convolution of kernel and stride 2.

    Args:
        x: (N, P, K, C), or (N, P, C) for a K of 1.
        start: what its products are added to instead of the bias, (1 or N, P, K * 4, C').

    Returns:
        (N, P, K * 4, C'); the four cells are two rows of two columns.
    """
    weight = convolution.weight.flatten(2).permute(0, 2, 1).flatten(1).to(x.dtype)  # C, (cell, C')
    rows = x.flatten(1, -2)
    start = convolution.bias.repeat(4) if start is None else start.reshape(len(start), -1, weight.shape[1])
    grown = torch.baddbmm(start.to(x.dtype), rows, weight.expand(len(x), -1, -1))
    return grown.view(*x.shape[:2], -1, len(convolution.bias))


def assembled(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Values (N, M, P * 16) of the patches' 4 x 4 cells, as :func:`doubled` twice orders them, as maps (N, M, 4h, 4w)."""
    cells = values.unflatten(2, (-1, 2, 2, 2, 2)).permute(0, 1, 3, 5, 4, 6, 2)  # coarse and fine row, then columns
    return F.pixel_shuffle(cells.flatten(1, 5).unflatten(2, grid), 4)


def taken_apart(maps: Tensor, times: int) -> Tensor:
    """The reverse, with channels: maps (N, C, 2^t h, 2^t w) as (N, P, 4^t, C) for ``times`` t."""
    halves = (2,) * times
    cells = maps.permute(0, 2, 3, 1).unflatten(2, (-1, *halves)).unflatten(1, (-1, *halves))
    pairs = [axis for level in range(times) for axis in (2 + level, 3 + times + level)]
    return cells.permute(0, 1, 2 + times, *pairs, -1).flatten(3, -2).flatten(1, 2)
