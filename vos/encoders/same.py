"""``same``: uses the segmenter's own features for the prior, so that no frame is encoded twice."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..errors import InputError, parameter
from ..interfaces import FrameContext
from ..structures import PatchFeatures


class SameEncoder:
    """The segmenter's features, normalised. See :class:`~vos.interfaces.PriorEncoder`."""

    name = "same"
    files: tuple[str, ...] = ()

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> SameEncoder:
        """Make the encoder, which has no weights of its own.

        Raises:
            InputError: something stands after the name.
        """
        if name != cls.name:
            raise InputError(f"{parameter('prior', name)}: {cls.name} takes nothing after a colon")
        return cls()

    def features(self, context: FrameContext) -> PatchFeatures:
        embedding = context.embedding
        values = F.normalize(context.segmenter.match_features(embedding), dim=1)
        return PatchFeatures(values, embedding.geometry)
