"""Prepares the result folder of a run: checks it, and removes what an earlier run wrote there and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..errors import OutputError
from ..files import partial_path
from ..folder_lock import LOCK
from ..writers.outputs import FILES, PER_FRAME, Output
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
        if _holds_files(out) and not (overwrite or (resume and stopped)):
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


def _holds_files(out: Path) -> bool:
    """Tell whether a folder holds more than its lock and empty folders, which a run that was killed early leaves."""
    return any(path.name != LOCK and (path.is_symlink() or not path.is_dir()) for path in out.rglob("*"))


def refuse_links(out: Path) -> None:
    """Check that every file of the result would lie inside its folder.

    Raises:
        OutputError: a folder in it is a link to elsewhere.
    """
    parents = {parent.replace("#", "*") for path in (*FILES, *PER_FRAME) for parent in _parents(path)}
    for pattern in sorted({*parents, RESUME}):
        for folder in out.glob(pattern) if "*" in pattern else (out / pattern,):
            if folder.is_symlink():
                raise OutputError(f"{folder}: is a link, so that files would be written elsewhere; remove it")


def earlier_results(out: Path) -> list[Path]:
    """Return the files in a result folder that an earlier run wrote, whole or partial, and no others.

    Files of frames are known by their numbers, or by the names of frames that the run has recorded.
    """
    return _found(out, (*FILES, "run.json"), PER_FRAME, _recorded_names(out))


def written(out: Path, outputs: Iterable[Output], result: Path) -> list[Path]:
    """Return the files of some outputs that are in a folder, whole or partial.

    Args:
        out: the folder.
        outputs: those that are looked for.
        result: folder of the run, whose record has the names of the frames.
    """
    chosen = list(outputs)
    files = [path for output in chosen for path in output.files]
    per_frame = [path for output in chosen for path in output.per_frame]
    return _found(out, files, per_frame, _recorded_names(result))


def _found(out: Path, files: Iterable[str], per_frame: Iterable[str], names: set[str]) -> list[Path]:
    """Return the files in a folder that are called as an output's, and for a frame by its number or its name."""
    stems = names | {partial_path(Path(f"{name}.png")).stem for name in names}
    found = [
        path
        for pattern in per_frame
        for path in _glob(out, pattern)
        if path.stem in stems or re.fullmatch(r"\d{5,}|\.\d{5,}\.partial", path.stem)
    ]
    once = [path for pattern in files for path in _glob(out, pattern)]
    return found + [path for path in once if path.is_file() or path.is_symlink()]


def _parents(path: str) -> list[str]:
    """Return the folders of a path of :mod:`vos.writers.outputs`, from the outermost."""
    return [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]


def _glob(out: Path, pattern: str) -> list[Path]:
    """Find the files of a path of :mod:`vos.writers.outputs`, and what is left of unfinished ones."""
    folder, _, name = pattern.rpartition("/")
    own = re.compile(re.escape(name).replace("\\#", r"\d+").replace("\\*", ".*"), re.DOTALL)
    return [
        path
        for parent in (out.glob(folder.replace("#", "[0-9]*")) if folder else (out,))
        if parent.is_dir()
        for path in parent.iterdir()
        if own.fullmatch(path.name) or own.fullmatch(re.sub(r"^\.(.*)\.partial(\.\w+)$", r"\1\2", path.name))
    ]


def _recorded_names(out: Path) -> set[str]:
    """Names of the frames that an earlier run noted in its record, or in its journal if it was stopped."""
    recorded = (read_json(out / "run.json") or {}).get("names")
    names = {name for name in recorded if isinstance(name, str)} if isinstance(recorded, list) else set()
    return {*names, *(name for entry in read_entries(out / RESUME / "frames.jsonl") if (name := entry.get("name")))}
