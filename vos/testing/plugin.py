"""The pytest plugin of the conformance tests: their options, and sessions of the tracker under test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..engine.session import Session
from ..pipeline import open_session
from ..weights.model_cache import ModelCache


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the tracker and its models."""
    group = parser.getgroup("vos")
    group.addoption("--tracker", required=False, default="persam", help="an installed tracker (default: persam)")
    group.addoption("--model", default="lite", help="as for vos-track (default: lite)")
    group.addoption("--prior", default="same", help="as for vos-track (default: same)")
    frames = "frames over which memory must stay flat (default: 300)"
    group.addoption("--memory-frames", type=int, default=300, metavar="N", help=frames)


@pytest.fixture(scope="session")
def models() -> ModelCache:
    """Return the models, which all sessions of a run share."""
    return ModelCache()


@pytest.fixture
def new_session(request: pytest.FixtureRequest, models: ModelCache) -> Callable[[], Session]:
    """Return a function that opens a session of the tracker under test."""
    options = {name: request.config.getoption(f"--{name}") for name in ("tracker", "model", "prior")}
    return lambda: open_session(device="cpu", models=models, **options)
