"""The command ``vos-davis`` on a tiny tree: tracking, resuming, scoring, the report."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks import davis as command
from vos.benchmarks.dataset import listed
from vos.engine.models import new_tracker
from vos.errors import InputError
from vos.folder_lock import FolderLock
from vos.palette import davis_palette
from vos.weights import LITE


def run(davis: Path, year: int, *arguments: object) -> int:
    """Run the command on a tree; return its exit status."""
    return command.main(["--davis", str(davis), "--year", str(year), *map(str, arguments)])


@pytest.mark.parametrize(("year", "name", "objects"), [(2016, "cat", 1), (2017, "cup", 2)])
def test_tracks_and_scores(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], year: int, name: str, objects: int
) -> None:
    out = tmp_path / "results"
    assert run(davis, year, "--tracker", "persam", "-o", out) == 0
    masks = sorted((out / name).glob("*"))
    assert [path.name for path in masks] == [f"{i:05d}.png" for i in range(6)]
    with Image.open(masks[1]) as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3)[:3], davis_palette()[:3])
        assert set(np.unique(np.asarray(image))) <= set(range(objects + 1))
    with (out / "per-sequence_results-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Sequence"] for row in rows] == [f"{name}_{i + 1}" for i in range(objects)]
    with (out / "global_results-val.csv").open() as file:
        [totals] = csv.DictReader(file)
    assert float(totals["J-Mean"]) == pytest.approx(np.mean([float(row["J-Mean"]) for row in rows]), abs=1e-6)
    assert float(totals["J-Mean"]) > 0.6
    assert f"J-Mean {float(totals['J-Mean']):.3f}" in capsys.readouterr().out
    record = json.loads((out / "run.json").read_text())
    assert record["options"]["tracker"] == "persam"
    report = (out / "report.html").read_text()
    assert f"<h2>{name}</h2>" in report
    assert report.count("<polyline") == objects
    assert "data:image/jpeg;base64," in report
    assert "http" not in report


def test_a_complete_sequence_is_not_tracked_again_and_a_broken_one_is(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    arguments = ("--tracker", "persam", "-o", out)
    run(davis, 2016, *arguments)
    before = (out / "cat/00002.png").stat().st_mtime_ns
    run(davis, 2016, *arguments)
    assert (out / "cat/00002.png").stat().st_mtime_ns == before
    assert "1 of 1 sequences are complete" in capsys.readouterr().out
    (out / "cat/00003.png").unlink()
    run(davis, 2016, *arguments)
    assert (out / "cat/00003.png").is_file()
    assert (out / "cat/00002.png").stat().st_mtime_ns != before
    assert not list(out.glob(".*"))


def test_masks_of_other_weights_are_no_results_of_these(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, weights = tmp_path / "results", tmp_path / "own.safetensors"
    shutil.copyfile(LITE, weights)
    arguments = ("--tracker", "persam", "--model", f"lite:{weights}", "--max-frames", 2, "-o", out)
    assert run(davis, 2016, *arguments) == 0
    assert run(davis, 2016, *arguments, "--sequences", "cat", "--device", "cpu") == 0
    assert run(davis, 2016, *arguments[2:]) == 2
    assert "its run was begun with --tracker persam, not persam-f; give the same command line, or give another -o" in (
        capsys.readouterr().err
    )
    weights.write_bytes(LITE.read_bytes()[:-2] + b"\0\0")
    assert run(davis, 2016, *arguments) == 2
    assert "own.safetensors: has changed since the run in" in capsys.readouterr().err
    (out / "run.json").unlink()
    assert run(davis, 2016, *arguments) == 0


def test_a_run_that_was_killed_is_known_again(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    out = tmp_path / "results"
    monkeypatch.setattr(command, "track_sequence", killed)
    assert run(davis, 2016, "--tracker", "persam", "-o", out) == 130
    assert json.loads((out / "run.json").read_text())["outcome"] == "begun"
    assert run(davis, 2016, "--tracker", "persam-f", "-o", out) == 2
    assert "was begun with --tracker persam, not persam-f" in capsys.readouterr().err


def test_scores_masks_of_anything_else(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(davis / "Annotations/480p/cat", tmp_path / "theirs/cat")
    assert run(davis, 2016, "--evaluate-only", tmp_path / "theirs") == 0
    assert "J&F-Mean 1.000" in capsys.readouterr().out


def test_sets_by_name_path_and_sequence(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = shutil.copytree(davis / "Annotations/480p", tmp_path / "theirs")
    own = tmp_path / "own.txt"
    own.write_text("cat\n")
    assert run(davis, 2016, "--set", own, "--evaluate-only", theirs) == 0
    assert (theirs / "global_results-own.csv").is_file()
    assert run(davis, 2016, "--sequences", "cat", "--evaluate-only", theirs) == 0
    assert run(davis, 2016, "--set", "nonesuch", "--evaluate-only", theirs) == 2
    assert "no set nonesuch; there are: val" in capsys.readouterr().err


@pytest.mark.parametrize("tracker", ["persam", "persam-f"])
def test_published_behaviour_is_an_option(davis: Path, tmp_path: Path, tracker: str) -> None:
    assert run(davis, 2016, "--tracker", tracker, "--published", "--max-frames", 2, "-o", tmp_path / "results") == 0
    assert len(list((tmp_path / "results/cat").glob("*.png"))) == 2
    assert not (tmp_path / "results/report.html").exists()


def test_the_papers_preset_names_its_models() -> None:
    arguments = ["--davis", "d", "-o", "r", "--preset", "paper"]
    options = command.parse(arguments)
    assert (options.tracker, options.model, options.prior) == ("persam-f", "sam-vit-h", "dinov2-large")
    assert command.parse([*arguments, "--model", "sam-vit-b"]).model == "sam-vit-b"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "JPEGImages"), "no such folder; is --davis"),
        (lambda root: (root / "JPEGImages/480p/cat/00002.jpg").unlink(), "00002.png: no picture of this name"),
        (lambda root: (root / "Annotations/480p/cat/00000.png").unlink(), "00000.png"),
    ],
)
def test_a_damaged_tree_is_one_clear_line(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], message: str
) -> None:
    damage(davis)
    assert run(davis, 2016, "--tracker", "persam", "-o", tmp_path / "results") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def first_annotations_only(davis: Path, name: str) -> None:
    """Remove all annotations of a sequence but the first, as in the test sets."""
    for path in sorted((davis / "Annotations/480p" / name).iterdir())[1:]:
        path.unlink()


def renamed(davis: Path, name: str, names: Callable[[int], str]) -> None:
    """Rename the pictures and annotations of a sequence by their index."""
    for kind in ("JPEGImages", "Annotations"):
        for index, path in reversed(list(enumerate(sorted((davis / kind / "480p" / name).iterdir())))):
            path.rename(path.with_stem(names(index)))


def labels(path: Path) -> np.ndarray:
    """Read an indexed or grey mask."""
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_set_of_first_annotations_is_tracked_and_not_scored(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_annotations_only(davis, "cup")
    out = tmp_path / "results"
    assert run(davis, 2017, "--tracker", "persam", "-o", out) == 0
    line = f"1 sequence, no scores: this set has first annotations only; the masks are in {out}\n"
    assert capsys.readouterr().out.endswith(line)
    assert len(list((out / "cup").iterdir())) == 6
    assert run(davis, 2017, "--evaluate-only", out) == 0
    assert capsys.readouterr().out == line
    assert not (out / "report.html").exists()


def test_a_mixed_set_is_scored_where_there_is_truth(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_annotations_only(davis, "cup")
    theirs = shutil.copytree(davis / "Annotations/480p", tmp_path / "theirs")
    assert run(davis, 2017, "--sequences", "cat", "cup", "--evaluate-only", theirs) == 0
    out = capsys.readouterr().out
    assert "not scored, as they have first annotations only: cup; the masks are in" in out
    assert "cat_1" in out and "J&F-Mean 1.000" in out and "cup_1" not in out


@pytest.mark.parametrize("names", [lambda index: f"{5 * index:05d}", lambda index: f"{index + 1:08d}"])
def test_frames_masks_and_truth_are_matched_by_name(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: Callable[[int], str]
) -> None:
    out = tmp_path / "results"
    renamed(davis, "cat", names)
    assert run(davis, 2016, "--tracker", "persam", "-o", out) == 0
    assert sorted(path.stem for path in (out / "cat").iterdir()) == [names(index) for index in range(6)]
    assert "1 sequences are complete" not in capsys.readouterr().out
    assert run(davis, 2016, "--tracker", "persam", "-o", out) == 0
    assert "1 of 1 sequences are complete" in capsys.readouterr().out
    with (out / "per-sequence_results-val.csv").open() as file:
        assert float(next(csv.DictReader(file))["J-Mean"]) > 0.6
    shown = re.findall(r"frame (\w+), J", (out / "report.html").read_text())
    assert shown and set(shown) <= {names(index) for index in range(1, 6)}


def test_an_object_joins_where_the_annotations_first_show_it(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "youtube-vos"  # has no folder for the resolution
    for kind in ("JPEGImages", "Annotations"):
        shutil.copytree(davis / kind / "480p", root / kind)
    for name in ("00000", "00001", "00002"):
        path = root / "Annotations/cup" / f"{name}.png"
        before = labels(path)
        Image.fromarray(np.where(before == 2, 0, before) if name != "00002" else before).save(path)
    for name in ("00001", "00004"):  # the truth of some frames is not published
        (root / "Annotations/cup" / f"{name}.png").unlink()
    out = tmp_path / "results"
    assert run(root, 2017, "--sequences", "cup", "--tracker", "persam", "-o", out) == 0
    assert set(np.unique(labels(out / "cup/00001.png"))) <= {0, 1}
    given = labels(root / "Annotations/cup/00002.png") == 2
    assert np.array_equal(labels(out / "cup/00002.png") == 2, given)
    assert 2 in labels(out / "cup/00003.png")
    assert {"cup_1", "cup_2"} <= set(capsys.readouterr().out.split())
    assert "4 of 6 frames are annotated" in caplog.text
    assert "frame after that on: 2" in caplog.text


def test_a_sequence_may_begin_without_an_object(davis: Path, tmp_path: Path) -> None:
    for name in ("00000", "00001"):
        path = davis / "Annotations/480p/cup" / f"{name}.png"
        Image.fromarray(np.zeros_like(labels(path))).save(path)
    out = tmp_path / "results"
    assert run(davis, 2017, "--tracker", "persam", "-o", out) == 0
    assert not labels(out / "cup/00000.png").any() and not labels(out / "cup/00001.png").any()
    assert set(np.unique(labels(out / "cup/00002.png"))) == {0, 1, 2}


def broken_pictures(folder: Path) -> None:
    """Put files there that are named like pictures but are none."""
    folder.mkdir()
    for index in range(6):
        (folder / f"{index:05d}.jpg").write_text("no picture")


@pytest.mark.parametrize("damage", [lambda folder: None, Path.mkdir, broken_pictures])
def test_scoring_needs_no_pictures(davis: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    out = shutil.copytree(davis / "Annotations/480p", tmp_path / "results")
    for path in (out / "cup").iterdir():
        Image.fromarray(np.where(labels(path) == 1, 1, 0).astype(np.uint8)).save(path)
    assert run(davis, 2017, "--evaluate-only", out) == 0
    tables = [(out / f"{name}_results-val.csv").read_text() for name in ("global", "per-sequence")]
    shutil.rmtree(davis / "JPEGImages/480p/cup")
    damage(davis / "JPEGImages/480p/cup")
    assert run(davis, 2017, "--evaluate-only", out) == 0
    assert [(out / f"{name}_results-val.csv").read_text() for name in ("global", "per-sequence")] == tables
    assert "data:image/jpeg;base64," in (out / "report.html").read_text()


def test_black_and_white_truth_is_one_object_in_2017_too(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run(davis, 2017, "--sequences", "cat", "--tracker", "persam", "-o", out) == 0
    of_2017 = (out / "per-sequence_results-val.csv").read_text()
    assert run(davis, 2016, "--sequences", "cat", "--evaluate-only", out) == 0
    assert (out / "per-sequence_results-val.csv").read_text() == of_2017
    assert "cat_1" in of_2017


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root, out: shutil.rmtree(root / "ImageSets"), "no set val; there are: none"),
        (lambda root, out: (root / "ImageSets/2017/val.txt").write_text("\n"), "val.txt: lists no sequence"),
        (lambda root, out: (root / "ImageSets/2017/val.txt").write_bytes(b"\xff\xfe\x00"), "val.txt: is no text"),
        (lambda root, out: (root / "ImageSets/2017/val.txt").write_text("dog"), "dog: no such folder; is --davis"),
        (lambda root, out: shutil.rmtree(root / "Annotations/480p/cup"), "cup: no such folder; is --davis"),
        (lambda root, out: [path.unlink() for path in (root / "Annotations/480p/cup").iterdir()], "0 annotations"),
        (lambda root, out: shutil.rmtree(out / "cup"), "cup: no such folder; every sequence needs one"),
        (lambda root, out: (out / "cup/00003.png").unlink(), "00003.png: no such mask"),
        (lambda root, out: (out / "cup/00003.PNG").write_text(""), "the same frame as"),
        (lambda root, out: (out / "cup/00003.png").write_text(""), "00003.png: not a readable image"),
        (lambda root, out: Image.new("L", (9, 9)).save(out / "cup/00003.png"), "the mask is (9, 9) but the annotation"),
        (
            lambda root, out: (root / "Annotations/480p/cup/00003.png").write_text("no"),
            "00003.png: not a readable image",
        ),
        (lambda root, out: renamed(root, "cup", "{:08d}".format), "00000001.png: no such mask"),
    ],
)
def test_every_mistake_in_the_layout_is_one_clear_line(
    davis: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, Path], object],
    message: str,
) -> None:
    out = shutil.copytree(davis / "Annotations/480p", tmp_path / "results")
    for path in (out / "cup").iterdir():
        Image.fromarray(np.where(labels(path) == 255, 0, labels(path)).astype(np.uint8)).save(path)
    damage(davis, out)
    assert run(davis, 2017, "--evaluate-only", out) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_annotation_of_another_size_is_told_before_it_is_tracked(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = davis / "Annotations/480p/cat/00000.png"
    Image.fromarray(labels(path)[:-8]).save(path)
    assert run(davis, 2016, "--tracker", "persam", "-o", tmp_path / "results") == 2
    error = capsys.readouterr().err
    assert "but the pictures are" in error and error.count("\n") == 1


def test_the_official_package_is_asked_for_by_name(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(davis, 2016, "--official", "--evaluate-only", tmp_path) == 2
    assert "davis2017-evaluation" in capsys.readouterr().err


def test_options_that_a_tracker_has_not() -> None:
    with pytest.raises(InputError, match="persam: .*nonesuch"):
        new_tracker("persam", nonesuch=1)


def test_two_runs_into_one_folder(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FolderLock(tmp_path / "results", "vos-davis"):
        assert command.main(["--davis", str(davis), "--year", "2016", "-o", str(tmp_path / "results")]) == 2
    assert "another vos-davis is writing there" in capsys.readouterr().err
    assert not list((tmp_path / "results").iterdir())


def test_masks_of_another_truth_are_no_results_of_this_one(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    arguments = ("--tracker", "persam", "-o", out)
    assert run(davis, 2017, *arguments) == 0
    moved = davis.rename(tmp_path / "moved")
    assert run(moved, 2017, *arguments) == 0  # the same data elsewhere
    first, later = (moved / "Annotations/480p/cup" / f"{number}.png" for number in ("00000", "00003"))
    with Image.open(later) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(later)
    assert run(moved, 2017, *arguments) == 0  # what is given to the tracker is the same
    before, given = (out / "cup/00003.png").read_bytes(), first.read_bytes()
    with Image.open(first) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first)
    capsys.readouterr()
    assert run(moved, 2017, *arguments) == 2
    error = capsys.readouterr().err
    assert f"{out / 'cup'}: tracked from other pictures or annotations" in error and error.count("\n") == 1
    first.write_bytes(given)
    picture = moved / "JPEGImages/480p/cup/00004.jpg"
    picture.write_bytes(picture.read_bytes() + b" ")
    assert run(moved, 2017, *arguments) == 2
    assert (out / "cup/00003.png").read_bytes() == before
    shutil.rmtree(out / "cup")
    assert run(moved, 2017, *arguments) == 0  # tracked again


def test_what_one_run_has_recorded_another_one_keeps(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks without a record are taken as they are; each run adds the sequences that it tracks."""
    out = tmp_path / "results"
    arguments = ("--tracker", "persam", "--max-frames", 2, "-o", out, "--sequences")
    assert run(davis, 2017, *arguments, "cat") == 0
    assert run(davis, 2017, *arguments, "cup") == 0
    assert set(json.loads((out / "run.json").read_text())["inputs"]) == {"cat", "cup"}
    picture = davis / "JPEGImages/480p/cat/00001.jpg"
    picture.write_bytes(picture.read_bytes() + b" ")
    assert run(davis, 2017, *arguments, "cup") == 0
    assert run(davis, 2017, *arguments, "cat", "cup") == 2
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "inputs": {}}))
    assert run(davis, 2017, *arguments, "cat", "cup") == 0


def test_scores_of_a_part_leave_those_of_the_set(davis: Path, tmp_path: Path) -> None:
    theirs = shutil.copytree(davis / "Annotations/480p", tmp_path / "theirs")
    for path in (theirs / "cup").iterdir():
        Image.fromarray(np.where(labels(path) == 255, 0, labels(path)).astype(np.uint8)).save(path)
    own = tmp_path / "own.txt"
    own.write_text("cat\ncup\n")
    assert run(davis, 2017, "--set", own, "--evaluate-only", theirs) == 0
    names = [f"{table}-own.csv" for table in ("global_results", "per-sequence_results")] + ["report.html"]
    before = {name: (theirs / name).read_bytes() for name in names}
    assert run(davis, 2017, "--set", own, "--sequences", "cat", "--evaluate-only", theirs) == 0
    assert {name: (theirs / name).read_bytes() for name in names} == before
    assert "cup" not in (theirs / "per-sequence_results-sequences.csv").read_text()
    assert "<h2>cat</h2>" in (theirs / "report-sequences.html").read_text()


def test_a_set_has_a_sequence_on_each_line(davis: Path, tmp_path: Path) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (davis / kind / "480p/cat").rename(davis / kind / "480p/my cat")
    own = tmp_path / "own.txt"
    own.write_text("# what I like\n\n  my cat\r\ncup\n")
    assert listed(own) == ["my cat", "cup"]
    theirs = shutil.copytree(davis / "Annotations/480p", tmp_path / "theirs")
    own.write_text("my cat\n")
    assert run(davis, 2016, "--set", own, "--evaluate-only", theirs) == 0
    pair = "/JPEGImages/480p/{0}/{1:05d}.jpg /Annotations/480p/{0}/{1:05d}.png\n"
    own.write_text("".join(pair.format(name, index) for name in ("dog", "my cat") for index in range(3)))
    assert listed(own) == ["dog", "my cat"]
    own.write_text("# nothing\n")
    with pytest.raises(InputError, match="lists no sequence"):
        listed(own)


@pytest.mark.parametrize("count", [0, -1])
def test_no_frames_are_refused(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    assert run(davis, 2016, "--max-frames", count, "-o", tmp_path / "results") == 2
    told = capsys.readouterr()
    assert told.err == f"vos-davis: --max-frames {count}: must be 1 or more\n" and not told.out
