"""DINOv3, vision transformers and ConvNeXt, as prior encoder. Its licence is not free for all uses, which is logged."""

from __future__ import annotations

from typing import ClassVar

from .patch_encoder import PatchEncoder


class Dinov3Encoder(PatchEncoder):
    """The patch tokens of DINOv3's vision transformers, without class token and registers.

    Rotary positional encodings fit any shape of the input. See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {
        "dinov3-small": "facebook/dinov3-vits16-pretrain-lvd1689m",
        "dinov3-base": "facebook/dinov3-vitb16-pretrain-lvd1689m",
        "dinov3-large": "facebook/dinov3-vitl16-pretrain-lvd1689m",
        "dinov3-huge": "facebook/dinov3-vith16plus-pretrain-lvd1689m",
        "dinov3-7b": "facebook/dinov3-vit7b16-pretrain-lvd1689m",
    }
    model_class = "DINOv3ViTModel"

    def prefix(self) -> int:
        """Count the class token and the registers."""
        return 1 + int(self.model.config.num_register_tokens)


class Dinov3ConvNextEncoder(PatchEncoder):
    """The cells of the last stage of DINOv3's ConvNeXt, without the pooled token that the library puts before them.

    A cell has 32 pixels along its side, so the input is larger than that of the transformers for a coarser grid.
    See :class:`~vos.interfaces.PriorEncoder`.
    """

    hub_names: ClassVar = {
        f"dinov3-convnext-{size}": f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"
        for size in ("tiny", "small", "base", "large")
    }
    model_class = "DINOv3ConvNextModel"
    patches = 40

    def patch_size(self) -> int:
        """Multiply the strides: 4 of the first stage, and 2 of each later one."""
        return 4 * 2 ** (len(self.model.config.hidden_sizes) - 1)
