"""Objects that are gone: absent until they are found or shown again, with all that this leaves alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vos
from vos.command.cli import main
from vos.encoders.same import SameEncoder
from vos.engine.changes import Changes
from vos.engine.session import Session
from vos.errors import InputError
from vos.interfaces import EditableTracker, ForgetfulTracker
from vos.segmenters.lite import LiteSegmenter
from vos.state_file import from_bytes, to_bytes
from vos.structures import FirstMask, Frame, Result
from vos.testing.still import EditableStill
from vos.trackers.cutie import Cutie
from vos.trackers.persam import PerSAM, PerSAMF
from vos.trackers.persam.absence import FOUND
from vos.trackers.sam2 import Sam2

CAT, PORTRAIT = 1, 2

pytestmark = pytest.mark.usefixtures("short_fit")


@pytest.fixture(scope="module")
def both(published: Callable[..., Any]) -> dict[str, np.ndarray]:
    """Four frames with the cat and the portrait, with their labels."""
    arrays = published("frames_multi")
    return {"frames": arrays["frames"], "labels": arrays["labels"].astype(np.uint8)}


@pytest.fixture(scope="module")
def alone(published: Callable[..., Any]) -> np.ndarray:
    """The same frames without the portrait."""
    return published("frames")["frames"]


@pytest.fixture
def lite(either_lite: LiteSegmenter) -> LiteSegmenter:
    return either_lite


@pytest.fixture(params=[PerSAM, PerSAMF])
def session(request: pytest.FixtureRequest, lite: LiteSegmenter) -> Session:
    return Session(request.param(), lite, SameEncoder())


def pushed(session: Session, pictures: list[np.ndarray]) -> Iterator[Result]:
    """Results of further frames."""
    for rgb in pictures:
        index = session._last.frame.index + 1
        yield session.step(Frame(index, index / 24, rgb))


def begin(session: Session, both: dict[str, np.ndarray], first: np.ndarray | None = None, steps: int = 1) -> Session:
    session.start(Frame(0, 0.0, both["frames"][0]), both["labels"][0] if first is None else first)
    list(pushed(session, list(both["frames"][1 : steps + 1])))
    return session


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


def blank(like: np.ndarray) -> np.ndarray:
    return np.zeros_like(like)


def test_a_gone_object_keeps_its_number_and_its_place(session: Session, both: dict[str, np.ndarray]) -> None:
    before = begin(session, both)._last
    result = session.gone(CAT)
    assert result.object_ids == session.object_ids == (1, 2)
    assert result.areas[0] == 0 and tuple(result.boxes[0]) == (-1,) * 4 and result.scores[0] == 0
    assert np.array_equal(result.labels, np.where(before.labels == CAT, 0, before.labels))
    assert result.scores[1] == before.scores[1]
    [later] = pushed(session, [both["frames"][2]])
    assert later.object_ids == (1, 2) and later.areas[0] == 0 and later.scores[0] == 0
    assert later.logits.shape == (2, *later.frame.size) and (later.logits[0] < 0).all()
    assert overlap(later.labels == PORTRAIT, both["labels"][2] == PORTRAIT) > 0.2


def test_it_stays_gone_where_other_things_are_and_is_found_again(
    session: Session, both: dict[str, np.ndarray], alone: np.ndarray
) -> None:
    begin(session, both)
    session.gone(PORTRAIT)
    others = [alone[2], blank(alone[0]), alone[1], alone[3], blank(alone[0])]
    for result in pushed(session, others):
        assert result.areas[1] == 0, result
    for result, truth in zip(pushed(session, [both["frames"][2], both["frames"][1]]), (2, 1), strict=True):
        assert overlap(result.labels == PORTRAIT, both["labels"][truth] == PORTRAIT) > 0.7
        assert overlap(result.labels == CAT, both["labels"][truth] == CAT) > 0.7


def test_a_mask_at_a_wrong_place_does_not_go_on_there(session: Session, both: dict[str, np.ndarray]) -> None:
    """What still looks like the object as it did on the frame without it is not found again at once."""
    begin(session, both)
    session.gone(PORTRAIT)
    assert [result.areas[1] for result in pushed(session, [both["frames"][2], both["frames"][3]])] == [0, 0]
    list(pushed(session, [blank(both["frames"][0])] * 2))
    assert next(pushed(session, [both["frames"][3]])).areas[1] > 0


def test_a_mask_that_leaked_onto_another_object_does_not_return(
    session: Session, both: dict[str, np.ndarray], alone: np.ndarray
) -> None:
    """The portrait, followed as the cat's twin since a wrong correction, teaches nothing once it is gone."""
    begin(session, both)
    session.correct(PORTRAIT, both["labels"][1] == CAT)
    list(pushed(session, [alone[2]]))
    session.correct(PORTRAIT, both["labels"][1] == PORTRAIT)
    list(pushed(session, [alone[2], alone[3]]))
    session.gone(PORTRAIT)
    assert [result.areas[1] for result in pushed(session, [alone[3], alone[2]])] == [0, 0]


def test_what_it_learnt_since_its_mask_was_given_is_dropped(lite: LiteSegmenter, both: dict[str, np.ndarray]) -> None:
    session = begin(Session(PerSAM(), lite, SameEncoder()), both, steps=3)
    fresh = begin(Session(PerSAM(), lite, SameEncoder()), both, steps=0)
    for each in (session, fresh):
        each.gone(PORTRAIT)
    ours, theirs = (each.tracker._absent.objects for each in (session, fresh))
    for name in ("prototype", "target", "boxes", "mask_logits", "likeness"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for part in ("first", "last", "given", "seen"):
        for name, value in vars(getattr(ours.appearance, part)).items():
            assert torch.equal(value, vars(getattr(theirs.appearance, part))[name]), (part, name)


def test_other_objects_are_as_without_it_to_the_byte(
    session: Session, both: dict[str, np.ndarray], alone: np.ndarray, request: pytest.FixtureRequest
) -> None:
    pictures = [alone[2], alone[3], alone[2], alone[1]]
    begin(session, both)
    session.gone(PORTRAIT)
    ours = [result.labels for result in pushed(session, pictures)]
    other = begin(Session(type(session.tracker)(), session.segmenter, SameEncoder()), both)
    other.remove(PORTRAIT)
    assert all(np.array_equal(a, b.labels) for a, b in zip(ours, pushed(other, pictures), strict=True))


def test_it_may_be_shown_again_and_all_may_be_gone(session: Session, both: dict[str, np.ndarray]) -> None:
    begin(session, both)
    session.gone(CAT), session.gone(PORTRAIT), session.gone(CAT)
    assert [result.areas.tolist() for result in pushed(session, [both["frames"][2]])] == [[0, 0]]
    shown = session.correct(CAT, both["labels"][2] == CAT)
    assert shown.object_ids == (1, 2) and shown.areas[0] > 0 and shown.areas[1] == 0
    [result] = pushed(session, [both["frames"][3]])
    assert overlap(result.labels == CAT, both["labels"][3] == CAT) > 0.7 and result.areas[1] == 0
    session.correct(PORTRAIT, both["labels"][3] == PORTRAIT)
    [result] = pushed(session, [both["frames"][2]])
    assert all(overlap(result.labels == each, both["labels"][2] == each) > 0.6 for each in (1, 2))


def test_objects_join_and_leave_while_one_is_absent(session: Session, both: dict[str, np.ndarray]) -> None:
    begin(session, both, np.where(both["labels"][0] == CAT, CAT, 0).astype(np.uint8))
    session.gone(CAT)
    session.add_object(both["labels"][1] == PORTRAIT, 7)
    [result] = pushed(session, [both["frames"][2]])
    assert result.object_ids == (1, 7) and result.areas[0] == 0 < result.areas[1]
    session.remove(7)
    assert session.object_ids == (1,)
    list(pushed(session, [blank(both["frames"][0])] * 2))
    [result] = pushed(session, [both["frames"][1]])
    assert overlap(result.labels == CAT, both["labels"][1] == CAT) > 0.7
    session.gone(CAT)
    session.remove(CAT)
    assert session.object_ids == () and next(pushed(session, [both["frames"][2]])).object_ids == ()


def test_a_saved_state_knows_who_is_absent(session: Session, both: dict[str, np.ndarray], alone: np.ndarray) -> None:
    begin(session, both)
    session.gone(PORTRAIT)
    list(pushed(session, [alone[2]]))
    fresh = Session(type(session.tracker)(), session.segmenter, SameEncoder())
    fresh.restore(session._last.frame, from_bytes(to_bytes(session.state())))
    pictures = [alone[1], blank(alone[0]), both["frames"][2], both["frames"][3]]
    for ours, expected in zip(pushed(fresh, pictures), pushed(session, pictures), strict=True):
        assert np.array_equal(ours.labels, expected.labels) and np.array_equal(ours.scores, expected.scores)
    assert expected.areas[1] > 0


def test_a_state_of_before_is_read(lite: LiteSegmenter, both: dict[str, np.ndarray]) -> None:
    session = begin(Session(PerSAM(), lite, SameEncoder()), both)
    state = session.state()
    del state["silent"], state["tracker"]["absent"], state["tracker"]["objects"]["likeness"]
    fresh = Session(PerSAM(), lite, SameEncoder())
    fresh.restore(session._last.frame, state)
    ours, expected = (next(pushed(each, [both["frames"][2]])) for each in (fresh, session))
    assert np.array_equal(ours.labels, expected.labels)
    fresh.gone(PORTRAIT)
    assert next(pushed(fresh, [both["frames"][3]])).areas[1] == 0


def test_points_that_are_propagated(lite: LiteSegmenter, both: dict[str, np.ndarray]) -> None:
    with vos.open_session(tracker="persam", points="lk") as session:
        begin(session, both)
        session.gone(PORTRAIT)
        assert next(pushed(session, [both["frames"][2]])).areas[1] == 0
        list(pushed(session, [blank(both["frames"][0])] * 2))
        for result, truth in zip(pushed(session, [both["frames"][2], both["frames"][1]]), (2, 1), strict=True):
            assert overlap(result.labels == PORTRAIT, both["labels"][truth] == PORTRAIT) > 0.6
            assert overlap(result.labels == CAT, both["labels"][truth] == CAT) > 0.6


def test_evidence_that_is_too_weak_is_none(
    session: Session, both: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(session, both)
    session.gone(PORTRAIT)
    list(pushed(session, [blank(both["frames"][0])] * 3))
    monkeypatch.setattr("vos.trackers.persam.absence.FOUND", 0.99)
    assert next(pushed(session, [both["frames"][2]])).areas[1] == 0
    assert 0 < FOUND < 0.99


def test_with_any_other_tracker_it_stays_gone_until_it_is_shown(
    lite: LiteSegmenter, both: dict[str, np.ndarray]
) -> None:
    assert isinstance(EditableStill(), EditableTracker) and not isinstance(EditableStill(), ForgetfulTracker)
    session = begin(Session(EditableStill(), lite, SameEncoder()), both)
    session.gone(PORTRAIT)
    fresh = Session(EditableStill(), lite, SameEncoder())
    fresh.restore(session._last.frame, from_bytes(to_bytes(session.state())))
    for each in (session, fresh):
        [result] = pushed(each, [both["frames"][2]])
        assert result.areas[0] > 0 and result.areas[1] == 0 and result.scores.tolist() == [1, 0]
        assert (result.logits[1] < 0).all()
        each.correct(PORTRAIT, both["labels"][2] == PORTRAIT)
        assert next(pushed(each, [both["frames"][3]])).areas[1] > 0
        each.gone(PORTRAIT)
        each.remove(PORTRAIT)
        each.add_object(both["labels"][3] == PORTRAIT, PORTRAIT)
        assert next(pushed(each, [both["frames"][3]])).areas[1] > 0


def test_which_trackers_find_objects_again() -> None:
    kinds = [PerSAM(), PerSAMF(), Sam2(), Cutie()]
    assert [isinstance(each, ForgetfulTracker) for each in kinds] == [True, True, True, False]


def test_wrong_use(session: Session, both: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="start"):
        session.gone(1)
    begin(session, both)
    with pytest.raises(InputError, match="object 5 is not followed; there are: 1, 2"):
        session.gone(5)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ({3: [9]}, "`gone` 3: there is no object 9 before this frame; there are: 1, 2"),
        ({2: [4]}, "`gone` 2: there is no object 4 before this frame; there are: 1, 2"),
        ({4: [4]}, "`gone` 4: object 4 is in the mask of this very frame"),
        ({0: [1]}, "`gone` 0: object 1 is in the mask of this very frame"),
        ({-1: [1]}, "`gone` -1: frames are numbered from 0"),
    ],
)
def test_contradictions_are_refused(gone: dict[int, list[int]], message: str) -> None:
    joining = FirstMask(np.full((4, 4), 4, np.uint8), (4,))
    with pytest.raises(InputError, match=message):
        Changes((1, 2), {4: joining}, gone)
    assert Changes((1, 2), {4: joining}, {5: [4, 1], 6: (2,)}).last == (6, "gone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, both: dict[str, np.ndarray], alone: np.ndarray) -> Path:
    """Eight frames, of which 2 to 5 are without the portrait, the first mask and an empty one."""
    place = tmp_path_factory.mktemp("gone")
    (place / "frames").mkdir()
    pictures = [
        both["frames"][0],
        both["frames"][1],
        *alone[[2, 3]],
        blank(alone[0]),
        alone[2],
        *both["frames"][[2, 1]],
    ]
    for index, rgb in enumerate(pictures):
        Image.fromarray(rgb).save(place / f"frames/{index:05d}.png")
    Image.fromarray(both["labels"][0]).save(place / "first.png")
    Image.fromarray(np.zeros_like(both["labels"][0])).save(place / "empty.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place / "small.png")
    return place


def arguments(folder: Path, out: Path, *more: object) -> list[str]:
    line = [folder / "frames", "--first-mask", folder / "first.png", "-o", out, "--quiet", "--save", "masks,csv", *more]
    return [str(each) for each in [*line, "--tracker", "persam"]]


def present(out: Path, number: int) -> list[bool]:
    return [bool((np.asarray(Image.open(path)) == number).any()) for path in sorted((out / "masks").iterdir())]


def test_the_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(arguments(folder, out, "--gone", "2:2", "--debug")) == 0
    assert present(out, PORTRAIT) == [True] * 2 + [False] * 4 + [True] * 2
    assert json.loads((out / "run.json").read_text())["options"]["gone"] == [[2, [2]]]
    assert (out / "objects.csv").read_text().splitlines()[6].startswith("2,0.083333,2,,,,,0,0.0000")


def test_an_empty_later_mask_means_all(
    folder: Path, tmp_path: Path, both: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(arguments(folder, out, "--mask-at", f"4={folder / 'empty.png'}")) == 0
    assert present(out, CAT)[4] is present(out, PORTRAIT)[4] is False and present(out, CAT)[-1]
    frames = [np.asarray(Image.open(path)) for path in sorted((folder / "frames").iterdir())]
    changes: list[dict[str, Any]] = [{"masks_at": {4: np.zeros_like(both["labels"][0])}}, {"gone": {4: [1, 2]}}]
    for change in changes:
        results = list(vos.track(folder / "frames", both["labels"][0], tracker="persam", **change))
        assert len(results) == len(frames)
        for result, path in zip(results, sorted((out / "masks").iterdir()), strict=True):
            assert np.array_equal(result.labels, np.asarray(Image.open(path)))


def test_a_killed_run_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(arguments(folder, whole, "--gone", "2:2")) == 0
    line = arguments(folder, out, "--gone", "2:2")
    code = (
        "import os, sys, vos.command.frame_log, vos.writers.masks\n"
        "from vos.command.cli import main\n"
        "vos.command.frame_log.EVERY_S, vos.command.frame_log.SHARE = 0, 1e9\n"
        "write = vos.writers.masks.MaskWriter.write\n"
        "def die(self, result):\n"
        "    if result.frame.index == 4: os.kill(os.getpid(), 9)\n"
        "    write(self, result)\n"
        "vos.writers.masks.MaskWriter.write = die\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL and os.path.exists(out / ".resume")
    assert main([*arguments(folder, out, "--gone", "2:1"), "--resume"]) == 2
    assert main([*line, "--resume"]) == 0
    for path in [*sorted(whole.rglob("*.png")), whole / "objects.csv"]:
        assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert json.loads((out / "run.json").read_text())["resumed_after"] is not None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gone", "2:7"], "--gone 2: there is no object 7 before this frame; there are: 1, 2"),
        (["--gone", "0:1"], "--gone 0: object 1 is in the mask of this very frame"),
        (["--gone", "99:1"], "--gone 99: there are 8 frames to track, numbered from 0"),
        (["--gone", "2"], "'2': give FRAME:ID or FRAME:ID,ID"),
        (["--gone", "2:a"], "'2:a': give FRAME:ID or FRAME:ID,ID"),
        (["--gone", "2:1,"], "'2:1,': give FRAME:ID or FRAME:ID,ID"),
        (["--mask-at", "2=small.png"], "small.png: 4 x 4, but the video is"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_tracked(
    more: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    try:
        assert main(arguments(folder, tmp_path / "out", *more)) == 2
    except SystemExit as stop:  # argparse
        assert stop.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
