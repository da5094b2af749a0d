"""Where objects are going: that tells which of two is the object when a mask that had jumped to both comes apart."""

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


@dataclass(frozen=True)
class Course:
    """The courses of N objects, in frame pixels.

    Attributes:
        centre: of the box in the last frame, (N, 2) xy; after a jump, where it would be without it.
        velocity: running mean of how far it goes in a frame, (N, 2) xy.
        area: usual area before the jump, (N,).
        held: frames for which a jump still counts, (N,) long; 0: there was none.
    """

    centre: Tensor
    velocity: Tensor
    area: Tensor
    held: Tensor

    @classmethod
    def begun(cls, boxes: Tensor, areas: Tensor) -> Course:
        """Begin the courses of objects with these boxes (N, 4) and areas (N,): they stand still."""
        centre = _centres(boxes)
        return cls(centre, torch.zeros_like(centre), areas.float(), torch.zeros_like(areas, dtype=torch.long))

    def expected(self) -> Tensor:
        """Return where the objects should be in the next frame, (N, 2) xy."""
        return self.centre + self.velocity

    def after(self, boxes: Tensor, areas: Tensor, usual_area: Tensor, parted: Tensor) -> Course:
        """Go on by a frame.

        Args:
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
        return Course(torch.where(found & free, now, going_on), velocity, area, held)


def _centres(boxes: Tensor) -> Tensor:
    """Return the centres (N, 2) xy of boxes (N, 4)."""
    return boxes.float().unflatten(1, (2, 2)).mean(1)
