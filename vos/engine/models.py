"""Trackers, segmenters and prior encoders by the names of the command line."""

from __future__ import annotations

import inspect
from functools import cached_property, partial
from pathlib import Path

import torch

from .. import plugins
from ..errors import InputError
from ..interfaces import PriorEncoder, Segmenter, Tracker


def new_tracker(name: str, published: bool = False, points: str = "none", **changes: object) -> Tracker:
    """A tracker with options of its own class.

    Args:
        name: an installed tracker; what follows a colon is its option ``weights``.
        published: start from the released scripts' behaviour.
        points: point tracker that propagates the prompts, or ``none``.
        **changes: options that differ from that.

    Raises:
        InputError: the tracker has no such options.
    """
    name, colon, weights = name.partition(":")
    tracker = plugins.load("vos.trackers", name)
    if colon and not weights:
        raise InputError(f"{name}: nothing stands after the colon; name weights there, or leave it out")
    if colon:
        changes["weights"] = weights
    if points != "none":
        changes["points"] = points
    if not (published or changes):
        return tracker()
    unknown = changes.keys() - (inspect.signature(tracker.Options).parameters if hasattr(tracker, "Options") else ())
    if "weights" in unknown:
        raise InputError(f"{name}:{weights}: this tracker takes nothing after a colon")
    if unknown:
        raise InputError(f"{name}: this tracker has no option {min(unknown)}")
    try:
        return tracker(tracker.Options.published(**changes) if published else tracker.Options(**changes))
    except (TypeError, AttributeError) as error:
        raise InputError(f"{name}: {error}") from error


def load_segmenter(name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """``lite``, ``lite:FILE``, ``sam-vit-b|l|h``, a folder, a ``.pth`` file, a hub name, or an installed plugin.

    A plugin may take an argument after a colon, as ``segment-anything:FILE`` does.

    Raises:
        WeightsError: the weights are not there or do not fit.
    """
    return _segmenter_class(name).load(name, device, dtype)


def load_encoder(name: str, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
    """``same``, ``dinov2-small|base|large|giant``, a folder, a hub name, or an installed plugin.

    Raises:
        WeightsError: the weights are not there or do not fit.
    """
    return _encoder_class(name).load(name, device, dtype)


def defer_segmenter(name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """As :func:`load_segmenter`, but only the name is looked up; the weights load on first use."""
    return _Deferred(_segmenter_class(name), name, device, dtype)


def defer_encoder(name: str, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
    """As :func:`load_encoder`, but only the name is looked up; the weights load on first use."""
    return _Deferred(_encoder_class(name), name, device, dtype)


class _Deferred:
    """Stands for a model and loads it when an attribute is asked for that is not known before."""

    def __init__(self, kind: type, name: str, device: torch.device, dtype: torch.dtype):
        self._load = partial(kind.load, name, device, dtype)
        self.device = device
        self.dtype = dtype

    @cached_property
    def _model(self) -> object:
        return self._load()

    @property
    def files(self) -> tuple[str, ...]:
        """Weight files in use: none until they are."""
        return self._model.files if "_model" in vars(self) else ()

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)


def _segmenter_class(name: str) -> type:
    plugin = name.partition(":")[0]
    if plugin in plugins.names("vos.segmenters"):
        return plugins.load("vos.segmenters", plugin)
    _refuse_unknown(name, "vos.segmenters")
    from ..segmenters.sam import SamSegmenter

    return SamSegmenter


def _encoder_class(name: str) -> type:
    if name in plugins.names("vos.prior_encoders"):
        return plugins.load("vos.prior_encoders", name)
    _refuse_unknown(name, "vos.prior_encoders")
    from ..encoders.dinov2 import Dinov2Encoder

    return Dinov2Encoder


def _refuse_unknown(name: str, group: str) -> None:
    """A plain word that is neither a path nor a hub name is a misspelt plugin: list those there are."""
    if "/" not in name and not Path(name).exists() and not Path(name).suffix:
        plugins.load(group, name)
