"""The example of a third party's tracker: built, installed beside the package, run and conforming."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[1] / "tools" / "example_tracker"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the example; everything else it takes from the tests' own."""
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, folder / "source"])
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    own = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    Path(own, "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    run([*pip, "--python", python, "install", "--no-deps", "--no-index", next(folder.glob("*.whl"))])
    return python


def run(command: list, **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_it_is_short():
    lines = [path.read_text(encoding="utf-8").splitlines() for path in EXAMPLE.iterdir() if path.is_file()]
    assert sum(map(len, lines)) <= 60


def test_the_command_follows_with_it_and_loads_no_weights(python, tmp_path, published):
    frames = published("frames")
    (tmp_path / "clip").mkdir()
    for index, rgb in enumerate(frames["frames"]):
        Image.fromarray(rgb).save(tmp_path / "clip" / f"{index:05d}.png")
    Image.fromarray(frames["masks"][0].astype(np.uint8)).save(tmp_path / "mask.png")
    command = [python, "-m", "vos.command.cli", "clip", "--first-mask", "mask.png", "--tracker", "shift", "-o", "out"]
    run([*command, "--model", "sam-vit-h"], cwd=tmp_path)  # which is not here
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out/masks").iterdir())]
    assert len(masks) == len(frames["frames"])
    assert all(mask.any() for mask in masks)


def test_it_conforms(python):
    run([python, "-m", "vos.testing", "--tracker", "shift", "-q"])
