"""CLIP's vision transformers as prior encoder, as the paper tries in section E.7."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .patch_encoder import PatchEncoder


class ClipEncoder(PatchEncoder):
    """The last hidden states of CLIP's patches, without its class token.

    Positional encodings are interpolated to the input's shape. See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {
        "clip-base": "openai/clip-vit-base-patch16",
        "clip-large": "openai/clip-vit-large-patch14",
        "clip-large-336": "openai/clip-vit-large-patch14-336",
    }
    model_class = "CLIPVisionModel"
    mean = (122.7709383, 116.7460125, 104.09373615)
    std = (68.5005327, 66.6321579, 70.32316304)
    patches = 40

    def patch_tokens(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Encode an input of any size, see :meth:`PatchEncoder.patch_tokens`."""
        tokens: Tensor = self.model(pixels, interpolate_pos_encoding=True).last_hidden_state[:, self.prefix() :]
        return tokens
