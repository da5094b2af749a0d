"""Objects marked, followed and corrected, without a page: what is kept, what is replaced, what is written."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vos import Hint
from vos.annotate.marks import Gone
from vos.annotate.picture import draw_frame, enlargement
from vos.annotate.project import Project
from vos.command.cli import main
from vos.errors import InputError
from vos.palette import bright_palette
from vos.segmenters.lite import LiteSegmenter
from vos.structures import ImageEmbedding, Masks, Prompts

Clip = tuple[Path, np.ndarray]
"""A folder of frames, and their labels (T, H, W)."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, published: Callable[..., Any]) -> Clip:
    """A folder of eight frames with two objects, and their true labels."""
    arrays = published("frames_multi")
    folder = tmp_path_factory.mktemp("clip") / "clip"
    folder.mkdir()
    order = (0, 1, 2, 3, 2, 1, 0, 1)
    for index, source in enumerate(order):
        Image.fromarray(arrays["frames"][source]).save(folder / f"{index:05d}.png")
    return folder, arrays["labels"][list(order)].astype(np.uint8)


@pytest.fixture
def project(clip: Clip, tmp_path: Path) -> Iterator[Project]:
    with Project(clip[0], tmp_path / "work", tracker="persam") as opened:
        yield opened


def box_of(mask: np.ndarray) -> tuple[float, ...]:
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def draw_box(project: Project, index: int, object_id: int, box: tuple[float, ...]) -> None:
    project.add_corner(index, object_id, *box[2:])
    project.add_corner(index, object_id, *box[:2])


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


def all_labels(project: Project) -> list[np.ndarray]:
    return [project.result(index).labels for index in range(len(project.frames))]


def mark_both(project: Project, truth: np.ndarray, index: int = 0) -> None:
    for number in (1, 2):
        if number not in project.names:
            project.add_object(f"thing {number}")
        draw_box(project, index, number, box_of(truth[index] == number))


def test_marks_become_masks_at_once_and_can_be_taken_back(project: Project, clip: Clip) -> None:
    truth = clip[1]
    cat = project.add_object("  cat\n")
    assert (cat, project.names) == (1, {1: "cat"})
    box = box_of(truth[0] == 1)
    project.add_corner(0, cat, *box[:2])
    assert project.corner == (0, cat, *box[:2]) and not project.result(0).labels.any()
    project.add_corner(0, cat, *box[2:])
    assert project.corner is None and project.hints == {0: {cat: Hint(box)}}
    first = project.result(0)
    assert overlap(first.labels == cat, truth[0] == 1) > 0.7 and first.scores.tolist() == [1.0]
    x, y = box[0], (box[1] + box[3]) / 2
    project.add_point(0, cat, x, y, inside=False)
    assert project.hints[0][cat] == Hint(box, ((x, y, False),))
    assert not np.array_equal(project.result(0).labels, first.labels)
    assert project.undo() == 0
    assert project.hints[0][cat] == Hint(box) and np.array_equal(project.result(0).labels, first.labels)
    project.clear(0, cat)
    assert project.hints == {} and not project.result(0).labels.any()
    project.undo(), project.undo()
    assert project.hints == {} and project.undo() is None


def test_a_mark_that_finds_nothing_changes_nothing(project: Project, clip: Clip) -> None:
    mark_both(project, clip[1])
    before, hints = project.result(0).labels, dict(project.hints)
    third = project.add_object()
    for wrong, message in (
        (lambda: project.add_point(0, third, 5, 5, inside=False), "mark the object itself first"),
        (lambda: draw_box(project, 0, third, (5, 5, 6, 90)), "the box is too small"),
        (lambda: project.add_point(0, third, 5000, 5), "object 3 .*lies outside"),
        (lambda: project.add_point(0, 9, 5, 5), "no object 9"),
        (lambda: project.rename(9, "x"), "no object 9"),
        (lambda: project.remove_object(9), "no object 9"),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
    assert project.hints == hints and np.array_equal(project.result(0).labels, before)
    with pytest.raises(InputError, match="this frame has no masks yet"):
        list(project.track(3))
    assert project.tracked == ()


def test_names_are_cleaned(project: Project) -> None:
    project.add_object("a\x00b\x1b[2J" + "c" * 500)
    assert project.names[1] == "ab[2J" + "c" * 55
    project.rename(1, "../../etc/passwd\u202e")
    assert project.names[1] == "../../etc/passwd"  # never a file name, see the archive


def test_the_archive_is_what_the_command_writes(project: Project, clip: Clip, tmp_path: Path) -> None:
    folder, truth = clip
    mark_both(project, truth)
    assert list(project.track(0)) == list(range(1, 8))
    project.rename(2, "../../../outside")
    assert list(project.export()) == list(range(1, 9))
    boxes = [",".join(map(str, box_of(truth[0] == number))) for number in (1, 2)]
    out = tmp_path / "out"
    assert (
        main([str(folder), "--box", boxes[0], "--box", boxes[1], "-o", str(out), "--tracker", "persam", "--quiet"]) == 0
    )
    assert project.archive.name == "clip-vos.zip"
    with zipfile.ZipFile(project.archive) as archive:
        names = sorted(archive.namelist())
        assert names == [
            "annotation.json",
            *(f"masks/{index:05d}.png" for index in range(8)),
            "objects.csv",
            "overlay.mp4",
        ]
        for name in names[1:-1]:
            assert archive.read(name) == (out / name).read_bytes(), name
        (tmp_path / "overlay.mp4").write_bytes(archive.read("overlay.mp4"))
        annotation = json.loads(archive.read("annotation.json"))
    ours, theirs = (pictures(folder / "overlay.mp4") for folder in (tmp_path, out))
    assert len(ours) == len(theirs) == 8
    assert np.abs(np.subtract(ours, theirs, dtype=float)).mean() < 1  # the encoder's threads make a difference
    assert annotation["objects"] == {"1": "thing 1", "2": "../../../outside"}
    assert annotation["hints"]["0"]["1"] == {"box": list(box_of(truth[0] == 1)), "points": []}
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["download", "given", "guesses", "tracked"]


def test_tracking_again_keeps_what_was_before(project: Project, clip: Clip) -> None:
    truth = clip[1]
    mark_both(project, truth)
    list(project.track(0))
    before = all_labels(project)
    draw_box(project, 4, 2, box_of(truth[4] == 1))  # a correction that shows: 2 takes the place of 1
    corrected = project.result(4).labels
    assert not np.array_equal(corrected, before[4])
    run = project.track(4)
    assert next(run) == 5
    assert project.tracked == (1, 2, 3, 4, 5)  # 6 and 7 are gone at once
    assert list(run) == [6, 7]
    after = all_labels(project)
    assert all(np.array_equal(before[index], after[index]) for index in range(4))
    assert np.array_equal(after[4], corrected)
    assert not any(np.array_equal(before[index], after[index]) for index in (5, 6, 7))


def test_tracking_from_a_frame_is_what_the_command_does_from_there(
    project: Project, clip: Clip, tmp_path: Path
) -> None:
    folder, truth = clip
    mark_both(project, truth)
    list(project.track(0))
    draw_box(project, 3, 1, box_of(truth[3] == 1))
    list(project.track(3))
    list(project.export())
    with zipfile.ZipFile(project.archive) as archive:
        mask, out = archive.extract("masks/00003.png", tmp_path), tmp_path / "out"
    arguments = [str(folder), "--first-mask", mask, "--start", "3", "-o", str(out), "--tracker", "persam", "--quiet"]
    assert main(arguments) == 0
    for index in range(3, 8):
        with Image.open(out / "masks" / f"{index:05d}.png") as image:  # named as its picture
            assert np.array_equal(np.asarray(image), project.result(index).labels)


def test_later_corrections_are_kept_and_objects_may_join(project: Project, clip: Clip) -> None:
    truth = clip[1]
    project.add_object(), project.add_object()
    draw_box(project, 0, 1, box_of(truth[0] == 1))
    draw_box(project, 5, 2, box_of(truth[5] == 2))
    given = project.result(5).labels == 2
    list(project.track(0))
    assert [set(np.unique(labels)) for labels in all_labels(project)] == [{0, 1}] * 5 + [{0, 1, 2}] * 3
    assert np.array_equal(project.result(5).labels == 2, given)
    list(project.export())
    with zipfile.ZipFile(project.archive) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("objects.csv").decode())))
    assert [row["object"] for row in rows] == ["1"] * 5 + ["1", "2"] * 3


def test_an_object_that_is_hidden_keeps_its_earlier_mask_as_reference(project: Project, clip: Clip) -> None:
    """Marked on frame 0 alone; frame 5 shows the other one, from which tracking starts."""
    truth = clip[1]
    mark_both(project, truth)
    project.clear(0, 2)
    draw_box(project, 5, 2, box_of(truth[5] == 2))
    assert list(project.track(5)) == [6, 7]
    assert overlap(project.result(6).labels == 1, truth[6] == 1) > 0.5
    assert set(np.unique(project.result(5).labels)) == {0, 2}
    assert project.masked == (0, 5, 6, 7)


def test_stopped_tracking_goes_on_as_if_it_had_not_stopped(project: Project, clip: Clip) -> None:
    mark_both(project, clip[1])
    list(project.track(0))
    whole = all_labels(project)
    run = project.track(0)
    assert next(run) == 1 and project.tracking
    with pytest.raises(InputError, match="tracking is under way"):
        project.add_point(0, 1, 5, 5)
    with pytest.raises(InputError, match="tracking is under way"):
        next(project.track(0))
    project.stop()
    assert list(run) == [] and not project.tracking and project.tracked == (1,)
    run = project.track(1)
    assert next(run) == 2
    run.close()  # as when the browser goes away
    assert not project.tracking
    assert list(project.track(2)) == [3, 4, 5, 6, 7]
    assert all(np.array_equal(one, other) for one, other in zip(whole, all_labels(project), strict=True))


def test_points_on_a_tracked_mask_correct_it(project: Project, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = clip[1]
    mark_both(project, truth)
    list(project.track(0))
    tracked = project.result(3).labels == 1
    x, y = np.argwhere(tracked)[len(np.argwhere(tracked)) // 2][::-1]
    project.add_point(3, 1, x, y, inside=False)
    assert project.hints[3] == {1: Hint(points=((float(x), float(y), False),))}
    corrected = project.result(3).labels == 1
    assert 0.6 < overlap(corrected, tracked) < 1  # the rest of it stays
    project.undo()
    assert np.array_equal(project.result(3).labels == 1, tracked)

    def empty(
        segmenter: LiteSegmenter, embedding: ImageEmbedding, prompts: Prompts, *rest: object, **named: object
    ) -> Masks:
        scores = torch.zeros(len(prompts.points), 3)
        return Masks(
            scores[..., None, None].expand(-1, -1, *(4 * side for side in embedding.geometry.grid)) - 9, scores
        )

    monkeypatch.setattr(LiteSegmenter, "decode", empty)
    with pytest.raises(InputError, match=r"object 1 \(point 440,2\): no object was found there"):
        project.add_point(3, 1, 440, 2)


def test_a_removed_object_is_gone_everywhere(project: Project, clip: Clip) -> None:
    mark_both(project, clip[1])
    list(project.track(0))
    project.remove_object(1)
    assert all(set(np.unique(labels)) <= {0, 2} for labels in all_labels(project))
    assert project.add_object() == 3  # its number is not used again
    assert {entry for result in map(project.result, range(8)) for entry in result.object_ids} == {2}
    project.undo()  # of the other object's mark
    assert project.hints == {}


def test_nothing_to_download(project: Project) -> None:
    with pytest.raises(InputError, match="nothing to download yet"):
        next(project.export())


def test_the_picture_shows_marks_where_they_were_made(project: Project, clip: Clip) -> None:
    project.add_object()
    draw_box(project, 0, 1, box_of(clip[1][0] == 1))
    result = project.result(0)
    times = enlargement(result.frame.size)
    plain, marked = (np.asarray(draw_frame(result, hints)) for hints in ({}, {1: Hint(points=((100.0, 50.0, False),))}))
    assert times == 3 and plain.shape == (256 * 3, 455 * 3, 3)
    rows, columns = np.nonzero((plain != marked).any(axis=2))
    assert abs(rows.mean() - 3 * 50.5) < 1 and abs(columns.mean() - 3 * 100.5) < 1
    crossed = np.asarray(draw_frame(result, {}, (1, 20.0, 30.0)))
    assert np.array_equal(crossed[5, 61], bright_palette()[1])


def test_an_object_marked_as_gone_is_absent_from_there_on(project: Project, clip: Clip) -> None:
    truth = clip[1]
    mark_both(project, truth)
    list(project.track(0))
    before = all_labels(project)
    project.mark_gone(4, 2)
    assert project.hints[4] == {2: Gone()} and not (project.result(4).labels == 2).any()
    assert np.array_equal(project.result(4).labels == 1, before[4] == 1)
    assert project.result(4).scores.tolist()[1] == 0
    assert project.undo() == 4
    assert 4 not in project.hints and np.array_equal(project.result(4).labels, before[4])
    project.mark_gone(4, 2)
    assert list(project.track(4)) == [5, 6, 7]
    after = all_labels(project)
    assert all(np.array_equal(before[index], after[index]) for index in range(4))
    assert all(set(np.unique(labels)) == {0, 1} for labels in after[4:])
    draw_box(project, 6, 2, box_of(truth[6] == 2))  # shown again
    assert list(project.track(4)) == [5, 6, 7]
    assert [2 in np.unique(labels) for labels in all_labels(project)[4:]] == [False, False, True, True]
    list(project.export())
    with zipfile.ZipFile(project.archive) as archive:
        hints = json.loads(archive.read("annotation.json"))["hints"]
    assert hints["4"] == {"2": {"gone": True}} and hints["6"]["2"]["box"]


def test_gone_counts_on_later_frames_and_when_tracking_begins_after_it(project: Project, clip: Clip) -> None:
    mark_both(project, clip[1])
    project.mark_gone(3, 1)  # nothing is tracked yet
    assert list(project.track(0)) == list(range(1, 8))
    assert [1 in np.unique(labels) for labels in all_labels(project)] == [True] * 3 + [False] * 5
    assert list(project.track(5)) == [6, 7]
    assert not any(1 in np.unique(labels) for labels in all_labels(project)[3:])
    project.mark_gone(3, 2)
    assert not project.result(3).labels.any()
    assert list(project.track(3)) == [4, 5, 6, 7]
    assert not any(labels.any() for labels in all_labels(project)[3:])


def test_a_click_replaces_the_mark_that_an_object_is_gone(project: Project, clip: Clip) -> None:
    mark_both(project, clip[1])
    list(project.track(0))
    found = project.result(4).labels == 2
    project.mark_gone(4, 2)
    y, x = np.argwhere(found)[np.count_nonzero(found) // 2]
    project.add_point(4, 2, x, y)
    assert project.hints[4] == {2: Hint(points=((float(x), float(y), True),))}
    assert overlap(project.result(4).labels == 2, found) > 0.6
    third = project.add_object()
    with pytest.raises(InputError, match="the object is on no earlier frame"):
        project.mark_gone(0, 1)
    with pytest.raises(InputError, match="the object is on no earlier frame"):
        project.mark_gone(5, third)
    with pytest.raises(InputError, match="no object 9"):
        project.mark_gone(5, 9)
