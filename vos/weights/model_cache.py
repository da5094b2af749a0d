"""Keeps models loaded from one session to the next, for processes that follow many videos.

:func:`vos.open_session` puts segmenters and prior encoders there, and trackers their networks, if they are
:class:`Borrowing`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, runtime_checkable

Model = TypeVar("Model")

KEPT = 6
"""Models that are kept: a segmenter, a prior encoder and a tracker's network each for two kinds of session."""


class ModelCache:
    """Models by what they were made from; of more than a few, those that were not used for longest are dropped.

    A model keeps nothing of a session, so that sessions may share it one after the other.

    Args:
        kept: number of models that are kept.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._models: dict[Hashable, object] = {}

    def get(self, key: Hashable, make: Callable[[], Model]) -> Model:
        """Return the model for a key, made on first use.

        Args:
            key: all that the model depends on.
            make: makes it.

        Raises:
            VosError: as ``make`` does; nothing is kept then.
        """
        model = self._models.pop(key, None) or make()
        self._models[key] = model  # the last one is the one that was used last
        while len(self._models) > self._kept:
            del self._models[next(iter(self._models))]
        return model  # type: ignore[return-value]


@runtime_checkable
class Borrowing(Protocol):
    """A tracker with a network of its own, which it gets from a cache when it starts.

    Attributes:
        models: the cache; one of the tracker's own, until the session's takes its place.
    """

    models: ModelCache


def lend(models: ModelCache, borrower: object) -> None:
    """Let a tracker get its network from a cache that others use too, if it has one."""
    if isinstance(borrower, Borrowing):
        borrower.models = models
