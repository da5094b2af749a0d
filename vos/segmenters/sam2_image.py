"""The image model of SAM 2 (Ravi et al. 2024) as a segmenter: Hiera and SAM's decoder, without the memory.

The modules are ``transformers``'. Checkpoints of the video model are read as they are: what the memory needs is left
out. The decoder is SAM's, with two finer levels of the encoder in its up-sampling, so the guidance of the paper works.
The tracker ``sam2``, which has the memory, is another thing: see ``trackers/sam2.py``.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Sam2Model
from transformers.models.sam2.configuration_sam2 import Sam2MaskDecoderConfig

from ..geometry import Geometry
from ..method.guidance import Guidance
from ..regions import Region
from ..structures import ImageEmbedding, Masks, Prompts
from ..weights import model_files, pretrained
from .mask_decoder import GuidedMaskDecoder, depth_to_space, space_to_depth
from .sam import LibraryModules, SamSegmenter
from .sam_parts import DecoderSizes

HUB_NAMES = {f"sam2-{size}": f"facebook/sam2.1-hiera-{size}" for size in ("tiny", "small", "base-plus", "large")}
"""Short names of the published models, and their names on the hub."""

_RENAMES = ((r"\.o_proj\.", ".out_proj."), (r"\.mlp\.proj_in\.", ".mlp.lin1."), (r"\.mlp\.proj_out\.", ".mlp.lin2."))
"""Patterns of the library's names of the decoder's parameters, and what SAM's have in their place."""


class Sam2MaskDecoder(GuidedMaskDecoder):
    """SAM's guided mask decoder with the finer levels of SAM 2's encoder, and its token of presence.

    Args:
        config: the library's configuration of the decoder.
    """

    def __init__(self, config: Sam2MaskDecoderConfig):
        super().__init__(
            DecoderSizes(
                hidden_size=config.hidden_size,
                mlp_dim=config.mlp_dim,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                attention_downsample_rate=config.attention_downsample_rate,
                num_multimask_outputs=config.num_multimask_outputs,
                iou_head_depth=config.iou_head_depth,
                iou_head_hidden_dim=config.iou_head_hidden_dim,
            )
        )
        width = config.hidden_size
        self.obj_score_token = nn.Embedding(1, width)  # takes part in the attention; its answer is not needed
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.falls_back = config.dynamic_multimask_via_stability
        self.delta = float(config.dynamic_multimask_stability_delta)
        self.stable = float(config.dynamic_multimask_stability_thresh)

    def further_tokens(self) -> tuple[Tensor, ...]:
        """Return the token of presence."""
        return (self.obj_score_token.weight,)

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
        """Decode N objects, see :meth:`GuidedMaskDecoder.predict`.

        The up-sampling starts from ``fine`` and its own biases.
        A single mask that is not stable, as its logits are near 0 in many places, gives way to the best of the three.
        """
        tokens, image = self._tokens_and_image(embeddings, positions, sparse, dense, guidance)
        if fine is not None:
            at_stride8, at_stride4 = fine
            fine = (at_stride8 + self._bias(self.upscale_conv1), at_stride4 + self._bias(self.upscale_conv2))
        every = slice(1 if multimask else 0, None if multimask or self.falls_back else 1)
        height, width = embeddings.shape[-2:]
        logits = depth_to_space(self._logits(tokens, self._upscaled(image, fine), every), (height, width)).float()
        scores = self._scores(tokens, every).sigmoid()
        return (logits, scores) if multimask or not self.falls_back else self._stable_or_best(logits, scores)

    def _bias(self, convolution: nn.ConvTranspose2d) -> Tensor:
        assert convolution.bias is not None
        return convolution.bias

    def _stable_or_best(self, logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the single mask if it is stable, else the best of the three, from logits (N, 4, h, w)."""
        single = logits[:, 0].flatten(1)
        sure, possible = (single > self.delta).sum(1).float(), (single > -self.delta).sum(1).float()
        stable = torch.where(possible > 0, sure / possible, 1.0) >= self.stable
        row = torch.where(stable, 0, 1 + scores[:, 1:].argmax(1))
        objects = torch.arange(len(row), device=row.device)
        return logits[objects, row][:, None], scores[objects, row][:, None]


class Sam2Modules(LibraryModules):
    """``transformers``' encoders with the guided decoder. See :class:`~vos.segmenters.sam.SamModules`."""

    mask_decoder: Sam2MaskDecoder

    def __init__(self, model: Sam2Model):
        super().__init__()
        library: Any = model  # whose outputs are not annotated
        config = model.config.mask_decoder_config
        assert isinstance(config, Sam2MaskDecoderConfig)  # the configuration has made an object of a dictionary
        self.config = model.config
        self.mask_decoder = Sam2MaskDecoder(config)
        self.mask_decoder.load_state_dict(renamed(library.mask_decoder.state_dict()))
        library.mask_decoder = self.mask_decoder
        self.library = library

    def encode_levels(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode normalised pixels (1, 3, S, S).

        Returns:
            At strides 16, 8 and 4: (1, C, h, w), (1, C / 4, 2h, 2w) and (1, C / 8, 4h, 4w).
        """
        at_stride4, at_stride8, embedding = self.library.get_image_embeddings(pixels)
        return embedding, at_stride8, at_stride4


class Sam2ImageSegmenter(SamSegmenter):
    """SAM 2's image model. See :class:`~vos.interfaces.Segmenter`."""

    model: Sam2Modules

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype, decoder_heads: int = 8) -> Sam2ImageSegmenter:
        """Load a model by short name (``sam2-large``), hub name or folder.

        Raises:
            WeightsError: not found or unusable; the message says what was looked for and where.
        """
        source = HUB_NAMES.get(name, name)
        model = pretrained(Sam2Model, source, "model", instead="or lite, which is bundled")
        return cls(Sam2Modules(model), name, device, dtype, model_files(source))

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        return Geometry.stretched(frame_size, self.image_size, self.stride, region=region)

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        geometry = self.geometry(rgb.shape[:2], region)
        values, at_stride8, at_stride4 = self.model.encode_levels(self.pixels(rgb, geometry))
        return ImageEmbedding(values.float(), geometry, (space_to_depth(at_stride8, 1), space_to_depth(at_stride4, 2)))

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        sparse, dense = self.encode_prompts(prompts, embedding.geometry)
        at_stride8, at_stride4 = embedding.fine
        return Masks(
            *self.model.mask_decoder.predict(
                embedding.values, self._positions, sparse, dense, guidance, multimask, (at_stride8, at_stride4)
            )
        )


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of the library's decoder SAM's names; what predicts the presence of an object is left out."""
    kept = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if not name.startswith("pred_obj_score_head."):
            kept[name] = tensor
    return kept
