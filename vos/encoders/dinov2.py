"""DINOv2 (small, base, large, giant), without and with registers, as prior encoder."""

from __future__ import annotations

from typing import ClassVar

from .patch_encoder import PatchEncoder

_SIZES = ("small", "base", "large", "giant")


class Dinov2Encoder(PatchEncoder):
    """The patch tokens of DINOv2, without its class token. See :class:`~vos.interfaces.PriorEncoder`."""

    hub_names: ClassVar = {f"dinov2-{size}": f"facebook/dinov2-{size}" for size in _SIZES}
    model_class = "Dinov2Model"


class Dinov2RegistersEncoder(PatchEncoder):
    """The patch tokens of DINOv2 with registers, which take up what else would disturb some patches of the background.

    The class token and the registers are cut off. See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {f"dinov2-reg-{size}": f"facebook/dinov2-with-registers-{size}" for size in _SIZES}
    model_class = "Dinov2WithRegistersModel"

    def prefix(self) -> int:
        """Count the class token and the registers."""
        return 1 + int(self.model.config.num_register_tokens)
