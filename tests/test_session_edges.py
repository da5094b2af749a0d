"""Sessions that are begun anew, fail midway or are given odd things; and trackers that break their contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.errors import InputError, PluginError
from vos.interfaces import FrameContext
from vos.references import Reference
from vos.segmenters.lite import LiteSegmenter
from vos.state_file import State
from vos.structures import FirstMask, Frame, Hint, Result, Tracked
from vos.testing.still import EditableStill
from vos.trackers.persam import PerSAM, PerSAMF

pytestmark = pytest.mark.usefixtures("short_fit")

SIZE = (48, 80)


@dataclass
class Taken(EditableStill):
    """A tracker that notes the masks it is given."""

    given: list[FirstMask] = field(default_factory=list)

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        self.given.append(first_mask)
        super().start(context, first_mask)

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        self.given.append(first_mask)
        super().add(context, first_mask)

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        self.given.append(first_mask)
        super().correct(context, rows, first_mask)


@pytest.fixture
def clip(published: Callable[..., Any]) -> tuple[list[Frame], np.ndarray]:
    arrays = published("frames_multi")
    return [Frame(i, i / 24, rgb) for i, rgb in enumerate(arrays["frames"])], arrays["labels"].astype(np.uint8)


def session_of(tracker: Any, lite: LiteSegmenter, *references: Reference) -> Session:
    return Session(tracker, lite, SameEncoder(), references)


def grey(index: int = 0, size: tuple[int, int] = SIZE) -> Frame:
    return Frame(index, index / 24, np.full((*size, 3), 90, np.uint8))


def square(value: int = 1, at: int = 10) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[at : at + 12, at : at + 20] = value
    return labels


def test_an_object_255_is_handed_to_the_tracker_as_255(lite: LiteSegmenter) -> None:
    session = session_of(Taken(), lite)
    session.start(grey(), square() > 0)
    session.add_object(square(at=30) > 0, 255)
    session.correct(255, square(at=28) > 0)
    assert [each.object_ids for each in session.tracker.given] == [(1,), (255,), (255,)]
    assert set(np.unique(session.tracker.given[1].labels)) == {0, 255}


def test_a_start_without_a_mask_follows_nothing_of_before(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]
) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite)
    session.start(frames[0], labels[0])
    session.step(frames[1])
    assert session.start(frames[2]).object_ids == session.object_ids == ()
    assert session.step(frames[3]).object_ids == ()
    assert session.add_object(labels[3] == 1, 1).object_ids == (1,)


@pytest.mark.parametrize("nothing", [None, np.zeros_like, lambda like: FirstMask(np.zeros_like(like), ())])
def test_references_alone_are_looked_for_however_nothing_is_said(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray], nothing: Any
) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite, Reference(frames[0].rgb, labels[0] == 1, 9))
    result = session.start(frames[1], nothing and nothing(labels[1]))
    assert result.object_ids == (9,)
    assert np.count_nonzero((result.labels == 9) & (labels[1] == 1)) > 0.6 * np.count_nonzero(labels[1] == 1)


def test_references_begin_anew_with_another_video_of_another_size(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]
) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite, Reference(frames[0].rgb, labels[0] == 1, 9))
    assert session.start(frames[1], labels[1] == 2).object_ids == (1, 9)
    session.step(frames[2])
    height, width = frames[0].size
    smaller = Frame(0, 0.0, np.ascontiguousarray(frames[1].rgb[: height - 20, : width - 30]))
    result = session.start(smaller)
    assert result.object_ids == session.object_ids == (9,)
    assert session.step(smaller).object_ids == (9,)


def test_frames_before_the_objects_show_none_of_the_references(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]
) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite, Reference(frames[0].rgb, labels[0] == 1, 9))
    assert session.wait(frames[0]).object_ids == ()
    assert session.start(frames[1], labels[1]).object_ids == (1, 2, 9)


def test_a_removed_object_leaves_the_last_result(lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite)
    session.start(frames[0], labels[0])
    last = session.step(frames[1])
    session.remove(1)
    state = session.state()
    assert state["object_ids"] == (2,) and state["scores"].tolist() == [last.scores[1]]
    assert set(np.unique(state["labels"])) == {0, 2}
    restored = session_of(PerSAM(), lite)
    restored.restore(frames[1], state)
    assert restored.correct(2, labels[1] == 2).object_ids == (2,)
    session.remove(2)
    empty = session_of(PerSAM(), lite)
    empty.restore(frames[1], session.state())
    assert empty.add_object(labels[1] == 1).object_ids == (1,)


def test_a_failed_start_leaves_no_half_of_two_videos(lite: LiteSegmenter) -> None:
    session = session_of(EditableStill(), lite)
    session.start(grey(), np.where(square() > 0, square(), square(2, at=30)))
    session.gone(1)
    with pytest.raises(InputError, match="the first mask is"):
        session.start(grey(size=(20, 30)), square())
    assert session.step(grey(1)).areas[0] == 0  # a mask that does not fit changes nothing
    hopeless = Reference(grey().rgb, object_id=3, hint=Hint(box=(500, 500, 600, 600)))
    referred = session_of(PerSAM(), lite, hopeless)
    with pytest.raises(InputError):
        referred.start(grey(), square())
    with pytest.raises(InputError, match="no objects yet"):
        referred.step(grey(1))


def test_a_state_of_another_tracker_is_refused_and_changes_nothing(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]
) -> None:
    frames, labels = clip
    one = session_of(PerSAMF(), lite)
    one.start(frames[0], labels[0])
    state, other = one.state(), session_of(PerSAM(), lite)
    other.start(frames[0], labels[0] == 1)
    with pytest.raises(InputError, match="of the tracker PerSAMF, and this is PerSAM"):
        other.restore(frames[0], state)
    damaged = {**state, "class": "PerSAM", "tracker": {**state["tracker"]}}
    del damaged["tracker"]["decoder_calls"]
    with pytest.raises(InputError, match="decoder_calls"):
        other.restore(frames[0], damaged)
    with pytest.raises(InputError, match="1 scores of 2 objects"):
        one.restore(frames[0], {**state, "scores": state["scores"][:1]})
    with_points = {**state["tracker"], "points": {"points": torch.zeros(2, 1, 2), "tracker": {}}}
    with pytest.raises(InputError, match="with a point tracker"):
        one.restore(frames[0], {**state, "tracker": with_points})
    assert other.step(frames[1]).object_ids == (1,)
    assert one.step(frames[1]).object_ids == (1, 2)


def test_a_state_is_a_copy(lite: LiteSegmenter) -> None:
    session = session_of(EditableStill(), lite)
    result = session.start(grey(), square())
    state = session.state()
    result.labels[:] = 0
    assert state["labels"].any()


def test_a_frame_that_is_interrupted_is_not_remembered_in_part(
    lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    frames, labels = clip
    session = session_of(PerSAM(), lite)
    session.start(frames[0], labels[0])
    before = session.tracker.objects
    monkeypatch.setattr(PerSAM, "_observed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.step(frames[1])
    after = session.tracker.objects
    assert torch.equal(before.boxes, after.boxes) and torch.equal(before.usual_area, after.usual_area)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.where(square() > 0, square(), square(2, at=30)), r"several objects \(1, 2\)"),
        (np.zeros(SIZE), "the mask is empty"),
        (np.ones((3, 3), bool), r"the mask is \(3, 3\)"),
        (FirstMask(np.where(square() > 0, square(3), square(2, at=30)), (2, 3)), "shows objects 2, 3, and not this"),
    ],
)
def test_masks_of_one_object_that_are_none(lite: LiteSegmenter, mask: Any, message: str) -> None:
    session = session_of(EditableStill(), lite)
    session.start(grey(), square())
    for action in (lambda: session.correct(1, mask), lambda: session.add_object(mask, 9)):
        with pytest.raises(InputError, match=f"object [19]: .*{message}"):
            action()


def test_masks_of_one_object_of_any_kind(lite: LiteSegmenter) -> None:
    wanted, soft = square(at=20) > 0, np.where(square(at=20) > 0, 0.9, 0.02).astype(np.float32)
    session = session_of(EditableStill(), lite)
    session.start(grey(), square())
    for mask in (
        wanted,
        wanted * 255,
        soft,
        torch.tensor(soft),
        Image.fromarray(wanted),
        FirstMask(square(7, 20), (7,)),
    ):
        session.correct(1, square())
        assert np.array_equal(session.correct(1, mask).labels == 1, wanted)


@pytest.mark.parametrize("object_id", [1.5, "2", True, 0, 256])
def test_numbers_that_are_none(lite: LiteSegmenter, object_id: Any) -> None:
    session = session_of(EditableStill(), lite)
    session.start(grey(), square(5))
    with pytest.raises(InputError, match="number"):
        session.add_object(square(at=30), object_id)
    assert session.object_ids == (5,)


def test_numbers_of_numpy(lite: LiteSegmenter) -> None:
    session = session_of(EditableStill(), lite)
    session.start(grey(), square())
    assert session.add_object(square(at=30), np.uint8(254)).object_ids == (1, 254)
    assert session.add_object(square(at=20)).object_ids == (1, 254, 255)


def test_a_single_hint_makes_a_mask_that_corrects(lite: LiteSegmenter, clip: tuple[list[Frame], np.ndarray]) -> None:
    frames, labels = clip
    session = session_of(PerSAM(), lite)
    session.start(frames[0], labels[0])
    ys, xs = np.nonzero(labels[0] == 2)
    mask = session.segment(frames[0], Hint(box=(xs.min(), ys.min(), xs.max(), ys.max())))
    assert np.array_equal(session.correct(2, mask).labels == 2, mask.labels == 1)


def test_what_is_no_frame(lite: LiteSegmenter) -> None:
    session = session_of(EditableStill(), lite)
    for action in (
        lambda: session.start(grey().rgb, square()),
        lambda: session.segment(grey().rgb, [Hint((1, 1, 9, 9))]),
    ):
        with pytest.raises(InputError, match=r"a frame is wanted, vos.Frame\(index, time_s, rgb\), not a ndarray"):
            action()
    session.start(grey(), square())
    with pytest.raises(InputError, match="a frame is wanted"):
        session.step(grey().rgb)


@pytest.mark.parametrize("mask", [torch.tensor(square()), Image.fromarray(square())])
def test_first_masks_of_other_kinds(lite: LiteSegmenter, mask: Any) -> None:
    assert session_of(EditableStill(), lite).start(grey(), mask).areas.tolist() == [240]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("mask.png", "not a str"),
        ([square()], "not a list"),
        (Hint((1, 1, 9, 9)), "segment"),
        ([Hint((1, 1, 9, 9))], "segment"),
        (np.zeros(SIZE), "it is empty"),
    ],
)
def test_what_is_no_first_mask(lite: LiteSegmenter, mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"first mask: .*{message}"):
        session_of(EditableStill(), lite).start(grey(), mask)


def answer(logits: Any = None, scores: Any = None, **more: Any) -> Tracked:
    logits = torch.ones(1, *SIZE) if logits is None else logits
    return Tracked(logits, torch.ones(1) if scores is None else scores, **more)


@pytest.mark.parametrize(
    ("tracked", "message"),
    [
        (None, "must return a vos.structures.Tracked, not a NoneType"),
        (answer(np.ones((1, *SIZE))), "must return tensors, not a ndarray"),
        (answer(torch.ones(1, 1, 1)), r"returned logits \(1, 1, 1\) where \(1, 48, 80\) are wanted"),
        (answer(torch.ones(2, *SIZE)), r"returned logits \(2, 48, 80\)"),
        (answer(torch.ones(1, 1, *SIZE)), r"returned logits \(1, 1, 48, 80\)"),
        (answer(scores=torch.ones(5)), r"returned scores \(5,\) where \(1,\) are wanted"),
        (answer(scores=torch.tensor([97.0])), "returned scores outside of 0 to 1"),
        (answer(torch.full((1, *SIZE), torch.nan)), "returned logits that are not numbers"),
        (answer(scores=torch.tensor([torch.nan])), "returned scores outside of 0 to 1"),
    ],
)
def test_a_tracker_that_breaks_its_contract_is_named(lite: LiteSegmenter, tracked: Any, message: str) -> None:
    class Faulty:
        def start(self, context: FrameContext, first_mask: FirstMask) -> None:
            pass

        def step(self, context: FrameContext) -> Any:
            return tracked

        def observe(self, context: FrameContext, result: Result) -> None:
            pass

        def state(self) -> State:
            return {}

    session = session_of(Faulty(), lite)
    session.start(grey(), square())
    with pytest.raises(PluginError, match=f"Faulty: its step\\(\\) {message}"):
        session.step(grey(1))
