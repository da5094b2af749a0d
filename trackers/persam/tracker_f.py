"""PerSAM-F as a tracker: PerSAM with two learned scale weights for each object (eq. 11)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ...boxes import tight_boxes
from ...interfaces import FrameContext
from ...state_file import State
from ...structures import Masks
from . import scale_weights
from .absence import in_order
from .looks import View
from .objects import Objects
from .options import PUBLISHED_IMAGE, PUBLISHED_VIDEO, PerSamOptions
from .tracker import PerSAM


@dataclass(frozen=True)
class PerSamFOptions(PerSamOptions):
    """Options of PerSAM-F.

    Attributes:
        epochs: steps of the one-shot fit on the first frame (C.2).
        lr: learning rate of the fit (C.2).
        remainder: the mask whose weight is one minus the others (eq. 11: the third).
        fit_at: fit at the resolution of the low-res logits, or of the frame.
        refined_choice: after a refinement step, take the weighted sum again, or the best mask by score.
    """

    epochs: int = 800
    lr: float = 4e-4
    remainder: int = 2
    fit_at: Literal["low-res", "frame"] = "low-res"
    refined_choice: Literal["weights", "score"] = "weights"

    @classmethod
    def published(cls, **changes: Any) -> PerSamFOptions:
        """Behave as the released video script does, at its learning rate of 4e-3."""
        return cls(**(PUBLISHED_VIDEO | _PUBLISHED_FIT | {"lr": 4e-3} | changes))

    @classmethod
    def published_image(cls, **changes: Any) -> PerSamFOptions:
        """Behave as the released image script does: 1000 epochs at a learning rate of 1e-3."""
        return cls(**(PUBLISHED_IMAGE | _PUBLISHED_FIT | {"lr": 1e-3, "epochs": 1000} | changes))


_PUBLISHED_FIT: dict[str, Any] = {
    "remainder": 0,
    "fit_at": "frame",
    "refined_choice": "score",
    "refine_box": "both",
}
"""Options that the released PerSAM-F scripts share, beside those of PerSAM."""


class PerSAMF(PerSAM):
    """PerSAM with two learned weights for each object. See :class:`~vos.interfaces.Tracker`.

    Attributes:
        options: as in :class:`PerSAM`.
        fit_seconds: time spent on learning the weights so far, decoding included.
    """

    Options = PerSamFOptions

    options: PerSamFOptions

    def __init__(self, options: PerSamFOptions | None = None):
        super().__init__(options)
        self.fit_seconds = 0.0

    def state(self) -> State:
        return {**super().state(), "fit_seconds": self.fit_seconds}

    def restore(self, context: FrameContext, state: State) -> None:
        fit_seconds = state["fit_seconds"]
        super().restore(context, state)
        self.fit_seconds = fit_seconds

    @property
    def weights(self) -> Tensor:
        """The scale weights of eq. 11, (N, 3), of absent objects too."""
        weights = _weights(self.objects)
        if self._absent is None:
            return weights
        return in_order(self._absent.rows, weights, _weights(self._absent.objects))

    def _learn(self, view: View, masks: Tensor, boxes: Tensor) -> Objects:
        """Learn objects as PerSAM does; then fit their weights on the three masks that the decoder gives."""
        objects = super()._learn(view, masks, boxes)
        return replace(objects, weights=self._fitted([(view, masks, objects)]))

    def _learn_together(self, shown: Sequence[tuple[View, Tensor]]) -> Objects:
        """Learn one object from several views, given its mask in each; its weights are fitted on all (D.3)."""
        parts = [PerSAM._learn(self, view, mask, tight_boxes(mask)) for view, mask in shown]
        weights = self._fitted([(*each, part) for each, part in zip(shown, parts, strict=True)])
        return replace(self._put_together(shown, parts), weights=weights)

    def _fitted(self, examples: Sequence[tuple[View, Tensor, Objects]]) -> Tensor:
        """Fit the scale weights (N, 3) of objects on all examples: their views, masks (N, H, W) bool, and objects."""
        began, options = time.perf_counter(), self.options
        logits, truth = zip(*(self._example(*each) for each in examples), strict=True)
        kept = (logits[0], truth[0])
        if len(examples) > 1:
            kept = torch.cat([each.flatten(2) for each in logits], 2), torch.cat([each.flatten(1) for each in truth], 1)
        weights = scale_weights.fit(*kept, epochs=options.epochs, lr=options.lr, remainder=options.remainder)
        self.fit_seconds += time.perf_counter() - began
        return weights

    def _example(self, view: View, masks: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
        """Return the three masks of each object, (N, 3, h, w), and the true one, (N, h, w), at one size."""
        geometry = view.embedding.geometry
        prompts, guidance, _ = self._prompts(view, objects)
        logits = self._run(view, prompts, guidance).low_res_logits
        if self.options.fit_at == "frame":
            return geometry.upsample(logits.flatten(0, 1)).unflatten(0, (-1, 3)), masks.float()
        height, width = logits.shape[-2:]
        return logits, geometry.mask_logits(masks, (height, width), 1.0)[:, 0] / 2 + 0.5

    def _choose(self, masks: Masks, objects: Objects, first: bool = False) -> tuple[Tensor, Tensor]:
        """Weight the three masks of each object and sum them (eq. 11): logits (N, 4h, 4w) and scores (N,)."""
        if not first and self.options.refined_choice == "score":
            return super()._choose(masks, objects)
        weights = _weights(objects)
        logits = torch.einsum("nm,nmhw->nhw", weights, masks.low_res_logits)
        return logits, (weights * masks.scores).sum(1)


def _weights(objects: Objects) -> Tensor:
    """Return the scale weights (N, 3) of objects that PerSAM-F has learned."""
    if objects.weights is None:
        raise RuntimeError("these objects have no scale weights: they are PerSAM's, not PerSAM-F's")
    return objects.weights
