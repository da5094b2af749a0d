"""What the prior encoders made of ``transformers``' vision models have in common.

One file for each family of models says which class it is, how its input is normalised and which of its tokens are
patches; :class:`PatchEncoder` does the rest. Resizing is :class:`~vos.geometry.Geometry`'s, and torchvision, which the
library's own image processors need, is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..geometry import PIXEL_MEAN, PIXEL_STD, Geometry
from ..interfaces import FrameContext
from ..structures import PatchFeatures
from ..weights import model_files, pretrained
from ..weights.licences import tell_licence

Triple = tuple[float, float, float]
"""One number for each of red, green and blue."""


class PatchEncoder:
    """Patch features of a vision model of ``transformers``. See :class:`~vos.interfaces.PriorEncoder`.

    Args:
        model: an instance of ``model_class``.
        name: the name that it was loaded by.
        device: the device to run on.
        dtype: the precision to run in.
        files: weight files in use.
        long_side: pixels of the long side of the input, rounded to whole patches; None: the default of the family.

    Attributes:
        hub_names: short names of published models, and their names on the hub.
        model_class: name of the class in ``transformers``.
        mean: of red, green and blue, which the input is normalised by, on a scale of 0 to 255.
        std: standard deviation, likewise.
        patches: patches along the long side of the input, unless ``long_side`` says otherwise.
    """

    hub_names: ClassVar[Mapping[str, str]] = {}
    model_class: ClassVar[str]
    mean: ClassVar[Triple] = PIXEL_MEAN
    std: ClassVar[Triple] = PIXEL_STD
    patches: ClassVar[int] = 60
    long_side: int | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        files: tuple[str, ...] = (),
        long_side: int | None = None,
    ):
        module: nn.Module = model
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.model: Any = model  # whose output the library does not annotate
        self.name = name
        self.files = files
        self.device = device
        self.dtype = dtype
        self.patch = self.patch_size()
        self.long_side = long_side
        self._mean = torch.tensor(self.mean, device=device)
        self._std = torch.tensor(self.std, device=device)

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Self:
        """Load a model by short name, hub name or folder.

        Raises:
            WeightsError: not found or unusable.
        """
        source = cls.hub_names.get(name, name)
        kind = getattr(transformers, cls.model_class)
        model = pretrained(kind, source, "prior", instead="or same, which needs no weights of its own")
        tell_licence(name, model.config.model_type)
        return cls(model, name, device, dtype, model_files(source))

    def patch_size(self) -> int:
        """Return the input pixels along the side of a patch."""
        patch: int = self.model.config.patch_size
        return patch

    def prefix(self) -> int:
        """Count the tokens that come before the patches': that of the class, and registers."""
        return 1

    def patch_tokens(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Encode an input.

        Args:
            pixels: normalised, (1, 3, H, W), in the model's precision.
            grid: (h, w) of the patch grid.

        Returns:
            The patches' tokens in reading order, (1, h * w, C).
        """
        tokens: Tensor = self.model(pixels).last_hidden_state[:, self.prefix() :]
        return tokens

    def geometry(self, context: FrameContext) -> Geometry:
        """Make the geometry of the input for what ``context`` looks at."""
        side = self.patches * self.patch if self.long_side is None else self.long_side
        return Geometry.whole_patches(context.frame.size, side, self.patch, region=context.region)

    def features(self, context: FrameContext) -> PatchFeatures:
        geometry = self.geometry(context)
        image = torch.tensor(geometry.resize(context.frame.rgb), device=self.device)
        pixels = ((image - self._mean) / self._std).permute(2, 0, 1)[None].to(self.dtype)
        tokens = self.patch_tokens(pixels, geometry.grid).float()
        values = F.normalize(tokens, dim=2).transpose(1, 2).unflatten(2, geometry.grid)
        return PatchFeatures(values, geometry)
