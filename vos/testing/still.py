"""Trackers that leave every mask where it was given: stand-ins where a test is not about tracking."""

from __future__ import annotations

from typing import Any

import torch

from ..interfaces import FrameContext
from ..structures import FirstMask, Result, Tracked


class Still:
    """A tracker with no more than it must have: nothing moves. See :class:`~vos.interfaces.Tracker`."""

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        self.masks = torch.tensor(first_mask.masks())

    def step(self, context: FrameContext) -> Tracked:
        return Tracked(self.masks * 2.0 - 1, torch.ones(len(self.masks)))

    def observe(self, context: FrameContext, result: Result) -> None:
        pass


class EditableStill(Still):
    """The same whose objects can change, and which can be saved; it knows nothing of absent objects."""

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        self.masks = torch.cat([self.masks, torch.tensor(first_mask.masks())])

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        self.masks[rows] = torch.tensor(first_mask.masks())

    def remove(self, rows: list[int]) -> None:
        self.masks = self.masks[[row for row in range(len(self.masks)) if row not in rows]]

    def state(self) -> dict[str, Any]:
        return {"masks": self.masks.clone()}

    def restore(self, context: FrameContext, state: dict[str, Any]) -> None:
        self.masks = state["masks"]
