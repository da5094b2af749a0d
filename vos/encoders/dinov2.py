"""DINOv2 (small, base, large, giant) as prior encoder, with the modules of ``transformers``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Dinov2Model

from ..geometry import PIXEL_MEAN, PIXEL_STD, Geometry
from ..interfaces import FrameContext
from ..structures import PatchFeatures
from ..weights import model_files, pretrained

HUB_NAMES = {f"dinov2-{size}": f"facebook/dinov2-{size}" for size in ("small", "base", "large", "giant")}
"""Short names of the published models, and their names on the hub."""

LONG_SIDE = 840
"""Pixels of the long side of DINOv2's input."""


class Dinov2Encoder:
    """The patch tokens of DINOv2, without its class token. See :class:`~vos.interfaces.PriorEncoder`."""

    def __init__(
        self,
        model: Dinov2Model,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        files: tuple[str, ...] = (),
        long_side: int = LONG_SIDE,
    ):
        module: nn.Module = model
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.model = model
        self.name = name
        self.files = files
        self.device = device
        self.dtype = dtype
        self.long_side = long_side
        patch = model.config.patch_size
        assert isinstance(patch, int)  # of DINOv2, patches are square
        self.patch = patch
        self._mean = torch.tensor(PIXEL_MEAN, device=device)
        self._std = torch.tensor(PIXEL_STD, device=device)

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Dinov2Encoder:
        """Load a model by short name (``dinov2-large``), hub name or folder.

        Raises:
            WeightsError: not found or unusable.
        """
        source = HUB_NAMES.get(name, name)
        model = pretrained(Dinov2Model, source, "prior", instead="or same, which needs no weights of its own")
        return cls(model, name, device, dtype, model_files(source))

    def features(self, context: FrameContext) -> PatchFeatures:
        rgb = context.frame.rgb
        geometry = Geometry.whole_patches(rgb.shape[:2], self.long_side, self.patch, region=context.region)
        image = torch.tensor(geometry.resize(rgb), device=self.device)
        pixels = ((image - self._mean) / self._std).permute(2, 0, 1)[None].to(self.dtype)
        tokens = self.model(pixels).last_hidden_state[:, 1:].float()
        values = F.normalize(tokens, dim=2).transpose(1, 2).unflatten(2, geometry.grid)
        return PatchFeatures(values, geometry)
