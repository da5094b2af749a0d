"""PerSAM-F as a tracker: PerSAM with two learned scale weights per object (eq. 11)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ...interfaces import FrameContext
from ...structures import Masks
from . import scale_weights
from .looks import View
from .objects import Objects
from .options import PUBLISHED_IMAGE, PUBLISHED_VIDEO, PerSamOptions
from .tracker import PerSAM


@dataclass(frozen=True)
class PerSamFOptions(PerSamOptions):
    """Options of PerSAM-F.

    Attributes:
        epochs: steps of the one-shot fit on the first frame (C.2).
        lr: its learning rate (C.2).
        remainder: the mask whose weight is one minus the others (eq. 11: the third).
        fit_at: resolution of the fit, low-res logits or the frame.
        refined_choice: after a refinement step, the weighted sum again or the best by score.
    """

    epochs: int = 800
    lr: float = 4e-4
    remainder: int = 2
    fit_at: Literal["low-res", "frame"] = "low-res"
    refined_choice: Literal["weights", "score"] = "weights"

    @classmethod
    def published(cls, **changes: object) -> PerSamFOptions:
        """The released video script's behaviour, at its learning rate of 4e-3."""
        return cls(**(PUBLISHED_VIDEO | _PUBLISHED_FIT | {"lr": 4e-3} | changes))

    @classmethod
    def published_image(cls, **changes: object) -> PerSamFOptions:
        """The released image script's: 1000 epochs at a learning rate of 1e-3."""
        return cls(**(PUBLISHED_IMAGE | _PUBLISHED_FIT | {"lr": 1e-3, "epochs": 1000} | changes))


_PUBLISHED_FIT = {"remainder": 0, "fit_at": "frame", "refined_choice": "score", "refine_box": "both"}


class PerSAMF(PerSAM):
    """The tracker with two learned weights per object. See ``Tracker``.

    Attributes:
        fit_seconds: time spent on learning the weights so far, decoding included.
    """

    Options = PerSamFOptions

    def __init__(self, options: PerSamFOptions | None = None):
        super().__init__(options)
        self.fit_seconds = 0.0

    def state(self) -> dict:
        return {**super().state(), "fit_seconds": self.fit_seconds}

    def restore(self, context: FrameContext, state: dict) -> None:
        super().restore(context, state)
        self.fit_seconds = state["fit_seconds"]

    @property
    def weights(self) -> Tensor:
        """Scale weights, (N, 3)."""
        return self.objects.weights

    def _learn(self, view: View, masks: Tensor, boxes: Tensor) -> Objects:
        objects = super()._learn(view, masks, boxes)
        began = time.perf_counter()
        options, geometry = self.options, view.embedding.geometry
        prompts, guidance, _ = self._prompts(view, objects)
        logits = self._run(view, prompts, guidance).low_res_logits
        if options.fit_at == "frame":
            logits = geometry.upsample(logits.flatten(0, 1)).unflatten(0, (-1, 3))
            truth = masks.float()
        else:
            truth = geometry.mask_logits(masks, logits.shape[-2:], 1.0)[:, 0] / 2 + 0.5
        weights = scale_weights.fit(logits, truth, epochs=options.epochs, lr=options.lr, remainder=options.remainder)
        self.fit_seconds += time.perf_counter() - began
        return replace(objects, weights=weights)

    def _choose(self, masks: Masks, objects: Objects, first: bool = False) -> tuple[Tensor, Tensor]:
        """The weighted sum of the three (eq. 11): logits (N, 4h, 4w) and scores (N,)."""
        if not first and self.options.refined_choice == "score":
            return super()._choose(masks, objects)
        logits = torch.einsum("nm,nmhw->nhw", objects.weights, masks.low_res_logits)
        return logits, (objects.weights * masks.scores).sum(1)
