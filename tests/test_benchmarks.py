"""Every benchmark runs for a few frames, so that none rots."""

from __future__ import annotations

import csv

import pytest

from vos.benchmarks import ablation, quick, speed


def test_quick(davis, capsys):
    quick.main(["--davis", str(davis), "--sequences", "cat", "--max-frames", "3"])
    out = capsys.readouterr().out
    assert "| cat | 0." in out
    assert "| 3 | 3 | 3 |" in out  # three encodings; the fit and two frames decoded
    assert "peak resident memory" in out


def test_ablation(davis, tmp_path, capsys):
    table = tmp_path / "table.md"
    rows = ["persam", "persam-f", "whole frame, no zoom"]
    ablation.main(["--davis", str(davis), "--year", "2016", "--max-frames", "3", "--rows", *rows, "--output", str(table)])
    assert table.read_text().count("\n") == 2 + len(rows)
    with table.with_suffix(".csv").open() as file:
        assert [row["change"] for row in csv.DictReader(file)] == rows
    assert table.read_text() in capsys.readouterr().out


def test_every_row_of_the_ablation_names_options_that_there_are():
    for row in ablation.ROWS:
        ablation.new_tracker(row.tracker, **row.changes)


@pytest.mark.parametrize("part", speed.PARTS)
def test_speed(part, tmp_path, capsys):
    page = tmp_path / "speed.md"
    few = ["--frames", "2", "--memory-frames", "1", "2", "--most-objects", "2"]
    speed.main(["--parts", part, *few, "--output", str(page)])
    assert f"### {part}" in page.read_text()
    assert page.read_text() in capsys.readouterr().out
