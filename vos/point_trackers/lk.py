"""Pyramidal Lucas-Kanade of OpenCV with a forward-backward check; needs no weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import PluginError, parameter
from ..state_file import State
from ..structures import Frame

PATCH_PIXELS = 21
"""Side in pixels of the patch around a point that is matched."""

LEVELS = 3
"""Halvings of the frame's resolution in the pyramid."""

RETURN_ERROR = 1.0
"""Largest distance in pixels between a visible point and where it ends when it is followed forth and back."""


class LucasKanade:
    """Lucas-Kanade. See :class:`~vos.interfaces.PointTracker`.

    Raises:
        PluginError: OpenCV is not installed.
    """

    def __init__(self, device: torch.device):
        try:
            import cv2
        except ImportError as error:
            raise PluginError(f"{parameter('points', 'lk')} needs OpenCV: pip install 'vos-track[points]'") from error
        self._cv2 = cv2
        self._device = device

    @classmethod
    def load(cls, name: str, device: torch.device) -> LucasKanade:
        """Make the point tracker, which has no weights.

        Raises:
            PluginError: OpenCV is not installed.
        """
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

    def state(self) -> State:
        return {"points": self._points.copy()}

    def restore(self, frame: Frame, state: State) -> None:
        self._grey = self._grey_of(frame)
        self._points = state["points"]

    def _grey_of(self, frame: Frame) -> np.ndarray:
        """Convert a frame to grey, (H, W) uint8."""
        return self._cv2.cvtColor(frame.rgb, self._cv2.COLOR_RGB2GRAY)

    def _flow(self, last: np.ndarray, new: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow points (M, 1, 2) from one grey frame into another; return them and whether each was found, (M, 1)."""
        if not len(points):
            return points, np.zeros((0, 1), np.uint8)
        nowhere = np.empty_like(points)  # the first guess, which is not read
        moved, status, _ = self._cv2.calcOpticalFlowPyrLK(
            last, new, points, nowhere, winSize=(PATCH_PIXELS, PATCH_PIXELS), maxLevel=LEVELS
        )
        return np.asarray(moved), np.asarray(status)
