"""SigLIP 2 as prior encoder: models for one resolution, which are SigLIP's in the library, and for any (NaFlex)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from .patch_encoder import PatchEncoder


class SiglipEncoder(PatchEncoder):
    """The patch tokens of SigLIP and SigLIP 2 of one resolution; there is no class token.

    Positional encodings are interpolated to the input's shape. See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {
        "siglip2-base": "google/siglip2-base-patch16-512",
        "siglip2-large": "google/siglip2-large-patch16-512",
        "siglip2-so400m": "google/siglip2-so400m-patch16-512",
        "siglip2-giant": "google/siglip2-giant-opt-patch16-384",
    }
    model_class = "SiglipVisionModel"
    mean = (127.5, 127.5, 127.5)
    std = (127.5, 127.5, 127.5)
    patches = 40

    def prefix(self) -> int:
        """Return 0: there is none."""
        return 0

    def patch_tokens(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Encode an input of any size, see :meth:`PatchEncoder.patch_tokens`."""
        tokens: Tensor = self.model(pixels, interpolate_pos_encoding=True).last_hidden_state
        return tokens


class NaflexEncoder(PatchEncoder):
    """The patch tokens of SigLIP 2 for any resolution and shape; there is no class token.

    Its input is a list of patches; none is padding. See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {
        "siglip2-base-naflex": "google/siglip2-base-patch16-naflex",
        "siglip2-so400m-naflex": "google/siglip2-so400m-patch16-naflex",
    }
    model_class = "Siglip2VisionModel"
    mean = SiglipEncoder.mean
    std = SiglipEncoder.std
    patches = 40

    def patch_tokens(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Encode an input of any size, see :meth:`PatchEncoder.patch_tokens`."""
        patch = self.patch
        cells = pixels[0].unflatten(2, (-1, patch)).unflatten(1, (-1, patch))  # (3, h, patch, w, patch)
        listed = cells.permute(1, 3, 2, 4, 0).flatten(2).flatten(0, 1)[None]
        shapes = torch.tensor([grid], device=pixels.device)
        everywhere = torch.ones(listed.shape[:2], dtype=torch.int32, device=pixels.device)
        tokens: Tensor = self.model(listed, everywhere, shapes).last_hidden_state
        return tokens
