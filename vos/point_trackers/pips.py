"""PIPS as a point tracker: windows of 8 frames, one after the other, without delay.

The network is :mod:`vos.point_trackers.pips_network`.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import WeightsError, parameter
from ..state_file import State
from ..structures import Frame
from ..weights.tensors import read_tensors
from .pips_network import WINDOW_FRAMES, Pips

LONGEST_SIDE = 640
"""Pixels of the longest side to which larger frames are shrunk: about the size of those in training."""

VISIBLE = 0.5
"""Probability from which on a point counts as visible."""

SURELY_VISIBLE = 0.9
"""Probability from which on a point is surely visible; the next window begins on such a frame."""

LESS_SURE = 0.02
"""Step by which that probability is lowered until some frame reaches it."""


class PipsTracker:
    """PIPS. See :class:`~vos.interfaces.PointTracker`; ``pips:FILE`` names the published checkpoint.

    Each point has a window that begins where it was last surely visible. Until the window is full, its last frame is
    repeated, so that every frame has its answer at once. When it is full, the next one begins (the paper's re-start
    rule). The feature of a point stays that of its first frame. Each frame is encoded once; the last 8 maps are kept.
    """

    def __init__(self, network: Pips, device: torch.device):
        self.network = network.to(device).eval().requires_grad_(False)
        self._device = device

    @classmethod
    def load(cls, name: str, device: torch.device) -> PipsTracker:
        """Load a checkpoint without unpickling anything but tensors.

        Raises:
            WeightsError: no file was named, it is missing, damaged or of another network.
        """
        file = name.partition(":")[2]
        if not file:
            raise WeightsError(
                f"pips needs its checkpoint, model-000200000.pth: pass {parameter('points', 'pips:FILE')}"
            )
        tensors = read_tensors(Path(file))
        network = Pips()
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise WeightsError(
                f"{file}: these are not the weights of PIPS: {str(error).splitlines()[1].strip()}"
            ) from error
        return cls(network, device)

    def start(self, frame: Frame, points: Tensor) -> None:
        self._fit_to(frame)
        self._shape = points.shape
        self._maps = deque([self._encode(frame)], maxlen=WINDOW_FRAMES)
        self._places = self._to_input(points)  # (M, 2), at the beginning of each window
        self._ages = torch.zeros(len(self._places), dtype=torch.long)  # frames since then
        self._looks = self.network.sample(self._maps[-1], self._places)

    def state(self) -> State:
        tensors = {name: getattr(self, f"_{name}").clone() for name in ("places", "ages", "looks")}
        return {"shape": tuple(self._shape), "maps": list(self._maps), **tensors}

    def restore(self, frame: Frame, state: State) -> None:
        self._fit_to(frame)
        self._shape = torch.Size(state["shape"])
        self._maps = deque([each.to(self._device) for each in state["maps"]], maxlen=WINDOW_FRAMES)
        self._places, self._looks = state["places"].to(self._device), state["looks"].to(self._device)
        self._ages = state["ages"]

    def _fit_to(self, frame: Frame) -> None:
        """Compute how frames of this size relate to the network's input."""
        height, width = frame.size
        shrink = min(1.0, LONGEST_SIDE / max(height, width))
        self._size = [max(8, 8 * round(side * shrink / 8)) for side in (height, width)]
        self._scale = torch.tensor([self._size[1] / width, self._size[0] / height], device=self._device)
        self._limit = torch.tensor([width - 1.0, height - 1.0], device=self._device)

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        self._maps.append(self._encode(frame))
        self._ages += 1
        now = torch.empty_like(self._places)
        visible = torch.zeros(len(now), dtype=torch.bool, device=self._device)
        for age in self._ages.unique().tolist():
            chosen = (self._ages == age).nonzero()[:, 0].to(self._device)
            maps = list(self._maps)[-age - 1 :]
            window = torch.cat(maps + [maps[-1]] * (WINDOW_FRAMES - len(maps)))
            places, logits = self.network(window, self._places[chosen], self._looks[chosen])
            now[chosen] = places[-1, age]
            visible[chosen] = logits[age].sigmoid() > VISIBLE
            if age == WINDOW_FRAMES - 1:
                begin = _last_surely_visible(logits.sigmoid())
                self._places[chosen] = places[-1, begin, torch.arange(len(chosen), device=self._device)]
                self._ages[chosen.cpu()] = WINDOW_FRAMES - 1 - begin.cpu()
        points = (now + 0.5) / self._scale - 0.5
        visible &= ((points >= 0) & (points <= self._limit)).all(dim=1)
        return points.view(self._shape), visible.view(self._shape[:2])

    def replace(self, which: Tensor, points: Tensor) -> None:
        chosen = which.flatten().to(self._device)
        places = self._to_input(points)[chosen]
        self._places[chosen] = places
        self._looks[chosen] = self.network.sample(self._maps[-1], places)
        self._ages[chosen.cpu()] = 0

    def _encode(self, frame: Frame) -> Tensor:
        """Encode a frame as a feature map (1, 128, h, w)."""
        rgb = torch.tensor(frame.rgb, device=self._device).permute(2, 0, 1)[None].float()
        return self.network.encode(F.interpolate(rgb, self._size, mode="bilinear", antialias=True))

    def _to_input(self, points: Tensor) -> Tensor:
        """Convert points (N, P, 2) in frame pixels to input pixels, (N * P, 2)."""
        return (points.to(self._device).flatten(0, 1).float() + 0.5) * self._scale - 0.5


def _last_surely_visible(visibility: Tensor) -> Tensor:
    """Find the last frame (not frame 0) that reaches the best visibility level.

    Levels are :data:`SURELY_VISIBLE` and, in steps of :data:`LESS_SURE`, those below it.

    Args:
        visibility: probabilities (8, M).

    Returns:
        Frames (M,), 1 to 7.
    """
    steps = ((SURELY_VISIBLE - visibility[1:]).clamp_min(0) / LESS_SURE).ceil()
    passes = steps == steps.amin(dim=0)
    return WINDOW_FRAMES - 1 - passes.flip(0).int().argmax(dim=0)
