"""The page of vos-annotate follows objects backwards, both ways, and between marked frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vos.annotate import project as project_module
from vos.annotate.project import Project
from vos.engine.session import Session
from vos.errors import InputError
from vos.structures import FirstMask, Hint
from vos.testing.still import EditableStill

from . import test_annotate_page as of_the_page

clip, tab = of_the_page.clip, of_the_page.tab
SIZE, COUNT = (48, 64), 13


def square(left: int, value: int = 1) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[8:28, left : left + 20] = value
    return labels


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Thirteen frames; a box is its mask, and a tracker leaves every mask where it was given."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for index in range(COUNT):
        Image.fromarray(np.full((*SIZE, 3), index, np.uint8)).save(folder / f"{index:05d}.png")

    def segment(self: Session, frame: object, hints: list[Hint], ids: tuple[int, ...]) -> FirstMask:
        labels = np.zeros(SIZE, np.uint8)
        for hint, object_id in zip(hints, ids, strict=True):
            x0, y0, x1, y1 = map(int, hint.box)
            labels[y0 : y1 + 1, x0 : x1 + 1] = object_id
        return FirstMask(labels, tuple(ids))

    monkeypatch.setattr(Session, "segment", segment)
    monkeypatch.setattr(project_module, "new_tracker", lambda *_, **__: EditableStill())
    with Project(folder, tmp_path / "work", tracker="persam") as opened:
        segmenter = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
        opened._session = Session(EditableStill(), segmenter, opened._session.encoder)
        for name in ("one", "two"):
            opened.add_object(name)
        yield opened


def mark(project: Project, index: int, left: int, object_id: int = 1) -> None:
    project.add_corner(index, object_id, left, 8)
    project.add_corner(index, object_id, left + 19, 27)


def edges(project: Project, object_id: int = 1) -> list[int | None]:
    """Left edge of an object on each frame; None where it is not."""
    found = [np.flatnonzero((project.result(index).labels == object_id)[18]) for index in range(COUNT)]
    return [int(columns[0]) if len(columns) else None for columns in found]


def test_back_to_the_beginning(project: Project) -> None:
    mark(project, 2, 20)
    mark(project, 6, 4)
    mark(project, 9, 40, object_id=2)
    assert list(project.track_back(6)) == [5, 4, 3, 2, 1, 0]
    assert edges(project) == [20, 20, 20, 4, 4, 4, 4, *[None] * 6]  # the mark on frame 2 counts from there on
    assert edges(project, 2)[:7] == [40, 40, 40, 40, 40, 40, None]  # from the later frame on which it was marked
    assert project.tracked == (0, 1, 2, 3, 4, 5)
    assert project.frames_of(6, "backwards") == 6


def test_both_ways_from_all_marks(project: Project) -> None:
    mark(project, 3, 10)
    mark(project, 9, 16)
    done = list(project.track_back(0, "both"))
    assert done == [*range(9, -1, -1), *range(COUNT)] and len(done) == project.frames_of(0, "both")
    found = edges(project)
    assert found[:4] == [10] * 4 and found[9:] == [16] * 4 and found == sorted(found) and 12 <= found[6] <= 14
    project.mark_gone(11, 1)
    list(project.track_back(0, "both"))
    assert edges(project)[10:] == [16, None, None]


def test_between_two_marks_and_a_third_in_the_middle(project: Project) -> None:
    mark(project, 0, 2)
    list(project.track(0))
    before = project.result(12).labels
    mark(project, 8, 2)
    mark(project, 4, 36)  # the correction
    done = list(project.track_back(4, "between"))
    assert done == [*range(8, -1, -1), *range(9)] and len(done) == project.frames_of(4, "between")
    assert edges(project) == [2, 2, 2, 36, 36, 36, 36, 2, 2, 2, 2, 2, 2]
    assert np.array_equal(project.result(12).labels, before)
    list(project.track_back(6, "between"))
    assert edges(project)[4:9] == [36, 36, 36, 2, 2]
    with pytest.raises(InputError, match="does not lie between two marked ones"):
        list(project.track_back(9, "between"))


def test_stopped_on_the_way(project: Project) -> None:
    mark(project, 6, 4)
    run = project.track_back(6)
    assert next(run) == 5 and project.tracking
    with pytest.raises(InputError, match="tracking is under way"):
        project.undo()
    project.stop()
    assert list(run) == [] and not project.tracking and project.tracked == (5,)
    with pytest.raises(InputError, match="no masks yet"):
        list(project.track_back(2))


def test_nothing_is_marked(project: Project) -> None:
    with pytest.raises(InputError, match="no object is marked yet"):
        list(project.track_back(0, "both"))
    assert not project.tracking


def test_the_buttons_of_the_page(tab: Any) -> None:
    page = tab.page
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    tab.state("Frame 4 of 0–7")
    plain = tab.picture()
    tab.click(150, 130)
    tab.state("marked")
    marked = tab.changed(plain)
    page.click("#backwards")
    page.locator("#progress", has_text="4 of 4 frames").wait_for()
    tab.idle()
    tab.state("Frame 0 of 0–7")
    tab.state("tracked")
    page.keyboard.press("w")
    page.locator("#progress", has_text="13 of 13 frames").wait_for()  # five back, eight forwards
    tab.idle()
    tab.state("Frame 7 of 0–7")
    tab.state("tracked")
    page.keyboard.press("e")
    page.get_by_text("does not lie between two marked ones").first.wait_for()
    assert not np.array_equal(marked, tab.picture()) and tab.problems == []
