"""The location prior's parts that no published output covers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from vos.method import matching
from vos.trackers.persam import rivals


def test_a_contested_pixel_goes_to_the_object_that_looked_like_it():
    logits = torch.full((2, 4, 8), -5.0)
    logits[0] = 2.0  # claims everything
    logits[1, :, 4:] = 1.0  # the right half is claimed by both
    match = torch.full((2, 1, 2), 0.5)
    match[1, 0, 1] = 0.7  # and looks like the second
    contested = rivals.contest(logits, match, strength=40.0)
    assert (contested.argmax(0)[:, :3] == 0).all() and (contested.argmax(0)[:, 5:] == 1).all()
    assert (contested[0, :, 5:] < 0).all()  # lost, so the next mask prompt does not show it


def test_nobody_wins_what_nobody_claims():
    logits = torch.full((3, 4, 4), -1.0)
    match = torch.tensor([0.9, 0.1, 0.2])[:, None, None]
    assert torch.equal(rivals.contest(logits, match, strength=40.0), logits)


def test_one_object_has_nothing_to_contest():
    logits = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert rivals.contest(logits, torch.ones(1, 1, 1), strength=40.0) is logits


def test_the_advantage_is_bounded():
    logits = torch.tensor([10.0, 1.0])[:, None, None].expand(2, 4, 4)
    contested = rivals.contest(logits, torch.tensor([-1.0, 1.0])[:, None, None], strength=40.0)
    assert (contested.argmax(0) == 1).all()
    contested = rivals.contest(
        logits + torch.tensor([10.0, 0.0])[:, None, None], torch.tensor([-1.0, 1.0])[:, None, None], strength=40.0
    )
    assert (contested.argmax(0) == 0).all()


def pieces(*columns: int) -> torch.Tensor:
    """Logits (1, 8, 80), a grid of 2 x 20 patches, positive on some columns of patches."""
    logits = torch.full((1, 8, 80), -5.0)
    for column in columns:
        logits[:, :, 4 * column : 4 * column + 4] = 5.0
    return logits


def test_patches_that_touch_are_one_piece() -> None:
    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(4, 12, 21, generator=generator) < 0.4  # winding pieces, also such as touch at corners only
    inside[3] = False
    numbers = rivals.pieces(inside)
    assert torch.equal(numbers > 0, inside)
    for own, where in zip(numbers, inside, strict=True):
        labels, count = ndimage.label(where.numpy(), np.ones((3, 3)))
        assert len(own.unique()) - 1 == count == len({*zip(own[where].tolist(), labels[where].tolist(), strict=True)})


def test_a_contrast_weighs_foreground_against_background_of_the_same_frame():
    maps = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.6, 1.0])[None, :, None, None]
    first, last = matching.contrasts(maps).flatten().tolist()
    assert last == 0.5 and first == pytest.approx(1 / (1 + math.exp(-0.1 * matching.CONTRAST)), abs=1e-6)


def test_a_mask_that_is_too_large_keeps_its_most_likely_cells() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, -1.0], [5.0, 4.0, 3.0, -1.0], [2.0, -1.0, -2.0, -3.0]]).view(3, 2, 2)
    limited = rivals.limited(logits, torch.tensor([2, 3, 1]))
    assert (limited > 0).flatten(1).sum(1).tolist() == [2, 3, 1]
    assert torch.equal(limited[0], logits[0] - 3) and torch.equal(limited[1:], logits[1:])
    assert rivals.limited(logits, torch.full((3,), 9)) is logits


def test_a_tiny_object_is_the_piece_that_matches_best() -> None:
    logits = torch.cat([pieces(2, 3, 15)] * 3 + [pieces()])
    match = torch.zeros(4, 2, 20)
    match[:, :, 2], match[:, 0, 15] = 0.5, torch.tensor([0.4, 0.6, 0.6, 0.6])
    match[:, :, 9] = 1.0  # outside of the masks
    kept = rivals.in_one_piece(logits, match, torch.tensor([True, True, False, True])) > 0
    assert torch.equal(kept, torch.cat([pieces(2, 3), pieces(15), pieces(2, 3, 15), pieces()]) > 0)
