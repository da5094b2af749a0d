"""Where PerSAM looks: what the next frame should show of the objects."""

from __future__ import annotations

import torch
from torch import Tensor

from vos.trackers.persam.looks import with_room
from vos.trackers.persam.options import Settled

OPTIONS = Settled(zoom=1.5)


def box(left: float, top: float, right: float, bottom: float) -> Tensor:
    """A box of inclusive edges, (1, 4)."""
    return torch.tensor([[left, top, right, bottom]], dtype=torch.float32)


def test_each_box_gets_room_by_its_own_size() -> None:
    small, large = box(0, 0, 9, 19), box(100, 0, 199, 19)
    torch.testing.assert_close(with_room(OPTIONS, small), box(-2.5, -5, 11.5, 24))
    torch.testing.assert_close(with_room(OPTIONS, torch.cat([small, large])), box(-2.5, -5, 224, 24))


def test_there_is_room_for_what_moves() -> None:
    pace = torch.tensor([[30.0, 2.0]])
    torch.testing.assert_close(with_room(OPTIONS, box(0, 0, 9, 19), pace), box(-30, -5, 39, 24))


def test_the_joined_box_is_lengthened() -> None:
    boxes = torch.cat([box(10, 10, 19, 19), box(90, 10, 99, 19)])
    torch.testing.assert_close(with_room(Settled(zoom=1.0), boxes, room=1.1), box(5.5, 9.5, 103.5, 19.5))
