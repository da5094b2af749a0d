"""CoTracker (Karaev et al.) as a point tracker, through its own package or ``torch.hub``.

Both are used only when this point tracker is asked for.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import PluginError, parameter
from ..state_file import State
from ..structures import Frame
from ..weights.licences import tell_licence

WINDOW_FRAMES = 16
"""Frames that the predictor sees at once. A point is queried at its place in the oldest of them that has it."""

INPUT_SIZE = (384, 512)
"""Height and width at which the published predictor works; frames are kept at this size, which bounds memory."""

HUB = ("facebookresearch/co-tracker", "cotracker3_offline")
"""Repository and name of the model for ``torch.hub``."""


class CoTracker:
    """CoTracker. See :class:`~vos.interfaces.PointTracker`.

    ``cotracker`` names the hub's model, ``cotracker:FILE`` a checkpoint on disk. The answer for a frame is that of the
    last frame of a window that ends there (latency 0). That suits a live stream; it costs more than the published
    streaming mode, which answers eight frames late.

    Args:
        predictor: called as ``predictor(video (1, T, 3, H, W), queries=(1, M, 3) of t, x, y)``, it returns tracks
            (1, T, M, 2) and visibility (1, T, M), as ``CoTrackerPredictor`` does.
        device: where the predictor and the points are.
    """

    def __init__(self, predictor: nn.Module, device: torch.device):
        self._predictor = predictor
        self._device = device

    @classmethod
    def load(cls, name: str, device: torch.device) -> CoTracker:
        """Load the predictor.

        Raises:
            PluginError: neither the package nor the hub's copy is there.
        """
        file = name.partition(":")[2]
        try:
            if file:
                from cotracker.predictor import CoTrackerPredictor

                predictor = CoTrackerPredictor(checkpoint=file)
            else:
                predictor = torch.hub.load(*HUB)
        except Exception as error:  # of whatever package or network stands behind it
            raise PluginError(
                f"{parameter('points', 'cotracker')} needs the hub's cached model or the package "
                f"(github.com/facebookresearch/co-tracker, cotracker:FILE): {error}"
            ) from error
        tell_licence(name, "cotracker")
        return cls(predictor.to(device).eval(), device)

    def start(self, frame: Frame, points: Tensor) -> None:
        self._fit_to(frame)
        self._shape = points.shape
        self._frames = deque([self._shrunk(frame)], maxlen=WINDOW_FRAMES)
        places = self._to_input(points)
        self._history = deque([places], maxlen=WINDOW_FRAMES)  # where each point was, in each frame of the window
        self._ages = torch.zeros(len(places), dtype=torch.long, device=self._device)

    def state(self) -> State:
        return {
            "shape": tuple(self._shape),
            "frames": list(self._frames),
            "history": list(self._history),
            "ages": self._ages.clone(),
        }

    def restore(self, frame: Frame, state: State) -> None:
        self._fit_to(frame)
        self._shape = torch.Size(state["shape"])
        self._frames = deque([each.to(self._device) for each in state["frames"]], maxlen=WINDOW_FRAMES)
        self._history = deque([each.to(self._device) for each in state["history"]], maxlen=WINDOW_FRAMES)
        self._ages = state["ages"].to(self._device)

    def _fit_to(self, frame: Frame) -> None:
        """Compute how frames of this size relate to the predictor's input."""
        height, width = frame.size
        self._scale = torch.tensor([INPUT_SIZE[1] / width, INPUT_SIZE[0] / height], device=self._device)
        self._limit = torch.tensor([width - 1.0, height - 1.0], device=self._device)

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        self._frames.append(self._shrunk(frame))
        self._ages = (self._ages + 1).clamp_max(len(self._frames) - 1)
        history = torch.stack(list(self._history)[-len(self._frames) + 1 :])
        began = len(history) - self._ages  # index of each query's frame within the window
        queries = torch.cat([began[:, None].float(), history[began, torch.arange(len(began))]], dim=1)
        tracks, visibility = self._predictor(torch.stack(list(self._frames))[None], queries=queries[None])
        now = tracks[0, -1].float()
        self._history.append(now)
        points = (now + 0.5) / self._scale - 0.5
        visible = (visibility[0, -1] > 0.5) & ((points >= 0) & (points <= self._limit)).all(dim=1)
        return points.view(self._shape), visible.view(self._shape[:2])

    def replace(self, which: Tensor, points: Tensor) -> None:
        chosen = which.flatten().to(self._device)
        self._history[-1] = torch.where(chosen[:, None], self._to_input(points), self._history[-1])
        self._ages[chosen] = 0

    def _shrunk(self, frame: Frame) -> Tensor:
        """Resize a frame to the predictor's input, (3, h, w) float."""
        rgb = torch.tensor(frame.rgb, device=self._device).permute(2, 0, 1)[None].float()
        return F.interpolate(rgb, INPUT_SIZE, mode="bilinear", antialias=True)[0]

    def _to_input(self, points: Tensor) -> Tensor:
        """Convert points (N, P, 2) in frame pixels to input pixels, (N * P, 2)."""
        return (points.to(self._device).flatten(0, 1).float() + 0.5) * self._scale - 0.5
