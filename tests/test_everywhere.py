"""The script that runs the tests in many situations, on one tiny test."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "test_everywhere.py"
TINY = """
import os
def test_it() -> None:
    assert os.environ["OMP_NUM_THREADS"] == "4" and os.environ["VOS_LITE_DTYPE"] == "bfloat16"
"""


@pytest.fixture(scope="module")
def everywhere() -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("vos_test_everywhere", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_situations_have_names_of_their_own_and_the_list_names_existing_files(everywhere: ModuleType) -> None:
    names = [each.name for each in everywhere.situations()]
    assert len(set(names)) == len(names) > 15
    for name in (*everywhere.CORE, *everywhere.LOADED, *everywhere.FEW):
        assert (everywhere.ROOT / "tests" / f"{name}.py").is_file()


def test_a_situation_reaches_the_tests(
    everywhere: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_tiny.py").write_text(TINY)
    found = {each.name: each for each in everywhere.situations()}
    passed, outcome, seconds = everywhere.run(found["4 threads, bfloat16"], [str(tmp_path / "test_tiny.py")])
    assert passed and outcome == "1 passed" and seconds > 0
    failed = everywhere.run(found["1 thread, bfloat16"], [str(tmp_path / "test_tiny.py")])
    assert failed[:2] == (False, "1 failed") and "assert" in capsys.readouterr().err


def test_a_matrix_may_be_run_in_parts(
    everywhere: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    outcomes = iter([(True, "3 passed", 1.0), (False, "1 failed", 2.0), (True, "4 passed", 3.0)])
    monkeypatch.setattr(everywhere, "run", lambda *_: next(outcomes))
    for only, status in (("2 threads, float32", 0), ("1 thread, float32", 1), ("2 threads, float32", 0)):
        monkeypatch.setattr(sys, "argv", ["test_everywhere.py", "-o", str(page), "--only", only])
        assert everywhere.main() == status
    rows = [line for line in page.read_text().splitlines() if " passed | " in line or " failed | " in line]
    assert [row.rsplit(" | ", 1)[0] for row in rows] == [
        "| 1 thread, float32 | 1 failed | 2",
        "| 2 threads, float32 | 4 passed | 3",
    ]
    assert "1 thread, float32: 1 failed in 2 s" in capsys.readouterr().out


def test_a_parent_that_ignores_ctrl_c_and_busy_neighbours_leave_nothing_behind(
    everywhere: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "test_tiny.py").write_text("def test_it(): pass")
    last = everywhere.situations()[-1]
    before = signal.getsignal(signal.SIGINT)
    assert last.ignores_sigint and everywhere.run(last, [str(tmp_path / "test_tiny.py")])[0]
    assert signal.getsignal(signal.SIGINT) is before
    with everywhere.busy(2):
        pass
