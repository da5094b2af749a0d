"""The pytest plugin of the conformance tests: their options, and sessions of the tracker under test."""

from __future__ import annotations

import pytest

from ..pipeline import open_session


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vos")
    group.addoption("--tracker", required=False, default="persam", help="an installed tracker (default: persam)")
    group.addoption("--model", default="lite", help="as for vos-track (default: lite)")
    group.addoption("--prior", default="same", help="as for vos-track (default: same)")


@pytest.fixture
def new_session(request: pytest.FixtureRequest):
    """Opens sessions of the tracker under test."""
    options = {name: request.config.getoption(f"--{name}") for name in ("tracker", "model", "prior")}
    return lambda: open_session(device="cpu", **options)
