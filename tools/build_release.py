"""Builds the wheel and the sdist that are published, under the import name ``vos_track``.

    python tools/build_release.py -o dist

On the package index the name ``vos`` belongs to another project. So the copy that is published maps the folder ``vos/``
to the package ``vos_track``; the code needs no change, as its imports are relative. Names of entry-point groups
(``vos.trackers`` and so on) stay as they are, so that plugins work with both.
"""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("vos", "trackers", "benchmarks", "docs")
"""Copied into the release. Tests and tools import ``vos`` and stay in the repository."""

FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml", "setup.cfg")
MANIFEST = """\
include CHANGELOG.md CONTRIBUTING.md LICENSE constraints.txt
graft docs
recursive-include trackers *.md
recursive-include benchmarks *.md
global-exclude __pycache__/* *.py[cod]
"""


def released(name: str) -> str:
    """A dotted name as the release has it: ``vos.command.cli:main`` becomes ``vos_track.command.cli:main``."""
    return re.sub(r"^vos\b", "vos_track", name)


def rewrite_settings(path: Path) -> None:
    """Rename the package in a setup.cfg: packages, folders, data, version and targets of entry points."""
    settings = configparser.ConfigParser()
    settings.optionxform = str  # type: ignore[assignment]  # keep capitals
    settings.read(path, encoding="utf-8")
    settings["metadata"]["version"] = re.sub(r"\bvos\.", "vos_track.", settings["metadata"]["version"])
    options = settings["options"]
    options["packages"] = _lines(released(name) for name in options["packages"].split())
    folders = [line.split(" = ") for line in options["package_dir"].strip().splitlines()]
    options["package_dir"] = _lines(
        ["vos_track = vos", *(f"{released(package)} = {folder}" for package, folder in folders)]
    )
    data = settings["options.package_data"]
    settings["options.package_data"] = {released(package): files for package, files in data.items()}
    points = settings["options.entry_points"]
    for group, entries in points.items():
        pairs = [entry.split(" = ") for entry in entries.strip().splitlines()]
        points[group] = _lines(f"{name} = {released(target)}" for name, target in pairs)
    with path.open("w", encoding="utf-8") as file:
        settings.write(file)


def rewrite_page(path: Path) -> None:
    """Rename the package in the commands and imports of a Markdown page."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\bpython -m vos\.", "python -m vos_track.", text)
    text = re.sub(r"^import vos$", "import vos_track as vos", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


def copy_tree(target: Path) -> None:
    """Copy what is published, renamed."""
    for name in FILES:
        shutil.copy(ROOT / name, target)
    ignored = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    (target / "MANIFEST.in").write_text(MANIFEST, encoding="utf-8")
    rewrite_settings(target / "setup.cfg")
    for page in target.rglob("*.md"):
        rewrite_page(page)


def build(output: Path) -> list[Path]:
    """Build both archives with the setuptools that is installed, without a network; returns their paths.

    Raises:
        CalledProcessError: the build failed; its messages went to standard error.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree, built = Path(folder) / "tree", Path(folder) / "built"
        tree.mkdir()
        copy_tree(tree)
        for kind in ("sdist", "wheel"):
            call = f"from setuptools import build_meta; build_meta.build_{kind}({str(built)!r})"
            built.mkdir(exist_ok=True)
            subprocess.run([sys.executable, "-c", call], cwd=tree, check=True, stdout=subprocess.DEVNULL)
        return [Path(shutil.copy(path, output)) for path in sorted(built.iterdir())]


def _lines(entries: Iterable[str]) -> str:
    return "\n" + "\n".join(entries)


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where both archives go")
    for path in build(parser.parse_args().output):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
