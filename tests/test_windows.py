"""Windows of the patch grid: where they lie, what is cut out and pasted back, which objects share a size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import vos
from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.testing.clip import clip, disc_labels, discs
from vos.trackers.persam import PerSAM, PerSamOptions
from vos.windows import Windows, cut, cut_patches, groups, paste

GRID = (36, 64)


def boxes(*each):
    return torch.tensor(each, dtype=torch.float32)


def twice(*edges):
    """Boxes twice as long around the same centres."""
    own = boxes(*edges)
    more = (own[:, 2:] - own[:, :2]) / 2
    return own + torch.cat([-more, more], dim=1)


def test_what_is_cut_out_is_pasted_back():
    windows = Windows(((0, 3), (20, 40)), (16, 20), GRID)
    maps = torch.randn(2, 3, 2 * GRID[0], 2 * GRID[1])
    shown = cut(maps, windows)
    assert shown.shape == (2, 3, 32, 40)
    assert torch.equal(shown[1], maps[1, :, 40:72, 80:120])
    whole = paste(shown, windows, outside=-8.0)
    inside = paste(torch.ones_like(shown), windows, outside=0.0) > 0
    assert torch.equal(whole[inside], maps[inside]) and (whole[~inside] == -8).all()
    one_for_all = cut(maps[:1], windows)
    assert torch.equal(one_for_all[1], maps[0, :, 40:72, 80:120])
    patches = maps[:, :, ::2, ::2].flatten(2).transpose(1, 2)
    assert torch.equal(cut_patches(patches, windows)[1].T.unflatten(1, (16, 20)), maps[1, :, 40:72:2, 80:120:2])
    assert cut(maps, None) is maps and paste(maps, None, 0.0) is maps


def test_a_window_shows_the_box_with_room_and_stays_on_the_grid():
    ((rows, windows),) = groups(twice([1, 30, 9, 35], [50, 10, 58, 15]), torch.zeros(2, dtype=torch.bool), GRID, 8)
    assert rows == [0, 1]
    assert windows.size == (12, 16)
    assert windows.corners == ((24, 0), (6, 46))


def test_lost_and_large_objects_are_apart_from_the_small_ones():
    lost = torch.tensor([False, True, False, False])
    each = twice([1, 1, 5, 5], [1, 1, 5, 5], [0, 0, 64, 30], [20, 20, 24, 24])
    (small, windows), (rest, whole) = groups(each, lost, GRID, 16)
    assert (small, rest) == ([0, 3], [1, 2])
    assert windows.size == (16, 16) and whole is None


def test_each_object_has_its_own_window_whatever_the_order_of_their_sizes():
    each = boxes([40, 20, 52, 30], [2, 2, 6, 6], [20, 10, 28, 18])
    ((rows, windows),) = groups(twice(*each.tolist()), torch.zeros(3, dtype=torch.bool), GRID, 16)
    assert rows == [0, 1, 2]
    for (top, left), (x0, y0, x1, y1) in zip(windows.corners, each.tolist(), strict=True):
        assert left <= x0 and x1 <= left + windows.size[1]
        assert top <= y0 and y1 <= top + windows.size[0]


def test_two_objects_of_about_a_size_share_one_pass():
    assert len(groups(twice([1, 1, 6, 6], [20, 20, 29, 27]), torch.zeros(2, dtype=torch.bool), GRID, 16)) == 1


def test_windows_change_little(either_lite):
    """Followed in windows and in all of the region, a disc is the same but for its edge."""
    frames = clip((240, 400))
    first, *rest = [next(frames) for _ in range(4)]
    shown = []
    for window in (0.0, 2.0):
        session = Session(PerSAM(PerSamOptions(window=window)), either_lite, SameEncoder())
        session.start(first, discs(1, (240, 400)))
        shown.append([session.step(frame).labels for frame in rest])
    for alone, windowed in zip(*shown, strict=True):
        assert np.count_nonzero(alone != windowed) < 0.2 * np.count_nonzero(alone)


def test_only_what_was_in_the_window_is_remembered(either_lite):
    """The memory of the first frame, which is of all of the region, is not kept at its length."""
    frames = clip((240, 400))
    session = Session(PerSAM(), either_lite, SameEncoder())
    session.start(next(frames), discs(2, (240, 400)))
    everywhere = session.tracker.objects.appearance.last.background.shape[1]
    assert (session.step(next(frames)).areas > 0).all()
    assert session.tracker.objects.appearance.last.background.shape[1] < everywhere


def test_an_object_joins_others_that_are_remembered_in_windows():
    frames = clip((240, 400))
    with vos.open_session(tracker="persam", device="cpu") as session:
        session.start(next(frames), discs(2, (240, 400)))
        session.step(next(frames))
        session.add_object(disc_labels((240, 400), 3) == 3)
        session.correct(1, disc_labels((240, 400), 3) == 1)
        result = session.step(next(frames))
    assert (result.areas > 0).all()


@pytest.mark.parametrize("changes", [{"point_grid": "frame"}, {"guided_attention": True, "attention": "sigmoid"}])
def test_what_wants_maps_at_frame_size_has_no_windows(either_lite, changes):
    shown = []
    for window in (0.0, 2.0):
        frames = clip((240, 400))
        session = Session(PerSAM(PerSamOptions(window=window, **changes)), either_lite, SameEncoder())
        session.start(next(frames), discs(1, (240, 400)))
        shown.append(session.step(next(frames)).labels)
    assert np.array_equal(*shown) and shown[0].any()


def test_an_object_that_shrinks_is_looked_for_in_all_of_the_region(either_lite):
    """Covered but for a part, it may come out anywhere."""
    frames = clip((240, 400))
    first, second = next(frames), next(frames)
    session = Session(PerSAM(), either_lite, SameEncoder())
    session.start(first, discs(1, (240, 400)))
    looked = []
    decode = session.tracker._decode
    session.tracker._decode = lambda view, *more, **named: (
        looked.append(view.embedding.windows) or decode(view, *more, **named)
    )
    session.step(second)
    session.tracker.objects = replace(session.tracker.objects, usual_area=2 * session.tracker.objects.usual_area)
    session.step(second)
    assert looked[0] is not None and looked[1] is None
