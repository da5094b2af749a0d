"""Tells whether a run is the same as an earlier one: options, input files and what computes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ..errors import InputError
from ..version import __version__

_FREE = ("output", "overwrite", "resume", "quiet", "traceback", "max_pixels")
"""Options that may differ when a run goes on."""


_BLOCK, _BLOCKS = 1 << 16, 64  # what is read of a file to know it again


def describe_run(options: Mapping[str, object], files: Iterable[str | Path], device: torch.device) -> dict:
    """What must be the same for a run to go on: options, input files and what computes.

    Args:
        options: of the command line.
        files: inputs; those that are no files or folders are left out.
        device: where the models run.
    """
    chosen = {name: value for name, value in options.items() if name not in _FREE}
    return {
        "made_by": f"vos-track {__version__}, torch {torch.__version__}, {device}",
        "options": json.loads(json.dumps(chosen, default=str)),
        "inputs": {str(file): fingerprint(Path(file)) for file in files if os.path.exists(file)},
    }


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size and 64 blocks spread over it; of a folder: of all names and sizes, and 64 files.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        files = [path]
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        for file in files:
            name = file.name.encode("utf-8", "surrogateescape") if path.is_dir() else b""
            digest.update(name + b" %d\n" % file.stat().st_size)
        for file in files[:: max(1, math.ceil(len(files) / _BLOCKS))]:
            _add_blocks(digest, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _add_blocks(digest, file: Path) -> None:
    size = file.stat().st_size
    step = max(_BLOCK, size // _BLOCKS)
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
        stream.seek(max(0, size - _BLOCK))
        digest.update(stream.read())


def check_same(out: Path, before: Mapping, now: Mapping) -> None:
    """Raises InputError with what differs first."""
    advice = "; give the same command line, or begin anew with --overwrite"
    for name in sorted((before["options"].keys() | now["options"].keys()) - set(_FREE)):
        old, new = before["options"].get(name), now["options"].get(name)
        if old != new:
            shown = (
                "VIDEO" if name == "video" else "--box or --point" if name == "hints" else f"--{name.replace('_', '-')}"
            )
            raise InputError(f"{out}: its run was begun with {shown} {_shown(old)}, not {_shown(new)}{advice}")
    for file, digest in before["inputs"].items():
        if now["inputs"].get(file) != digest:
            raise InputError(f"{file}: has changed since the run in {out} was begun; begin anew with --overwrite")
    if before["made_by"] != now["made_by"]:
        raise InputError(
            f"{out}: its run was begun by {before['made_by']}, not {now['made_by']}; begin anew with --overwrite"
        )


def _shown(value: object) -> str:
    if value is None or value == []:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)
