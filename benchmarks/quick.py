"""Quick benchmark: one tracker over a few DAVIS sequences.

    python -m vos.benchmarks.quick --davis DAVIS_ROOT [--sequences libby camel car-shadow]

Prints for each sequence J (mean over the frames without the first and the last), frames/s including
reading and mask writing, the seconds spent on PerSAM-F's weights, and the numbers of encoder and decoder
calls; then the mean J and the process's peak memory.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.device import keep_freed_memory
from ..interfaces import Segmenter
from ..pipeline import follow, open_session
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..writers.open import open_writers
from ..writers.thread import WriterThread
from .dataset import Davis, frame_names
from .mask_folder import foreground
from .scoring import region

DEFAULT_SEQUENCES = ("libby", "camel", "car-shadow")
"""Sequences of DAVIS 2016."""


@dataclass(frozen=True)
class Measured:
    """Figures of one sequence.

    Attributes:
        region: mean J.
        frames: number of frames.
        seconds: wall time of tracking, reading and writing.
        fit_seconds: seconds that PerSAM-F's weights took; None for another tracker.
        encodes: calls of the encoder.
        decodes: calls of the decoder.
    """

    region: float
    frames: int
    seconds: float
    fit_seconds: float | None
    encodes: int
    decodes: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    keep_freed_memory()
    davis = Davis(options.davis)
    print("| sequence | J | frames/s | weights, s | encoder calls | decoder calls | frames |")
    print("|---|---|---|---|---|---|---|")
    figures = []
    for name in davis.listed_names(options.set) if options.set else options.sequences:
        one = measure(davis, name, options)
        figures.append(one)
        fit = "" if one.fit_seconds is None else f"{one.fit_seconds:.2f}"
        rate = f"{one.frames / one.seconds:.1f}"
        counts = f"{one.encodes} | {one.decodes} | {one.frames}"
        print(f"| {name} | {one.region:.3f} | {rate} | {fit} | {counts} |", flush=True)
    total_rate = sum(one.frames for one in figures) / sum(one.seconds for one in figures)
    print(f"| mean | {np.mean([one.region for one in figures]):.3f} | {total_rate:.1f} | | | | |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"\npeak resident memory: {peak:.0f} MB")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages and Annotations")
    parser.add_argument("--sequences", nargs="+", default=DEFAULT_SEQUENCES)
    parser.add_argument("--set", help="a file under ImageSets instead, such as 2016/dev.txt")
    parser.add_argument("--tracker", default="persam-f")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--prior", default="same")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-frames", type=int)
    return parser.parse_args(arguments)


def measure(davis: Davis, name: str, options: argparse.Namespace) -> Measured:
    """Track one sequence from its first annotation, and write the masks to a temporary folder."""
    session = open_session(tracker=options.tracker, model=options.model, prior=options.prior, device=options.device)
    counts = count_calls(session.segmenter)
    images, annotations = davis.folders(name)
    with (
        open_reader(images, max_frames=options.max_frames) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        mask = davis.first_mask(name, reader.size)
        names = frame_names(images)
        regions = []
        scoring = 0.0
        began = time.perf_counter()
        with ExitStack() as stack:
            writers: WriterThread | None = None
            for result in follow(session, prefetch(reader), mask, ahead=True):
                if writers is None:
                    opened = open_writers(
                        ["masks"], Path(folder), fps=reader.fps, first_frame=result.frame, object_ids=mask.object_ids
                    )
                    writers = stack.enter_context(WriterThread(opened))
                writers.write(result)
                before = time.perf_counter()
                truth = foreground(annotations / f"{names[result.frame.index]}.png")
                regions.append(region(result.labels > 0, truth))
                scoring += time.perf_counter() - before
        seconds = time.perf_counter() - began - scoring
    scored = regions[1:-1] or regions
    fit = getattr(session.tracker, "fit_seconds", None)
    return Measured(float(np.mean(scored)), len(regions), seconds, fit, counts["embed"], counts["decode"])


def count_calls(segmenter: Segmenter) -> dict[str, int]:
    """Count the calls of ``embed`` and ``decode`` from here on."""
    counts = {"embed": 0, "decode": 0}

    def counted(name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            counts[name] += 1
            return method(*args, **kwargs)

        return call

    for name in counts:
        setattr(segmenter, name, counted(name, getattr(segmenter, name)))
    return counts


if __name__ == "__main__":
    main()
