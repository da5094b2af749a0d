"""``tools/make_composites.py``: two-object clips from a tiny tree, in the layout of DAVIS 2017."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks.dataset import Davis

SET = "2016/both.txt"
CLIPS = 2


@pytest.fixture
def make_composites(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, made to write as many clips as two sequences allow."""
    path = Path(__file__).parents[1] / "tools" / "make_composites.py"
    spec = importlib.util.spec_from_file_location("make_composites", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CLIPS", CLIPS)
    return module


@pytest.fixture
def both(davis: Path) -> Path:
    """The tiny tree, every annotation with one object and no void, and a set of both sequences."""
    (davis / "ImageSets" / SET).write_text("cat\ncup\n")
    for path in (davis / "Annotations/480p/cup").iterdir():
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.uint8(labels == 1) * np.uint8(255)).save(path)
    return davis


def made(tool: ModuleType, davis: Path, output: Path, seed: int = 0) -> Path:
    """Run the tool; return the tree that it wrote."""
    tool.main(["--davis", str(davis), "--set", SET, "-o", str(output), "--seed", str(seed)])
    return output


def files(tree: Path) -> dict[Path, bytes]:
    """Contents of all files of a tree by their place in it."""
    return {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_the_result_is_a_set_of_davis_2017(make_composites: ModuleType, both: Path, tmp_path: Path) -> None:
    tree = Davis(made(make_composites, both, tmp_path / "made"), 2017)
    names = tree.set_names("composites")
    assert len(names) == len(set(names)) == CLIPS
    assert "-over-" in names[0] and "-behind-" in names[1]
    for name in names:
        images, annotations = tree.folders(name)
        assert [path.name for path in sorted(images.iterdir())] == [f"{index:05d}.jpg" for index in range(6)]
        assert [path.name for path in sorted(annotations.iterdir())] == [f"{index:05d}.png" for index in range(6)]
        below = Davis(both, 2016).read(name.replace("-behind-", "-over-").split("-over-")[1])
        clip = tree.read(name)
        assert clip.frames.shape == below.frames.shape
        for path in sorted(annotations.iterdir()):
            with Image.open(path) as image:
                assert image.mode == "P"
                assert set(np.unique(np.asarray(image))) <= {0, 1, 2}


def test_labels_follow_both_objects(make_composites: ModuleType, both: Path, tmp_path: Path) -> None:
    tree = Davis(made(make_composites, both, tmp_path / "made"), 2017)
    for name in tree.set_names("composites"):
        _, annotations = tree.folders(name)
        labels = np.stack([np.asarray(Image.open(path)) for path in sorted(annotations.iterdir())])
        below = Davis(both, 2016).read(name.replace("-behind-", "-over-").split("-over-")[1])
        assert min(np.bincount(labels[0].ravel(), minlength=3)[1:]) >= make_composites.LEAST_VISIBLE
        if "-behind-" in name:
            assert np.array_equal(labels == 1, below.masks)  # the pasted object hides nothing
        else:
            assert np.array_equal(labels == 1, below.masks & (labels != 2))
        untouched = Davis(tree.root).read(name).frames[labels != 2].astype(int)
        assert np.abs(untouched - below.frames[labels != 2]).mean() < 4  # but for JPEG and the soft edge


def test_the_seed_decides_every_byte(make_composites: ModuleType, both: Path, tmp_path: Path) -> None:
    first = files(made(make_composites, both, tmp_path / "first"))
    assert len(first) == CLIPS * 12 + 1
    assert files(made(make_composites, both, tmp_path / "again")) == first
    assert files(made(make_composites, both, tmp_path / "other", seed=1)) != first


def test_objects_that_never_show_together_make_no_clip(make_composites: ModuleType, both: Path) -> None:
    cat = Davis(both, 2016).read("cat")
    nothing = type(cat)("empty", cat.frames, np.zeros_like(cat.masks))
    assert make_composites.compose(np.random.default_rng(0), cat, nothing, behind=False) is None
