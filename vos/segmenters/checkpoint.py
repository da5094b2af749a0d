"""Reads Meta's own SAM checkpoints, which have the key names of the ``segment-anything`` package, without that package.

The whole configuration but the number of heads of the mask decoder (8 in every published model) can be read off the
tensors. One function therefore loads ViT-B, L, H and fine-tuned variants. The segmenters ``sam`` and
``segment_anything`` use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.models.sam.configuration_sam import (
    SamConfig,
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from ..errors import WeightsError
from ..weights.tensors import read_tensors
from .sam_parts import PUBLISHED_LAYER_NORM_EPS, DecoderSizes

_RENAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.0\.", r"\1.proj_in."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.1\.", r"\1.hidden.0."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.2\.", r"\1.proj_out."),
    (r"\.hidden\.0\.", ".layers.0."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix", ".shared_embedding.positional_embedding"),
)
"""Patterns of published names and what ``transformers`` has in their place, applied in this order."""


def rename(name: str, patterns: Iterable[tuple[str, str]] = _RENAMES) -> str:
    """Turn the name of a parameter of a published checkpoint into another model's, by default ``transformers``'.

    Args:
        name: as published.
        patterns: regular expressions and what takes their place, applied in this order.
    """
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def load_published(path: Path, decoder_heads: int = 8) -> tuple[SamConfig, dict[str, Tensor]]:
    """Read a published checkpoint (``.pth`` or ``.safetensors``).

    Args:
        path: the file.
        decoder_heads: attention heads of the mask decoder.

    Returns:
        The configuration read off the tensors, and the tensors under ``transformers``' names.

    Raises:
        WeightsError: unreadable, unsafe to unpickle, or not a SAM checkpoint.
    """
    tensors = read_tensors(path)
    try:
        config = _infer_config(tensors, decoder_heads)
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{path}: not a SAM checkpoint: {error} is missing; pass one such as "
            "sam_vit_h_4b8939.pth, or a folder saved by transformers"
        ) from error
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    positions = renamed["prompt_encoder.shared_embedding.positional_embedding"]
    renamed["shared_image_embedding.positional_embedding"] = positions
    return config, renamed


def parts_of(config: SamConfig) -> tuple[SamVisionConfig, SamPromptEncoderConfig, SamMaskDecoderConfig]:
    """Return the configurations of SAM's image encoder, prompt encoder and mask decoder."""
    vision, prompt, decoder = config.vision_config, config.prompt_encoder_config, config.mask_decoder_config
    assert isinstance(vision, SamVisionConfig)  # SamConfig has made objects of dictionaries
    assert isinstance(prompt, SamPromptEncoderConfig) and isinstance(decoder, SamMaskDecoderConfig)
    return vision, prompt, decoder


def decoder_sizes(config: Any) -> DecoderSizes:
    """Return the sizes of the mask decoder of SAM or SAM-HQ, whose layer norms have the published epsilon.

    Raises:
        WeightsError: a decoder whose blocks do not use ReLU, as every published one does.
    """
    if config.hidden_act != "relu":
        raise WeightsError(f"mask_decoder_config: hidden_act is {config.hidden_act}; a SAM's mask decoder has relu")
    names = {field.name for field in fields(DecoderSizes)} - {"layer_norm_eps"}
    return DecoderSizes(**{name: getattr(config, name) for name in names})


def sides_of(sizes: Any) -> tuple[int, int]:
    """Return the side of a model's input and that of its patches, in pixels, as a part's configuration has them.

    Both are square in every published SAM.
    """
    assert isinstance(sizes.image_size, int) and isinstance(sizes.patch_size, int)
    return sizes.image_size, sizes.patch_size


def _infer_config(tensors: dict[str, Tensor], decoder_heads: int) -> SamConfig:
    """Read the configuration off tensors under their published names.

    Raises:
        KeyError: a tensor is missing.
        IndexError: a tensor has too few dimensions.
    """
    grid = tensors["image_encoder.pos_embed"].shape[1]
    patch = tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
    width = tensors["image_encoder.patch_embed.proj.weight"].shape[0]
    channels = tensors["image_encoder.neck.0.weight"].shape[0]
    depth = sum(bool(re.fullmatch(r"image_encoder\.blocks\.\d+\.norm1\.weight", name)) for name in tensors)
    relative = [tensors[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
    is_global = [len(table) == 2 * grid - 1 for table in relative]
    windows = [(len(table) + 1) // 2 for table, whole in zip(relative, is_global, strict=True) if not whole]
    mlp = tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0]
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=channels,
        num_hidden_layers=depth,
        num_attention_heads=width // relative[0].shape[1],
        image_size=grid * patch,
        patch_size=patch,
        mlp_ratio=mlp / width,
        mlp_dim=mlp,
        window_size=windows[0] if windows else 14,
        global_attn_indexes=[i for i, whole in enumerate(is_global) if whole],
        num_pos_feats=channels // 2,
    )
    prompt = SamPromptEncoderConfig(
        hidden_size=channels,
        image_size=grid * patch,
        patch_size=patch,
        mask_input_channels=tensors["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=channels,
        mlp_dim=tensors["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        num_attention_heads=decoder_heads,
        iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        layer_norm_eps=PUBLISHED_LAYER_NORM_EPS,
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
