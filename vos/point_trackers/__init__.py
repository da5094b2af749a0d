"""Point trackers: where given points of a frame are in the next ones."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from .. import plugins
from ..structures import Frame


class PointTracker(Protocol):
    """Follows points; made by ``Class.load(name, device)``, ``name`` as given to ``--points``.

    Points are independent of each other; their arrangement as (N, P) is the caller's. Every answer
    comes with its own frame: a network that wants a window of frames pads it (latency 0), so
    that a live stream is followed as it comes.
    """

    def start(self, frame: Frame, points: Tensor) -> None:
        """Take points (N, P, 2) xy in frame pixels; also called again, to begin anew."""
        ...

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        """Points (N, P, 2) in the next frame, and (N, P) bool: whether each is visible there."""
        ...

    def replace(self, which: Tensor, points: Tensor) -> None:
        """Put some points elsewhere on the last frame.

        Args:
            which: (N, P) bool.
            points: (N, P, 2); only the rows of ``which`` are read.
        """
        ...

    def state(self) -> dict:
        """All that later frames depend on, as ``Tracker.state``; it and ``restore`` may be left out."""
        ...

    def restore(self, frame: Frame, state: dict) -> None:
        """Take a state up, instead of ``start``; ``frame`` is the one last followed then."""
        ...


def load_point_tracker(name: str, device) -> PointTracker:
    """A point tracker by name; what follows a colon is its own argument, as in ``pips:FILE``.

    Raises:
        PluginError: there is none of this name, or it fails to load.
        WeightsError: its weights are missing or do not fit.
    """
    return plugins.load("vos.point_trackers", name.partition(":")[0]).load(name, device)
