"""Tells whether a run is the same as an earlier one: its options, its input files and what computes it.

The journal uses it before it resumes a run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import torch

from ..errors import InputError
from ..version import __version__
from .status import flag_of

_FREE = ("output", "overwrite", "resume", "quiet", "traceback", "max_pixels")
"""Options that may differ when a run is resumed."""

_BLOCK = 1 << 16
"""Bytes of one block of a fingerprint."""

_BLOCKS = 64
"""Blocks that are read of a file, and files that are read of a folder."""


class RunIdentity(TypedDict):
    """All that must be the same for a run to be resumed; stored as JSON."""

    made_by: str
    """Versions and device."""

    options: dict[str, object]
    """Options by name, as JSON holds them."""

    inputs: dict[str, str]
    """Fingerprints of the input files by path."""


def identify_run(options: Mapping[str, object], files: Iterable[str | Path], device: torch.device) -> RunIdentity:
    """Return the identity of a run.

    Args:
        options: of the command line.
        files: inputs; names that are no files or folders are left out.
        device: where the models run.

    Raises:
        InputError: an input cannot be read.
    """
    chosen = {name: value for name, value in options.items() if name not in _FREE}
    return {
        "made_by": f"vos-track {__version__}, torch {torch.__version__}, {device}",
        "options": json.loads(json.dumps(chosen, default=str)),
        "inputs": {str(file): fingerprint(Path(file)) for file in files if os.path.exists(file)},
    }


def parse_identity(content: Mapping[str, object] | None) -> RunIdentity | None:
    """Return the identity of a run as it was read from JSON; None if it is not one."""
    if content is None:
        return None
    made_by, options, inputs = (content.get(key) for key in ("made_by", "options", "inputs"))
    if not isinstance(made_by, str) or not isinstance(options, dict) or not isinstance(inputs, dict):
        return None
    return {"made_by": made_by, "options": options, "inputs": inputs}


def fingerprint(path: Path) -> str:
    """Return a SHA-256 by which an input is known again.

    Of a file it covers the size and 64 blocks spread over it; of a folder the names and sizes of all files, and
    the blocks of 64 of them.

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
            for block in _blocks(file):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    """Yield blocks spread evenly over a file, and its last one."""
    size = file.stat().st_size
    step = max(_BLOCK, size // _BLOCKS)
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            yield stream.read(_BLOCK)
        stream.seek(max(0, size - _BLOCK))
        yield stream.read()


def check_same(out: Path, before: RunIdentity, now: RunIdentity, anew: str = "begin anew with --overwrite") -> None:
    """Check that a run is the one that wrote a result folder.

    Args:
        out: the folder, named in messages.
        before: identity of the run that wrote it.
        now: identity of the run that is to go on.
        anew: what to do for a run of its own, for messages.

    Raises:
        InputError: it is another run; tells what differs first.
    """
    advice = f"; give the same command line, or {anew}"
    for name in sorted((before["options"].keys() | now["options"].keys()) - set(_FREE)):
        old, new = before["options"].get(name), now["options"].get(name)
        if old != new:
            raise InputError(f"{out}: its run was begun with {flag_of(name)} {_shown(old)}, not {_shown(new)}{advice}")
    for file, digest in before["inputs"].items():
        if now["inputs"].get(file) != digest:
            raise InputError(f"{file}: has changed since the run in {out} was begun; {anew}")
    if before["made_by"] != now["made_by"]:
        raise InputError(f"{out}: its run was begun by {before['made_by']}, not {now['made_by']}; {anew}")


def _shown(value: object) -> str:
    if value is None or value == []:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)
