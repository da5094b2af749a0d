"""Objects of vos-annotate that a photograph shows: how it is taken, marked, followed by, and written down."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vos import Hint
from vos.annotate import photographs as photographs_module
from vos.annotate import project as project_module
from vos.annotate.markup import choices, photograph_state
from vos.annotate.picture import PHOTOGRAPH_SIDE, draw_photograph, reduction
from vos.annotate.project import Project
from vos.command.cli import main
from vos.errors import InputError, PluginError
from vos.testing.still import EditableStill

from . import test_annotate_page as of_the_page

clip, tab = of_the_page.clip, of_the_page.tab
SIZE, COUNT = (256, 455), 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, published: Callable[..., Any]) -> dict[str, Any]:
    """A folder of six frames with two objects, and a photograph of the first one with its mask: a part of frame 0."""
    arrays = published("frames_multi")
    folder = tmp_path_factory.mktemp("scene")
    (folder / "clip").mkdir()
    for index, source in enumerate((0, 1, 2, 3, 2, 1)):
        Image.fromarray(arrays["frames"][source]).save(folder / "clip" / f"{index:05d}.png")
    part = np.s_[:240, :300]
    mask = arrays["labels"][0][part] == 1
    Image.fromarray(arrays["frames"][0][part]).save(folder / "thing = #1.png")
    Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "mask.png")
    return {"clip": folder / "clip", "photograph": folder / "thing = #1.png", "mask": folder / "mask.png", "is": mask}


@pytest.fixture
def project(scene: dict[str, Any], tmp_path: Path) -> Iterator[Project]:
    with Project(scene["clip"], tmp_path / "work", tracker="persam") as opened:
        opened.add_object("thing")
        yield opened


def copied(file: Path, to: Path) -> Path:
    to.write_bytes(file.read_bytes())
    return to


def upload(project: Project, file: Path, mask: Path | None = None, object_id: int = 1) -> None:
    """What the page does with files of the user's: they are copied to a place of its own, and taken from there."""
    for path, what in ((file, "add"), (mask, "add_mask")):
        if path is not None:
            copy = copied(path, project.archive.parent.parent / f"upload-{path.name}")
            with project.changed_photographs(object_id) as photographs:
                getattr(photographs, what)(object_id, copy, path.name)
            assert not copy.exists()


def draw_box(project: Project, index: int, object_id: int, box: tuple[float, ...]) -> None:
    project.add_corner(index, object_id, *box[:2])
    project.add_corner(index, object_id, *box[2:])


def box_of(mask: np.ndarray) -> tuple[int, ...]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def all_labels(project: Project) -> list[np.ndarray]:
    return [project.result(index).labels for index in range(COUNT)]


def unpacked(project: Project, folder: Path) -> dict[str, Any]:
    """The download, and its annotation."""
    list(project.export())
    with zipfile.ZipFile(project.archive) as archive:
        archive.extractall(folder)
    return json.loads((folder / "annotation.json").read_text())


def test_the_command_finds_the_same_by_what_was_downloaded(
    project: Project, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(project, scene["photograph"], scene["mask"])
    assert choices(project) == [("1 thing (photograph)", 1)]
    assert project.frames_from(0) == COUNT and list(project.track(0)) == list(range(COUNT))
    assert (project.result(0).labels == 1).any()  # the photograph is a part of this frame
    first = all_labels(project)
    assert list(project.track(0)) == list(range(COUNT))  # looked for anew, also on frame 0
    assert all(np.array_equal(one, other) for one, other in zip(first, all_labels(project), strict=True))
    record = unpacked(project, tmp_path / "got")
    [reference] = record["references"]["1"]
    assert reference == {
        "name": "thing = #1.png",
        "reference": "references/1-1.png=references/1-1-mask.png#1",
    }
    monkeypatch.chdir(tmp_path / "got")
    arguments = [str(scene["clip"]), "--reference", reference["reference"], "--tracker", "persam", "--quiet"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    for path in [*(f"masks/{index:05d}.png" for index in range(COUNT)), "objects.csv"]:
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "got" / path).read_bytes(), path


def test_a_photograph_beside_a_mark_of_another_object(
    project: Project, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(project, scene["photograph"])
    with project.changed_photographs(1) as photographs:
        photographs.add_corner(1, 5, 5)
        assert photographs.of(1)[0].corner == (5, 5)
        photographs.add_corner(1, 290, 230)
    assert project.photographs.of(1)[0].hint == Hint((5, 5, 290, 230))
    draw_box(project, 0, project.add_object(), (284, 90, 370, 204))
    assert list(project.track(0)) == list(range(1, COUNT)) == [*range(1, 1 + project.frames_from(0))]
    record = unpacked(project, tmp_path / "got")
    assert record["references"]["1"][0]["box"] == [5, 5, 290, 230]
    monkeypatch.chdir(tmp_path / "got")
    arguments = ["--first-mask", "masks/00000.png", "--reference", record["references"]["1"][0]["reference"]]
    arguments += ["--tracker", "persam", "--quiet", "-o", str(tmp_path / "out")]
    assert main([str(scene["clip"]), *arguments]) == 0
    for index in range(COUNT):
        path = f"masks/{index:05d}.png"
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "got" / path).read_bytes(), path


def test_points_and_boxes_in_a_photograph(project: Project, scene: dict[str, Any]) -> None:
    upload(project, scene["photograph"])
    x0, y0, x1, y1 = box_of(scene["is"])
    with project.changed_photographs(1) as photographs:
        with pytest.raises(InputError, match="mark the object itself first"):
            photographs.add_point(1, x0, y0, inside=False)
        photographs.add_point(1, (x0 + x1) / 2, (y0 + y1) / 2)
        pointed = photographs.of(1)[0]
        assert pointed.mask.any() and len(pointed.hint.points) == 1
        photographs.add_corner(1, x0, y0)
        with pytest.raises(InputError, match="the box is too small"):
            photographs.add_corner(1, x0 + 1, y1)
        assert photographs.of(1)[0].corner is None
        photographs.add_corner(1, x0, y0), photographs.add_corner(1, x1, y1)
        boxed = photographs.of(1)[0]
        assert boxed.hint == Hint((x0, y0, x1, y1))
        shared = np.count_nonzero(boxed.mask & scene["is"]) / np.count_nonzero(boxed.mask | scene["is"])
        assert shared > 0.6
        photographs.add_point(1, x0 - 3, y0, inside=True)  # the box grows to hold it
        assert photographs.of(1)[0].hint.box == (x0 - 3, y0, x1, y1)


def test_mistakes_are_one_line_and_change_nothing(project: Project, scene: dict[str, Any], tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    masks = {"small": np.full((10, 10), 255, np.uint8), "empty": np.zeros((240, 300), np.uint8)}
    masks["two"] = np.repeat(np.arange(300) // 100, 240).reshape(300, 240).T.astype(np.uint8)
    for name, values in masks.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    for wrong, message in (
        (lambda: upload(project, text), r"text\.jpg: "),
        (lambda: upload(project, scene["photograph"], object_id=7), "no object 7"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            wrong()
        assert str(tmp_path / "work") not in str(caught.value) and "\n" not in str(caught.value)
    upload(project, scene["photograph"])
    for name, message in (
        ("small", r"^small\.png: 10 x 10, but its picture thing = #1\.png is 300 x 240"),
        ("empty", r"^empty\.png: "),
        ("two", r"^two\.png: holds objects 1, 2; give a mask of this object alone"),
        ("text", r"^text\.jpg: "),
    ):
        with pytest.raises(InputError, match=message):
            upload(project, scene["photograph"], tmp_path / ("text.jpg" if name == "text" else f"{name}.png"))
    assert [each.mask for each in project.photographs.of(1)] == [None]  # which gave way each time
    for wrong in (lambda: list(project.track(0)), lambda: project.frames_from(0)):
        with pytest.raises(InputError, match=r"object 1, thing = #1\.png: has neither a mask nor a box"):
            wrong()
    with project.changed_photographs(1) as photographs:
        photographs.remove(1)
        for wrong in (
            lambda: photographs.remove(1),
            lambda: photographs.add_point(1, 5, 5),
            lambda: photographs.add_corner(1, 5, 5),
        ):
            with pytest.raises(InputError, match="no photograph of this object yet"):
                wrong()
    with pytest.raises(InputError, match="no photograph of this object yet"), project.changed_photographs(1) as given:
        given.add_mask(1, copied(scene["mask"], tmp_path / "copy.png"), "mask.png")
    assert list((tmp_path / "work" / "photographs").iterdir()) == []
    with pytest.raises(InputError, match="this frame has no masks yet"):
        list(project.track(0))


def test_a_large_picture_is_refused(project: Project, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.photographs, "_max_pixels", 1000)
    with pytest.raises(InputError, match=r"thing = #1\.png: .*300 x 240"):
        upload(project, scene["photograph"])


def test_several_photographs_and_their_end(
    project: Project, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs_module, "MOST", 2)
    upload(project, scene["photograph"], scene["mask"])
    upload(project, scene["photograph"], scene["mask"])
    assert [each.object_id for each in project.photographs.references()] == [1, 1]
    with pytest.raises(InputError, match="object 1 has 2 photographs already"):
        upload(project, scene["photograph"])
    assert "With 1 more" in photograph_state(project.photographs.of(1))
    second = project.add_object()
    upload(project, scene["photograph"], scene["mask"], second)
    for way in ("both", "between"):
        with pytest.raises(InputError, match="photographs of objects do not go with this yet"):
            list(project.track_back(1, way))
    project.remove_object(1)
    assert [each.object_id for each in project.photographs.references()] == [second]
    assert len(list((tmp_path / "work" / "photographs").iterdir())) == 1
    assert "(photograph)" in choices(project)[0][0]
    monkeypatch.setattr(project_module, "new_tracker", lambda *_, **__: EditableStill())
    with pytest.raises(PluginError, match="cannot take objects from references"):
        list(project.track(0))


def test_gone_and_stopped(project: Project, scene: dict[str, Any]) -> None:
    upload(project, scene["photograph"], scene["mask"])
    run = project.track(0)
    assert next(run) == 0 and next(run) == 1
    project.stop()
    assert list(run) == [] and project.tracked == (0, 1)
    assert project.frames_from(1) == COUNT - 2 and list(project.track(1)) == [2, 3, 4, 5]
    resumed = all_labels(project)
    list(project.track(0))
    assert all(np.array_equal(one, other) for one, other in zip(resumed, all_labels(project), strict=True))
    project.mark_gone(3, 1)
    assert list(project.track(0)) == list(range(COUNT)) and not project.result(3).labels.any()
    assert list(project.track(3)) == [3, 4, 5] and not project.result(3).labels.any()  # begins with the search
    assert list(project.track_back(2)) == [1, 0]


def test_marks_where_they_were_made(project: Project, scene: dict[str, Any], tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.fromarray(np.full((960, 1280, 3), 90, np.uint8)).save(large)
    upload(project, large)
    plain = draw_photograph(project.photographs.of(1)[0], 1)
    assert plain.size == (PHOTOGRAPH_SIDE, 480) and reduction((960, 1280)) == 0.5
    with project.changed_photographs(1) as photographs:
        photographs.add_corner(1, 200, 100)
    crossed = np.abs(np.asarray(draw_photograph(project.photographs.of(1)[0], 1)).astype(int) - np.asarray(plain))
    assert crossed[400, 98:103].any() and crossed[48:53, 600].any() and not crossed[400, 110:].any()


def test_from_an_upload_to_tracked_frames(tab: Any, scene: dict[str, Any], tmp_path: Path) -> None:
    page = tab.page
    page.locator("#photographs button").first.click()
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(tmp_path / "small.png")

    def choose(button: str, file: Path) -> None:
        with page.expect_file_chooser() as chooser:
            page.click(button)
        chooser.value.set_files(file)

    choose("#mask", scene["mask"])
    page.get_by_text("there is no photograph of this object yet").first.wait_for()
    choose("#photograph", scene["photograph"])
    page.locator("#photo-state", has_text="Mark the object in it").wait_for()
    page.click("#track")
    page.get_by_text("has neither a mask nor a box").first.wait_for()
    tab.idle()
    choose("#mask", tmp_path / "small.png")
    page.get_by_text("small.png: 10 x 10, but its picture").first.wait_for()
    choose("#mask", scene["mask"])
    page.locator("#photo-state", has_text="is looked for").wait_for()
    page.locator("#objects", has_text="1 (photograph)").wait_for()
    page.click("#new")
    page.locator("#photo").wait_for(state="detached")  # the other object has none
    page.click("#objects label:nth-of-type(1)")
    photo = page.locator("#photo img")
    photo.wait_for()
    page.keyboard.press("b")
    page.locator("#help", has_text="two opposite corners").wait_for()
    for share in (0.1, 0.9):
        before = photo.get_attribute("src")
        tab.click_share("#photo img", share, share)
        page.wait_for_function("before => document.querySelector('#photo img').src !== before", arg=before)
    page.click("#track")
    page.locator("#progress", has_text="8 of 8 frames").wait_for()
    tab.idle()
    tab.state("tracked")
    page.click("#remove")
    page.locator("#photo-state", has_text="A photograph from anywhere").wait_for()
    assert tab.problems == []
