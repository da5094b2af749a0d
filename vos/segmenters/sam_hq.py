"""SAM-HQ (Ke et al. 2023): SAM with a token of its own for fine masks, with the modules of ``transformers``.

The token's mask is made from features that have the picture's detail: those of an early layer of the image encoder, of
the embedding, and of the decoder's up-sampling. As published, it is added to each of SAM's masks. The encoder and the
rest of the decoder are SAM's, and so guidance works as it does there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import SamHQConfig, SamHQModel
from transformers.models.sam_hq.configuration_sam_hq import SamHQMaskDecoderConfig

from ..errors import WeightsError, parameter
from ..method.guidance import Guidance
from ..regions import Region
from ..structures import ImageEmbedding, Masks, Prompts
from ..weights import model_files, pretrained
from .checkpoint import decoder_sizes, load_published, parts_of
from .mask_decoder import GuidedMaskDecoder, depth_to_space, space_to_depth
from .sam import LibraryModules, SamSegmenter
from .sam_parts import DecoderSizes, MapNorm, Perceptron

HUB_NAMES = {
    "sam-hq-vit-b": "syscv-community/sam-hq-vit-base",
    "sam-hq-vit-l": "syscv-community/sam-hq-vit-large",
    "sam-hq-vit-h": "syscv-community/sam-hq-vit-huge",
}
"""Short names of the published models, and their names on the hub."""

_RENAMES = (
    (r"\.hf_token\.", ".hq_token."),
    (r"\.hf_mlp\.layers\.0\.", ".hq_mask_mlp.proj_in."),
    (r"\.hf_mlp\.layers\.1\.", ".hq_mask_mlp.layers.0."),
    (r"\.hf_mlp\.layers\.2\.", ".hq_mask_mlp.proj_out."),
    (r"\.compress_vit_feat\.0\.", ".compress_vit_conv1."),
    (r"\.compress_vit_feat\.1\.", ".compress_vit_norm."),
    (r"\.compress_vit_feat\.3\.", ".compress_vit_conv2."),
    (r"\.embedding_encoder\.0\.", ".encoder_conv1."),
    (r"\.embedding_encoder\.1\.", ".encoder_norm."),
    (r"\.embedding_encoder\.3\.", ".encoder_conv2."),
    (r"\.embedding_maskfeature\.0\.", ".mask_conv1."),
    (r"\.embedding_maskfeature\.1\.", ".mask_norm."),
    (r"\.embedding_maskfeature\.3\.", ".mask_conv2."),
)
"""Patterns of the names that published checkpoints have beside SAM's, and what ``transformers`` has in their place."""


class HqMaskDecoder(GuidedMaskDecoder):
    """SAM's guided mask decoder with the high-quality token; layers have ``transformers``' names.

    Args:
        sizes: of SAM's part of the decoder.
        vit_dim: channels of the image encoder's early layer.
    """

    def __init__(self, sizes: DecoderSizes, vit_dim: int):
        super().__init__(sizes)
        width = sizes.hidden_size
        grown = lambda inputs, outputs: nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.hq_token = nn.Embedding(1, width)
        self.hq_mask_mlp = Perceptron(width, width, width // 8, 3)
        self.compress_vit_conv1 = grown(vit_dim, width)
        self.compress_vit_norm = MapNorm(width)
        self.compress_vit_conv2 = grown(width, width // 8)
        self.encoder_conv1 = grown(width, width // 4)
        self.encoder_norm = MapNorm(width // 4)
        self.encoder_conv2 = grown(width // 4, width // 8)
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = MapNorm(width // 4)
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    def further_tokens(self) -> tuple[Tensor, ...]:
        """Return the high-quality token."""
        return (self.hq_token.weight,)

    def detail(self, embeddings: Tensor, early: Tensor) -> Tensor:
        """Make the features that the token's mask reads, once for an image.

        Args:
            embeddings: image embedding, (1, C, h, w).
            early: output of the encoder's first global block, (1, vit_dim, h, w).

        Returns:
            (1, C / 8, 4h, 4w).
        """
        from_embedding = self.encoder_conv2(self.activation(self.encoder_norm(self.encoder_conv1(embeddings))))
        early = self.activation(self.compress_vit_norm(self.compress_vit_conv1(early)))
        return from_embedding + self.compress_vit_conv2(early)

    def predict_hq(
        self,
        embeddings: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        detail: Tensor,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Decode N objects as one batch: each of SAM's masks, with the token's own added.

        Scales are in their own order; ``transformers`` sorts them by score.

        Args:
            embeddings: image embedding, (1 or N, C, h, w).
            positions: its positional encoding, (1, C, h, w).
            sparse: prompt tokens, (N, n, C).
            dense: dense prompt embedding, (N, C, h, w).
            detail: from :meth:`detail`, (1 or N, C / 8, 4h, 4w).
            guidance: see :class:`Guidance`.
            multimask: the three scales, or the decoder's single mask.

        Returns:
            Low-res logits (N, M, 4h, 4w) and scores (N, M) float32, with M = 3 or 1.
        """
        tokens, image = self._tokens_and_image(embeddings, positions, sparse, dense, guidance)
        chosen = slice(1, None) if multimask else slice(0, 1)
        height, width = embeddings.shape[-2:]
        upscaled = self._upscaled(image)
        logits = depth_to_space(self._logits(tokens, upscaled, chosen), (height, width))
        maps = depth_to_space(upscaled.flatten(1, 2).transpose(1, 2), (height, width))
        maps = self.mask_conv2(self.activation(self.mask_norm(self.mask_conv1(maps)))) + detail
        kernel = self.hq_mask_mlp(tokens[:, 1 + len(self.output_hypernetworks_mlps)])
        fine = torch.einsum("nc,nchw->nhw", kernel.to(maps.dtype), maps)
        return logits.float() + fine[:, None].float(), self._scores(tokens, chosen)


class HqModules(LibraryModules):
    """``transformers``' encoders with the guided decoder. See :class:`~vos.segmenters.sam.SamModules`."""

    mask_decoder: HqMaskDecoder

    def __init__(self, model: SamHQModel):
        super().__init__()
        library: Any = model  # whose outputs are not annotated
        decoder = model.config.mask_decoder_config
        assert isinstance(decoder, SamHQMaskDecoderConfig)  # the configuration has made an object of a dictionary
        self.config = model.config
        self.mask_decoder = HqMaskDecoder(decoder_sizes(decoder), decoder.vit_dim)
        self.mask_decoder.load_state_dict(library.mask_decoder.state_dict())
        library.mask_decoder = self.mask_decoder
        self.library = library

    def encode_levels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalised pixels (1, 3, S, S) as image embedding (1, C, h, w) and its first global block's output."""
        output = self.library.vision_encoder(pixels)
        return output.last_hidden_state, output.intermediate_embeddings[0].permute(0, 3, 1, 2)


class SamHqSegmenter(SamSegmenter):
    """SAM-HQ. See :class:`~vos.interfaces.Segmenter`."""

    model: HqModules

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype, decoder_heads: int = 8) -> SamHqSegmenter:
        """Load a model by short name (``sam-hq-vit-h``), hub name or folder, or a checkpoint (``sam-hq-vit-h:FILE``).

        Raises:
            WeightsError: not found or unusable; the message says what was looked for and where.
        """
        short, colon, file = name.partition(":")
        if colon and short in HUB_NAMES:
            return cls(HqModules(_published(Path(file), decoder_heads)), name, device, dtype, (file,))
        source = HUB_NAMES.get(name, name)
        model = pretrained(SamHQModel, source, "model", instead="or lite, which is bundled")
        return cls(HqModules(model), name, device, dtype, model_files(source))

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        geometry = self.geometry(rgb.shape[:2], region)
        values, early = self.model.encode_levels(self.pixels(rgb, geometry))
        detail = self.model.mask_decoder.detail(values, early)
        return ImageEmbedding(values.float(), geometry, (space_to_depth(detail, 2),))

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        sparse, dense = self.encode_prompts(prompts, embedding.geometry)
        height, width = embedding.values.shape[-2:]
        listed = embedding.fine[0].flatten(1, 2).transpose(1, 2)
        detail = depth_to_space(listed, (height, width))
        return Masks(
            *self.model.mask_decoder.predict_hq(
                embedding.values, self._positions, sparse, dense, detail, guidance, multimask
            )
        )


def _published(path: Path, decoder_heads: int) -> SamHQModel:
    """Read a published checkpoint.

    Raises:
        WeightsError: not there, unreadable, or not one of SAM-HQ.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; pass {parameter('model', 'sam-hq-vit-h:FILE')} with its checkpoint")
    config, tensors = load_published(path, decoder_heads)
    for pattern, replacement in _RENAMES:
        tensors = {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}
    early = tensors.get("mask_decoder.compress_vit_conv1.weight")
    if early is not None:
        vision, prompt, decoder = (part.to_dict() for part in parts_of(config))
        for part in (vision, prompt, decoder):
            part.pop("model_type")
        decoder["vit_dim"] = len(early)
        parts = SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        model = SamHQModel(parts)
        expected, found = ({key: value.shape for key, value in each.items()} for each in (model.state_dict(), tensors))
        if expected == found:
            model.load_state_dict(tensors)
            return model
    raise WeightsError(f"{path}: not a checkpoint of SAM-HQ; one of SAM is passed without sam-hq before it")
