"""One frame encoded ahead: what is encoded where and when, and that results do not depend on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from vos.command.cli import main
from vos.encoders.same import SameEncoder
from vos.engine.ahead import with_following
from vos.engine.session import Session
from vos.errors import InputError
from vos.pipeline import follow
from vos.regions import Region
from vos.segmenters.lite import LiteSegmenter
from vos.structures import Frame
from vos.testing.clip import clip, discs
from vos.trackers.persam import PerSAM, PerSamOptions
from vos.trackers.persam.looks import Plan

SIZE, COUNT, WAIT_S = (180, 320), 6, 60


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def frames_of(arrays) -> Iterator[Frame]:
    for index, rgb in enumerate(arrays):
        yield Frame(index, index / 24, rgb)


def results(segmenter, arrays, mask, tracker=None, **options):
    session = Session(tracker or PerSAM(), segmenter, SameEncoder())
    return list(follow(session, frames_of(arrays), mask, **options))


def arrays_of(count=COUNT):
    return [frame.rgb for frame in islice(clip(SIZE), count)]


def test_each_frame_is_paired_with_the_next():
    assert list(with_following([])) == []
    assert list(with_following("abc")) == [("a", "b"), ("b", "c"), ("c", None)]


def test_the_frame_before_an_error_comes_first():
    def broken():
        yield "a"
        raise InputError("no more")

    pairs = with_following(broken())
    assert next(pairs) == ("a", None)
    with pytest.raises(InputError, match="no more"):
        next(pairs)


@pytest.mark.parametrize("model", ["lite", "tiny_sam"])
@pytest.mark.parametrize("jump", [False, True])
def test_results_do_not_depend_on_it(model, jump, request):
    segmenter, arrays, mask = request.getfixturevalue(model), arrays_of(5), discs(2, SIZE)
    if jump:  # in which a planned region does not serve
        arrays = [np.roll(rgb, 60 * (index // 3), axis=1) for index, rgb in enumerate(arrays)]
    with threads(2):
        session, (first, *rest) = Session(PerSAM(), segmenter, SameEncoder()), frames_of(arrays)
        plain = [session.start(first, mask)]
        with threads(1 if getattr(segmenter, "light", False) else 2):
            plain += [session.step(frame) for frame in rest]
        ahead = results(segmenter, arrays, mask, ahead=True)
        assert torch.get_num_threads() == 2
    for one, other in zip(plain, ahead, strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.scores, other.scores)


def test_the_next_frame_is_encoded_while_this_one_is_decoded(lite, monkeypatch):
    arrays, mask = arrays_of(4), discs(1, SIZE)
    encoded = [threading.Event() for _ in arrays]
    embed, decode, at = lite.embed, lite.decode, []

    def noted(rgb, region=None):
        [index] = [index for index, each in enumerate(arrays) if each is rgb]
        at.append((index, threading.current_thread().name.rpartition("_")[0]))
        encoded[index].set()
        return embed(rgb, region)

    def waiting(*given, **named):
        assert encoded[min(stepped + 1, len(arrays) - 1)].wait(WAIT_S)
        return decode(*given, **named)

    monkeypatch.setattr(lite, "embed", noted)
    monkeypatch.setattr(lite, "decode", waiting)
    session, stepped = Session(PerSAM(PerSamOptions(mend=False)), lite, SameEncoder()), 1
    with threads(2):
        for result in follow(session, frames_of(arrays), mask, ahead=True):
            stepped = result.frame.index + 1
    assert sorted(at) == [(0, ""), (0, ""), (1, "vos-tracker"), (2, "vos-encoder"), (3, "vos-encoder")]
    assert session.seconds["encode"] > 0


class Saved:
    """An earlier run as far as frame 3, in the place of a journal."""

    frame = 3

    def __init__(self, state):
        self._state = state

    def take_up(self, frame, session):
        if frame.index == self.frame:
            return session.restore(frame, self._state)
        return session.start(frame)


def test_a_run_goes_on_from_a_state_to_the_same_results(lite):
    arrays, mask = [np.roll(rgb, 60 * (index // 3), axis=1) for index, rgb in enumerate(arrays_of())], discs(2, SIZE)
    with threads(2):
        session, states, whole = Session(PerSAM(), lite, SameEncoder()), {}, []
        for result in follow(session, frames_of(arrays), mask, ahead=True):
            states[result.frame.index] = session.state()
            whole.append(result)
        rest = results(lite, arrays, mask, saved=Saved(states[Saved.frame]), ahead=True)
    for one, other in zip(whole[Saved.frame + 1 :], rest[Saved.frame + 1 :], strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.scores, other.scores)
    assert whole[-1].labels.any()


@pytest.mark.parametrize("count", [1, 2])
def test_one_thread_and_other_trackers_leave_nothing_to_do_ahead(count, lite, monkeypatch):
    embed, threads_seen = lite.embed, set()

    class Blind:
        """Has a tracker's three methods only."""

        def __init__(self):
            tracker = PerSAM()
            self.start, self.step, self.observe = tracker.start, tracker.step, tracker.observe

    def noted(rgb, region=None):
        threads_seen.add(threading.current_thread())
        return embed(rgb, region)

    monkeypatch.setattr(lite, "embed", noted)
    with threads(count):
        results(lite, arrays_of(3), discs(1, SIZE), Blind() if count > 1 else None, ahead=True)
    assert threads_seen == {threading.main_thread()}


def test_an_error_comes_at_its_frame_and_the_threads_are_as_before(lite, monkeypatch):
    arrays, embed, seen = arrays_of(4), lite.embed, []

    def failing(rgb, region=None):
        if rgb is arrays[3]:
            raise MemoryError("full")
        return embed(rgb, region)

    monkeypatch.setattr(lite, "embed", failing)
    with threads(2):
        with pytest.raises(MemoryError, match="full"):
            for result in follow(
                Session(PerSAM(), lite, SameEncoder()),
                frames_of(arrays),
                discs(1, SIZE),
                ahead=True,
            ):
                seen.append(result.frame.index)
        assert torch.get_num_threads() == 2
    assert seen == [0, 1, 2]
    assert not [each for each in threading.enumerate() if each.name.startswith(("vos-encoder", "vos-tracker"))]


def test_the_command_computes_on_so_many_threads(tmp_path, monkeypatch, drawn):
    seen, embed = [], LiteSegmenter.embed

    def noted(self, rgb, region=None):
        seen.append((threading.current_thread().name.rpartition("_")[0], torch.get_num_threads()))
        return embed(self, rgb, region)

    monkeypatch.setattr(LiteSegmenter, "embed", noted)
    video, mask = drawn
    given = [str(video), "--first-mask", str(mask), "--tracker", "persam", "--save", "masks", "--quiet"]
    with threads(1):
        assert main([*given, "--threads", "4", "-o", str(tmp_path / "four")]) == 0
        # the first frame is learned before there are threads; then both begin at once
        assert seen[:2] == [("", 4)] * 2
        assert sorted(seen[2:]) == [("vos-encoder", 2), ("vos-encoder", 2), ("vos-tracker", 2)]
        assert torch.get_num_threads() == 1
    record = json.loads((tmp_path / "four/run.json").read_text())
    assert record["options"]["threads"] == 4 and record["machine"]["threads"] == 4


@pytest.fixture
def drawn(tmp_path):
    """A folder of pictures and a first mask."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, rgb in enumerate(arrays_of(4)):
        Image.fromarray(rgb).save(folder / f"{index:05d}.png")
    Image.fromarray(discs(1, SIZE).labels).save(tmp_path / "mask.png")
    return folder, tmp_path / "mask.png"


def test_a_planned_region_serves_while_it_shows_what_is_needed():
    plan, needed = Plan(Region(100, 50, 160, 90)), Region(110, 60, 120, 68)
    assert plan.serves(Region(105, 52, 150, 84), needed)
    assert not plan.serves(Region(105, 52, 150, 84), Region(90, 60, 120, 68))  # it moved out of it
    assert not plan.serves(Region(120, 65, 80, 45), Region(122, 66, 70, 39))  # it became small
    assert not plan.serves(Region(160, 40, 60, 107), Region(165, 45, 40, 97))  # it became tall
    assert not Plan(None).serves(Region(0, 0, 9, 9), Region(0, 0, 9, 9))
    assert Plan.restored(None) is None and Plan.restored({"region": None}) == Plan(None)
    assert Plan.restored({"region": vars(plan.region)}) == plan
