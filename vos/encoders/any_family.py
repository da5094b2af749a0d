"""Prior encoders by hub name or folder: the weights' own configuration says which family they are of.

:func:`vos.engine.models.load_encoder` comes here with a name that is no short one.
"""

from __future__ import annotations

from importlib import import_module

import torch

from ..errors import WeightsError, parameter
from ..weights.configuration import model_type_of
from .patch_encoder import PatchEncoder

FAMILIES = {
    "dinov2": ("dinov2", "Dinov2Encoder"),
    "dinov2_with_registers": ("dinov2", "Dinov2RegistersEncoder"),
    "dinov3_vit": ("dinov3", "Dinov3Encoder"),
    "dinov3_convnext": ("dinov3", "Dinov3ConvNextEncoder"),
    "clip": ("clip", "ClipEncoder"),
    "clip_vision_model": ("clip", "ClipEncoder"),
    "siglip": ("siglip2", "SiglipEncoder"),
    "siglip_vision_model": ("siglip2", "SiglipEncoder"),
    "siglip2": ("siglip2", "NaflexEncoder"),
    "siglip2_vision_model": ("siglip2", "NaflexEncoder"),
}
"""Types of models as their configurations name them, and the module and class that run each."""


class AnyEncoder(PatchEncoder):
    """Loads a prior encoder of any family. See :class:`~vos.interfaces.PriorEncoder`."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> PatchEncoder:  # type: ignore[override]
        """Load a model by hub name or folder.

        Raises:
            WeightsError: not found, unusable, or of a family that is not known.
        """
        kind = model_type_of(name, "prior", instead="or same, which needs no weights of its own")
        if kind not in FAMILIES:
            known = ", ".join(sorted({module for module, _ in FAMILIES.values()}))
            raise WeightsError(
                f"{name}: holds a model of type {kind}, which is no prior encoder; "
                f"pass {parameter('prior', 'FOLDER')} with one of: {known}"
            )
        module, encoder = FAMILIES[kind]
        found: type[PatchEncoder] = getattr(import_module(f".{module}", __package__), encoder)
        return found.load(name, device, dtype)
