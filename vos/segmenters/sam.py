"""Segment Anything (ViT-B, L, H) as a segmenter, with the modules of ``transformers``.

:class:`SamSegmenter` runs whatever offers :class:`SamModules`: here ``transformers``' model, in
:mod:`vos.segmenters.segment_anything` that of Meta's package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.sam.configuration_sam import SamConfig
from transformers.models.sam.modeling_sam import SamModel

from ..errors import WeightsError, parameter
from ..geometry import PIXEL_MEAN, PIXEL_STD, Geometry
from ..method.guidance import Guidance
from ..regions import Region
from ..structures import ImageEmbedding, Masks, Prompts
from ..weights import model_files, pretrained
from .checkpoint import decoder_sizes, load_published, parts_of, sides_of
from .mask_decoder import GuidedMaskDecoder
from .sam_parts import PUBLISHED_LAYER_NORM_EPS

HUB_NAMES = {
    "sam-vit-b": "facebook/sam-vit-base",
    "sam-vit-l": "facebook/sam-vit-large",
    "sam-vit-h": "facebook/sam-vit-huge",
}
"""Short names of the published models, and their names on the hub."""


class SamModules(Protocol):
    """A SAM whose parts can be called one by one; also an ``nn.Module``."""

    config: Any  # of transformers, with a `prompt_encoder_config`

    @property
    def mask_decoder(self) -> GuidedMaskDecoder:
        """The decoder, which takes the guidance of the paper."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, S, S) as image embedding (B, C, h, w)."""
        ...

    def encode_prompts(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts in input pixels as prompt tokens (N, n, C) and dense prompt (N, C, h, w)."""
        ...

    def positions(self) -> Tensor:
        """Encode the positions of the grid, (1, C, h, w)."""
        ...

    def positional_modules(self) -> nn.Module:
        """Return the modules that encode coordinates: in bfloat16 a point of a 1024-pixel input is off by 2 pixels."""
        ...


class GuidedSam(SamModel):
    """``SamModel`` whose mask decoder takes the guidance of the paper; its parameters have the same names."""

    mask_decoder: GuidedMaskDecoder  # type: ignore[assignment] # in the place of the library's

    def __init__(self, config: SamConfig):
        *_, decoder = parts_of(config)
        decoder.layer_norm_eps = PUBLISHED_LAYER_NORM_EPS
        super().__init__(config)
        self.mask_decoder = GuidedMaskDecoder(decoder_sizes(decoder))
        self.post_init()

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vision_encoder(pixels).last_hidden_state

    def encode_prompts(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return _encoded(self.prompt_encoder, points, labels, boxes, masks)

    def positions(self) -> Tensor:
        return self.get_image_wide_positional_embeddings()

    def positional_modules(self) -> nn.Module:
        return nn.ModuleList([self.prompt_encoder, self.shared_image_embedding])


class LibraryModules(nn.Module):
    """A model of ``transformers`` with the parts of SAM, called one by one. See :class:`SamModules`.

    A subclass sets ``library`` and ``mask_decoder``, and says how the levels of a picture are encoded.
    """

    library: Any  # whose outputs are not annotated

    def encode_levels(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encode normalised pixels (1, 3, S, S) as image embedding (1, C, h, w) and finer or earlier levels."""
        raise NotImplementedError

    def encode(self, pixels: Tensor) -> Tensor:
        return self.encode_levels(pixels)[0]

    def encode_prompts(
        self, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return _encoded(self.library.prompt_encoder, points, labels, boxes, masks)

    def positions(self) -> Tensor:
        positions: Tensor = self.library.get_image_wide_positional_embeddings()
        return positions

    def positional_modules(self) -> nn.Module:
        return nn.ModuleList([self.library.prompt_encoder, self.library.shared_image_embedding])


def _encoded(
    encoder: nn.Module, points: Tensor, labels: Tensor, boxes: Tensor | None, masks: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Call a prompt encoder of ``transformers``, which has a dimension more: objects within pictures."""
    sparse, dense = encoder(points[:, None], labels[:, None].long(), None if boxes is None else boxes[:, None], masks)
    return sparse[:, 0], dense


class SamSegmenter:
    """SAM: image encoder, prompt encoder, and the guided mask decoder. See :class:`~vos.interfaces.Segmenter`."""

    wants_prior_maps = False
    wants_last_mask = False

    def __init__(self, model: SamModules, name: str, device: torch.device, dtype: torch.dtype, files: tuple[str, ...]):
        exact = {name: tensor.clone() for name, tensor in model.positional_modules().state_dict().items()}
        assert isinstance(model, nn.Module)
        module: nn.Module = model
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        model.positional_modules().float().load_state_dict(exact)
        self.model: SamModules = model
        self.name = name
        self.device = device
        self.dtype = dtype
        self.files = files
        self.image_size, self.stride = sides_of(model.config.prompt_encoder_config)
        mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
        self._mean, self._std = mean[:, None, None].to(device), std[:, None, None].to(device)
        with torch.inference_mode():
            self._positions = self.model.positions()

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype, decoder_heads: int = 8) -> SamSegmenter:
        """Load a model by short name (``sam-vit-h``), hub name, folder, or ``.pth`` / ``.safetensors`` file.

        Raises:
            WeightsError: not found or unusable; the message says what was looked for and where.
        """
        path = Path(name)
        if path.suffix in (".pth", ".pt", ".safetensors"):
            if not path.is_file():
                raise WeightsError(
                    f"{path}: no such file of weights; pass {parameter('model', 'FILE')} with a SAM checkpoint"
                )
            config, tensors = load_published(path, decoder_heads)
            return cls(build(config, tensors, path), name, device, dtype, (str(path),))
        source = HUB_NAMES.get(name, name)
        model = pretrained(GuidedSam, source, "model", instead="a SAM .pth file, or lite, which is bundled")
        return cls(model, name, device, dtype, model_files(source))

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        return Geometry.longest_side(frame_size, self.image_size, self.stride, region=region)

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        geometry = self.geometry(rgb.shape[:2], region)
        values = self.model.encode(self.pixels(rgb, geometry))
        return ImageEmbedding(values.float(), geometry)

    def pixels(self, rgb: np.ndarray, geometry: Geometry) -> Tensor:
        """Make the input of the image encoder, (1, 3, S, S), of a frame (H, W, 3) uint8."""
        image = torch.tensor(geometry.resize(rgb), device=self.device).permute(2, 0, 1)
        return geometry.pad((image.float() - self._mean) / self._std)[None].to(self.dtype)

    def match_features(self, embedding: ImageEmbedding) -> Tensor:
        return embedding.values

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        sparse, dense = self.encode_prompts(prompts, embedding.geometry)
        return Masks(
            *self.model.mask_decoder.predict(embedding.values, self._positions, sparse, dense, guidance, multimask)
        )

    def encode_prompts(self, prompts: Prompts, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Encode prompts in frame pixels as prompt tokens (N, n, C) and dense prompt (N, C, h, w)."""
        boxes = None if prompts.boxes is None else geometry.boxes_to_input(prompts.boxes).to(self.device)
        return self.model.encode_prompts(
            geometry.to_input(prompts.points).to(self.device),
            prompts.point_labels.to(self.device),
            boxes,
            None if prompts.mask_logits is None else prompts.mask_logits.float(),
        )


def build(config: SamConfig, tensors: dict[str, Tensor], path: Path) -> GuidedSam:
    """Make a model and fill it with tensors.

    Args:
        config: its sizes.
        tensors: its parameters under ``transformers``' names.
        path: where they come from, for messages.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape.
    """
    model = GuidedSam(config)
    expected = model.state_dict()
    wrong = sorted(set(expected) ^ set(tensors)) or [
        name for name, tensor in tensors.items() if tensor.shape != expected[name].shape
    ]
    if wrong:
        raise WeightsError(f"{path}: does not fit SAM: {wrong[0]} and {len(wrong) - 1} more tensors differ")
    model.load_state_dict(tensors)
    return model
