"""Writes ``run.json``: all that is needed to repeat a run, and where its time went.

``vos-track`` and ``vos-davis`` use it.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from ..engine.session import Session
from ..files import atomic_path, output_errors
from ..version import __version__
from ..weights import sha256
from .journal import Journal

_PACKAGES = ("torch", "transformers", "safetensors", "numpy", "pillow", "av", "decord")
"""Packages whose versions are recorded."""


def write_run_record(
    path: Path,
    options: Mapping[str, object],
    session: Session,
    frames: int,
    seconds: float,
    outcome: str,
    faults: Mapping[str, int] | None = None,
    journal: Journal | None = None,
    names: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Write the record of a run.

    Args:
        path: the file.
        options: every option in force.
        session: the session that ran.
        frames: number of results that were written.
        seconds: wall time from the first frame to the last.
        outcome: ``finished``, or what stopped the run.
        faults: what went wrong with the input without ending the run, by kind.
        journal: journal of the run; knows its inputs, and whether it was resumed.
        names: names of the frames, by which their pictures are named; none if these have numbers.
        inputs: fingerprints of the inputs of a run without a journal.

    Raises:
        OutputError: the file cannot be written.
    """
    saved = journal.saved if journal else None
    tracked = max(0, frames - saved.frame - 1) if saved else frames
    record = {
        "vos_track": __version__,
        "outcome": outcome,
        "options": options,
        "inputs": journal.inputs if journal else dict(inputs or {}),
        "frames": frames,
        "input": dict(faults or {}),
        "seconds": {"total": seconds, **session.seconds},
        **({"names": list(names)} if names else {}),
        "resumed_after": saved.frame if saved else None,
        "frames_per_second": tracked / seconds if seconds else None,
        "persam_f": _fitted_weights(session.tracker),
        "weights": weight_digests(session),
        "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in _PACKAGES}},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "threads": torch.get_num_threads()},
    }
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def weight_digests(session: Session) -> dict[str, str]:
    """Return the SHA-256 of every file with weights that a session computes with, by path."""
    files = (*session.segmenter.files, *session.encoder.files, *getattr(session.tracker, "files", ()))
    return {file: sha256(file) for file in files}


@runtime_checkable
class _Fitted(Protocol):
    """A tracker that fits scale weights on the first frame."""

    fit_seconds: float
    weights: torch.Tensor


def _fitted_weights(tracker: object) -> dict[str, object] | None:
    """Return the scale weights of eq. 11 and the time that fitting them took; None if the tracker fits none."""
    if not isinstance(tracker, _Fitted):
        return None
    return {"fit_seconds": tracker.fit_seconds, "weights": tracker.weights.tolist()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
