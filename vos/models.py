"""Segmenters and prior encoders by the names of the command line."""

from __future__ import annotations

from pathlib import Path

import torch

from . import plugins
from .interfaces import PriorEncoder, Segmenter


def load_segmenter(name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """``lite``, ``sam-vit-b|l|h``, a folder, a ``.pth`` file, a hub name, or an installed plugin.

    A plugin may take an argument after a colon, as ``segment-anything:FILE`` does.

    Raises:
        WeightsError: the weights are not there or do not fit.
    """
    plugin = name.partition(":")[0]
    if plugin in plugins.names("vos.segmenters"):
        return plugins.load("vos.segmenters", plugin).load(name, device, dtype)
    _refuse_unknown(name, "vos.segmenters")
    from .segmenters.sam import SamSegmenter

    return SamSegmenter.load(name, device, dtype)


def load_encoder(name: str, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
    """``same``, ``dinov2-small|base|large|giant``, a folder, a hub name, or an installed plugin.

    Raises:
        WeightsError: the weights are not there or do not fit.
    """
    if name in plugins.names("vos.prior_encoders"):
        return plugins.load("vos.prior_encoders", name).load(name, device, dtype)
    _refuse_unknown(name, "vos.prior_encoders")
    from .encoders.dinov2 import Dinov2Encoder

    return Dinov2Encoder.load(name, device, dtype)


def _refuse_unknown(name: str, group: str) -> None:
    """A plain word that is neither a path nor a hub name is a misspelt plugin: list those there are."""
    if "/" not in name and not Path(name).exists() and not Path(name).suffix:
        plugins.load(group, name)
