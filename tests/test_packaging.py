"""The wheel holds what the folders hold: an unlisted subpackage would be missing only there."""

from __future__ import annotations

import configparser
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"vos": "vos", "trackers": "vos/trackers", "benchmarks": "vos/benchmarks"}
FILES = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree, without what earlier builds left behind."""
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    tree.mkdir()
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(tree)], capture_output=True, text=True, env=environment
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def in_folders(pattern: str) -> set[str]:
    """Files of the tree that match, under the names they have when installed."""
    return {
        f"{installed}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, installed in FOLDERS.items()
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and not path.name.startswith(".")
    }


def entry_points() -> dict[str, str]:
    """Targets by ``group name``, as setup.cfg lists them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    targets = {}
    for group, lines in config["options.entry_points"].items():
        for line in lines.strip().splitlines():
            name, target = line.split("=")
            targets[f"{group} {name.strip()}"] = target.strip()
    return targets


def test_modules(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.endswith(".py")}
    assert packed == in_folders("*.py")


def test_weights_and_type_marker(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if name.startswith("vos/weights/")}
    assert packed == {name for name in in_folders("*") if name.startswith("vos/weights/") and ".pyc" not in name}
    assert {"vos/py.typed", "vos/annotate/page.css", "vos/annotate/page.js"} <= set(wheel.namelist())


def test_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"vos"}


def test_name_version_and_licence(wheel: zipfile.ZipFile) -> None:
    import vos

    info = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert info.startswith(f"vos_track-{vos.__version__}")
    assert f"\nVersion: {vos.__version__}\n" in wheel.read(info).decode()
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


@pytest.mark.parametrize("entry", entry_points())
def test_entry_points_lead_to_modules_in_the_wheel(wheel: zipfile.ZipFile, entry: str) -> None:
    module = entry_points()[entry].split(":")[0].replace(".", "/")
    assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist())


@pytest.mark.parametrize("folder", ["trackers", "benchmarks"])
def test_folders_refuse_another_name(folder: str) -> None:
    for name, refused in [(folder, True), (f"vos.{folder}", False)]:
        spec = importlib.util.spec_from_file_location(name, ROOT / folder / "__init__.py")
        module = importlib.util.module_from_spec(spec)
        if refused:
            with pytest.raises(ImportError, match=f"vos.{folder}.*pip install"):
                spec.loader.exec_module(module)
        else:
            spec.loader.exec_module(module)


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--tracker", "persam"], ["--tracker", "persam-f", "-k", "not 300_frames"]])
def test_built_in_trackers_conform(more):
    """What PerSAM-F holds after its first frame is PerSAM's, so its memory is not measured again."""
    command = [sys.executable, "-m", "vos.testing", "-q", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
