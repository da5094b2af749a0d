"""Quick benchmark: one tracker over a few DAVIS sequences.

    python -m vos.benchmarks.quick --davis DAVIS_ROOT [--sequences libby camel car-shadow]

Prints, for each sequence, J (mean over frames, first and last left out), frames/s with reading
and mask writing included, the seconds spent on PerSAM-F's weights and the number of encoder and
decoder calls; then the mean J and the process's peak memory.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.device import keep_freed_memory
from ..pipeline import follow, open_session
from ..readers.first_mask import load_first_mask
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..writers.open import open_writers
from ..writers.thread import WriterThread

DEFAULT_SEQUENCES = ("libby", "camel", "car-shadow")


@dataclass(frozen=True)
class Measured:
    """One sequence: mean J, frames, seconds, and what the session counted."""

    region: float
    frames: int
    seconds: float
    fit_seconds: float | None
    encodes: int
    decodes: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    keep_freed_memory()
    names = options.sequences
    if options.set:
        names = (options.davis / "ImageSets" / options.set).read_text().split()
    print(
        "| sequence | J | frames/s | weights, s | encoder calls | decoder calls | frames |\n|---|---|---|---|---|---|---|"
    )
    rows = []
    for name in names:
        row = measure(options.davis, name, options)
        rows.append(row)
        fit = "" if row.fit_seconds is None else f"{row.fit_seconds:.2f}"
        rate = row.frames / row.seconds
        print(
            f"| {name} | {row.region:.3f} | {rate:.1f} | {fit} | {row.encodes} | {row.decodes} | {row.frames} |",
            flush=True,
        )
    rate = sum(row.frames for row in rows) / sum(row.seconds for row in rows)
    print(f"| mean | {np.mean([row.region for row in rows]):.3f} | {rate:.1f} | | | | |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"\npeak resident memory: {peak:.0f} MB")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    line.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages and Annotations")
    line.add_argument("--sequences", nargs="+", default=DEFAULT_SEQUENCES)
    line.add_argument("--set", help="a file under ImageSets instead, such as 2016/dev.txt")
    line.add_argument("--tracker", default="persam-f")
    line.add_argument("--model", default="lite")
    line.add_argument("--prior", default="same")
    line.add_argument("--device", default="auto")
    line.add_argument("--max-frames", type=int)
    return line.parse_args(arguments)


def measure(davis: Path, name: str, options: argparse.Namespace) -> Measured:
    """Track one sequence from its first annotation, masks written to a temporary folder."""
    session = open_session(tracker=options.tracker, model=options.model, prior=options.prior, device=options.device)
    counts = count_calls(session.segmenter)
    truth = davis / "Annotations/480p" / name
    with (
        open_reader(davis / "JPEGImages/480p" / name, max_frames=options.max_frames) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        mask = load_first_mask(truth / "00000.png", reader.size)
        regions = []
        scoring = 0.0
        began = time.perf_counter()
        writers = None
        for result in follow(session, prefetch(reader), mask):
            if writers is None:
                writers = WriterThread(
                    open_writers(
                        ["masks"], Path(folder), fps=reader.fps, first_frame=result.frame, object_ids=mask.object_ids
                    )
                )
            writers.write(result)
            before = time.perf_counter()
            regions.append(
                jaccard(result.labels > 0, np.asarray(Image.open(truth / f"{result.frame.index:05d}.png")) > 0)
            )
            scoring += time.perf_counter() - before
        writers.close()
        seconds = time.perf_counter() - began - scoring
    scored = regions[1:-1] or regions
    fit = getattr(session.tracker, "fit_seconds", None)
    return Measured(float(np.mean(scored)), len(regions), seconds, fit, counts["embed"], counts["decode"])


def jaccard(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def count_calls(segmenter) -> dict[str, int]:
    """Count the calls of ``embed`` and ``decode`` from here on."""
    counts = {"embed": 0, "decode": 0}
    for name in counts:
        original = getattr(segmenter, name)

        def counted(*args, _name=name, _original=original, **kwargs):
            counts[_name] += 1
            return _original(*args, **kwargs)

        setattr(segmenter, name, counted)
    return counts


if __name__ == "__main__":
    main()
