"""Counts the parameters of the models that vos-track can use, at their published sizes and without their weights.

Each model is built by the class that loads its weights, from a configuration alone and without memory for tensors.
``docs/models.md`` has the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn

from ..segmenters.efficient_sam import HEAD_WIDTH, IMAGE_SIZE
from ..segmenters.efficient_sam_network import EfficientSamNetwork, EncoderSizes
from ..segmenters.sam_parts import DecoderSizes
from .random_models import SAMS

Sizes = Mapping[str, Any]
"""Values of a configuration, as the library names them."""

_SAM: Mapping[str, Sizes] = {name: SAMS[f"sam-vit-{name.lower()}"] for name in "BLH"}
_HIERA: Mapping[str, tuple[int, int, Sequence[int], Sequence[int], Sequence[int], int]] = {
    "tiny": (96, 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9), 7),
    "small": (96, 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 7),
    "base-plus": (112, 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 14),
    "large": (144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 7),
}
"""SAM 2's Hiera: channels, heads, blocks a stage, windows, blocks with global attention, and side of the positions."""

_VIT: Mapping[str, Sizes] = {
    "S": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "B": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "L": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "g": {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "use_swiglu_ffn": True},
}
_DINOV3: Mapping[str, Sizes] = {
    **{name: {**_VIT[name], "intermediate_size": 4 * _VIT[name]["hidden_size"]} for name in ("S", "B", "L")},
    "H+": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120},
    "7B": {"hidden_size": 4096, "num_hidden_layers": 40, "num_attention_heads": 32, "intermediate_size": 8192},
}
_CONVNEXT: Mapping[str, Sizes] = {
    "T": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    "S": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 27, 3]},
    "B": {"hidden_sizes": [128, 256, 512, 1024], "depths": [3, 3, 27, 3]},
    "L": {"hidden_sizes": [192, 384, 768, 1536], "depths": [3, 3, 27, 3]},
}
_CLIP: Mapping[str, Sizes] = {
    "B/16": {**_VIT["B"], "intermediate_size": 3072, "patch_size": 16},
    "L/14": {**_VIT["L"], "intermediate_size": 4096, "patch_size": 14},
}
_SIGLIP: Mapping[str, Sizes] = {
    "B": {**_VIT["B"], "intermediate_size": 3072, "image_size": 512},
    "L": {**_VIT["L"], "intermediate_size": 4096, "image_size": 512},
    "So400m": {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304,
               "image_size": 512},
    "g": {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 16, "intermediate_size": 6144,
          "image_size": 384},
}  # fmt: skip
"""Sizes as their configurations have them on the hub."""


def _built(kind: str, **config: Any) -> nn.Module:
    """Make a model of ``transformers`` by the name of its class."""
    model: nn.Module = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**config))
    return model


def _sam(sizes: Sizes) -> nn.Module:
    width = sizes.get("hidden_size", 768)
    return _built("Sam", vision_config={**sizes, "mlp_dim": 4 * width})


def _sam_hq(sizes: Sizes) -> nn.Module:
    width = sizes.get("hidden_size", 768)
    return _built("SamHQ", vision_config={**sizes, "mlp_dim": 4 * width}, mask_decoder_config={"vit_dim": width})


def _sam2(size: str) -> nn.Module:
    width, heads, blocks, windows, whole, positions = _HIERA[size]
    widths = [width * 2**stage for stage in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)],
        "window_size_per_stage": list(windows),
        "global_attention_blocks": list(whole),
        "window_positional_embedding_background_size": [positions, positions],
    }
    vision = {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}
    return _built("Sam2Video", vision_config={"model_type": "sam2_vision_model", **vision})


def _efficient_sam(width: int) -> nn.Module:
    encoder = EncoderSizes(IMAGE_SIZE, 16, width, 12, width // HEAD_WIDTH, 4 * width, 197, 256)
    return EfficientSamNetwork(encoder, DecoderSizes())


def models() -> Iterator[tuple[str, str, Callable[[], nn.Module]]]:
    """Yield families, sizes, and what makes each model."""
    for size, values in _SAM.items():
        yield "SAM", size, partial(_sam, values)
    for size, values in _SAM.items():
        yield "SAM-HQ", size, partial(_sam_hq, values)
    for size in _HIERA:
        yield "SAM 2.1", size, partial(_sam2, size)
    for size, width in (("Ti", 192), ("S", 384)):
        yield "EfficientSAM", size, partial(_efficient_sam, width)
    for family, kind, sizes, common in (
        ("DINOv2", "Dinov2", _VIT, {"image_size": 518, "patch_size": 14}),
        ("DINOv2 with registers", "Dinov2WithRegisters", _VIT, {"image_size": 518, "patch_size": 14}),
        ("DINOv3", "DINOv3ViT", _DINOV3, {"num_register_tokens": 4}),
        ("DINOv3 ConvNeXt", "DINOv3ConvNext", _CONVNEXT, {}),
        ("CLIP", "CLIPVision", _CLIP, {}),
        ("SigLIP 2", "SiglipVision", _SIGLIP, {"patch_size": 16}),
    ):
        for size, values in sizes.items():
            gated = {"use_gated_mlp": True} if family == "DINOv3" and size in ("H+", "7B") else {}
            config = {**common, **values, **gated}
            yield family, size, partial(_built, kind, **config)
    yield "Grounding DINO", "tiny", partial(_built, "GroundingDino")
    yield "tracker sam3", "", partial(_built, "Sam3TrackerVideo")


def counted() -> Iterator[tuple[str, str, int]]:
    """Yield families, sizes, and parameters of each model."""
    for family, size, make in models():
        with torch.device("meta"):
            yield family, size, sum(each.numel() for each in make().parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each model; return the exit status."""
    argparse.ArgumentParser(description="Count the parameters of models at their published sizes.").parse_args(
        arguments
    )
    for family, size, count in counted():
        print(f"{family} {size}".strip().ljust(32), f"{count / 1e6:8.1f} million", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
