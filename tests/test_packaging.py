"""The wheel holds what the folders hold: an unlisted subpackage would be missing only there.

The release, which ``tools/build_release.py`` builds, holds the same under the name ``vos_track`` and runs.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"vos": "vos", "trackers": "vos/trackers", "benchmarks": "vos/benchmarks"}
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache", "data")
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
    command += ["--wheel-dir", str(folder), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, env=without_path())
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


def test_the_sdist_holds_documents_tests_and_tools(tmp_path: Path) -> None:
    for name in (*FILES, "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in (*FOLDERS, "docs", "tests", "tools", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=IGNORED)
    call = "from setuptools import build_meta; build_meta.build_sdist('built')"
    (tmp_path / "built").mkdir()
    subprocess.run([sys.executable, "-c", call], cwd=tmp_path, check=True, capture_output=True)
    with tarfile.open(next((tmp_path / "built").iterdir())) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        path.relative_to(tmp_path).as_posix()
        for folder in ("docs", "tests", "tools", ".ci")
        for path in (tmp_path / folder).rglob("*")
        if path.is_file()
    }
    wanted |= {"CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt", ".pre-commit-config.yaml"}
    assert wanted <= packed


@pytest.mark.parametrize("entry", entry_points())
def test_entry_points_lead_to_modules_in_the_wheel(wheel: zipfile.ZipFile, entry: str) -> None:
    module = entry_points()[entry].split(":")[0].replace(".", "/")
    assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist())


@pytest.mark.parametrize("folder", ["trackers", "benchmarks"])
def test_folders_refuse_another_name(folder: str) -> None:
    for name, refused in [(folder, True), (f"vos.{folder}", False), (f"vos_track.{folder}", False)]:
        spec = importlib.util.spec_from_file_location(name, ROOT / folder / "__init__.py")
        module = importlib.util.module_from_spec(spec)
        if refused:
            with pytest.raises(ImportError, match=f"vos.{folder}.*pip install"):
                spec.loader.exec_module(module)
        else:
            spec.loader.exec_module(module)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist that are published."""
    folder = tmp_path_factory.mktemp("release")
    command = [sys.executable, str(ROOT / "tools" / "build_release.py"), "-o", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, env=without_path())
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def installed(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published wheel in it, to be put first on the path."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*command, str(next(release.glob("*.whl")))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def without_path() -> dict[str, str]:
    """This environment without PYTHONPATH."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run_installed(installed: Path, folder: Path, *command: str) -> str:
    """What a command prints that finds the installed wheel first, in a folder from which ``vos`` is not to be seen."""
    environment = without_path() | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_in(wheel: zipfile.ZipFile) -> set[str]:
    """Files of a wheel but for its metadata."""
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_release_is_the_same_under_its_own_name(wheel: zipfile.ZipFile, release: Path) -> None:
    with zipfile.ZipFile(next(release.glob("*.whl"))) as published:
        assert names_in(published) == {name.replace("vos/", "vos_track/", 1) for name in names_in(wheel)}


@pytest.mark.slow
def test_the_sdist_of_the_release_builds_its_wheel(release: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    sdist = next(release.glob("*.tar.gz"))
    done = subprocess.run([*command, "--wheel-dir", str(tmp_path), str(sdist)], capture_output=True, env=without_path())
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.iterdir())) as own, zipfile.ZipFile(next(release.glob("*.whl"))) as published:
        assert names_in(own) == names_in(published)
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/docs/architecture.md") for name in archive.getnames())


def test_the_release_imports_nothing_named_vos(installed: Path) -> None:
    for path in (installed / "vos_track").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("vos", "vos_track")], f"{path}:{node.lineno}"


def test_the_release_shows_its_help(installed: Path, tmp_path: Path) -> None:
    printed = run_installed(installed, tmp_path, sys.executable, "-c", "import vos_track as vos; print(vos.track)")
    assert printed.startswith("<function track")
    for name in ("vos-track", "vos-davis", "vos-annotate"):
        assert f"usage: {name}" in run_installed(installed, tmp_path, str(installed / "bin" / name), "--help")


def test_the_release_tracks(installed: Path, tmp_path: Path) -> None:
    """A run without ``vos``, which the entry points of the release must not lead to."""
    script = """
        import sys
        sys.modules["vos"] = None  # an import of it fails
        from pathlib import Path
        from PIL import Image
        from vos_track.command.cli import main
        from vos_track.testing.clip import clip, disc_labels
        Path("frames").mkdir()
        for frame, _ in zip(clip((48, 80)), range(2)):
            Image.fromarray(frame.rgb).save(f"frames/{frame.index}.png")
        Image.fromarray(disc_labels((48, 80), 1)).save("mask.png")
        status = main(["frames", "--first-mask", "mask.png", "--tracker", "persam", "-o", "out", "--quiet"])
        assert status == 0 and len(list(Path("out/masks").iterdir())) == 2
        assert type(__import__("vos_track").open_session(tracker="persam").tracker).__module__.startswith("vos_track.")
    """
    run_installed(installed, tmp_path, sys.executable, "-c", textwrap.dedent(script))
