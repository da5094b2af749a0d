"""The engine on real frames: what is encoded and decoded how often, ids, absence, streaming."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import vos
from vos.encoders.same import SameEncoder
from vos.engine import Session
from vos.errors import InputError, PluginError
from vos.first_mask import first_mask_from_array
from vos.structures import Frame
from vos.trackers.persam import PerSAM
from vos.trackers.persam_f import PerSAMF


class Counting:
    """A segmenter that counts its calls."""

    def __init__(self, segmenter):
        self._segmenter = segmenter
        self.calls = Counter()
        self.rows = []

    def __getattr__(self, name):
        return getattr(self._segmenter, name)

    def embed(self, *args):
        self.calls["embed"] += 1
        return self._segmenter.embed(*args)

    def decode(self, embedding, prompts, *rest):
        self.calls["decode"] += 1
        self.rows.append(len(prompts.points))
        return self._segmenter.decode(embedding, prompts, *rest)


@pytest.fixture(scope="module")
def clip(published):
    arrays = published("frames_multi")
    return [Frame(i, i / 24, rgb) for i, rgb in enumerate(arrays["frames"])], arrays["labels"]


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize("tracker", [PerSAM, PerSAMF])
@pytest.mark.parametrize("model", ["lite", "tiny_sam"])
def test_each_frame_is_encoded_once_and_decoded_as_one_batch(request, clip, tracker, model):
    frames, labels = clip
    segmenter = Counting(request.getfixturevalue(model))
    session = Session(tracker(), segmenter, SameEncoder())
    session.start(frames[0], labels[0])
    before = segmenter.calls["decode"]
    for frame in frames[1:]:
        session.step(frame)
    assert segmenter.calls["embed"] == len(frames)
    passes = 1 if model == "lite" else 3
    assert segmenter.calls["decode"] - before == passes * (len(frames) - 1)
    assert set(segmenter.rows) == {2}


@pytest.mark.parametrize("tracker", [PerSAM, PerSAMF])
def test_lite_follows_two_objects(lite, clip, tracker):
    frames, labels = clip
    session = Session(tracker(), lite, SameEncoder())
    first = session.start(frames[0], first_mask_from_array(labels[0]))
    assert np.array_equal(first.labels, labels[0])
    for frame, truth in zip(frames[1:], labels[1:], strict=True):
        result = session.step(frame)
        assert result.object_ids == (1, 2)
        assert result.logits.shape == (2, *frame.size)
        assert overlap(result.labels == 1, truth == 1) > 0.6
        for row, object_id in enumerate(result.object_ids):
            ys, xs = np.nonzero(result.labels == object_id)
            assert tuple(result.boxes[row]) == (xs.min(), ys.min(), xs.max(), ys.max())
            assert result.areas[row] == len(xs)


def test_object_ids_are_the_masks_own(lite, clip):
    frames, labels = clip
    renumbered = np.array([0, 7, 200], dtype=np.uint8)[labels[0]]
    session = Session(PerSAM(), lite, SameEncoder())
    session.start(frames[0], first_mask_from_array(renumbered))
    result = session.step(frames[1])
    assert result.object_ids == (7, 200)
    assert set(np.unique(result.labels)) <= {0, 7, 200}


def test_an_object_that_is_gone_keeps_its_box_and_comes_back(lite, clip):
    frames, labels = clip
    session = Session(PerSAM(), lite, SameEncoder())
    session.start(frames[0], first_mask_from_array((labels[0] == 1).astype(np.uint8)))
    box = session.tracker.boxes.clone()
    blank = Frame(1, 1 / 24, np.zeros_like(frames[0].rgb))
    gone = session.step(blank)
    assert gone.areas[0] == 0 and tuple(gone.boxes[0]) == (-1, -1, -1, -1)
    assert np.array_equal(session.tracker.boxes, box)
    back = session.step(Frame(2, 2 / 24, frames[0].rgb))
    assert overlap(back.labels == 1, labels[0] == 1) > 0.6


def test_a_session_is_deterministic(lite, clip):
    frames, labels = clip

    def last():
        session = Session(PerSAMF(), lite, SameEncoder())
        session.start(frames[0], first_mask_from_array(labels[0]))
        return [session.step(frame).labels for frame in frames[1:]]

    assert all(np.array_equal(a, b) for a, b in zip(last(), last(), strict=True))


def test_wrong_use_is_refused(lite, clip):
    frames, labels = clip
    session = Session(PerSAM(), lite, SameEncoder())
    with pytest.raises(InputError, match="start"):
        session.step(frames[0])
    with pytest.raises(InputError, match="first mask"):
        session.start(frames[0], first_mask_from_array(np.ones((5, 5), bool)))
    session.start(frames[0], first_mask_from_array(labels[0]))
    with pytest.raises(InputError, match="frame 1"):
        session.step(Frame(1, 0.1, np.zeros((8, 8, 3), np.uint8)))


def test_an_unknown_tracker_lists_those_there_are():
    with pytest.raises(PluginError, match="persam, persam-f"):
        vos.open_session(tracker="nonesuch")
