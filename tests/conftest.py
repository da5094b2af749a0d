"""Shared fixtures: the tiny SAM and the outputs of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vos.segmenters.checkpoint import load_published
from vos.segmenters.lite import LiteSegmenter
from vos.segmenters.sam import SamSegmenter, build

DATA = Path(__file__).parent / "data" / "persam"


def oracle(name: str) -> dict[str, np.ndarray]:
    """All arrays of one file of the published outputs."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="session")
def tiny_sam() -> SamSegmenter:
    path = DATA / "tiny_sam.safetensors"
    config, tensors = load_published(path, decoder_heads=4)
    return SamSegmenter(build(config, tensors, path), "tiny", torch.device("cpu"), torch.float32, (str(path),))


@pytest.fixture(scope="session")
def lite() -> LiteSegmenter:
    return LiteSegmenter.load("lite", torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def published():
    return oracle
