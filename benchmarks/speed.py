"""Speed, memory and scale of the pipeline.

    python -m vos.benchmarks.speed [--model lite] [--parts overhead objects fit memory stages readers]
    python -m vos.benchmarks.speed --model sam-vit-b-random --parts overhead objects fit --frames 4

Needs no data: it draws its own clip, and a randomly initialised SAM ViT-B or ViT-H does the same
arithmetic as a trained one. Every share is a ratio of times measured in one run. Prints Markdown;
``--output`` saves a copy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ParamSpec

import av
import torch

from ..engine.ahead import Ahead, with_following
from ..engine.device import keep_freed_memory
from ..engine.models import load_segmenter, new_tracker
from ..engine.session import Session
from ..interfaces import Segmenter, Tracker
from ..io_interfaces import Writer
from ..pipeline import follow
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..structures import FirstMask, Frame, Result
from ..testing.clip import clip, discs
from ..trackers.persam import PerSAMF
from ..writers.open import open_writers
from ..writers.thread import WriterThread
from .models import Models

OBJECTS = (1, 2, 4, 8, 16, 32)
"""Numbers of objects that the part ``objects`` measures."""

MEMORY_FRAMES = (50, 2000, 4000)
"""Numbers of frames after which the part ``memory`` measures; by the second, most shapes of windows have been seen."""

RANDOM = "-random"
"""Suffix of a model with untrained weights."""

Seconds = defaultdict[str, float]
"""Wall time by stage."""

Given = ParamSpec("Given")

Say = Callable[[str], None]
"""Prints a line of the result."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    processor = platform.processor() or platform.machine()
    say(f"{options.model}, {processor}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    models = Models.load(options.model, options.device, loader=load)
    for part in options.parts:
        say(f"\n### {part}\n")
        PARTS[part](models, options, say)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lite", help="as vos-track's, or sam-vit-b-random, sam-vit-h-random")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--frames", type=int, default=40, help="frames of each measurement of time")
    parser.add_argument("--memory-frames", type=int, nargs="+", default=MEMORY_FRAMES)
    parser.add_argument("--most-objects", type=int, default=OBJECTS[-1])
    parser.add_argument("--plot", type=Path, help="a picture of the part `objects`, .svg or .png; needs matplotlib")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    return parser.parse_args(arguments)


def load(name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
    """Load a segmenter by name, or make SAM with untrained weights if the name ends in ``-random``.

    Raises:
        WeightsError: the weights are not there or do not fit.
    """
    if not name.endswith(RANDOM):
        return load_segmenter(name, device, dtype)
    from ..segmenters.sam import SamSegmenter
    from .random_models import random_sam

    return random_sam(SamSegmenter, name.removesuffix(RANDOM), device, dtype)


def overhead(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure a step with one object: the encoder's pass, and the rest."""
    say("| tracker | encoder, ms | the rest of a step, ms | step over encoder |\n|---|---|---|---|")
    for name in ("persam", "persam-f"):
        encode, rest = steps(models, name, 1, options.frames)
        say(f"| {name} | {1e3 * encode:.1f} | {1e3 * rest:.1f} | {1 + rest / encode:.3f} |")


def objects(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure a step by number of objects: the encoder's pass, the rest, and the cost of each further object."""
    say(
        "| objects | encoder, ms | the rest of a step, ms | further object, ms "
        "| share of the encoder | share of one object's step |"
    )
    say("|---|---|---|---|---|---|")
    alone: float | None = None
    curve = []
    for count in (count for count in OBJECTS if count <= options.most_objects):
        encode, rest = steps(models, "persam", count, options.frames)
        alone = alone or rest
        curve.append((count, 1 + rest / encode))
        each = (rest - alone) / max(count - 1, 1)
        say(
            f"| {count} | {1e3 * encode:.1f} | {1e3 * rest:.1f} | {1e3 * each:.2f} | {each / encode:.1%} "
            f"| {each / (encode + alone):.1%} |"
        )
    if options.plot:
        draw(curve, options.model, options.plot)


def steps(models: Models, tracker: str, count: int, frames: int) -> tuple[float, float]:
    """Measure steps of a tracker with so many objects.

    Every step starts from the first frame's state, so that the objects keep their size.

    Returns:
        Median seconds of the encoder's pass, and of the rest of a step.
    """
    clip_ = clip()
    first = next(clip_)
    session = started(models, new_tracker(tracker), first, discs(count))
    state = session.state()
    encode, rest = [], []
    for frame in itertools.islice(clip_, frames + 1):
        session.restore(first, state)
        session.seconds.clear()
        whole = seconds(session.step, frame)
        encode.append(session.seconds["encode"])
        rest.append(whole - encode[-1])
    return statistics.median(encode[1:]), statistics.median(rest[1:])


def draw(curve: list[tuple[int, float]], model: str, path: Path) -> None:
    """Plot the time of a step over that of the encoder, by number of objects."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True), marker="o")
    axes.set(xlabel="objects", ylabel="step over encoder", title=model, ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path)


def fit(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure the fit of PerSAM-F's two weights: seconds, and the decoder's part of them."""
    say("| objects | fit, s | of it decoding, s |\n|---|---|---|")
    for count in (1, 4):
        tracker = PerSAMF()
        spent = Seconds(float)
        with timed_method(models.segmenter, "decode", spent):
            started(models, tracker, next(clip()), discs(count))
        say(f"| {count} | {tracker.fit_seconds:.2f} | {spent['decode']:.2f} |")


def memory(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure the resident memory after so many frames of an endless clip with three objects."""
    keep_freed_memory()  # as the commands do
    frames = clip()
    session = started(models, PerSAMF(), next(frames), discs(3))
    say("| frames | resident, MB |\n|---|---|")
    sizes = []
    with Ahead(session) as stage:
        for index, (frame, following) in enumerate(with_following(frames), start=1):
            stage.step(frame, following)
            if index in options.memory_frames:
                sizes.append((index, resident_megabytes()))
                say(f"| {index} | {sizes[-1][1]:.1f} |")
                if index == max(options.memory_frames):
                    break
    (first, before), (last, after) = sizes[-2:]
    say(f"\nslope over the last span: {1000 * (after - before) / (last - first):.2f} MB per 1,000 frames")


def stages(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure each stage over a video file, and how well reading and writing overlap with computing."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "clip.mp4", options.frames)
        session = models.session(new_tracker("persam"))
        spent = Seconds(float)
        began = time.perf_counter()
        with open_reader(path) as reader, ExitStack() as stack:
            writers: WriterThread | None = None
            for result in follow(session, prefetch(timed_frames(reader, spent)), discs(1), ahead=True):
                if writers is None:
                    opened = open_writers(
                        ["masks"], Path(folder) / "out", fps=reader.fps, first_frame=result.frame, object_ids=(1,)
                    )
                    writers = stack.enter_context(WriterThread([TimedWriter(writer, spent) for writer in opened]))
                writers.write(result)
        wall = time.perf_counter() - began
    spent.update(session.seconds)
    say("| stage | ms a frame | share of the wall time |\n|---|---|---|")
    for name in ("read", "encode", "prior", "track", "merge", "write"):
        say(f"| {name} | {1e3 * spent[name] / options.frames:.1f} | {spent[name] / wall:.0%} |")
    encode, rest = (sum(spent[name] for name in names) for names in (("encode", "prior"), ("track", "merge")))
    slowest = max(encode, rest, spent["read"], spent["write"])
    overlap = f"wall time over the slowest of reading, encoding, following, writing: {wall / slowest:.2f}"
    say(f"\n{options.frames / wall:.1f} frames/s; {overlap}")


def readers(models: Models, options: argparse.Namespace, say: Say) -> None:
    """Measure reading alone, against ffmpeg's own decoding to nothing, in frames/s."""
    say("| reader | frames/s |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        count = 8 * options.frames
        path = write_clip(Path(folder) / "clip.mp4", count)
        for backend in ("pyav", "decord"):
            try:
                with open_reader(path, backend=backend) as reader:
                    took = seconds(sum, (1 for _ in reader))
            except Exception as error:
                say(f"| {backend} | not available: {error} |")
                continue
            say(f"| {backend} | {count / took:.0f} |")
        if not shutil.which("ffmpeg"):
            say("| ffmpeg | not installed |")
            return
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"]
        took = seconds(subprocess.run, command, check=True)
        say(f"| ffmpeg | {count / took:.0f} |")


PARTS: dict[str, Callable[[Models, argparse.Namespace, Say], None]] = {
    "overhead": overhead,
    "objects": objects,
    "fit": fit,
    "memory": memory,
    "stages": stages,
    "readers": readers,
}
"""Parts of the benchmark by name."""


@contextmanager
def timed_method(target: object, name: str, spent: Seconds) -> Iterator[None]:
    """Add the seconds of every call of a method of this object to ``spent`` under the method's name."""
    method = getattr(target, name)

    def timed(*args: object, **kwargs: object) -> object:
        began = time.perf_counter()
        returned = method(*args, **kwargs)
        spent[name] += time.perf_counter() - began
        return returned

    setattr(target, name, timed)
    try:
        yield
    finally:
        delattr(target, name)


class TimedWriter:
    """A writer whose seconds are added to ``spent`` under ``write``."""

    def __init__(self, writer: Writer, spent: Seconds) -> None:
        self._writer = writer
        self._spent = spent

    def write(self, result: Result) -> None:
        self._spent["write"] += seconds(self._writer.write, result)

    def close(self) -> None:
        self._spent["write"] += seconds(self._writer.close)


def timed_frames(frames: Iterable[Frame], spent: Seconds) -> Iterator[Frame]:
    """Yield the same frames; add the seconds that each one takes to ``spent`` under ``read``."""
    iterator = iter(frames)
    while True:
        began = time.perf_counter()
        frame = next(iterator, None)
        spent["read"] += time.perf_counter() - began
        if frame is None:
            return
        yield frame


def started(models: Models, tracker: Tracker, frame: Frame, mask: FirstMask) -> Session:
    """A session that has taken its first frame."""
    session = models.session(tracker)
    session.start(frame, mask)
    return session


def write_clip(path: Path, length: int) -> Path:
    """Encode the clip as H.264; return the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        first = next(clip())
        stream.height, stream.width, stream.pix_fmt = *first.size, "yuv420p"
        for frame in itertools.islice(clip(), length):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def seconds(action: Callable[Given, object], *args: Given.args, **kwargs: Given.kwargs) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    action(*args, **kwargs)
    return time.perf_counter() - began


def resident_megabytes() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
