"""``same``: the segmenter's own embedding serves the prior; nothing is encoded twice."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..interfaces import FrameContext
from ..structures import PatchFeatures


class SameEncoder:
    """See ``PriorEncoder``."""

    name = "same"
    files: tuple[str, ...] = ()

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> SameEncoder:
        return cls()

    def features(self, context: FrameContext) -> PatchFeatures:
        embedding = context.embedding
        values = F.normalize(context.segmenter.match_features(embedding), dim=1)
        return PatchFeatures(values, embedding.geometry)
