"""What a second core is worth, and what other work beside costs: whole runs of ``lite``, from file to masks.

    python -m vos.benchmarks.cores [--repeats 3] [--frames 120]

Needs no data: it draws its own clip. Every run is a process of its own; those of one round follow each other in
turns, so that a machine that slows down slows all of them. Its frames/s leave out the start: they count from the third
frame to the last file written. Prints Markdown. For Linux, which can keep a process on some of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

BUSY = "while True: pass"
"""Program of a process that keeps a core busy."""

SKIPPED = 3
"""Frames before the time is taken."""


@dataclass(frozen=True)
class Condition:
    """One way to run.

    Attributes:
        cores: processor cores that the run may use.
        objects: how many are followed.
        busy: number of processes that compute beside it, on the same cores.
        at_once: number of runs at the same time; their frames/s are added up.
        size: (H, W) of the clip.
    """

    cores: int = 2
    objects: int = 1
    busy: int = 0
    at_once: int = 1
    size: tuple[int, int] = (480, 854)


CONDITIONS = {
    "two cores": Condition(),
    "one core": Condition(cores=1),
    "three objects": Condition(objects=3),
    "beside one busy process": Condition(busy=1),
    "beside two busy processes": Condition(busy=2),
    "two runs at once": Condition(at_once=2),
    "1280 x 720, three objects": Condition(objects=3, size=(720, 1280)),
}
"""Ways to run, by the name of their row."""

RATIOS = (
    ("two cores over one", "two cores", "one core"),
    ("three objects over one", "three objects", "two cores"),
    ("alone over beside two busy processes", "two cores", "beside two busy processes"),
    ("two runs at once over one", "two runs at once", "two cores"),
)
"""Ratios of frames/s: name, and the rows above and below the line."""


@dataclass(frozen=True)
class Measured:
    """What one or several runs at once did.

    Attributes:
        frames_per_s: of all of them together.
        peak_mb: resident memory of the largest, at most.
    """

    frames_per_s: float
    peak_mb: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    if options.child:
        print(json.dumps(run_here(options.clip, options.objects)))
        return
    measured: dict[str, list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        clips = {
            size: write_clip(Path(folder), size, options.frames) for size in {each.size for each in CONDITIONS.values()}
        }
        for _ in range(options.repeats):
            for name, condition in CONDITIONS.items():
                measured[name].append(run(condition, clips[condition.size]))
    print("\n".join(table(measured)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the table has medians")
    parser.add_argument("--frames", type=int, default=120, help="frames of each run")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--objects", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def table(measured: dict[str, list[Measured]]) -> Iterator[str]:
    """Write the medians as Markdown, one row for each way to run, then the ratios within a round."""
    yield "| run | frames/s | peak memory, MB |\n|---|---|---|"
    for name, runs in measured.items():
        speed, peak = (
            statistics.median(getattr(each, field) for each in runs) for field in ("frames_per_s", "peak_mb")
        )
        yield f"| {name} | {speed:.1f} | {peak:.0f} |"
    yield "\n| ratio of frames/s | median | rounds |\n|---|---|---|"
    for name, above, below in RATIOS:
        ratios = [
            one.frames_per_s / other.frames_per_s for one, other in zip(measured[above], measured[below], strict=True)
        ]
        yield f"| {name} | {statistics.median(ratios):.2f} | {', '.join(f'{each:.2f}' for each in ratios)} |"


def run(condition: Condition, clip: Path) -> Measured:
    """Run in processes of their own, on the first cores that this one may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[: condition.cores]))  # which the processes inherit
    try:
        with ExitStack() as stack:
            for _ in range(condition.busy):
                stack.enter_context(busy())
            command = [sys.executable, "-m", "vos.benchmarks.cores", "--child", "--clip", str(clip)]
            command += ["--objects", str(condition.objects)]
            runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(condition.at_once)]
            told = [json.loads(each.communicate()[0]) for each in runs]
    finally:
        os.sched_setaffinity(0, before)
    return Measured(sum(each["frames_per_s"] for each in told), max(each["peak_mb"] for each in told))


@contextmanager
def busy() -> Iterator[None]:
    """Keep a core busy within the block."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run_here(clip: Path, objects: int) -> dict[str, float]:
    """Follow objects through a clip, with its masks written; return frames/s and the largest memory in MB."""
    from ..engine.device import keep_freed_memory
    from ..pipeline import follow, open_session
    from ..readers.open import open_reader
    from ..readers.prefetch import read_ahead
    from ..testing.clip import discs
    from ..writers.open import open_writers
    from ..writers.thread import WriterThread

    keep_freed_memory()
    done, began, writers = 0, 0.0, None
    with tempfile.TemporaryDirectory() as out, open_session(tracker="persam") as session, ExitStack() as stack:
        with open_reader(clip) as reader:
            for result in follow(session, read_ahead(reader), discs(objects, reader.size), ahead=True):
                if writers is None:
                    opened = open_writers(
                        ["masks"], Path(out), fps=reader.fps, first_frame=result.frame, object_ids=result.object_ids
                    )
                    writers = stack.enter_context(WriterThread(opened))
                writers.write(result)
                done += 1
                if done == SKIPPED:
                    began = time.perf_counter()
        stack.close()
        took = time.perf_counter() - began
    return {"frames_per_s": (done - SKIPPED) / took, "peak_mb": peak_megabytes()}


def peak_megabytes() -> float:
    """Largest resident memory of this process since it began its program, in MB of 10^6 bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def write_clip(folder: Path, size: tuple[int, int], length: int) -> Path:
    """Encode the drawn clip at this size (H, W) as H.264; return the path."""
    from itertools import islice

    import av

    from ..testing.clip import clip

    path = folder / f"{size[0]}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for frame in islice(clip(size), length):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
