"""A first mask from boxes and points, and the pictures of --debug."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vos import Frame, Hint, Session, hinted
from vos.command.cli import main
from vos.encoders.same import SameEncoder
from vos.engine.given import read_first_mask
from vos.engine.hints import fit_hints, list_of_hints, mask_from_hints
from vos.errors import InputError
from vos.hinted import OTHER_ROOMS, PART_ROOM, ROOM
from vos.interfaces import FrameContext, Seconds
from vos.trackers.persam import PerSAM

ROOMS = (ROOM, *OTHER_ROOMS)


@pytest.fixture(scope="module")
def scene(published):
    """The first frame of two objects, and their labels."""
    arrays = published("frames_multi")
    return Frame(0, 0.0, np.ascontiguousarray(arrays["frames"][0])), arrays["labels"][0]


def box_of(mask) -> tuple[float, ...]:
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def overlap(one, other) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def middle_of(mask) -> tuple[float, float]:
    ys, xs = np.nonzero(mask)
    return float(np.median(xs)), float(np.median(ys))


def test_boxes_become_masks(either_lite, scene):
    frame, labels = scene
    session = Session(PerSAM(), either_lite, SameEncoder())
    mask = session.segment(frame, [Hint(box_of(labels == 1)), Hint(box_of(labels == 2))])
    assert mask.object_ids == (1, 2) and mask.labels.shape == frame.size
    for object_id in (1, 2):
        assert overlap(mask.labels == object_id, labels == object_id) > 0.7
    result = session.start(frame, mask)
    assert result.object_ids == (1, 2)


def test_a_box_always_gives_a_mask(either_lite, scene, monkeypatch):
    """Where the segmenter sees nothing it is the ellipse in the box; a point alone says so little: it is refused."""
    frame, _ = scene
    seen = either_lite.decode

    def nothing(*arguments, **options):
        masks = seen(*arguments, **options)
        return replace(masks, low_res_logits=-masks.low_res_logits.abs() - 1)

    monkeypatch.setattr(either_lite, "decode", nothing)
    session = Session(PerSAM(), either_lite, SameEncoder())
    x0, y0, x1, y1 = 20.0, 30.0, 79.0, 69.0
    mask = session.segment(frame, [Hint((x0, y0, x1, y1))]).labels
    assert np.abs(np.subtract(box_of(mask), (x0, y0, x1, y1))).max() <= 3
    assert mask.sum() == pytest.approx(np.pi / 4 * 60 * 40, rel=0.05)
    with pytest.raises(InputError, match="no object was found there"):
        session.segment(frame, [Hint(points=((50.0, 50.0, True),))])


def test_a_point_finds_something_around_it(either_lite, scene):
    frame, labels = scene
    x, y = middle_of(labels == 1)
    mask = Session(PerSAM(), either_lite, SameEncoder()).segment(frame, [Hint(points=((x, y, True),))])
    assert mask.labels[int(y), int(x)] == 1
    assert 0.001 < mask.labels.mean() < 0.5


@pytest.fixture
def looks(monkeypatch):
    """What is decoded is always one rectangle, or its mirror image. Of each look: hint, room, whether not mirrored."""
    taken = []

    class Shown:
        def __init__(self, context, hint, room=ROOM):
            mark = context.frame.rgb[0, 0, 0] == 1  # which the scene below has in its first column
            taken.append((hint, room, bool(mark)))
            logits = torch.full(context.frame.size, -5.0)
            logits[10:20, 30:50] = 20.0
            self._logits = logits if mark else logits.flip(1)

        def logits(self):
            return self._logits

    monkeypatch.setattr(hinted, "HintedObject", Shown)
    return taken


def test_a_small_model_looks_several_times(lite, looks):
    rgb = np.zeros((40, 100, 3), np.uint8)
    rgb[:, 0] = 1
    session, frame = Session(PerSAM(), lite, SameEncoder()), Frame(0, 0.0, rgb)
    box = (30.0, 10.0, 49.0, 19.0)
    mirror = Hint((50.0, 10.0, 69.0, 19.0), ((60.0, 15.0, True),))
    labels = session.segment(frame, [Hint(box, ((39.0, 15.0, True),))]).labels
    assert labels[10:20, 30:50].all() and labels.sum() == 200
    assert looks[:4] == [(mirror, ROOM, False), *((Hint(box, ((39.0, 15.0, True),)), each, True) for each in ROOMS)]
    assert [room for _, room, _ in looks[4:]] == [PART_ROOM] * 4
    looks.clear()
    point = Hint(points=((39.0, 15.0, True),))
    assert np.array_equal(session.segment(frame, [point]).labels, labels)
    rooms = [ROOM, ROOM, ROOM, *ROOMS, *[PART_ROOM] * 4]  # from afar, then by the box found there
    assert [room for _, room, _ in looks] == rooms
    assert looks[1][0] == point and looks[2][0] == mirror and looks[3][0] == Hint(box, point.points)


def test_parts_of_a_box_are_seen_from_near_by(lite, looks, monkeypatch):
    """What a part shows outweighs the whole; it gets the points in it, and parts without the object are left out."""
    rgb = np.ones((40, 100, 3), np.uint8)
    session, frame = Session(PerSAM(), lite, SameEncoder()), Frame(0, 0.0, rgb)
    whole = hinted.HintedObject

    class More(whole):
        def logits(self):
            logits = super().logits()
            if looks[-1][1] == PART_ROOM:
                logits[20:25, 30:50] = 20.0
            return logits

    monkeypatch.setattr(hinted, "HintedObject", More)
    inside, outside = (31.0, 11.0, True), (48.0, 27.0, False)
    box = (30.0, 10.0, 49.0, 29.0)
    labels = session.segment(frame, [Hint(box, (inside, outside))]).labels
    assert labels[10:25, 30:50].all() and labels.sum() == 300
    parts = [hint for hint, room, _ in looks if room == PART_ROOM]
    assert [part.box[:2] for part in parts] == [
        pytest.approx(at) for at in ((30, 10), (33.8, 10), (30, 13.8), (33.8, 13.8))
    ]
    assert [part.points for part in parts] == [(inside,), (), (), (outside,)]
    assert all(part.mask.sum() == 200 for part in parts)  # as the whole showed it
    looks.clear()
    session.segment(frame, [Hint((30.0, 10.0, 99.0, 39.0))])
    assert len([room for _, room, _ in looks if room == PART_ROOM]) == 3  # the fourth holds 35 pixels of the object


def test_sam_takes_boxes_too(tiny_sam, scene):
    frame, labels = scene
    mask = Session(PerSAM(), tiny_sam, SameEncoder()).segment(frame, [Hint(box_of(labels == 1), ((5.0, 5.0, False),))])
    assert mask.object_ids == (1,)  # its weights are random: only the path is tested


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (Hint((455, 10, 900, 50)), r"object 1 \(box 455,10,900,50\): the box .*lies outside of the 455 x 256 video"),
        (Hint((50, 10, 20, 50)), "x0 < x1"),
        (
            Hint((5, 5, 50, 50), ((8, 9, True), (500, 7.5, False))),
            r"object 1 \(box 5,5,50,50, point 8,9, point 500,7.5 outside\): 500,7.5 lies outside",
        ),
        (Hint(points=((5, 5, False),)), "neither a box nor a point inside"),
        (Hint(), "neither a box nor a point inside"),
    ],
)
def test_hints_that_make_no_sense(either_lite, scene, hint, message):
    with pytest.raises(InputError, match=message):
        Session(PerSAM(), either_lite, SameEncoder()).segment(scene[0], [hint])


@pytest.fixture
def folder(tmp_path, published):
    arrays = published("frames_multi")
    frames = tmp_path / "clip"
    frames.mkdir()
    for index, rgb in enumerate(arrays["frames"]):
        Image.fromarray(rgb).save(frames / f"{index:05d}.jpg", quality=95)
    return frames


def run(*arguments) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def test_the_command_takes_boxes_and_points(folder, scene, tmp_path):
    labels = scene[1]
    boxes = [",".join(str(edge) for edge in box_of(labels == object_id)) for object_id in (1, 2)]
    x, y = middle_of(labels == 2)
    out = tmp_path / "out"
    arguments = ["--box", boxes[0], "--object", "--point", f"{x},{y}", "--box", boxes[1], "--point", "2,2:0"]
    assert run(folder, *arguments, "-o", out, "--quiet", "--debug", "2", "--save", "masks") == 0
    masks = [np.asarray(Image.open(path)) for path in sorted((out / "masks").iterdir())]
    assert len(masks) == 4 and set(np.unique(masks[0])) == {0, 1, 2}
    assert overlap(masks[0] == 1, labels == 1) > 0.7
    assert json.loads((out / "run.json").read_text())["options"]["hints"][0][0] == "box"
    [picture] = (out / "debug").iterdir()
    assert picture.name == "00002.png"
    with Image.open(picture) as image:
        assert image.width == 5 * 320 and image.height == 2 * (180 + 18)


def test_mistakes_on_the_command_line(folder, capsys, tmp_path):
    for arguments, message in (
        ([], "--first-mask PNG, --box"),
        (["--first-mask", "m.png", "--box", "1,2,3,4"], "not both"),
        (["--box", "1,2,3"], "give X0,Y0,X1,Y1"),
        (["--point", "1,2:7"], "give X,Y"),
        (["--box", "nan,2,3,4"], "give X0,Y0,X1,Y1"),
        (["--box", "2000,2,3000,4"], "lies outside"),
    ):
        assert run(folder, *arguments, "-o", tmp_path / "out", "--overwrite") == 2
        assert message in capsys.readouterr().err


def test_points_correct_a_mask_that_is_about_right(either_lite, tiny_sam, scene):
    """A quarter of the object is missing, and a blob beside it is too much; one point each."""
    frame, labels = scene
    truth = labels == 1
    wrong = truth.copy()
    x, y = (int(value) for value in middle_of(truth))
    wrong[:y, :x] = False
    wrong[200:240, 330:400] = True
    ys, xs = np.nonzero(truth & ~wrong)
    points = ((float(np.median(xs)), float(np.median(ys)), True), (365.0, 220.0, False))
    mask = Session(PerSAM(), either_lite, SameEncoder()).segment(frame, [Hint(points=points, mask=wrong)])
    assert overlap(mask.labels == 1, truth) > overlap(wrong, truth) + 0.1
    Session(PerSAM(), tiny_sam, SameEncoder()).segment(frame, [Hint(points=points, mask=wrong)])
    with pytest.raises(InputError, match=r"its mask is \(2, 2\) but the frame is \(256, 455\)"):
        Session(PerSAM(), either_lite, SameEncoder()).segment(frame, [Hint(mask=np.ones((2, 2), bool))])


def test_object_ids_of_ones_own(either_lite, scene):
    frame, labels = scene
    session = Session(PerSAM(), either_lite, SameEncoder())
    hints = [Hint(box_of(labels == 1)), Hint(box_of(labels == 2))]
    counted, own = session.segment(frame, hints), session.segment(frame, hints, (3, 7))
    assert own.object_ids == (3, 7)
    assert np.array_equal(own.labels, np.array([0, 3, 7], np.uint8)[counted.labels])
    with pytest.raises(InputError, match="object 7 .*outside"):
        session.segment(frame, [hints[0], Hint((500, 10, 900, 50))], (3, 7))


def test_clicks_on_one_frame_encode_it_once(tiny_sam, scene, monkeypatch):
    frame, labels = scene
    calls = []
    embed = tiny_sam.embed
    monkeypatch.setattr(tiny_sam, "embed", lambda *given: calls.append(1) or embed(*given))
    session = Session(PerSAM(), tiny_sam, SameEncoder())
    for hint in (Hint(box_of(labels == 1)), Hint(box_of(labels == 1), ((5.0, 5.0, False),))):
        mask = session.segment(frame, [hint])
    assert len(calls) == 1
    again = Session(PerSAM(), tiny_sam, SameEncoder()).segment(frame, [hint])
    assert np.array_equal(again.labels, mask.labels)
    session.segment(Frame(1, 0.0, frame.rgb), [hint])
    assert len(calls) == 3


def test_hints_are_taken_of_arrays_and_tensors():
    plain = Hint((1.0, 2.0, 30.0, 40.0), ((8.0, 9.0, True), (5.0, 7.0, False)))
    points = np.array([[8.0, 9.0, 1.0], [5.0, 7.0, 0.0]])
    for box, given in (
        ([1, 2, 30, 40], [[8, 9, True], [5, 7, False]]),
        (np.array([1, 2, 30, 40]), points),
        (torch.tensor([1, 2, 30, 40]), torch.tensor(points)),
    ):
        assert Hint(box, given) == plain and hash(Hint(box, given)) == hash(plain)
    assert Hint(points=np.zeros((0, 3))) == Hint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": (1, 2, 3)}, r"a box is four numbers, \(x0, y0, x1, y1\), not \(1, 2, 3\)"),
        ({"box": "1,2,3,4"}, "a box is four numbers"),
        ({"box": 5}, "a box is four numbers"),
        ({"points": ((200, 100),)}, r"points are a list of \(x, y, inside\).*not \(200, 100\)"),
        ({"points": (200, 100, True)}, r"points are a list of \(x, y, inside\).*not 200"),
        ({"points": ((200, 100, -1),)}, r"points are a list of \(x, y, inside\).*not \(200, 100, -1\)"),
        ({"points": 5}, "points are a list"),
        ({"points": (("a", "b", True),)}, "points are a list"),
        ({"mask": "m.png"}, r"hint: its mask: must be \(H, W\)"),
    ],
)
def test_hints_of_another_form_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Hint(**options)


def test_a_soft_mask_of_a_hint_is_cut_in_the_middle(either_lite, scene):
    frame, labels = scene
    soft = np.where(labels == 1, 0.9, 0.02)
    session = Session(PerSAM(), either_lite, SameEncoder())
    one, other = (session.segment(frame, [Hint(mask=mask)]).labels for mask in (labels == 1, soft))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("ids", [(300,), (0,), (-1,), (1, 2), ("a",), (1.5,), ()])
def test_object_ids_that_no_mask_can_have_are_refused(ids, scene):
    with pytest.raises(InputError, match="object_ids: 1 ascending numbers from 1 to 255 are wanted"):
        mask_from_hints([FrameContext(scene[0], None, None, Seconds())], [Hint((5, 5, 50, 50))], ids)


@pytest.mark.parametrize("ids", [(2, 1), (1, 1)])
def test_object_ids_ascend(ids, scene):
    with pytest.raises(InputError, match="object_ids: 2 ascending numbers"):
        mask_from_hints([FrameContext(scene[0], None, None, Seconds())] * 2, [Hint((5, 5, 50, 50))] * 2, ids)


def test_a_single_hint_is_that_of_one_object():
    hint = Hint((5, 5, 50, 50))
    assert list_of_hints(hint) == list_of_hints((hint,)) == fit_hints(hint, (60, 60)) == [hint]
    assert read_first_mask(hint, (60, 60)) == [hint]
    for wrong in (5, [{"box": (5, 5, 50, 50)}], "box", np.ones((2, 2))):
        with pytest.raises(InputError, match=r"hints are vos.Hint objects, one for each object"):
            list_of_hints(wrong)
