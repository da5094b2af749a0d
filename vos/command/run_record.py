"""``run.json``: everything that is needed to repeat a run, and where its time went."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..engine.session import Session
from ..files import atomic_path, output_errors
from ..version import __version__
from ..weights import sha256
from .journal import Journal

_PACKAGES = ("torch", "transformers", "safetensors", "numpy", "pillow", "av", "decord")


def write_run_record(
    path: Path,
    options: Mapping[str, object],
    session: Session,
    frames: int,
    seconds: float,
    outcome: str,
    faults: Mapping[str, int] | None = None,
    journal: Journal | None = None,
) -> None:
    """Write the record of a run.

    Args:
        path: the file, written under a temporary name first.
        options: every option in force.
        session: the session that ran.
        frames: results written.
        seconds: wall time from the first frame to the last.
        outcome: ``finished``, or what stopped the run.
        faults: what went wrong with the input without ending the run, by kind.
        journal: of the run; knows its inputs and whether it was resumed.

    Raises:
        OutputError: it cannot be written.
    """
    tracker = session.tracker
    saved = journal and journal.saved
    tracked = max(0, frames - saved.frame - 1) if saved else frames
    record = {
        "vos_track": __version__,
        "outcome": outcome,
        "options": options,
        "inputs": journal.run["inputs"] if journal and journal.run else {},
        "frames": frames,
        "input": dict(faults or {}),
        "seconds": {"total": seconds, **session.seconds},
        "resumed_after": saved and saved.frame,
        "frames_per_second": tracked / seconds if seconds else None,
        "persam_f": _learned(tracker),
        "weights": {file: sha256(file) for file in _weight_files(session)},
        "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in _PACKAGES}},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "threads": torch.get_num_threads()},
    }
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def _weight_files(session: Session) -> tuple[str, ...]:
    return (*session.segmenter.files, *session.encoder.files, *getattr(session.tracker, "files", ()))


def _learned(tracker: object) -> dict | None:
    if not hasattr(tracker, "fit_seconds"):
        return None
    return {"fit_seconds": tracker.fit_seconds, "weights": tracker.weights.tolist()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
