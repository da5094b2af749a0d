"""DAVIS scores against those of the official evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks.scoring import ObjectScore, Statistics, boundary, dilate, global_scores, region, score_sequence
from vos.errors import InputError

DAVIS = Path(__file__).parent / "data" / "davis"
OFFICIAL = json.loads((DAVIS / "metrics.json").read_text())


@pytest.mark.parametrize("sequence", OFFICIAL)
def test_every_figure_of_the_official_evaluation(sequence: str) -> None:
    scores = score_sequence(DAVIS / "truth" / sequence, DAVIS / "prediction" / sequence, 2017)
    assert len(scores) == len(OFFICIAL[sequence])
    for score, official in zip(scores, OFFICIAL[sequence], strict=True):
        ours = {
            f"{k.upper()}_{field}": getattr(getattr(score, k), field)
            for k in "jf"
            for field in ("mean", "recall", "decay")
        }
        for name, value in ours.items():
            assert value == pytest.approx(official[name], abs=1e-6), name
        assert np.allclose(score.region, official["J_per_frame"], atol=1e-6)
        assert np.allclose(score.boundary, official["F_per_frame"], atol=1e-6)


def test_global_scores_have_the_official_columns() -> None:
    scores = [s for name in OFFICIAL for s in score_sequence(DAVIS / "truth" / name, DAVIS / "prediction" / name, 2017)]
    result = global_scores(scores)
    assert list(result) == ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    assert result["J-Mean"] == pytest.approx(
        np.mean([o["J_mean"] for rows in OFFICIAL.values() for o in rows]), abs=1e-9
    )


def test_empty_masks() -> None:
    empty, full = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    full[5:10, 5:20] = True
    assert region(empty, empty) == boundary(empty, empty) == 1
    assert region(full, empty) == region(empty, full) == boundary(full, empty) == boundary(empty, full) == 0
    assert region(full, full) == boundary(full, full) == 1


def test_void_pixels_count_for_nothing() -> None:
    truth, predicted, void = (np.zeros((40, 40), bool) for _ in range(3))
    truth[10:20, 10:20] = predicted[10:20, 10:30] = True
    void[:, 20:] = True
    assert region(predicted, truth) == 0.5
    assert region(predicted, truth, void) == 1
    assert boundary(predicted, truth, void) == 1


def test_a_boundary_within_the_tolerance_counts() -> None:
    truth, near, far = (np.zeros((480, 854), bool) for _ in range(3))
    truth[100:200, 100:200] = near[105:205, 100:200] = far[120:220, 100:200] = True
    assert boundary(near, truth) == 1
    assert 0.4 < boundary(far, truth) < 0.6  # the sides lie on each other, top and bottom do not


@pytest.mark.parametrize("radius", range(13))
def test_dilation_reaches_every_pixel_of_the_disc_and_no_other(radius: int) -> None:
    mask = np.random.default_rng(radius).random((23, 31)) < 0.01
    mask[0, 0] = mask[-1, 15] = True  # at the border, where the disc is cut
    rows, columns = np.mgrid[:23, :31]
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        expected |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    assert np.array_equal(dilate(mask, radius), expected)
    assert not dilate(np.zeros_like(mask), radius).any()


def test_decay_is_the_first_quarter_less_the_last() -> None:
    assert Statistics.of(np.linspace(1, 0, 100)).decay == pytest.approx(0.75, abs=0.02)


def test_davis_2016_marks_its_object_with_any_value(tmp_path: Path) -> None:
    for folder, value in (("truth", 255), ("ours", 1)):
        (tmp_path / folder).mkdir()
        for index in range(4):
            mask = np.zeros((30, 40), np.uint8)
            mask[5:15, 5 + index : 20] = value
            Image.fromarray(mask).save(tmp_path / folder / f"{index:05d}.png")
    [score] = score_sequence(tmp_path / "truth", tmp_path / "ours", 2016)
    assert score.name == "truth_1"
    assert score.frames == ("00001", "00002")
    assert score.j.mean == score.f.mean == 1


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the predictions for one sequence."""
    return shutil.copytree(DAVIS / "prediction" / "one-object", tmp_path / "one-object")


def scored(results: Path) -> list[ObjectScore]:
    """Score the copy."""
    return score_sequence(DAVIS / "truth" / "one-object", results, 2017)


def test_a_missing_mask(results: Path) -> None:
    (results / "00007.png").unlink()
    with pytest.raises(InputError, match=r"00007\.png: no such mask"):
        scored(results)


def test_a_mask_of_another_size(results: Path) -> None:
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(results / "00003.png")
    with pytest.raises(InputError, match=r"00003\.png: the mask is \(10, 12\) but the annotation \(240, 427\)"):
        scored(results)


def test_an_object_too_many(results: Path) -> None:
    labels = np.asarray(Image.open(results / "00005.png")).copy()
    labels[0, 0] = 9
    Image.fromarray(labels).save(results / "00005.png")
    with pytest.raises(InputError, match=r"00005\.png: object 9 is not in"):
        scored(results)


def test_a_file_that_is_not_an_image(results: Path) -> None:
    (results / "00005.png").write_text("no image")
    with pytest.raises(InputError, match=r"00005\.png: not a readable image"):
        scored(results)


def test_a_sequence_too_short_to_score(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 annotations"):
        score_sequence(tmp_path, tmp_path, 2017)
