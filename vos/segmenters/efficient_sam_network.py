"""The network of EfficientSAM (Xiong et al. 2023): a plain vision transformer, and a mask decoder much like SAM's.

:mod:`vos.segmenters.efficient_sam` fills it with the tensors of a published checkpoint. Parameters have the names of
the checkpoint in the image encoder and among the prompts' embeddings, and those of :mod:`vos.segmenters.sam_parts`
elsewhere.

The decoder has SAM's two-way transformer, so guidance works as it does there. In four things it differs: activations
are GELU throughout; tokens keep what they were when they attend to each other, and their places once these are added;
the up-sampling is normalised over all channels and places at once; and no mask can be given as a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..boxes import tight_boxes
from .mask_decoder import GuidedMaskDecoder, attend, double_resolution
from .sam_parts import CoordinateEncoding, DecoderSizes, MapNorm, Perceptron, TokenPerceptron, TwoWayBlock

TOKENS = 6
"""Points and corners of a box that the decoder takes; fewer are filled up, as in its training."""

PADDING = -1.0
"""Coordinate, in input pixels, of the points that fill up."""

ENCODER_NORM_EPS = 1e-6
"""Epsilon of the layer norms in the image encoder, as published."""


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of the image encoder.

    Attributes:
        image_size: side of the square input, in pixels.
        patch_size: side of a patch, in pixels.
        width: channels of the tokens.
        depth: blocks.
        heads: attention heads.
        mlp_dim: hidden channels of the perceptron in each block.
        positions: positional encodings in the checkpoint, that of a class token first.
        channels: of the image embedding.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_dim: int
    positions: int
    channels: int

    @property
    def grid(self) -> int:
        """Patches along each side of the input."""
        return self.image_size // self.patch_size


class SelfAttention(nn.Module):
    """Attention among all patches."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Let patches (B, P, C) attend to each other."""
        parts = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts.unbind(0))
        return self.proj(attended.transpose(1, 2).flatten(2))


class PatchPerceptron(nn.Module):
    """The perceptron of an encoder's block."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each patch (B, P, C)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """One block of the image encoder."""

    def __init__(self, sizes: EncoderSizes):
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, eps=ENCODER_NORM_EPS)
        self.attn = SelfAttention(sizes.width, sizes.heads)
        self.norm2 = nn.LayerNorm(sizes.width, eps=ENCODER_NORM_EPS)
        self.mlp = PatchPerceptron(sizes.width, sizes.mlp_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform patches (B, P, C)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbedding(nn.Module):
    """Cuts the input into patches."""

    def __init__(self, width: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels (B, 3, S, S) as patches (B, C, h, w)."""
        return self.proj(pixels)


class ImageEncoder(nn.Module):
    """A plain vision transformer, without windows and relative positions, and SAM's neck."""

    def __init__(self, sizes: EncoderSizes):
        super().__init__()
        self._grid = sizes.grid
        self.patch_embed = PatchEmbedding(sizes.width, sizes.patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.positions, sizes.width))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.neck = nn.Sequential(
            nn.Conv2d(sizes.width, sizes.channels, kernel_size=1, bias=False),
            MapNorm(sizes.channels),
            nn.Conv2d(sizes.channels, sizes.channels, kernel_size=3, padding=1, bias=False),
            MapNorm(sizes.channels),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, S, S) as image embedding (B, C, h, w)."""
        maps = self.patch_embed(pixels)
        tokens = (maps + self.positions().to(maps.dtype)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.neck(tokens.transpose(1, 2).unflatten(2, maps.shape[2:]))

    def positions(self) -> Tensor:
        """Interpolate the positional encodings, which are of a smaller input, to the grid: (1, C, h, w) float32."""
        own = self.pos_embed[:, 1:].float()
        side = round(own.shape[1] ** 0.5)
        maps = own.transpose(1, 2).unflatten(2, (side, side))
        return maps if side == self._grid else F.interpolate(maps, (self._grid, self._grid), mode="bicubic")


class PromptEncoder(nn.Module):
    """Embeds points inside the object and corners of boxes as tokens.

    The model knows no points outside the object and no masks. Points outside are left out, and the box around a mask
    stands for it.
    """

    def __init__(self, channels: int, image_size: int):
        super().__init__()
        self.image_size = image_size
        self.shared_embedding = CoordinateEncoding(channels // 2)
        self.invalid_points = nn.Embedding(1, channels)
        self.point_embeddings = nn.Embedding(1, channels)
        self.bbox_top_left_embeddings = nn.Embedding(1, channels)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, channels)

    def forward(self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None) -> Tensor:
        """Embed the prompts of N objects.

        Args:
            points: (N, P, 2) xy in input pixels.
            labels: (N, P): 1 inside; others are left out.
            boxes: (N, 4) in input pixels, or None.
            masks: logits (N, 1, a, b) that cover the input, or None; not needed beside boxes.

        Returns:
            Tokens (N, :data:`TOKENS`, C): the points that come first, the corners, and what fills up.
        """
        if boxes is None and masks is not None:
            boxes = self._boxes_of(masks[:, 0] > 0)
        corners = 0 if boxes is None else 2
        places, inside = self._first_inside(points, labels == 1, TOKENS - corners)
        label = torch.where(inside[..., None], self.point_embeddings.weight, self.invalid_points.weight)
        tokens = self._encoded(places) + label
        if boxes is None:
            return tokens
        ends = torch.cat([self.bbox_top_left_embeddings.weight, self.bbox_bottom_right_embeddings.weight])
        known = boxes.isfinite()[:, :2, None]  # an empty mask has no box
        places = boxes.nan_to_num(PADDING).unflatten(1, (2, 2))
        return torch.cat([tokens, self._encoded(places) + torch.where(known, ends, self.invalid_points.weight)], dim=1)

    def _first_inside(self, points: Tensor, inside: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Take the first points inside each object, filled up: places (N, count, 2), and which are real (N, count)."""
        missing = max(0, count - points.shape[1])
        points, inside = F.pad(points, (0, 0, 0, missing)), F.pad(inside, (0, missing))
        order = (~inside).int().argsort(dim=1, stable=True)[:, :count]
        inside = inside.gather(1, order)
        places = points.gather(1, order[..., None].expand(-1, -1, 2))
        return torch.where(inside[..., None], places, PADDING), inside

    def _boxes_of(self, masks: Tensor) -> Tensor:
        """Find the boxes (N, 4), in input pixels, of masks (N, a, b) bool that cover the input; NaN for empty ones."""
        step = self.image_size / masks.shape[-1]
        boxes = tight_boxes(masks, fallback=torch.full((len(masks), 4), torch.nan, device=masks.device))
        last = boxes.new_tensor([0.0, 0.0, step - 1, step - 1])  # of the pixels that a value covers
        return boxes * step + last

    def _encoded(self, places: Tensor) -> Tensor:
        """Encode the centres of input pixels (N, n, 2)."""
        return self.shared_embedding((places + 0.5) / self.image_size)


class GeluTokenPerceptron(TokenPerceptron):
    """The perceptron of a two-way block, with GELU."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token (N, n, C)."""
        return self.lin2(F.gelu(self.lin1(tokens)))


class GeluPerceptron(Perceptron):
    """A perceptron with GELU between its layers."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (N, C)."""
        x = F.gelu(self.proj_in(tokens))
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.proj_out(x)


class EfficientMaskDecoder(GuidedMaskDecoder):
    """SAM's guided mask decoder with the activations and the norm of EfficientSAM's."""

    def __init__(self, sizes: DecoderSizes):
        super().__init__(sizes)
        width, masks = sizes.hidden_size, sizes.num_multimask_outputs + 1
        for block in self.transformer.layers:
            block.mlp = GeluTokenPerceptron(sizes)
        kernels = (GeluPerceptron(width, width, width // 8, 3) for _ in range(masks))
        self.output_hypernetworks_mlps = nn.ModuleList(kernels)
        self.iou_prediction_head = GeluPerceptron(width, sizes.iou_head_hidden_dim, masks, sizes.iou_head_depth)
        self.upscale_layer_norm = nn.GroupNorm(1, width // 4)  # type: ignore[assignment] # in the place of SAM's

    def _attend_among_tokens(self, block: TwoWayBlock, tokens: Tensor, places: Tensor) -> Tensor:
        """Let tokens (N, n, C) attend to each other; from the second block on their places are added for good."""
        if not block.skip_first_layer_pe:
            tokens = tokens + places
        return tokens + attend(block.self_attn, tokens, tokens, tokens)

    def _upscaled(self, image: Tensor, fine: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Up-sample patches (N, P, C) to (N, P, 16, C / 8); see :meth:`GuidedMaskDecoder._upscaled`."""
        norm = self.upscale_layer_norm
        x = double_resolution(self.upscale_conv1, image, None)
        x = F.layer_norm(x, x.shape[1:], eps=norm.eps) * norm.weight.to(x.dtype) + norm.bias.to(x.dtype)
        return self.activation(double_resolution(self.upscale_conv2, self.activation(x), None))


class EfficientSamNetwork(nn.Module):
    """The whole network. See :class:`~vos.segmenters.sam.SamModules`."""

    def __init__(self, encoder: EncoderSizes, decoder: DecoderSizes):
        super().__init__()
        self.sizes = encoder
        self.config = SimpleNamespace(prompt_encoder_config=encoder)  # where a SAM's sizes are looked for
        self.image_encoder = ImageEncoder(encoder)
        self.prompt_encoder = PromptEncoder(encoder.channels, encoder.image_size)
        self.mask_decoder = EfficientMaskDecoder(decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.image_encoder(pixels)

    def encode_prompts(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        nothing = points.new_zeros(len(points), self.sizes.channels, self.sizes.grid, self.sizes.grid)
        return self.prompt_encoder(points, labels, boxes, masks), nothing

    def positions(self) -> Tensor:
        steps = (torch.arange(self.sizes.grid, device=self.image_encoder.pos_embed.device) + 0.5) / self.sizes.grid
        places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        return self.prompt_encoder.shared_embedding(places).permute(2, 0, 1)[None]

    def positional_modules(self) -> nn.Module:
        return self.prompt_encoder
