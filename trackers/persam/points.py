"""Points of the first frame, propagated by a point tracker, as prompts of the later frames."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import plugins
from ...errors import PluginError
from ...interfaces import PointTracker
from ...structures import Frame


def load_point_tracker(name: str, device: torch.device) -> PointTracker:
    """Load a point tracker by name; what follows a colon is its own argument, as in ``pips:FILE``.

    Raises:
        PluginError: there is none of this name, or it fails to load.
        WeightsError: its weights are missing or do not fit.
    """
    return plugins.load("vos.point_trackers", name.partition(":")[0]).load(name, device)


class PropagatedPoints:
    """The prompts' points of N objects, followed from frame to frame.

    A point that is lost is drawn anew where the confidence map would have it, inside the last mask,
    so that every object always has all of its points.

    Args:
        tracker: follows them.
    """

    def __init__(self, tracker: PointTracker):
        self._tracker = tracker

    def start(self, frame: Frame, points: Tensor) -> None:
        """Take the points (N, P, 2) of a frame, in frame pixels; the earlier ones are forgotten."""
        self._frame = frame
        self.points = points
        self._tracker.start(frame, points)

    def step(self, frame: Frame, anew: Tensor) -> Tensor:
        """The points in the next frame, (N, P, 2).

        Args:
            frame: the next one.
            anew: where a lost point goes, (N, P, 2).
        """
        moved, visible = self._tracker.step(frame)
        self._frame = frame
        self.points = torch.where(visible[..., None], moved, anew)
        if not visible.all():
            self._tracker.replace(~visible, self.points)
        return self.points

    def state(self) -> dict:
        """As a dictionary, see :mod:`vos.state_file`.

        Raises:
            PluginError: the point tracker cannot be saved.
        """
        if not hasattr(self._tracker, "state"):
            raise PluginError(f"{type(self._tracker).__name__}: this point tracker cannot be saved")
        return {"points": self.points, "tracker": self._tracker.state()}

    def restore(self, frame: Frame, state: dict, device: torch.device) -> None:
        """Take up a state of this frame, instead of :meth:`start`."""
        self._frame = frame
        self.points = state["points"].to(device)
        self._tracker.restore(frame, state["tracker"])

    def more(self, points: Tensor) -> None:
        """Objects have joined: theirs, (M, P, 2), come after those there are."""
        self.start(self._frame, torch.cat([self.points, points]))

    def anew(self, index: Tensor, points: Tensor) -> None:
        """Objects of these rows (M,) were corrected: theirs are now (M, P, 2)."""
        self.start(self._frame, self.points.index_copy(0, index, points))

    def keep(self, kept: Tensor) -> None:
        """Only objects where ``kept`` (N,) holds are left."""
        self.start(self._frame, self.points[kept])
