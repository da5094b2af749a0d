"""Segmenters by hub name, folder or checkpoint: the weights' own configuration says which model they are of.

:func:`vos.engine.models.load_segmenter` comes here with a name that is no short one.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from ..interfaces import Segmenter
from ..weights.configuration import model_type_of

FAMILIES = {
    "sam_hq": ("sam_hq", "SamHqSegmenter"),
    "sam2": ("sam2_image", "Sam2ImageSegmenter"),
    "sam2_video": ("sam2_image", "Sam2ImageSegmenter"),
}
"""Types of models as their configurations name them, and the module and class that run each; any other is SAM's."""

FILES = (".pth", ".pt", ".safetensors")
"""Suffixes of published checkpoints."""


class AnySegmenter:
    """Loads a segmenter of any family."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
        """Load a model by hub name, folder, or file of a published checkpoint.

        Raises:
            WeightsError: not found or unusable.
        """
        module, segmenter = "sam", "SamSegmenter"
        if Path(name).suffix not in FILES:
            kind = model_type_of(name, "model", instead="or a SAM .pth file, or lite, which is bundled")
            module, segmenter = FAMILIES.get(kind, (module, segmenter))
        found: type[Segmenter] = getattr(import_module(f".{module}", __package__), segmenter)
        return found.load(name, device, dtype)
