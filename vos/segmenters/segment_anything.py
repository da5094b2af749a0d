"""``segment-anything:FILE``: SAM with the encoders of Meta's own package.

The package imports torchvision, so it is imported only when this segmenter is asked for. Its mask decoder takes no
guidance; :class:`~vos.segmenters.mask_decoder.GuidedMaskDecoder` replaces it, with the checkpoint's weights.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.models.sam.configuration_sam import SamConfig

from ..errors import WeightsError, parameter
from ..weights.tensors import read_tensors
from .checkpoint import decoder_sizes, load_published, parts_of, sides_of
from .mask_decoder import GuidedMaskDecoder
from .sam import SamSegmenter


class PackageSam(nn.Module):
    """The package's image and prompt encoder with the guided mask decoder. See :class:`~vos.segmenters.sam.SamModules`.

    Raises:
        WeightsError: the package, or the torchvision that it imports, is not usable.
    """

    def __init__(self, config: SamConfig):
        super().__init__()
        try:
            from segment_anything.modeling import ImageEncoderViT, PromptEncoder
        except Exception as error:  # a torchvision of another build fails with more than ImportError
            raise WeightsError(
                f"the segment-anything package cannot be used here ({error}); install "
                "vos-track[segment-anything] with a torchvision that fits this torch, or pass the same file "
                "without segment-anything: before it, which needs neither"
            ) from error
        vision, prompt, decoder = parts_of(config)
        image_size, patch_size = sides_of(vision)
        self.config = config
        self.image_encoder = ImageEncoderViT(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=vision.hidden_size,
            depth=vision.num_hidden_layers,
            num_heads=vision.num_attention_heads,
            mlp_ratio=vision.mlp_ratio,
            out_chans=vision.output_channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=vision.window_size,
            global_attn_indexes=vision.global_attn_indexes,
        )
        grid = image_size // patch_size
        self.prompt_encoder = PromptEncoder(
            embed_dim=prompt.hidden_size,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=prompt.mask_input_channels,
        )
        self.mask_decoder = GuidedMaskDecoder(decoder_sizes(decoder))

    def encode(self, pixels: Tensor) -> Tensor:
        return self.image_encoder(pixels)

    def encode_prompts(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self.prompt_encoder((points, labels), boxes, masks)

    def positions(self) -> Tensor:
        return self.prompt_encoder.get_dense_pe()

    def positional_modules(self) -> nn.Module:
        return self.prompt_encoder


class PackageSegmenter(SamSegmenter):
    """``SamSegmenter`` that runs the package's modules."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype, decoder_heads: int = 8) -> PackageSegmenter:
        """Load ``segment-anything:FILE``.

        Raises:
            WeightsError: the package or the file is not usable.
        """
        path = Path(name.partition(":")[2])
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such file; pass {parameter('model', 'segment-anything:FILE')} with a SAM checkpoint"
            )
        config, renamed = load_published(path, decoder_heads)
        model = PackageSam(config)
        prefix = "mask_decoder."
        weights = {key: value for key, value in read_tensors(path).items() if not key.startswith(prefix)}
        weights |= {key: value for key, value in renamed.items() if key.startswith(prefix)}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(f"{path}: does not fit SAM: {str(error).splitlines()[1].strip()}") from error
        return cls(model, name, device, dtype, (str(path),))
