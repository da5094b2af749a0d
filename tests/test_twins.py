"""``vos.trackers.persam.twins``: pieces of a mask that show the object's parts once more."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vos.geometry import Geometry
from vos.method import matching
from vos.structures import PatchFeatures
from vos.trackers.persam.course import HELD, Course
from vos.trackers.persam.objects import Appearance, Objects
from vos.trackers.persam.twins import without_twins

GEOMETRY = Geometry.whole_patches((128, 256), 256, 8)
HEAD, TAIL, GROUND = 0, 1, 2
"""What a patch shows, and its channel among the features."""


def picture(*pieces: tuple[int, int, int, float]) -> tuple[Tensor, Tensor]:
    """Draw features (1, 3, 16, 32) and a mask (16, 32) bool.

    Args:
        pieces: columns from and to, in lines 4 to 12; what they show, and how clearly: the cosine to that part.
    """
    features, mask = torch.zeros(1, 3, 16, 32), torch.zeros(16, 32, dtype=torch.bool)
    features[:, GROUND] = 1
    for start, stop, part, cosine in pieces:
        features[0, :, 4:12, start:stop] = 0
        features[0, part, 4:12, start:stop] = cosine
        features[0, GROUND, 4:12, start:stop] = (1 - cosine**2) ** 0.5
        mask[4:12, start:stop] = True
    return features, mask


OBJECT = ((4, 8, HEAD, 1.0), (8, 12, TAIL, 1.0))
TWIN = ((20, 22, HEAD, 0.9), (22, 24, TAIL, 0.9))


def learned(count: int = 1, given: tuple[tuple[int, int, int, float], ...] = OBJECT) -> Objects:
    """Make objects that were learned from the same mask."""
    features, mask = picture(*given)
    coverage = mask.float().expand(count, -1, -1)
    where = PatchFeatures(features, GEOMETRY).places()
    memory, nothing = matching.remember(features, coverage, where), torch.zeros(count, 1)
    return Objects(
        prototype=nothing,
        target=nothing,
        boxes=torch.tensor([[32.0, 32, 95, 95]]).expand(count, -1),
        found=torch.ones(count, dtype=torch.bool),
        likeness=nothing[:, 0],
        usual_area=coverage.flatten(1).sum(1) * 64,
        mask_logits=logits_of(mask).expand(count, 1, -1, -1),
        geometry=GEOMETRY,
        doubts=torch.zeros(count, dtype=torch.long),
        course=Course.begun(torch.tensor([[32.0, 32, 95, 95]] * count), torch.tensor([4096] * count)),
        appearance=Appearance(memory, memory, nothing, nothing),  # type: ignore[arg-type]
    )


def logits_of(mask: Tensor) -> Tensor:
    """Low-res logits (1, 64, 128) of a mask of patches."""
    return F.interpolate(mask[None, None].float(), scale_factor=4)[0] * 10 - 5


def kept(
    objects: Objects, frames: int, *masks: tuple[tuple[int, int, int, float], ...]
) -> tuple[list[list[bool]], Objects]:
    """Show the same masks in so many frames; tell of each frame and mask whether it was left as it is."""
    features = picture(*[piece for mask in masks for piece in mask])[0]
    view = SimpleNamespace(embedding=SimpleNamespace(geometry=GEOMETRY), features=PatchFeatures(features, GEOMETRY))
    logits = torch.cat([logits_of(picture(*mask)[1]) for mask in masks])
    told = []
    for _ in range(frames):
        left, doubts = without_twins(view, objects, logits, patience=3)  # type: ignore[arg-type]
        told.append([torch.equal(one, other) for one, other in zip(left, logits, strict=True)])
        objects = replace(objects, doubts=doubts)
    return told, objects


def test_a_twin_is_dropped_when_it_was_seen_often_enough() -> None:
    told, objects = kept(learned(), 4, (*OBJECT, *TWIN))
    assert told == [[True], [True], [False], [False]]
    told, objects = kept(objects, 2, OBJECT)  # gone for a moment, or left out by the decoder itself
    assert told == [[True], [True]]
    assert kept(objects, 1, (*OBJECT, *TWIN))[0] == [[False]]
    told, objects = kept(objects, 9, OBJECT)  # and for long
    assert objects.doubts.tolist() == [0] and kept(objects, 1, (*OBJECT, *TWIN))[0] == [[True]]


def test_what_is_dropped_is_the_twin() -> None:
    features, mask = picture(*OBJECT, *TWIN)
    view = SimpleNamespace(embedding=SimpleNamespace(geometry=GEOMETRY), features=PatchFeatures(features, GEOMETRY))
    left, _ = without_twins(view, learned(), logits_of(mask), patience=1)  # type: ignore[arg-type]
    assert torch.equal(left > 0, logits_of(picture(*OBJECT)[1]) > 0)


@pytest.mark.parametrize(
    "mask",
    [
        OBJECT,
        (OBJECT[0], (9, 12, TAIL, 0.9)),  # a post before the object: the smaller piece is the only tail
        ((4, 7, HEAD, 0.9), (20, 22, TAIL, 0.6)),  # likewise, and it is seen badly
        ((4, 7, HEAD, 1.0), (10, 12, HEAD, 0.9)),  # too little for the whole object: more may be hidden
    ],
)
def test_parts_of_the_object_stay(mask: tuple[tuple[int, int, int, float], ...]) -> None:
    told, objects = kept(learned(), 6, mask)
    assert all(told[-1]) and objects.doubts.tolist() == [0]


def test_two_that_were_given_as_one_object_stay() -> None:
    both = (*OBJECT, *TWIN)
    assert kept(learned(given=both), 6, both)[0][-1] == [True]


def test_an_object_may_go_on_behind_another() -> None:
    masks = ((*OBJECT, (15, 17, HEAD, 0.9)), ((12, 15, GROUND, 1.0),))
    objects = learned(2)
    assert kept(objects, 6, *masks)[0][-1] == [True, True]
    assert kept(objects, 6, masks[0], ((25, 30, GROUND, 1.0),))[0][-1] == [False, True]  # that is elsewhere


def test_without_maps_nothing_is_known_of_parts() -> None:
    objects = replace(learned(), appearance=None)
    logits = logits_of(picture(*OBJECT, *TWIN)[1])
    left, doubts = without_twins(SimpleNamespace(), objects, logits, patience=1)  # type: ignore[arg-type]
    assert left is logits and doubts is objects.doubts


def test_states_from_before_have_neither_doubts_nor_course() -> None:
    objects = replace(learned(2), appearance=None, doubts=torch.tensor([3, 0]))
    state = objects.state()
    again = Objects.restored(state, torch.device("cpu"))
    assert torch.equal(again.doubts, objects.doubts) and torch.equal(again.course.centre, objects.course.centre)
    older = Objects.restored({k: v for k, v in state.items() if k not in ("doubts", "course")}, torch.device("cpu"))
    assert older.doubts.tolist() == [0, 0] and torch.equal(older.course.centre, objects.course.centre)
    without_pace = {name: value for name, value in state["course"].items() if name != "pace"}
    slow = Objects.restored({**state, "course": without_pace}, torch.device("cpu"))
    assert torch.equal(slow.course.pace, objects.course.pace)


def moving(course: Course, frames: int, area: int = 100) -> Course:
    """Let a box of 10 x 10 go right by four pixels in each frame."""
    for _ in range(frames):
        left = float(course.centre[0, 0]) + 4 - 4.5
        box, areas = torch.tensor([[left, 10, left + 9, 19]]), torch.tensor([float(area)])
        last, usual = box - torch.tensor([4, 0, 4, 0]), torch.tensor([100.0])
        course = course.after(last, box, areas, usual_area=usual, parted=torch.tensor([False]))
    return course


def test_an_object_goes_on_as_before_when_its_mask_jumps() -> None:
    course = moving(Course.begun(torch.tensor([[0.0, 10, 9, 19]]), torch.tensor([100])), 20)
    assert course.centre.tolist() == [[84.5, 14.5]] and course.held.tolist() == [0]
    torch.testing.assert_close(course.expected(), torch.tensor([[88.5, 14.5]]), atol=0.1, rtol=0)
    both, usual = torch.tensor([[20.0, 10, 99, 19]]), torch.tensor([100.0])
    for frame in range(1, 11):
        course = course.after(both, both, 2 * usual, usual + 10 * frame, torch.tensor([False]))
        torch.testing.assert_close(course.centre, torch.tensor([[84.5 + 4 * frame, 14.5]]), atol=0.2, rtol=0)
    assert course.area.tolist() == [100] and course.held.tolist() == [HELD - 9]
    hidden = course.after(both, both, 0 * usual, usual, torch.tensor([False]))
    assert torch.equal(hidden.centre, course.centre)
    apart = course.after(both, torch.tensor([[120.0, 10, 129, 19]]), usual, 2 * usual, torch.tensor([True]))
    assert apart.centre.tolist() == [[124.5, 14.5]] and apart.area.tolist() == [100]
    for _ in range(HELD):
        course = course.after(both, both, 2 * usual, 2 * usual, torch.tensor([False]))
    assert course.held.tolist() == [0] and course.centre.tolist() == [[59.5, 14.5]] and course.area.tolist() == [200]


def test_the_pace_is_what_the_edges_moved_at_most_and_slows_down() -> None:
    course = Course.begun(torch.tensor([[0.0, 10, 9, 49]]), torch.tensor([100]))
    assert course.pace.tolist() == [[4.0, 4.0]]  # a fifth of the mean side
    still, areas, usual = torch.tensor([[0.0, 10, 9, 49]]), torch.tensor([100]), torch.tensor([100.0])
    wider = course.after(still, torch.tensor([[0.0, 10, 39, 45]]), areas, usual, torch.tensor([False]))
    torch.testing.assert_close(wider.pace, torch.tensor([[30.0, 4.0]]))
    slower = wider.after(still, still, areas, usual, torch.tensor([False]))
    torch.testing.assert_close(slower.pace, torch.tensor([[27.0, 3.6]]))
    lost = wider.after(still, still + 50, 0 * areas, usual, torch.tensor([False]))
    torch.testing.assert_close(lost.pace, wider.pace)


@pytest.mark.parametrize("going", [-8.0, 8.0])
def test_of_two_that_are_equal_the_one_that_is_where_the_object_was_going_stays(going: float) -> None:
    objects = learned()
    twin = tuple((start + 16, stop + 16, part, 1.0) for start, stop, part, _ in OBJECT)
    course = replace(objects.course, centre=torch.tensor([[128.0 + going, 63.5]]), held=torch.tensor([9]))
    features, mask = picture(*OBJECT, *twin)
    view = SimpleNamespace(embedding=SimpleNamespace(geometry=GEOMETRY), features=PatchFeatures(features, GEOMETRY))
    left, _ = without_twins(view, replace(objects, course=course), logits_of(mask), patience=1)  # type: ignore[arg-type]
    assert torch.equal(left > 0, logits_of(picture(*(OBJECT if going < 0 else twin))[1]) > 0)
    no_jump = replace(objects, course=replace(course, held=torch.tensor([0])))
    left, _ = without_twins(view, no_jump, logits_of(mask), patience=1)  # type: ignore[arg-type]
    assert torch.equal(left > 0, logits_of(mask) > 0)  # two equals, and nothing says which
