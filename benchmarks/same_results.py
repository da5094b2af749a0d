"""Keeps masks of different models apart: a benchmark that skips what is complete must know who made it.

``vos-davis`` and ``vos-perseg`` use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..command.run_record import weight_digests
from ..command.same_run import RunIdentity, check_same, identify_run
from ..engine.session import Session
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
