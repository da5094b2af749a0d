"""Models of a benchmark run: one segmenter for all sequences, prior encoders as they are needed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import load_encoder, load_segmenter
from ..engine.session import Session
from ..interfaces import PriorEncoder, Segmenter, Tracker


@dataclass
class Models:
    """A segmenter and prior encoders, all on one device and in one precision.

    Attributes:
        segmenter: loaded, and shared by all sessions.
        device: where models run.
        dtype: their precision.
    """

    segmenter: Segmenter
    device: torch.device
    dtype: torch.dtype
    _encoders: dict[str, PriorEncoder] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        loader: Callable[[str, torch.device, torch.dtype], Segmenter] = load_segmenter,
    ) -> Models:
        """Load a segmenter and prepare the process for it.

        Args:
            model: name of the segmenter.
            device: see :func:`vos.engine.device.pick_device`.
            dtype: see :func:`vos.engine.device.pick_dtype`.
            loader: loads the segmenter.

        Raises:
            VosError: the device is not usable, or the weights do not load.
        """
        keep_freed_memory()
        place = pick_device(device)
        precision = pick_dtype(dtype, place)
        return cls(loader(model, place, precision), place, precision)

    def encoder(self, prior: str) -> PriorEncoder:
        """A prior encoder by name; it loads when first asked for.

        Raises:
            WeightsError: its weights are not there or do not fit.
        """
        if prior not in self._encoders:
            self._encoders[prior] = load_encoder(prior, self.device, self.dtype)
        return self._encoders[prior]

    def session(self, tracker: Tracker, prior: str = "same") -> Session:
        """A fresh session for a fresh tracker.

        Raises:
            WeightsError: the prior encoder's weights are not there or do not fit.
        """
        return Session(tracker, self.segmenter, self.encoder(prior))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a segmenter and its device."""
    parser.add_argument("--model", default="lite", help="as for vos-track (default: lite)")
    parser.add_argument("--device", default="auto")
