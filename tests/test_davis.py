"""The command ``vos-davis`` on a tiny tree: tracking, resuming, scoring, the report."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks import davis as command
from vos.engine.models import new_tracker
from vos.errors import InputError
from vos.palette import davis_palette


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


def test_the_official_package_is_asked_for_by_name(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(davis, 2016, "--official", "--evaluate-only", tmp_path) == 2
    assert "davis2017-evaluation" in capsys.readouterr().err


def test_options_that_a_tracker_has_not() -> None:
    with pytest.raises(InputError, match="persam: .*nonesuch"):
        new_tracker("persam", nonesuch=1)
