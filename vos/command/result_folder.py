"""Prepares the result folder of a run: checks it, and removes what an earlier run wrote there and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import OutputError
from ..files import partial_path
from ..folder_lock import LOCK
from ..writers.outputs import FILES, FOLDERS
from .journal import FOLDER as RESUME
from .saved import read_entries, read_json


def prepare_folder(out: Path, overwrite: bool, resume: bool = False) -> None:
    """Remove an earlier run's files from a result folder, but not its journal.

    Args:
        out: the folder, which this run has locked.
        overwrite: accept a folder that is not empty.
        resume: accept one that holds a stopped run.

    Raises:
        OutputError: it is not empty, or cannot be written.
    """
    try:
        stopped = (out / RESUME).is_dir()
        if any(path.name != LOCK for path in out.iterdir()) and not (overwrite or (resume and stopped)):
            if stopped:
                raise OutputError(
                    f"{out}: holds a run that was stopped; go on with --resume, or begin anew with --overwrite"
                )
            nothing = ", and holds nothing to go on with" if resume else ""
            raise OutputError(f"{out}: already there and not empty{nothing}; pass --overwrite, or -o another folder")
        for path in earlier_results(out):
            path.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}; pass -o another folder") from error


def refuse_links(out: Path) -> None:
    """Check that every file of the result would lie inside its folder.

    Raises:
        OutputError: a folder in it is a link to elsewhere.
    """
    for name in (*FOLDERS, RESUME):
        if (out / name).is_symlink():
            raise OutputError(f"{out / name}: is a link, so that files would be written elsewhere; remove it")


def earlier_results(out: Path) -> list[Path]:
    """Return the files in a result folder that an earlier run wrote, whole or partial, and no others.

    Pictures are known by their numbers, or by the names of frames that the run has recorded.
    """
    named_after = {f"{name}.png" for name in _recorded_names(out)}
    named_after |= {partial_path(Path(name)).name for name in named_after}
    pictures = [
        path
        for folder in FOLDERS
        for path in (out / folder).glob("*.png")
        if path.name in named_after or re.fullmatch(r"\d{5,}|\.\d{5,}\.partial", path.stem)
    ]
    names = (*FILES, "run.json")
    named = [out / name for name in names] + [partial_path(out / name) for name in names]
    return pictures + [path for path in named if path.is_file() or path.is_symlink()]


def _recorded_names(out: Path) -> set[str]:
    """Names of the frames that an earlier run noted in its record, or in its journal if it was stopped."""
    recorded = (read_json(out / "run.json") or {}).get("names")
    names = {name for name in recorded if isinstance(name, str)} if isinstance(recorded, list) else set()
    return {*names, *(name for entry in read_entries(out / RESUME / "frames.jsonl") if (name := entry.get("name")))}
