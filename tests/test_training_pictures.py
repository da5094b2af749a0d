"""``tools/lite_*.py``: clips made of photographs, and the losses that came with them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from vos.method.matching import READ_OUT


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets of eleven pictures with two instances each: red and green rectangles on noise."""
    root = tmp_path_factory.mktemp("static")
    rng = np.random.default_rng(0)
    for name in ("coco_open_licence", "animals_openimages", "ccp_people"):
        for folder in ("images", "masks"):
            (root / name / folder).mkdir(parents=True)
        for index in range(11):
            rgb = rng.integers(90, 110, (96, 128, 3), dtype=np.uint8)
            labels = np.zeros((96, 128), dtype=np.uint8)
            labels[20:70, 20:60], labels[30:50, 80:110] = 1, 2
            rgb[labels == 1], rgb[labels == 2] = (200, 20, 20), (20, 200, 20)
            Image.fromarray(rgb).save(root / name / "images" / f"{index:02d}.jpg", quality=95)
            Image.fromarray(labels).save(root / name / "masks" / f"{index:02d}.png")
    return root


def clips_of(train_lite: ModuleType, davis: Path, photographs: Path, **options: float) -> torch.utils.data.Dataset:
    """Clips of photographs alone, in which nothing is pasted but what ``options`` say."""
    sequences = sys.modules["lite_warps"].load_sequences(davis, ["cat"])
    settings = train_lite.ClipOptions(**({"paste": 0, "vanish": 0, "interrupt": 0} | options))
    return train_lite.Clips(sequences, 20, range(3), 0, settings, early=20, pictures=train_lite.Pictures(photographs))


def test_pictures_that_are_kept_aside_are_not_drawn(train_lite: ModuleType, photographs: Path) -> None:
    drawn, aside = train_lite.Pictures(photographs), train_lite.Pictures(photographs, held_out=True)
    for name, paths in drawn.sets.items():
        assert len(paths) == 9 and {path.stem for path in aside.sets[name]} == {"00", "10"}
        assert not set(paths) & set(aside.sets[name])
    with pytest.raises(FileNotFoundError, match="no pictures"):
        train_lite.Pictures(photographs / "nowhere")


def test_labels_stay_on_their_instances_as_a_picture_moves_and_bends(
    train_lite: ModuleType, davis: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["lite_clips"], "colour", lambda rng, frames, mild=False: frames)
    clips = clips_of(train_lite, davis, photographs, picture=1, cut_out=0)
    moved = second = 0
    for step in range(6):
        for frames, labels, jumps in zip(*clips[step], strict=True):
            assert not jumps
            seen = labels[labels > 0]
            for object_id in np.unique(seen):
                inside = frames[labels == object_id].astype(int)
                bright = np.median(inside, axis=0).argmax()
                assert (inside.argmax(1) == bright).mean() > 0.9 and bright in (0, 1)
            second += 2 in seen
            moved += (labels[0] != labels[-1]).any()
    assert moved > 12 and 3 < second < 15


def test_a_cut_out_moves_through_another_scene_and_may_be_shown_at_home_first(
    train_lite: ModuleType, davis: Path, photographs: Path
) -> None:
    together = clips_of(train_lite, davis, photographs, picture=0, cut_out=1, elsewhere=0)
    apart = clips_of(train_lite, davis, photographs, picture=0, cut_out=1, elsewhere=1)
    for step in range(4):
        assert not together[step][2].any() and apart[step][2].all()
        assert (together[step][1] <= 1).all() and (apart[step][1][:, 0] == 1).any(axis=(1, 2)).all()
        steady = np.abs(np.diff(together[step][0].astype(int), axis=1)).mean(axis=(0, 2, 3, 4))
        cut = np.abs(np.diff(apart[step][0].astype(int), axis=1)).mean(axis=(0, 2, 3, 4))
        assert cut[0] > cut[1:].max() and steady[0] < cut[0]


def test_clips_without_pictures_are_what_they_were(train_lite: ModuleType, davis: Path) -> None:
    """The weights that the second part of the training starts from come from these."""
    sequences = sys.modules["lite_warps"].load_sequences(davis, ["cat", "cat"])
    frames, labels, jumps = train_lite.Clips(sequences, 9, range(4), 3, train_lite.ClipOptions())[4]
    assert not jumps.any() and frames.shape[1] == labels.shape[1] == 5


def test_a_start_that_does_not_know_the_read_out_gets_weights_of_0_for_it(
    train_lite: ModuleType, tmp_path: Path
) -> None:
    network = train_lite.initial_network()
    inward = network.prior_embedding.inward
    known = torch.cat([inward.weight[:, : READ_OUT.start], inward.weight[:, READ_OUT.stop :]], dim=1)
    inward.weight = torch.nn.Parameter(known)
    train_lite.export(network, tmp_path / "older.safetensors")
    grown = train_lite.initial_network(tmp_path / "older.safetensors").prior_embedding.inward.weight
    assert grown.shape[1] == network.config.prior_channels
    assert (grown[:, READ_OUT] == 0).all()
    torch.testing.assert_close(grown[:, READ_OUT.stop :], known[:, READ_OUT.start :].half().float())


def test_the_loss_of_what_is_read_out_falls_as_it_comes_true(train_lite: ModuleType) -> None:
    loss = sys.modules["lite_loss"].read_out_loss
    coverage = torch.zeros(1, 6, 8)
    coverage[:, 2:4, 3:6] = 1
    maps = torch.full((1, 11, 6, 8), 0.5)
    true, false = maps.clone(), maps.clone()
    true[:, READ_OUT], false[:, READ_OUT] = coverage, 1 - coverage
    assert loss(true, coverage) < 0.01 < loss(maps, coverage) < loss(false, coverage)
    assert loss(maps, coverage) == pytest.approx(2 * np.log(2), abs=1e-4)  # both sides weigh the same


def test_hints_are_drawn_within_their_objects(train_lite: ModuleType) -> None:
    hints = sys.modules["lite_hints"]
    mask = torch.zeros(40, 60)
    mask[10:30, 20:50] = 1
    thin = torch.zeros(40, 60)
    thin[5, 3:30] = 1
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x, y = hints._point_inside(mask, generator).long().tolist()
        assert 24 <= x < 46 and 14 <= y < 26  # away from the border
        x, y = hints._point_inside(thin, generator).long().tolist()
        assert thin[y, x] == 1
    ellipse = hints._ellipses(torch.tensor([[20.0, 10, 50, 30]]), 40, 60, 2)[0]
    assert ellipse.shape == (20, 30) and ellipse[10, 17] == 1 and ellipse[5, 10] == 0
    assert ellipse.sum() * 4 == pytest.approx(np.pi * 15 * 10, rel=0.05)
