"""Pyramidal Lucas-Kanade with a forward-backward check: no weights, works everywhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import PluginError
from ..structures import Frame

WINDOW = 21
"""Side of the window that is matched, pixels."""

LEVELS = 3
"""Halvings above the frame's own resolution."""

RETURN_ERROR = 1.0
"""A point is visible if, followed back, it ends within so many pixels of where it began."""


class LucasKanade:
    """See ``PointTracker``; needs OpenCV."""

    def __init__(self, device: torch.device):
        try:
            import cv2
        except ImportError as error:
            raise PluginError("--points lk needs OpenCV: pip install 'vos-track[points]'") from error
        self._cv2 = cv2
        self._device = device

    @classmethod
    def load(cls, name: str, device: torch.device) -> LucasKanade:
        return cls(device)

    def start(self, frame: Frame, points: Tensor) -> None:
        self._grey = self._grey_of(frame)
        self._points = points.cpu().numpy().astype(np.float32)

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        last, self._grey = self._grey, self._grey_of(frame)
        began = self._points.reshape(-1, 1, 2)
        ended, there = self._flow(last, self._grey, began)
        returned, back = self._flow(self._grey, last, ended)
        error = np.linalg.norm(returned - began, axis=2)
        inside = ((ended >= 0) & (ended <= np.array(frame.size[::-1]) - 1)).all(axis=2)
        visible = (there > 0) & (back > 0) & (error < RETURN_ERROR) & inside
        shape = self._points.shape
        self._points = ended.reshape(shape)
        return (
            torch.tensor(self._points, device=self._device),
            torch.tensor(visible.reshape(shape[:2]), device=self._device),
        )

    def replace(self, which: Tensor, points: Tensor) -> None:
        chosen = which.cpu().numpy()
        self._points[chosen] = points.cpu().numpy()[chosen]

    def state(self) -> dict:
        return {"points": self._points.copy()}

    def restore(self, frame: Frame, state: dict) -> None:
        self._grey = self._grey_of(frame)
        self._points = state["points"]

    def _grey_of(self, frame: Frame) -> np.ndarray:
        return self._cv2.cvtColor(frame.rgb, self._cv2.COLOR_RGB2GRAY)

    def _flow(self, last: np.ndarray, new: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(points):
            return points, np.zeros((0, 1), np.uint8)
        moved, status, _ = self._cv2.calcOpticalFlowPyrLK(
            last, new, points, None, winSize=(WINDOW, WINDOW), maxLevel=LEVELS
        )
        return moved, status
