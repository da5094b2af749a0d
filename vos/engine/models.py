"""Makes trackers, segmenters and prior encoders by name, as given to :func:`vos.open_session`.

A plugin of that name comes first, see :mod:`vos.plugins`. Any other name of a segmenter or prior encoder
is a folder or a hub name, whose weights tell which model they are of.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from .. import plugins
from ..errors import InputError, PluginError, parameter
from ..interfaces import PriorEncoder, Segmenter, Tracker

Model = TypeVar("Model", Segmenter, PriorEncoder)
Loaded = TypeVar("Loaded", covariant=True)

Name = str | PathLike[str]
"""Name of a model; a file or folder may also be a path."""


def new_tracker(name: Name, published: bool = False, points: str = "none", **changes: object) -> Tracker:
    """Make a tracker, with options of its own class.

    Args:
        name: an installed tracker; what follows a colon is its option ``weights``.
        published: start from the options of the released scripts, instead of the defaults.
        points: point tracker that propagates the prompts, or ``none``.
        **changes: options to change from those.

    Raises:
        InputError: the tracker has no such options, or a name is no text.
        PluginError: there is no such tracker, or it is none by its methods.
    """
    points = _text("points", points)
    name, colon, weights = _text("tracker", name).partition(":")
    kind = plugins.load("vos.trackers", name)
    if colon and not weights:
        raise InputError(f"{name}: nothing stands after the colon; name weights there, or leave it out")
    if colon:
        changes["weights"] = weights
    if points != "none":
        changes["points"] = points
    if not (published or changes):
        return _checked_tracker(name, kind)
    unknown = changes.keys() - (inspect.signature(kind.Options).parameters.keys() if hasattr(kind, "Options") else ())
    if "weights" in unknown:
        raise InputError(f"{name}:{weights}: this tracker takes nothing after a colon")
    if unknown:
        raise InputError(f"{name}: this tracker has no option {min(unknown)}")
    try:
        options = kind.Options.published(**changes) if published else kind.Options(**changes)
    except (TypeError, AttributeError) as error:
        raise InputError(f"{name}: {error}") from error
    return _checked_tracker(name, kind, options)


def _checked_tracker(name: str, kind: type[Tracker], *options: object) -> Tracker:
    """Make a tracker; raise a PluginError for a class that breaks the contract of a tracker."""
    try:
        tracker = kind(*options)
    except TypeError as error:
        raise PluginError(f"{name}: this tracker cannot be made as vos.interfaces.Tracker says: {error}") from error
    missing = [each for each in ("start", "step", "observe") if not callable(getattr(tracker, each, None))]
    if missing:
        raise PluginError(f"{name}: this tracker lacks {', '.join(missing)}, see vos.interfaces.Tracker")
    return tracker


def load_segmenter(name: Name, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """Load a segmenter.

    Args:
        name: ``lite``, ``lite:FILE``, a short name such as ``sam-vit-h``, ``sam-hq-vit-h`` or ``sam2-large``, a
            folder, a ``.pth`` file, a hub name, or an installed plugin. A plugin may take an argument after a colon,
            as ``segment-anything:FILE`` does.
        device: the device to run on.
        dtype: the precision to run in.

    Raises:
        InputError: the name is no text.
        PluginError: there is no such segmenter.
        WeightsError: the weights are not there or do not fit.
    """
    name = _text("model", name)
    return _segmenter_class(name).load(name, device, dtype)


def load_encoder(name: Name, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
    """Load a prior encoder.

    Args:
        name: ``same``, a short name such as ``dinov2-large``, a folder, a hub name, or an installed plugin, which may
            take an argument after a colon.
        device: the device to run on.
        dtype: the precision to run in.

    Raises:
        InputError: the name is no text.
        PluginError: there is no such prior encoder.
        WeightsError: the weights are not there or do not fit.
    """
    name = _text("prior", name)
    return _encoder_class(name).load(name, device, dtype)


def defer_segmenter(name: Name, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """Look up a segmenter by name, as :func:`load_segmenter`, but load its weights on first use only."""
    name = _text("model", name)
    return _DeferredSegmenter(_segmenter_class(name), name, device, dtype)


def defer_encoder(name: Name, device: torch.device, dtype: torch.dtype, size: int | None = None) -> PriorEncoder:
    """Look up a prior encoder by name, as :func:`load_encoder`, but load its weights on first use only.

    Args:
        name: as for :func:`load_encoder`.
        device: the device to run on.
        dtype: the precision to run in.
        size: pixels of the long side of its input; None: its default.

    Raises:
        InputError: the size is no positive integer, the name is no text, or the encoder's input has no size of its own.
        PluginError: there is no such prior encoder.
    """
    name = _text("prior", name)
    kind = _encoder_class(name)
    if size is not None and not (isinstance(size, Integral) and size >= 1):
        raise InputError(f"{parameter('prior_size', size)}: must be 1 or more, a whole number of pixels")
    if size is not None and not hasattr(kind, "long_side"):
        raise InputError(
            f"{parameter('prior_size', size)}: the prior {name} has no input of its own to be of this size"
        )
    return _DeferredEncoder(kind, name, device, dtype, {} if size is None else {"long_side": size})


class _Deferred(Generic[Model]):
    """Stands in for a model, and loads it when an attribute is asked for that only the model has."""

    def __init__(
        self,
        kind: type[_Loads[Model]],
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._load: Callable[[], Model] = partial(kind.load, name, device, dtype)
        self._settings = dict(settings or {})
        self.light = getattr(kind, "light", False)
        self.device = device
        self.dtype = dtype

    @cached_property
    def _model(self) -> Model:
        loaded = self._load()
        for attribute, value in self._settings.items():
            setattr(loaded, attribute, value)
        return loaded

    @property
    def files(self) -> tuple[str, ...]:
        """Weight files in use; none before the model is loaded."""
        return self._model.files if "_model" in vars(self) else ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for such, also of an object that has no attributes yet
            raise AttributeError(name)
        return getattr(self._model, name)


class _DeferredSegmenter(_Deferred[Segmenter]):
    """Stands in for a segmenter."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
        return load_segmenter(name, device, dtype)


class _DeferredEncoder(_Deferred[PriorEncoder]):
    """Stands in for a prior encoder."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
        return load_encoder(name, device, dtype)


class _Loads(Protocol[Loaded]):
    """A class that loads models: of its own kind, or of the kind that the weights are of."""

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Loaded: ...


def _segmenter_class(name: str) -> type[_Loads[Segmenter]]:
    """Find the class for a name of :func:`load_segmenter`; raise a PluginError for an unknown word."""
    plugin = name.partition(":")[0]
    if plugin in plugins.names("vos.segmenters"):
        return plugins.load("vos.segmenters", plugin)
    _refuse_unknown(name, "vos.segmenters")
    from ..segmenters.any_family import AnySegmenter

    return AnySegmenter


def _encoder_class(name: str) -> type[_Loads[PriorEncoder]]:
    """Find the class for a name of :func:`load_encoder`; raise a PluginError for an unknown word."""
    plugin = name.partition(":")[0]
    if plugin in plugins.names("vos.prior_encoders"):
        return plugins.load("vos.prior_encoders", plugin)
    _refuse_unknown(name, "vos.prior_encoders")
    from ..encoders.any_family import AnyEncoder

    return AnyEncoder


def _refuse_unknown(name: str, group: str) -> None:
    """Raise a PluginError, which lists the plugins there are, for a word that is neither a path nor a hub name."""
    if "/" not in name and not Path(name).exists() and not Path(name).suffix:
        plugins.load(group, name)


def _text(name: str, given: object) -> str:
    """Return the value of a parameter that names something, a text or a path, as a text.

    Raises:
        InputError: it is neither.
    """
    text = fspath(given) if isinstance(given, PathLike) else given
    if not isinstance(text, str):
        raise InputError(f"{parameter(name, str(given))}: must be a name or a path, not of type {type(given).__name__}")
    return text
