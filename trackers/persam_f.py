"""PerSAM-F as a tracker: PerSAM with two learned scale weights per object (eq. 11)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from vos import scale_weights
from vos.engine import FrameContext
from vos.structures import FirstMask, Masks

from .persam import PerSAM, PerSamOptions


@dataclass(frozen=True)
class PerSamFOptions(PerSamOptions):
    """Options of PerSAM-F.

    Attributes:
        epochs: steps of the one-shot fit on the first frame (C.2).
        lr: its learning rate (C.2).
    """

    epochs: int = 800
    lr: float = 4e-4


class PerSAMF(PerSAM):
    """The tracker with two learned weights per object. See ``Tracker``.

    Attributes:
        weights: (N, 3) float, after ``start``.
        fit_seconds: time spent on learning them, after ``start``.
    """

    def __init__(self, options: PerSamFOptions | None = None):
        super().__init__(options or PerSamFOptions())

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        super().start(context, first_mask)
        began = time.perf_counter()
        masks = torch.tensor(first_mask.masks(), device=self.boxes.device)
        self.weights = torch.full((len(masks), 3), 1 / 3, device=self.boxes.device)
        decoded = self._decode(context)
        size = decoded.low_res_logits.shape[-2:]
        truth = context.embedding.geometry.mask_logits(masks, size, 1.0)[:, 0] / 2 + 0.5
        self.weights = scale_weights.fit(
            decoded.low_res_logits, truth, epochs=self.options.epochs, lr=self.options.lr
        )
        self.fit_seconds = time.perf_counter() - began

    def _choose(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """The weighted sum of the three: logits (N, 4h, 4w) and scores (N,)."""
        logits = torch.einsum("nm,nmhw->nhw", self.weights, masks.low_res_logits)
        return logits, (self.weights * masks.scores).sum(1)
