"""SAM's mask decoder with the target guidance of the paper, for N objects at once.

Its layers are in :mod:`vos.segmenters.sam_parts`; the computation is written here. ``SamSegmenter`` and
``LiteSegmenter`` use it. It gives the results of the formulas, in another order in two places:

- Image patches are never projected to queries, keys and values. There are about ten tokens and thousands of patches,
  so the projections are applied to the tokens instead: ``q (x W)^T = (q W^T) x^T``.
- A transposed convolution of stride 2 is computed as a matrix product for each patch. The 4 x 4 values of a patch are
  put in their places at the very end, when they are masks of one channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..method.guidance import Guidance
from .sam_parts import Attention, MaskDecoderLayers, TwoWayBlock


class GuidedMaskDecoder(MaskDecoderLayers):
    """SAM's mask decoder with guided attention (eq. 8) and semantic prompting (eq. 9-10).

    The target embedding is added to the tokens as in eq. 10, before the first block and thus to their positional term
    too, and again before each later attention block ("all three blocks", section C.1).

    Attributes:
        image_dtype: precision of tensors of the image's size; None: that of the weights. Tokens always have that of
            the weights.
    """

    image_dtype: torch.dtype | None = None

    def predict(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        guidance: Guidance | None = None,
        multimask: bool = True,
        fine: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode N objects as one batch.

        Args:
            embeddings: image embedding, (1 or N, C, h, w).
            positions: its positional encoding, (1, C, h, w).
            sparse: prompt tokens, (N, n, C).
            dense: dense prompt embedding, (N, C, h, w).
            guidance: see :class:`Guidance`.
            multimask: the three scales, or the decoder's single mask.
            fine: what the up-sampling starts from, see :meth:`_upscaled`.

        Returns:
            Low-res logits (N, M, 4h, 4w) and scores (N, M) float32, with M = 3 or 1.
        """
        tokens, image = self._tokens_and_image(embeddings, positions, sparse, dense, guidance)
        chosen = slice(1, None) if multimask else slice(0, 1)
        height, width = embeddings.shape[-2:]
        logits = depth_to_space(self._logits(tokens, self._upscaled(image, fine), chosen), (height, width))
        return logits.float(), self._scores(tokens, chosen)

    def further_tokens(self) -> tuple[Tensor, ...]:
        """Return tokens of the decoder's own beside those of the score and the masks, each (n, C); here none."""
        return ()

    def _tokens_and_image(
        self, embeddings: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor, guidance: Guidance | None
    ) -> tuple[Tensor, Tensor]:
        """Run the transformer on prompts as :meth:`predict` takes them.

        Returns:
            Tokens (N, n, C), that of the score first, then those of the masks, then :meth:`further_tokens`; and patches
            (N, P, C).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight, *self.further_tokens()])
        dtype = self.image_dtype or own.dtype
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse.to(own.dtype)], dim=1)
        image = patches(embeddings.to(dtype)) + patches(dense.to(dtype))
        return self._attend(tokens, image, patches(positions.to(dtype)), guidance or Guidance())

    def _logits(self, tokens: Tensor, upscaled: Tensor, chosen: slice) -> Tensor:
        """Compute the logits of some masks at the cells of all patches, (N, M, P * 16)."""
        heads = list(zip(self.output_hypernetworks_mlps, tokens[:, 1:].unbind(1), strict=False))
        kernels = torch.stack([head(token) for head, token in heads[chosen]], dim=1)
        return torch.bmm(kernels.to(upscaled.dtype), upscaled.flatten(1, 2).transpose(1, 2))

    def _scores(self, tokens: Tensor, chosen: slice) -> Tensor:
        """Predict the scores of some masks, (N, M) float32."""
        scores: Tensor = self.iou_prediction_head(tokens[:, 0])[:, chosen]
        return scores.float()

    def _attend(self, tokens: Tensor, image: Tensor, positions: Tensor, guidance: Guidance) -> tuple[Tensor, Tensor]:
        """Run the two-way transformer on tokens (N, n, C) and patches (N, P, C); return both."""
        bias = guidance.attention_bias()
        target = 0 if guidance.target_embedding is None else guidance.target_embedding[:, None].to(tokens.dtype)
        places = tokens + target
        for block in self.transformer.layers:
            assert isinstance(block, TwoWayBlock)
            tokens = tokens + target
            tokens = block.layer_norm1(self._attend_among_tokens(block, tokens, places))
            placed = image + positions
            tokens = tokens + attend_to_image(block.cross_attn_token_to_image, tokens + places, placed, image, bias)
            tokens = block.layer_norm2(tokens)
            tokens = block.layer_norm3(tokens + block.mlp(tokens))
            image = add_tokens_to_image(block.cross_attn_image_to_token, image, placed, tokens + places, tokens)
            image = layer_norm(block.layer_norm4, image)
        last = self.transformer.final_attn_token_to_image
        if guidance.rule == "sigmoid":  # the published code leaves the last attention alone
            bias = None
        attended = attend_to_image(last, tokens + target + places, image + positions, image, bias)
        return self.transformer.layer_norm_final_attn(tokens + attended), image

    def _attend_among_tokens(self, block: TwoWayBlock, tokens: Tensor, places: Tensor) -> Tensor:
        """Let tokens (N, n, C) attend to each other; in the first block without their places (N, n, C), and anew."""
        if block.skip_first_layer_pe:
            return attend(block.self_attn, tokens, tokens, tokens)
        return tokens + attend(block.self_attn, tokens + places, tokens + places, tokens)

    def _upscaled(self, image: Tensor, fine: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Up-sample patches (N, P, C) to 4 x 4 cells each, (N, P, 16, C / 8), in the order of :func:`depth_to_space`.

        Args:
            fine: what the products of the two convolutions are added to in the place of their biases,
                (1 or N, P, 4, C / 4) and (1 or N, P, 16, C / 8).
        """
        fine4, fine2 = fine or (None, None)
        x = self.activation(layer_norm(self.upscale_layer_norm, double_resolution(self.upscale_conv1, image, fine4)))
        return self.activation(double_resolution(self.upscale_conv2, x, fine2))


def patches(maps: Tensor) -> Tensor:
    """Flatten maps (N, C, h, w) to patches (N, h * w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Let tokens (N, n, C) attend to tokens."""
    heads = lambda x: x.unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2)
    attended = F.scaled_dot_product_attention(
        heads(attention.q_proj(query)),
        heads(attention.k_proj(key)),
        heads(attention.v_proj(value)),
        scale=attention.scaling,
    )
    return attention.out_proj(attended.transpose(1, 2).flatten(2))


def attend_to_image(attention: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Let tokens attend to the image, with the bias of eq. 8: ``softmax(softmax(QK) + bias) V``.

    Both softmaxes are float32 in any precision, as half precision would round the bias away.

    Args:
        attention: its weights.
        query: tokens (N, n, C).
        key: patches (N, P, C) with their positions.
        value: patches (N, P, C) without them.
        bias: (N, 1, P), or None.

    Returns:
        (N, n, C).
    """
    heads = attention.num_attention_heads
    q = (attention.q_proj(query) * attention.scaling).unflatten(2, (heads, -1))
    q = torch.einsum("nihd,hdc->nihc", q, attention.k_proj.weight.unflatten(0, (heads, -1)))  # its bias cancels out
    weights = torch.bmm(q.flatten(1, 2).to(key.dtype), key.transpose(1, 2)).softmax(dim=2, dtype=torch.float32)
    if bias is not None:
        weights = (weights + bias).softmax(dim=2)
    attended = torch.bmm(weights.to(value.dtype), value).to(q.dtype).unflatten(1, (-1, heads))
    attended = torch.einsum("nihc,hdc->nihd", attended, attention.v_proj.weight.unflatten(0, (heads, -1)))
    return attention.out_proj(attended.flatten(2) + attention.v_proj.bias)


def add_tokens_to_image(attention: Attention, image: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Let the image attend to the tokens, and add the result to the image.

    Args:
        attention: its weights.
        image: patches (N, P, C) without their positions.
        query: patches (N, P, C) with them.
        key: tokens (N, n, C) with their positions.
        value: tokens (N, n, C) without them.

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


def layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Apply a layer norm to the last dimension, whatever layout its module expects."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def double_resolution(convolution: nn.ConvTranspose2d, x: Tensor, start: Tensor | None) -> Tensor:
    """Apply a transposed convolution of kernel and stride 2.

    Args:
        convolution: its weights.
        x: (N, P, K, C), or (N, P, C) for a K of 1.
        start: what its products are added to in the place of its bias, (1 or N, P, K * 4, C').

    Returns:
        (N, P, K * 4, C'); the four cells are two lines of two columns.
    """
    weight = convolution.weight.flatten(2).permute(0, 2, 1).flatten(1).to(x.dtype)  # C, (cell, C')
    flat = x.flatten(1, -2)
    start = bias_of(convolution).repeat(4) if start is None else start.reshape(len(start), -1, weight.shape[1])
    grown = torch.baddbmm(start.to(x.dtype), flat, weight.expand(len(x), -1, -1))
    return grown.view(*x.shape[:2], -1, convolution.out_channels)


def bias_of(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the bias of a convolution that has one."""
    assert convolution.bias is not None
    return convolution.bias


def depth_to_space(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Put the cells of patches in their places.

    Args:
        values: (N, M, P * 16) of 4 x 4 cells for each patch, in the order that :func:`double_resolution` gives them
            when applied twice.
        grid: (h, w) with P = h * w.

    Returns:
        Maps (N, M, 4h, 4w).
    """
    cells = values.unflatten(2, (-1, 2, 2, 2, 2)).permute(0, 1, 3, 5, 4, 6, 2)  # coarse and fine line, then columns
    return F.pixel_shuffle(cells.flatten(1, 5).unflatten(2, grid), 4)


def space_to_depth(maps: Tensor, times: int) -> Tensor:
    """Sort maps by patch: the inverse of :func:`depth_to_space`, with channels.

    Args:
        maps: (N, C, 2^t h, 2^t w).
        times: t, how often the resolution of a patch was doubled.

    Returns:
        (N, P, 4^t, C) with P = h * w.
    """
    halves = (2,) * times
    cells = maps.permute(0, 2, 3, 1).unflatten(2, (-1, *halves)).unflatten(1, (-1, *halves))
    pairs = [axis for level in range(times) for axis in (2 + level, 3 + times + level)]
    return cells.permute(0, 1, 2 + times, *pairs, -1).flatten(3, -2).flatten(1, 2)
