"""The engine on real frames: what is encoded and decoded how often, ids, absence, streaming."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import vos
from vos.encoders.same import SameEncoder
from vos.engine.merge import result_of_labels
from vos.engine.session import Session
from vos.errors import InputError, PluginError
from vos.method import discriminant, matching
from vos.segmenters.lite import LiteSegmenter
from vos.structures import Frame, Tracked, first_mask_from_array
from vos.trackers.persam import PerSAM, PerSAMF, PerSamOptions
from vos.trackers.persam.boxes import trimmed_boxes

pytestmark = pytest.mark.usefixtures("short_fit")


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

    def decode(self, embedding, prompts, *rest, **named):
        self.calls["decode"] += 1
        self.rows.append(len(prompts.points))
        return self._segmenter.decode(embedding, prompts, *rest, **named)


@pytest.fixture
def lite(either_lite):
    return either_lite


@pytest.fixture(scope="module")
def clip(published):
    arrays = published("frames_multi")
    return [Frame(i, i / 24, rgb) for i, rgb in enumerate(arrays["frames"])], arrays["labels"]


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize("tracker", [PerSAM, PerSAMF])
@pytest.mark.parametrize("model", ["lite", "tiny_sam"])
def test_each_frame_is_encoded_once_and_each_object_decoded_once_a_pass(lite, tiny_sam, clip, tracker, model):
    """SAM decodes all objects as one batch; lite, which looks at each in a window, as two at most.

    lite, which sees a region, encodes all of the first frame, too, to know what the objects look like there.
    """
    frames, labels = clip
    segmenter = Counting(lite if model == "lite" else tiny_sam)
    session = Session(tracker(), segmenter, SameEncoder())
    session.start(frames[0], labels[0])
    segmenter.rows.clear()
    for frame in frames[1:]:
        session.step(frame)
    assert segmenter.calls["embed"] == len(frames) + (model == "lite")
    passes = 1 if model == "lite" else 3
    assert sum(segmenter.rows) == 2 * passes * (len(frames) - 1)
    assert len(segmenter.rows) <= (2 if model == "lite" else 3) * (len(frames) - 1)


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
    box = session.tracker.objects.boxes.clone()
    blank = Frame(1, 1 / 24, np.zeros_like(frames[0].rgb))
    gone = session.step(blank)
    assert gone.areas[0] == 0 and tuple(gone.boxes[0]) == (-1, -1, -1, -1)
    assert np.array_equal(session.tracker.objects.boxes, box)
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


@pytest.fixture(params=[PerSAM, PerSAMF])
def session(request, lite):
    return Session(request.param(), lite, SameEncoder())


def test_an_object_may_join_in_mid_video(session, clip):
    frames, labels = clip
    session.start(frames[0], (labels[0] == 1).astype(np.uint8))
    session.step(frames[1])
    joined = session.add_object(labels[1] == 2)
    assert joined.object_ids == session.object_ids == (1, 2)
    assert np.array_equal(joined.labels == 2, labels[1] == 2)
    for frame, truth in zip(frames[2:], labels[2:], strict=True):
        result = session.step(frame)
        assert all(overlap(result.labels == i, truth == i) > 0.6 for i in (1, 2))


def test_a_session_may_start_without_objects(session, clip):
    frames, labels = clip
    nothing = session.start(frames[0])
    assert nothing.object_ids == () and nothing.labels.max() == 0 and nothing.boxes.shape == (0, 4)
    assert session.step(frames[1]).areas.shape == (0,)
    assert session.seconds["encode"] == 0
    session.add_object(labels[1] == 1, object_id=9)
    assert overlap(session.step(frames[2]).labels == 9, labels[2] == 1) > 0.6


def test_a_correction_counts_from_its_frame_on(session, clip):
    frames, labels = clip
    session.start(frames[0], (labels[0] == 2).astype(np.uint8))
    session.step(frames[1])
    corrected = session.correct(1, labels[1] == 1)
    assert np.array_equal(corrected.labels == 1, labels[1] == 1)
    result = session.step(frames[2])
    assert overlap(result.labels == 1, labels[2] == 1) > 0.6
    assert overlap(result.labels == 1, labels[2] == 2) < 0.2


def test_a_correction_leaves_the_other_objects_alone(lite, clip):
    frames, labels = clip
    results = []
    for corrected in (False, True):
        session = Session(PerSAM(PerSamOptions(zoom=0)), lite, SameEncoder())
        session.start(frames[0], labels[0])
        session.step(frames[1])
        if corrected:
            session.correct(2, labels[1] == 2)
        session.step(frames[2])
        results.append(session.tracker.objects)
    assert torch.equal(results[0].prototype[0], results[1].prototype[0])
    assert not torch.equal(results[0].prototype[1], results[1].prototype[1])


def test_an_object_may_leave_and_its_number_come_again(session, clip):
    frames, labels = clip
    session.start(frames[0], labels[0])
    session.step(frames[1])
    session.remove(1)
    result = session.step(frames[2])
    assert result.object_ids == (2,)
    assert overlap(result.labels == 2, labels[2] == 2) > 2 * overlap(result.labels == 2, labels[2] == 1)
    session.remove(2)
    assert session.step(frames[3]).object_ids == ()
    session.add_object(labels[3] == 1, object_id=1)
    assert session.object_ids == (1,)


def test_wrong_changes_of_objects_are_refused(session, clip):
    frames, labels = clip
    with pytest.raises(InputError, match="start"):
        session.add_object(labels[0] == 1)
    session.start(frames[0], labels[0])
    for action, message in (
        (lambda: session.add_object(labels[0] == 1, object_id=2), "object 2 is followed already"),
        (lambda: session.add_object(np.ones((3, 3), bool)), r"the mask is \(3, 3\)"),
        (lambda: session.add_object(np.zeros_like(labels[0])), "empty"),
        (lambda: session.add_object(labels[0] == 1, object_id=256), "1 to 255"),
        (lambda: session.correct(7, labels[0] == 1), "object 7 is not followed; there are: 1, 2"),
        (lambda: session.remove(7), "object 7 is not followed"),
    ):
        with pytest.raises(InputError, match=message):
            action()
    assert session.object_ids == (1, 2)


def test_a_tracker_without_these_methods_says_so(lite, clip):
    class Fixed:
        def start(self, context, first_mask):
            pass

    frames, labels = clip
    session = Session(Fixed(), lite, SameEncoder())
    session.start(frames[0], labels[0])
    with pytest.raises(PluginError, match="Fixed: this tracker cannot remove objects"):
        session.remove(1)


def test_a_stray_speck_does_not_stretch_the_box_of_the_next_frame(lite, clip):
    frames, labels = clip
    session = Session(PerSAM(), lite, SameEncoder())
    first = session.start(frames[0], (labels[0] == 1).astype(np.uint8))
    speckled = first.labels.copy()
    speckled[2:5, 3:6] = 1
    result = result_of_labels(frames[0], (1,), speckled, np.ones(1))
    assert tuple(result.boxes[0][:2]) == (3, 2)
    steady = trimmed_boxes(result, session.tracker.options.box_trim)[0]
    assert np.abs(steady - first.boxes[0]).max() <= 12
    exact = Session(PerSAM(PerSamOptions(box_trim=0)), lite, SameEncoder())
    exact.start(frames[0], (labels[0] == 1).astype(np.uint8))
    assert np.array_equal(trimmed_boxes(result, exact.tracker.options.box_trim), result.boxes)


def test_a_part_that_was_left_out_is_taken_back(lite, clip):
    """A mask without the left half of the pixels cannot overlap the truth by more than one half."""
    frames, labels = clip
    halves = {}
    for index, truth in enumerate(labels == 2):
        columns = truth.sum(0).cumsum()
        halves[index] = int(np.searchsorted(columns, columns[-1] / 2)) + 1

    class HalfBlind(PerSAM):
        left_out = 0

        def step(self, context):
            tracked = super().step(context)
            logits = tracked.full_size()
            logits[..., : self.left_out] = -8
            chosen = self._pending.logits
            chosen[0] = tracked.geometry.mask_logits(logits > 0, chosen.shape[1:], 8.0)[0, 0]
            return Tracked(logits, tracked.scores)

    tracker = HalfBlind()
    session = Session(tracker, lite, SameEncoder())
    session.start(frames[0], (labels[0] == 2).astype(np.uint8))
    overlaps = []
    for time, index in enumerate((1, 2, 3, 2) * 3):
        tracker.left_out = halves[index] if time < 6 else 0
        shown = session.step(Frame(time + 1, (time + 1) / 24, frames[index].rgb)).labels == 1
        overlaps.append(overlap(shown, labels[index] == 2))
    assert max(overlaps[:6]) <= 0.5
    assert min(overlaps[6:]) > 0.5


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_prior_maps_are_part_discriminant_part_contrast(lite, clip, share):
    frames, labels = clip
    seen = []

    class Watching(PerSAM):
        def _maps(self, view, objects, confidence, options):
            maps = super()._maps(view, objects, confidence, options)
            given = discriminant.maps(view.samples, maps.shape[-2:], objects.appearance.given)[:, 0]
            seen.append((maps[:, matching.MATCHING_MAPS], given, matching.contrasts(maps)[:, 0]))
            return maps

    session = Session(Watching(PerSamOptions(contrast_share=share)), lite, SameEncoder())
    session.start(frames[0], labels[0])
    session.step(frames[1])
    for shown, given, contrast in seen:
        torch.testing.assert_close(shown, (1 - share) * given + share * contrast)
    assert seen


def test_the_tracker_is_closed_once_also_after_an_error(lite, clip):
    class Closing(PerSAM):
        closed = 0

        def close(self):
            self.closed += 1

    tracker = Closing()
    with pytest.raises(InputError), Session(tracker, lite, SameEncoder()) as session:
        session.step(clip[0][0])
    session.close()
    assert tracker.closed == 1


def test_weights_load_when_first_asked_for(monkeypatch, clip):
    loaded, load = [], LiteSegmenter.load
    monkeypatch.setattr(LiteSegmenter, "load", lambda *given: loaded.append(given) or load(*given))
    with vos.open_session(tracker="persam") as session:
        assert not loaded and not session.segmenter.files
        session.start(clip[0][0], clip[1][0])
        assert len(loaded) == 1 and session.segmenter.files
    with pytest.raises(PluginError, match="no such segmenter"):
        vos.open_session(model="nonesuch")


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("tracker", [PerSAM, PerSAMF])
def test_a_mask_of_few_pixels_does_not_grow_to_a_hundred(lite, clip, tracker, side):
    """By half of its usual area in a frame at most, so that it doubles in 14 frames at the earliest."""
    frames, labels = clip
    mask = np.zeros_like(labels[0])
    mask[100 : 100 + side, 200 : 200 + side] = 1
    session = Session(tracker(), lite, SameEncoder())
    session.start(frames[0], mask)
    areas = [session.step(Frame(i, i / 24, frames[(0, 1, 2, 3, 2, 1)[i % 6]].rgb)).areas[0] for i in range(1, 13)]
    assert max(areas) <= 4 * (side + 1) ** 2
