"""Propagates the points of the first frame with a point tracker, as prompts of the later frames."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import plugins
from ...errors import PluginError
from ...interfaces import PointTracker
from ...state_file import State
from ...structures import Frame


def load_point_tracker(name: str, device: torch.device) -> PointTracker:
    """Load a point tracker by name; it reads what follows a colon itself, as in ``pips:FILE``.

    Raises:
        PluginError: there is none of this name, or it fails to load.
        WeightsError: its weights are missing or do not fit.
    """
    return plugins.load("vos.point_trackers", name.partition(":")[0]).load(name, device)


class PropagatedPoints:
    """Points of N objects that a point tracker follows from frame to frame, as prompts.

    Every object always has all of its points: a lost point is replaced by the one that the confidence map would
    choose inside the last mask.

    Args:
        tracker: follows the points.
    """

    def __init__(self, tracker: PointTracker):
        self._tracker = tracker

    def start(self, frame: Frame, points: Tensor) -> None:
        """Follow the points (N, P, 2) of a frame, in frame pixels, in the place of all earlier ones."""
        self._frame = frame
        self.points = points
        self._tracker.start(frame, points)

    def step(self, frame: Frame, replacements: Tensor) -> Tensor:
        """Follow the points into the next frame, (N, P, 2).

        Args:
            frame: the next frame.
            replacements: one for each point, in case it is lost, (N, P, 2).
        """
        moved, visible = self._tracker.step(frame)
        self._frame = frame
        self.points = torch.where(visible[..., None], moved, replacements)
        if not visible.all():
            self._tracker.replace(~visible, self.points)
        return self.points

    def state(self) -> State:
        """Return the points and the point tracker's state, see :mod:`vos.state_file`.

        Raises:
            PluginError: the point tracker cannot be saved.
        """
        if not hasattr(self._tracker, "state"):
            raise PluginError(f"{type(self._tracker).__name__}: this point tracker cannot be saved")
        return {"points": self.points, "tracker": self._tracker.state()}

    def restore(self, frame: Frame, state: State, device: torch.device) -> None:
        """Resume from a state of this frame, instead of :meth:`start`."""
        self._frame = frame
        self.points = state["points"].to(device)
        self._tracker.restore(frame, state["tracker"])

    def add(self, points: Tensor, order: Tensor | None = None) -> None:
        """Append the points (M, P, 2) of objects that join; then sort the rows by ``order`` (N + M,), if given."""
        joined = torch.cat([self.points, points])
        self.start(self._frame, joined if order is None else joined[order])

    def correct(self, index: Tensor, points: Tensor) -> None:
        """Put the points (M, P, 2) of corrected objects in the place of these rows (M,)."""
        self.start(self._frame, self.points.index_copy(0, index, points))

    def keep(self, kept: Tensor) -> None:
        """Drop the points of objects where ``kept`` (N,) does not hold."""
        self.start(self._frame, self.points[kept])
