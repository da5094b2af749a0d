"""SAM and DINOv2 of their published sizes with random weights, and tiny ones for tests: equal arithmetic, no download.

:mod:`vos.benchmarks.gpu` measures with them. What they find means nothing.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from transformers import Dinov2Config, Dinov2Model, SamConfig

from ..encoders.dinov2 import Dinov2Encoder
from ..segmenters.sam import GuidedSam, SamSegmenter

Sam = TypeVar("Sam", bound=SamSegmenter)
Dinov2 = TypeVar("Dinov2", bound=Dinov2Encoder)

SPREAD = 0.02
"""Standard deviation of SAM's weights: the library's own, 1e-10, makes denormal numbers, which slow a processor."""

TINY = "tiny"
"""Name of the tiny SAM."""

TINY_DINOV2 = "tiny-dinov2"
"""Name of the tiny DINOv2."""

SAMS: dict[str, dict[str, object]] = {
    TINY: {
        "hidden_size": 32,
        "output_channels": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "global_attn_indexes": [1, 3],
        "window_size": 3,
        "image_size": 128,
        "num_pos_feats": 16,
    },
    "sam-vit-b": {},
    "sam-vit-l": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "sam-vit-h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}
"""Sizes of the image encoders, where they differ from those of ViT-B, under the library's names."""

DINOV2S: dict[str, dict[str, Any]] = {
    TINY_DINOV2: {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "dinov2-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}
"""Sizes of the prior encoders, likewise."""

TINY_SIDE = 112
"""Pixels of the long side of the tiny DINOv2's input."""


def sam_config(name: str) -> SamConfig:
    """Make the configuration of a SAM by its name in :data:`SAMS`."""
    vision: dict[str, object] = SAMS[name] | {"initializer_range": SPREAD}
    if name != TINY:
        return SamConfig(vision_config=vision, initializer_range=SPREAD)
    prompt = {"hidden_size": 32, "image_size": 128, "mask_input_channels": 4}
    decoder = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    return SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder, initializer_range=SPREAD
    )


def dinov2_config(name: str) -> Dinov2Config:
    """Make the configuration of a DINOv2 by its name in :data:`DINOV2S`."""
    return Dinov2Config(patch_size=14, image_size=518, **DINOV2S[name])


def random_sam(kind: type[Sam], name: str, device: torch.device, dtype: torch.dtype) -> Sam:
    """Make a SAM whose weights are drawn on its device: the same ones in each precision.

    Args:
        kind: :class:`~vos.segmenters.sam.SamSegmenter`, or a class made from it.
        name: one of :data:`SAMS`.
        device: the device to run on.
        dtype: the precision to run in.
    """
    torch.manual_seed(0)
    with device:
        model = GuidedSam(sam_config(name))
    return kind(model, name, device, dtype, ())


def random_dinov2(kind: type[Dinov2], name: str, device: torch.device, dtype: torch.dtype) -> Dinov2:
    """Make a DINOv2 whose weights are drawn on its device.

    Args:
        kind: :class:`~vos.encoders.dinov2.Dinov2Encoder`, or a class made from it.
        name: one of :data:`DINOV2S`.
        device: the device to run on.
        dtype: the precision to run in.
    """
    torch.manual_seed(0)
    with device:
        model = Dinov2Model(dinov2_config(name))
    return kind(model, name, device, dtype, (), TINY_SIDE if name == TINY_DINOV2 else None)
