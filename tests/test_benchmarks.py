"""Every benchmark runs for a few frames, so that none rots."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from vos.benchmarks import ablation, hints, quick, robustness, speed
from vos.errors import InputError
from vos.trackers.persam import worn


def test_quick(davis: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worn, "SUSPECTED", worn.MOST + 1)  # the first mask is looked at once
    quick.main(["--davis", str(davis), "--sequences", "cat", "--max-frames", "3"])
    out = capsys.readouterr().out
    assert "| cat | 0." in out
    # all of the first frame is encoded, too; decoded: what the first mask shows, the fit, two frames
    assert "| 4 | 4 | 3 |" in out
    assert "peak resident memory" in out


def test_hints(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hints.main(["--davis", str(davis), "--year", "2016"])
    assert "| mean | | 0." in capsys.readouterr().out


def test_the_deepest_point_is_inside_and_away_from_every_border() -> None:
    mask = np.zeros((40, 60), bool)
    mask[:20, 5:25] = True  # at the frame's rim
    mask[10, 25:60] = True  # thin
    x, y = hints.deepest(mask)
    assert 12 <= x <= 17 and 7 <= y <= 12


def test_ablation(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.md"
    rows = ["persam", "persam-f", "whole frame, no zoom"]
    ablation.main(
        ["--davis", str(davis), "--year", "2016", "--max-frames", "3", "--rows", *rows, "--output", str(table)]
    )
    assert table.read_text().count("\n") == 2 + len(rows)
    with table.with_suffix(".csv").open() as file:
        assert [row["change"] for row in csv.DictReader(file)] == rows
    assert table.read_text() in capsys.readouterr().out


def test_every_variant_of_the_ablation_names_existing_options() -> None:
    for variant in ablation.VARIANTS:
        variant.new_tracker()


@pytest.mark.parametrize("part", speed.PARTS)
def test_speed(part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, plot = tmp_path / "speed.md", tmp_path / "plot.svg"
    few = ["--frames", "2", "--memory-frames", "1", "2", "--most-objects", "2"]
    speed.main(["--parts", part, *few, "--plot", str(plot), "--output", str(page)])
    assert plot.exists() == (part == "objects")
    assert f"### {part}" in page.read_text()
    assert page.read_text() in capsys.readouterr().out


def test_robustness(davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.md"
    robustness.main(["--davis", str(davis), "--tracker", "persam", "--output", str(table)])
    assert table.read_text().count("\n") == 2 + len(robustness.CONDITIONS)
    assert table.read_text() in capsys.readouterr().out


def test_scene_cuts(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "cuts.md"
    arguments = ["--davis", str(davis), "--tracker", "persam", "--cuts", "--output", str(table)]
    with pytest.raises(InputError, match="has no frame 12"):
        robustness.main(arguments)
    monkeypatch.setattr(robustness, "CUT", 2)
    robustness.main([*arguments, "--pairs", "cat=cat", "--objects", "2", "--refer", "first-mask"])
    lines = table.read_text().splitlines()
    assert [line.split(" | ")[:3] for line in lines[2:]] == [
        ["| first-mask", "2", each] for each in ("cat, cat", "mean")
    ]
    assert lines[2].split("|")[4:] == lines[3].split("|")[4:]  # the mean of one
    assert 0.5 < float(lines[2].split("|")[4]) <= 1
    with pytest.raises(SystemExit):
        robustness.main([*arguments, "--pairs", "cat"])
    assert "cat: two sequences are meant, A=B" in capsys.readouterr().err


def test_frames_until_an_object_is_found_again() -> None:
    regions, away = np.array([0.9, 1, 1, 0.1, 0.4, 0.7, 0.2]), np.array([False, True, True, False, False, False, False])
    assert robustness.frames_until_found(regions, away) == 2
    assert robustness.frames_until_found(regions[:5], away[:5]) is None
    assert robustness.summary([2, None, 4]) == "median 3, 1 of 3 never"


def test_painting_over_hides_the_object_and_nothing_else() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:30, 30:40] = True
    painted = robustness.painted_over(rgb, mask)
    assert len(np.unique(painted[mask], axis=0)) == 1
    assert np.array_equal(painted[:10], rgb[:10])
