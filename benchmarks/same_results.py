"""Keeps masks of different models and data apart: a benchmark that skips what is complete must know where it is from.

``vos-davis`` and ``vos-perseg`` use it.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..command.run_record import weight_digests
from ..command.same_run import RunIdentity, check_same, identify_run
from ..engine.session import Session
from ..errors import InputError
from ..version import __version__

RECORD = "run.json"
"""Record of the last run, beside the masks."""

_COMPUTING = ("tracker", "model", "prior", "points", "published", "dtype", "year", "threshold", "shots")
"""Options that masks depend on."""


def check_same_results(results: Path, options: Mapping[str, Any], session: Session) -> None:
    """Check that the masks in a folder come from a run with the same options and weights.

    A folder without a record may hold masks of anything, and is taken as it is.

    Args:
        results: the folder, which may be missing.
        options: of the command.
        session: with the models of this run.

    Raises:
        InputError: they come from another run.
    """
    try:
        record = json.loads((results / RECORD).read_text(encoding="utf-8"))
        before = _identity(record["options"], record["weights"], record["vos_track"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    now = _identity(options, weight_digests(session), __version__)
    check_same(results, before, now, anew="give another -o")


def _identity(options: Mapping[str, Any], weights: Mapping[str, str], version: str) -> RunIdentity:
    chosen = {name: options.get(name) for name in _COMPUTING}
    named = {"/".join(Path(file).parts[-2:]): digest for file, digest in weights.items()}
    identity = identify_run(chosen, (), torch.device("cpu"))
    return {**identity, "made_by": f"vos-track {version}", "inputs": named}


def fingerprint_inputs(pictures: Iterable[Path], given: Mapping[int, Path]) -> str:
    """Return a SHA-256 by which it is known again what the masks of a sequence were tracked from.

    Args:
        pictures: files of the frames, whose names and sizes count.
        given: annotation that first shows each object, by object id; its content counts.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in pictures:
            digest.update(path.name.encode("utf-8", "surrogateescape") + b" %d\n" % path.stat().st_size)
        for object_id, path in given.items():
            digest.update(b"%d " % object_id + path.stem.encode("utf-8", "surrogateescape") + path.read_bytes())
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def has_others(table: Path, names: Collection[str]) -> bool:
    """Tell whether a table of scores has objects of other sequences than these; one that is not there has none."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            scored = [row["Sequence"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError):
        return False
    return any(each not in names and each.rpartition("_")[0] not in names for each in scored)


def recorded_inputs(results: Path) -> dict[str, str]:
    """Fingerprint of each sequence in a folder of masks, as their runs have recorded it."""
    try:
        inputs = json.loads((results / RECORD).read_text(encoding="utf-8"))["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(name): str(digest) for name, digest in inputs.items()} if isinstance(inputs, dict) else {}


def check_same_inputs(results: Path, inputs: Mapping[str, str]) -> None:
    """Check that masks were tracked from these pictures and annotations.

    Sequences without a record are taken as they are.

    Args:
        results: folder of the masks.
        inputs: fingerprint of each sequence, see :func:`fingerprint_inputs`.

    Raises:
        InputError: those of a sequence were tracked from others.
    """
    before = recorded_inputs(results)
    for name, digest in inputs.items():
        if before.get(name, digest) != digest:
            raise InputError(
                f"{results / name}: tracked from other pictures or annotations than there are of {name} now; give "
                "another -o, or remove that folder, and it is tracked again"
            )
