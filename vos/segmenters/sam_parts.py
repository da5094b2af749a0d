"""Prompt encoder and mask decoder of Segment Anything (Kirillov et al. 2023), as layers of torch alone.

Parameters have the names that ``transformers`` gives them, so weights of one load into the other. ``lite`` is built
from these parts and so starts without ``transformers``, which takes longer to import than torch itself.
:mod:`vos.segmenters.mask_decoder` computes with :class:`MaskDecoderLayers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PUBLISHED_LAYER_NORM_EPS = 1e-5
"""Epsilon of the layer norms in the decoder's blocks, as published; ``transformers`` has 1e-6 by default."""

MAP_NORM_EPS = 1e-6
"""Epsilon of the layer norms over the channels of maps, as published."""


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of a mask decoder, under ``transformers``' names; the defaults are those of every published SAM.

    Attributes:
        hidden_size: channels of tokens and of the image embedding.
        mlp_dim: hidden channels of the perceptron in each block.
        num_hidden_layers: two-way blocks.
        num_attention_heads: heads of each attention.
        attention_downsample_rate: by how much tokens and image are narrowed when one attends to the other.
        num_multimask_outputs: masks of one prompt, beside the single one.
        iou_head_depth: layers of the perceptron that predicts scores.
        iou_head_hidden_dim: its hidden channels.
        layer_norm_eps: epsilon of the layer norms in the blocks.
    """

    hidden_size: int = 256
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = PUBLISHED_LAYER_NORM_EPS


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (N, C, h, w)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=MAP_NORM_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each place of the maps."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Projections of an attention layer, see :func:`vos.segmenters.mask_decoder.attend`.

    Args:
        sizes: of the decoder.
        downsample_rate: by how much the projections are narrower than tokens.
    """

    def __init__(self, sizes: DecoderSizes, downsample_rate: int):
        super().__init__()
        width, inner = sizes.hidden_size, sizes.hidden_size // downsample_rate
        self.num_attention_heads = sizes.num_attention_heads
        self.scaling = (inner // sizes.num_attention_heads) ** -0.5
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)


class TokenPerceptron(nn.Module):
    """The perceptron of a two-way block."""

    def __init__(self, sizes: DecoderSizes):
        super().__init__()
        self.lin1 = nn.Linear(sizes.hidden_size, sizes.mlp_dim)
        self.lin2 = nn.Linear(sizes.mlp_dim, sizes.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token (N, n, C)."""
        return self.lin2(F.relu(self.lin1(tokens)))


class TwoWayBlock(nn.Module):
    """Layers of one block: tokens attend to tokens, tokens to the image, the image to tokens."""

    def __init__(self, sizes: DecoderSizes, first: bool):
        super().__init__()
        norm = lambda: nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.self_attn = Attention(sizes, 1)
        self.layer_norm1 = norm()
        self.cross_attn_token_to_image = Attention(sizes, sizes.attention_downsample_rate)
        self.layer_norm2 = norm()
        self.mlp = TokenPerceptron(sizes)
        self.layer_norm3 = norm()
        self.layer_norm4 = norm()
        self.cross_attn_image_to_token = Attention(sizes, sizes.attention_downsample_rate)
        self.skip_first_layer_pe = first


class TwoWayTransformer(nn.Module):
    """Layers of the decoder's transformer: the blocks, and a last attention to the image."""

    def __init__(self, sizes: DecoderSizes):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(sizes, index == 0) for index in range(sizes.num_hidden_layers))
        self.final_attn_token_to_image = Attention(sizes, sizes.attention_downsample_rate)
        self.layer_norm_final_attn = nn.LayerNorm(sizes.hidden_size)


class Perceptron(nn.Module):
    """A perceptron with ReLU between its layers; makes mask kernels, or scores, from tokens."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int):
        super().__init__()
        self.proj_in = nn.Linear(inputs, hidden)
        self.proj_out = nn.Linear(hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (N, C)."""
        x = F.relu(self.proj_in(tokens))
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.proj_out(x)


class MaskDecoderLayers(nn.Module):
    """The layers of a mask decoder; :class:`vos.segmenters.mask_decoder.GuidedMaskDecoder` computes with them."""

    def __init__(self, sizes: DecoderSizes):
        super().__init__()
        width, masks = sizes.hidden_size, sizes.num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(masks, width)
        self.transformer = TwoWayTransformer(sizes)
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.upscale_layer_norm = MapNorm(width // 4)
        self.activation = nn.GELU()
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(width, width, width // 8, 3) for _ in range(masks))
        self.iou_prediction_head = Perceptron(width, sizes.iou_head_hidden_dim, masks, sizes.iou_head_depth)


class CoordinateEncoding(nn.Module):
    """Random Fourier features of coordinates."""

    def __init__(self, features: int):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(2, features))

    def forward(self, places: Tensor) -> Tensor:
        """Encode places (..., 2) as xy in [0, 1]; return (..., 2 * features)."""
        angles = 2 * math.pi * ((2 * places - 1).to(self.positional_embedding.dtype) @ self.positional_embedding)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class MaskEmbedding(nn.Module):
    """Embeds masks (N, 1, 4h, 4w) as a dense prompt (N, C, h, w)."""

    def __init__(self, channels: int, hidden: int = 16):
        super().__init__()
        self.conv1 = nn.Conv2d(1, hidden // 4, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(hidden // 4, hidden, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(hidden, channels, kernel_size=1)
        self.layer_norm1 = MapNorm(hidden // 4)
        self.layer_norm2 = MapNorm(hidden)

    def forward(self, masks: Tensor) -> Tensor:
        """Embed the logits of masks (N, 1, 4h, 4w)."""
        x = F.gelu(self.layer_norm1(self.conv1(masks)))
        return self.conv3(F.gelu(self.layer_norm2(self.conv2(x))))


class PromptEncoder(nn.Module):
    """Embeds points and boxes as tokens, and masks as dense prompts.

    Args:
        channels: of tokens and dense prompts.
        image_size: side of the square, in input pixels, on which coordinates are encoded.
    """

    def __init__(self, channels: int, image_size: int):
        super().__init__()
        self.image_size = image_size
        self.shared_embedding = CoordinateEncoding(channels // 2)
        self.mask_embed = MaskEmbedding(channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.point_embed = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)

    def forward(self, points: Tensor, labels: Tensor, boxes: Tensor | None) -> Tensor:
        """Embed points and boxes.

        Args:
            points: (N, P, 2) xy in input pixels.
            labels: (N, P): 1 inside, 0 outside, -1 for padding.
            boxes: (N, 4) in input pixels, or None.

        Returns:
            Tokens (N, P + 2, C), with the corners of the box last; or (N, P + 1, C) with an empty point in their place.
        """
        if boxes is None:
            points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
        outside, inside, top_left, bottom_right = self.point_embed.parameters()
        encoded, label = self._encoded(points), labels[..., None]
        tokens = torch.where(label == 0, encoded + outside, self.not_a_point_embed.weight)
        tokens = torch.where(label == 1, encoded + inside, tokens)
        if boxes is None:
            return tokens
        corners = self._encoded(boxes.unflatten(1, (2, 2))) + torch.cat([top_left, bottom_right])
        return torch.cat([tokens, corners], dim=1)

    def _encoded(self, points: Tensor) -> Tensor:
        """Encode the centres of pixels (N, P, 2)."""
        return self.shared_embedding((points + 0.5) / self.image_size)

    def no_mask(self, count: int, grid: tuple[int, int]) -> Tensor:
        """Return the dense prompt of N objects without a mask, (N, C, h, w)."""
        return self.no_mask_embed.weight[..., None, None].expand(count, -1, *grid)
