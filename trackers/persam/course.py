"""Where objects are going, and how fast.

That tells how much room they need in the next frame, and which of two is the object when a mask that had jumped to both
comes apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

JUMP = 1.3
"""Size of a mask, as a multiple of its usual one, from which on it has taken in something else at once."""

HELD = 40
"""Frames after that in which the object is expected to go on as before."""

STEADY = 0.3
"""Weight of each new frame in the running mean of the velocity."""

START = 0.2
"""How far the edges of an object are thought to move at first, as a share of the mean side of its box."""

SLOWING = 0.9
"""Share of the pace that is left in each frame in which the edges move less."""


@dataclass(frozen=True)
class Course:
    """The courses of N objects, in frame pixels.

    Attributes:
        centre: of the box in the last frame, (N, 2) xy; after a jump, where it would be without it.
        velocity: running mean of how far it goes in a frame, (N, 2) xy.
        area: usual area before the jump, (N,).
        held: frames for which a jump still counts, (N,) long; 0: there was none.
        pace: how far the edges of its box move between two frames at most, of late, (N, 2) xy.
    """

    centre: Tensor
    velocity: Tensor
    area: Tensor
    held: Tensor
    pace: Tensor

    @classmethod
    def begun(cls, boxes: Tensor, areas: Tensor) -> Course:
        """Begin the courses of objects with these boxes (N, 4) and areas (N,): they stand still, but may start."""
        centre, none = _centres(boxes), torch.zeros_like(areas, dtype=torch.long)
        pace = START * (boxes[:, 2:] - boxes[:, :2] + 1).float().prod(1, keepdim=True).sqrt()
        return cls(centre, torch.zeros_like(centre), areas.float(), none, pace.expand_as(centre))

    def expected(self) -> Tensor:
        """Return where the objects should be in the next frame, (N, 2) xy."""
        return self.centre + self.velocity

    def after(self, last: Tensor, boxes: Tensor, areas: Tensor, usual_area: Tensor, parted: Tensor) -> Course:
        """Go on by a frame.

        Args:
            last: boxes of the masks until then, (N, 4).
            boxes: of the masks in it, (N, 4).
            areas: of the masks, (N,); an object without one stays where it was.
            usual_area: until then, (N,).
            parted: who has a twin that is being taken out of the mask, (N,) bool, so that the box is the object's own.
        """
        found = (areas > 0)[:, None]
        jumped = (self.held == 0) & (areas > JUMP * usual_area)
        held = torch.where(jumped, HELD, (self.held - 1).clamp_min(0))
        free = (held == 0)[:, None] | parted[:, None]
        now = _centres(boxes)
        velocity = torch.where(found & free, self.velocity.lerp(now - self.centre, STEADY), self.velocity)
        going_on = torch.where(found, self.centre + velocity, self.centre)
        area = torch.where(held == 0, usual_area, self.area)
        moved = (boxes - last).float().abs().unflatten(1, (2, 2)).amax(1)
        pace = torch.where(found, torch.maximum(SLOWING * self.pace, moved), self.pace)
        return Course(torch.where(found & free, now, going_on), velocity, area, held, pace)


def _centres(boxes: Tensor) -> Tensor:
    """Return the centres (N, 2) xy of boxes (N, 4)."""
    return boxes.float().unflatten(1, (2, 2)).mean(1)
