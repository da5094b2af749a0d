"""Speed, memory and scale of the pipeline.

    python -m vos.benchmarks.speed [--model lite] [--parts overhead objects fit memory stages readers]
    python -m vos.benchmarks.speed --model sam-vit-b-random --parts overhead objects fit --frames 4

Needs no data: it draws its own clip, and a randomly initialised SAM ViT-B or ViT-H does the same
arithmetic as a trained one. Every share is a ratio of times taken in one run. Prints Markdown;
``--output`` keeps a copy.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import av
import torch

from .. import plugins
from ..encoders.same import SameEncoder
from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import load_segmenter
from ..engine.session import Session
from ..interfaces import Segmenter
from ..pipeline import follow
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..structures import FirstMask, Frame
from ..testing.clip import clip, discs
from ..writers.open import open_writers
from ..writers.thread import WriterThread

OBJECTS = (1, 2, 4, 8, 16, 32)
MEMORY_FRAMES = (50, 500, 2000)
RANDOM = "-random"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    keep_freed_memory()
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    say(
        f"{options.model}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    segmenter = load(options.model, options.device)
    for part in options.parts:
        say(f"\n### {part}\n")
        PARTS[part](segmenter, options, say)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    line.add_argument("--model", default="lite", help="as vos-track's, or sam-vit-b-random, sam-vit-h-random")
    line.add_argument("--device", default="auto")
    line.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    line.add_argument("--frames", type=int, default=40, help="frames of each measurement of time")
    line.add_argument("--memory-frames", type=int, nargs="+", default=MEMORY_FRAMES)
    line.add_argument("--most-objects", type=int, default=OBJECTS[-1])
    line.add_argument("--plot", type=Path, help="a picture of the part `objects`, .svg or .png; needs matplotlib")
    line.add_argument("--output", type=Path, help="a Markdown file")
    return line.parse_args(arguments)


def load(name: str, device: str) -> Segmenter:
    """A segmenter by name; the ``-random`` ones are SAM with untrained weights."""
    chosen = pick_device(device)
    precision = pick_dtype("auto", chosen)
    if not name.endswith(RANDOM):
        return load_segmenter(name, chosen, precision)
    from transformers import SamConfig

    from ..segmenters.sam import GuidedSam, SamSegmenter

    huge = {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    }
    vision = {"sam-vit-b": {}, "sam-vit-h": huge}[name.removesuffix(RANDOM)]
    torch.manual_seed(0)
    # the library's own spread of 1e-10 makes numbers so small that processors take twenty times as long
    spread = {"initializer_range": 0.02}
    return SamSegmenter(GuidedSam(SamConfig(vision_config=vision | spread, **spread)), name, chosen, precision, ())


def overhead(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """What a step with one object takes besides the encoder's pass in it."""
    say("| tracker | encoder, ms | the rest of a step, ms | step over encoder |\n|---|---|---|---|")
    for name in ("persam", "persam-f"):
        encode, rest = steps(segmenter, name, 1, options.frames)
        say(f"| {name} | {1e3 * encode:.1f} | {1e3 * rest:.1f} | {1 + rest / encode:.3f} |")


def objects(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """What a step takes besides the encoder's pass by number of objects, and each further one as a share."""
    say(
        "| objects | encoder, ms | the rest of a step, ms | further object, ms | share of the encoder | share of one object's step |"
    )
    say("|---|---|---|---|---|---|")
    alone, curve = None, []
    for count in (count for count in OBJECTS if count <= options.most_objects):
        encode, rest = steps(segmenter, "persam", count, options.frames)
        alone = alone or rest
        curve.append((count, 1 + rest / encode))
        each = (rest - alone) / max(count - 1, 1)
        say(
            f"| {count} | {1e3 * encode:.1f} | {1e3 * rest:.1f} | {1e3 * each:.2f} | {each / encode:.1%} "
            f"| {each / (encode + alone):.1%} |"
        )
    if options.plot:
        draw(curve, options.model, options.plot)


def steps(segmenter: Segmenter, tracker: str, count: int, frames: int) -> tuple[float, float]:
    """Median seconds of the encoder's pass and of the rest of a step, told apart within each step.

    Each step follows on the first frame, whose masks are given: their size counts, not what becomes of them.
    """
    clip_ = clip()
    first = next(clip_)
    session = started(segmenter, tracker, first, discs(count))
    state = session.state()
    encode, rest = [], []
    for frame in itertools.islice(clip_, frames + 1):
        session.restore(first, state)
        session.seconds.clear()
        whole = seconds(lambda frame=frame: session.step(frame))
        encode.append(session.seconds["encode"])
        rest.append(whole - encode[-1])
    return statistics.median(encode[1:]), statistics.median(rest[1:])


def draw(curve: list[tuple[int, float]], model: str, path: Path) -> None:
    """The time of a step over that of the encoder, by number of objects."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True), marker="o")
    axes.set(xlabel="objects", ylabel="step over encoder", title=model, ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path)


def fit(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """PerSAM-F's two weights: seconds per object, and how much of it the decoder takes."""
    say("| objects | fit, s | of it decoding, s |\n|---|---|---|")
    for count in (1, 4):
        spent: Counter[str] = Counter()
        timed = Timed(segmenter, spent)
        session = started(timed, "persam-f", next(clip()), discs(count))
        say(f"| {count} | {session.tracker.fit_seconds:.2f} | {spent['decode']:.2f} |")


def memory(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """Resident memory after so many frames of an endless clip, three objects."""
    frames = clip()
    session = started(segmenter, "persam-f", next(frames), discs(3))
    say("| frames | resident, MB |\n|---|---|")
    sizes = []
    for index, frame in enumerate(frames, start=1):
        session.step(frame)
        if index in options.memory_frames:
            sizes.append((index, resident_megabytes()))
            say(f"| {index} | {sizes[-1][1]:.1f} |")
            if index == max(options.memory_frames):
                break
    (first, before), (last, after) = sizes[-2:]
    say(f"\nslope over the last span: {1000 * (after - before) / (last - first):.2f} MB per 1,000 frames")


def stages(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """Seconds of each stage over a video file, and how well reading and writing overlap with computing."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / "clip.mp4", options.frames)
        session = Session(plugins.load("vos.trackers", "persam")(), segmenter, SameEncoder())
        spent: Counter[str] = Counter()
        began = time.perf_counter()
        with open_reader(path) as reader:
            writers = None
            for result in follow(session, prefetch(timed_frames(reader, spent)), discs(1)):
                if writers is None:
                    opened = open_writers(
                        ["masks"], Path(folder) / "out", fps=reader.fps, first_frame=result.frame, object_ids=(1,)
                    )
                    writers = WriterThread([TimedWriter(writer, spent) for writer in opened])
                writers.write(result)
            writers.close()
        wall = time.perf_counter() - began
    spent.update(session.seconds)
    compute = sum(session.seconds.values())
    say("| stage | ms a frame | share of the wall time |\n|---|---|---|")
    for name in ("read", "encode", "prior", "track", "merge", "write"):
        say(f"| {name} | {1e3 * spent[name] / options.frames:.1f} | {spent[name] / wall:.0%} |")
    slowest = max(compute, spent["read"], spent["write"])
    say(
        f"\n{options.frames / wall:.1f} frames/s; wall time over the slowest of reading, computing, writing: {wall / slowest:.2f}"
    )


def readers(segmenter: Segmenter, options: argparse.Namespace, say: Callable) -> None:
    """Frames/s of reading alone, against ffmpeg's own decoding to nothing."""
    say("| reader | frames/s |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        count = 8 * options.frames
        path = write_clip(Path(folder) / "clip.mp4", count)
        for backend in ("pyav", "decord"):
            try:
                with open_reader(path, backend=backend) as reader:
                    took = seconds(lambda reader=reader: sum(1 for _ in reader))
            except Exception as error:
                say(f"| {backend} | not available: {error} |")
                continue
            say(f"| {backend} | {count / took:.0f} |")
        if not shutil.which("ffmpeg"):
            say("| ffmpeg | not installed |")
            return
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"]
        took = seconds(lambda: subprocess.run(command, check=True))
        say(f"| ffmpeg | {count / took:.0f} |")


PARTS = {"overhead": overhead, "objects": objects, "fit": fit, "memory": memory, "stages": stages, "readers": readers}


class Timed:
    """A segmenter whose decoding is timed."""

    def __init__(self, segmenter: Segmenter, spent: Counter):
        self._segmenter = segmenter
        self._spent = spent

    def __getattr__(self, name: str):
        return getattr(self._segmenter, name)

    def decode(self, *args):
        began = time.perf_counter()
        masks = self._segmenter.decode(*args)
        self._spent["decode"] += time.perf_counter() - began
        return masks


class TimedWriter:
    """A writer whose writing is timed."""

    def __init__(self, writer, spent: Counter):
        self._writer = writer
        self._spent = spent

    def write(self, result) -> None:
        self._spent["write"] += seconds(lambda: self._writer.write(result))

    def close(self) -> None:
        self._spent["write"] += seconds(self._writer.close)


def timed_frames(frames: Iterable[Frame], spent: Counter) -> Iterator[Frame]:
    """The same frames, the time to get each one counted as ``read``."""
    iterator = iter(frames)
    while True:
        began = time.perf_counter()
        frame = next(iterator, None)
        spent["read"] += time.perf_counter() - began
        if frame is None:
            return
        yield frame


def started(segmenter, tracker: str, frame: Frame, mask: FirstMask) -> Session:
    """A session that has taken its first frame."""
    session = Session(plugins.load("vos.trackers", tracker)(), segmenter, SameEncoder())
    session.start(frame, mask)
    return session


def write_clip(path: Path, length: int) -> Path:
    """The clip as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        first = next(clip())
        stream.height, stream.width, stream.pix_fmt = *first.size, "yuv420p"
        for frame in itertools.islice(clip(), length):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def seconds(action: Callable) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def resident_megabytes() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
