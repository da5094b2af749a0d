"""The benchmark of peers: its arithmetic, and its whole path with networks that are small where they can be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from vos.benchmarks import peers

from .test_sam2 import small_config

pytestmark = pytest.mark.filterwarnings("ignore:.*autocast.*:FutureWarning")  # of Cutie's package


def test_turns_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 1 s and of 5 s: a turn of 2 s has two of the first, and one of the second, which is let finish."""
    now, made = [0.0], []
    monkeypatch.setattr(peers.time, "perf_counter", lambda: now[0])

    def step(name: str, took: float) -> None:
        made.append(name)
        now[0] += took

    steps = {"lite": partial(step, "lite", 1.0), "slow": partial(step, "slow", 5.0)}
    rates = peers.in_turns(steps, warm_up=1, rounds=2, seconds=2)
    assert made == ["lite", "slow", *["lite", "lite", "slow"] * 2]
    assert rates == {"lite": [1.0, 1.0], "slow": [0.2, 0.2]}


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that grows slower from round to round slows all: the ratio stays."""
    rates = {"lite": [40.0, 20.0, 10.0], "slow": [4.0, 2.0, 1.0], "even": [20.0, 20.0, 20.0]}
    summed = peers.paces(rates)
    assert summed["lite"] == peers.Pace(20.0, 1.0)
    assert summed["slow"] == peers.Pace(2.0, 10.0)
    assert summed["even"] == peers.Pace(20.0, 1.0)


def test_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cutie")
    small = {name: partial(small_config, name) for name in peers.CONFIGURATIONS}
    monkeypatch.setattr(peers, "CONFIGURATIONS", small)
    page = tmp_path / "peers.md"
    few = ["--size", "96", "160", "--warm-up", "1", "--rounds", "1", "--seconds", "0", "--objects", "2"]
    before = torch.get_num_threads()
    try:
        peers.main([*few, "--threads", "1", "--output", str(page)])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert page.read_text() == capsys.readouterr().out
    assert ", 1 threads, torch " in page.read_text() and ", peers in float32, lite in " in page.read_text()
    table = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [line[0].removeprefix("| ") for line in table] == ["tracker", *peers.PEERS]
    assert {len(line) for line in table} == {6}
    for line in table[1:]:
        assert line[2] == "2" and float(line[3]) > 0 and float(line[5].removesuffix(" |")) > 0
    assert table[1][5] == "1.0 |"


def test_what_cannot_be_built_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(folder: Path) -> peers.Built:
        raise ImportError("\nThe encoder requires the timm library but it was not found. Install it with:\n`pip …`")

    monkeypatch.setitem(peers.PEERS, "edgetam", missing)
    few = ["--size", "96", "160", "--warm-up", "0", "--rounds", "1", "--seconds", "0", "--objects", "1"]
    peers.main([*few, "--peers", "lite", "edgetam"])
    out = capsys.readouterr().out
    assert "| edgetam | | | not built: The encoder requires the timm library but it was not found | | |" in out
    assert "| lite | 4.0 | 1 | " in out


def test_edgetam_has_its_own_encoder() -> None:
    """Not that of SAM 2, which the library's default has: without ``timm``, it is not built."""
    configuration = peers.edgetam()
    assert configuration.vision_config.backbone_config.architecture == "repvit_m1.dist_in1k"
    assert configuration.image_size == 1024


def test_sam2_tiny_has_the_published_size() -> None:
    """38.9 million parameters, as its authors list it."""
    from transformers import Sam2VideoModel

    with torch.device("meta"):
        assert peers.size_of(Sam2VideoModel(peers.sam2_tiny())) / 1e6 == pytest.approx(38.9, abs=0.1)


def test_the_others_are_compared_with_lite(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        peers.main(["--peers", "cutie-small"])
    assert "lite must be one of them" in capsys.readouterr().err
