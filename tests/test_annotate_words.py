"""Objects of vos-annotate that are found by words; a stub stands in for the detector."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vos.annotate.cli import build_parser, main
from vos.annotate.project import Project
from vos.engine.text import GroundingDino
from vos.errors import InputError, WeightsError
from vos.structures import Hint
from vos.testing.clip import clip

SIZE = (120, 200)
LEFT, RIGHT, UNSURE = [20.0, 20.0, 90.0, 90.0], [110.0, 20.0, 180.0, 90.0], [40.0, 95.0, 60.0, 115.0]


class Stub:
    """A detector that finds three things, whatever it is asked for."""

    def detect(self, rgb: np.ndarray, phrase: str) -> tuple[torch.Tensor, torch.Tensor]:
        assert rgb.shape == (*SIZE, 3)
        return torch.tensor([LEFT, RIGHT, UNSURE]), torch.tensor([0.6, 0.9, 0.2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two frames."""
    (tmp_path / "clip").mkdir()
    for frame in itertools.islice(clip(SIZE), 2):
        Image.fromarray(frame.rgb).save(tmp_path / "clip" / f"{frame.index:05d}.png")
    return tmp_path / "clip"


@pytest.fixture
def project(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setattr(GroundingDino, "load", lambda *_: Stub())
    with Project(folder, tmp_path / "work", tracker="persam", device="cpu") as opened:
        yield opened


def test_each_thing_that_is_found_becomes_an_object(project: Project) -> None:
    blank = project.add_object()
    assert project.find(1, blank, "brown disc") == [1, 2]
    assert project.names == {1: "brown disc", 2: "brown disc"}
    assert project.hints == {1: {1: Hint(tuple(RIGHT)), 2: Hint(tuple(LEFT))}}  # the surest first
    labels = project.result(1).labels
    assert (labels[20:90, 110:180] == 1).any() and (labels[20:90, 20:90] == 2).any()
    with pytest.raises(InputError, match="'disc': all that is found on this frame has its box already"):
        project.find(1, 1, "disc")
    assert project.undo() == 1 and list(project.hints[1]) == [1]
    project.rename(1, "")
    assert project.find(1, 1, "disc") == [3]  # object 1 has a mark, so it is not taken; and the other box is its own
    assert project.find(0, None, "disc") == [4, 5]
    assert project.names == {1: "", 2: "brown disc", 3: "disc", 4: "disc", 5: "disc"}


def test_nothing_is_found(project: Project) -> None:
    project._words = project._words.of("x", threshold=0.95)
    with pytest.raises(InputError, match=r"^'cat': nothing on frame 0 is surely that: the best of it scores 0\.90"):
        project.find(0, None, "cat")
    with pytest.raises(InputError, match="say in words what to follow"):
        project.find(0, None, " ")
    assert project.names == {} and project.hints == {}


def test_no_numbers_are_left(project: Project) -> None:
    project._last_id = 254
    with pytest.raises(InputError, match="at most 255 objects"):
        project.find(0, None, "disc")
    assert project.names == {} and project.hints == {}


def test_without_weights_it_is_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with Project(folder, tmp_path / "work", tracker="persam", text_model="some/detector") as opened:
        with pytest.raises(WeightsError, match=r"some/detector.*`text_model=FOLDER`") as caught:
            opened.find(0, None, "disc")
        assert "\n" not in str(caught.value) and opened.names == {}


def test_the_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = build_parser().parse_args([str(folder), "--text-model", "dino", "--text-threshold", "0.4"])
    assert (options.text_model, options.text_threshold) == ("dino", 0.4)
    assert main([str(folder), "--text-threshold", "1.5"]) == 2
    assert "--text-threshold 1.5: must lie between 0 and 1" in capsys.readouterr().err
