"""Both ways: scores from a mask in the middle, and from three masks, against those from the first mask alone.

    python -m vos.benchmarks.both_ways --davis DAVIS_ROOT --year 2016 --set dev.txt
    python -m vos.benchmarks.both_ways --davis DAVIS_ROOT --parts memory --still --memory-frames 3000

The first, the middle and the last frame, of which a run may be given the mask, are scored in none. Prints Markdown
tables. ``memory`` needs no data: it follows the drawn clip back and forth; ``--still`` by a tracker that leaves every
mask where it was given, so that thousands of frames take a minute.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..engine.both_ways import BothWays
from ..engine.joining import join
from ..engine.kept import KeptResults
from ..engine.models import new_tracker
from ..engine.session import Session
from ..pipeline import follow, follow_backwards, follow_forwards
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..readers.source import SourceReader
from ..structures import FirstMask, Result, first_mask_from_array
from ..testing.clip import clip, disc_labels, sway
from ..testing.still import EditableStill
from . import dataset, models
from .dataset import Davis
from .mask_folder import foreground
from .models import Models
from .scoring import boundary, region

RUNS = (
    "first mask, forwards",
    "middle mask, both ways",
    "three masks, forwards",
    "three masks, both ways",
    "three masks, nearer end whole",
)
"""Lines of the table. The last is a simpler rule than that of :mod:`vos.engine.joining`, for comparison."""

SMALL = (96, 160)
"""(H, W) of the clip whose memory is measured."""

LOOP = 63
"""Frames of the drawn clip after which it begins anew: two periods of its movement."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    loaded = Models.load(options.model, options.device)
    if "scores" in options.parts:
        scores(loaded, options)
    if "memory" in options.parts:
        memory(loaded, options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dataset.add_options(parser)
    models.add_options(parser)
    parser.set_defaults(year=2016)
    parser.add_argument("--tracker", default="persam")
    parser.add_argument("--parts", nargs="+", choices=("scores", "memory"), default=["scores"])
    parser.add_argument("--still", action="store_true", help="of the part memory: nothing is tracked")
    parser.add_argument("--memory-frames", type=int, default=1500, help="of the clip whose memory is measured")
    return parser.parse_args(arguments)


def scores(loaded: Models, options: argparse.Namespace) -> None:
    """Follow and score all sequences; print a line for each, then the means."""
    davis, names = Davis.chosen(options), dataset.chosen_names(options)
    print(f"| sequence | {' | '.join(RUNS)} |\n|---|{'---|' * len(RUNS)}", flush=True)
    measured = []
    for name in names:
        measured.append(scores_of(loaded, options.tracker, *davis.folders(name)))
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in measured[-1].mean(axis=1))} |", flush=True)
    means = np.mean(measured, axis=0)  # (runs, 2)
    print("\n| run | J&F | J | F |\n|---|---|---|---|")
    for run, (j, f) in zip(RUNS, means, strict=True):
        print(f"| {run} | {(j + f) / 2:.3f} | {j:.3f} | {f:.3f} |")


def scores_of(loaded: Models, tracker: str, images: Path, annotations: Path) -> np.ndarray:
    """Compute the mean J and F of one sequence for each of :data:`RUNS`, (runs, 2)."""
    names = dataset.frame_names(images)
    truths = [foreground(annotations / f"{name}.png") for name in names]
    first, middle, last = 0, len(names) // 2, len(names) - 1
    given = {at: first_mask_from_array(truths[at]) for at in (first, middle, last) if truths[at].any()}
    labels = labels_of_runs(loaded, tracker, images, given, middle)
    scored = [index for index in range(len(names)) if index not in (first, middle, last)]
    values = [
        [(region(found[at] > 0, truths[at]), boundary(found[at] > 0, truths[at])) for at in scored] for found in labels
    ]
    return np.mean(values, axis=1)


def labels_of_runs(
    loaded: Models, tracker: str, images: Path, given: Mapping[int, FirstMask], middle: int
) -> list[list[np.ndarray]]:
    """Follow one sequence; return the labels of all frames for each of :data:`RUNS`."""

    def session() -> Session:
        return loaded.session(new_tracker(tracker))

    with open_reader(images) as reader, tempfile.TemporaryDirectory() as folder:
        plain = [result.labels for result in follow(session(), prefetch(reader), given[0], ahead=True)]
        one = BothWays({middle: given[middle]})
        kept = go_back(session(), reader, one, Path(folder) / "one")
        from_middle = [result.labels for result in follow_forwards(session(), prefetch(reader), one, kept)]
        three = BothWays(given)
        kept = go_back(session(), reader, three, Path(folder) / "three")
        later = {at: mask for at, mask in given.items() if at}
        runs: list[list[np.ndarray]] = [[], [], []]
        for forward in follow(session(), prefetch(reader), given[0], later, ahead=True):
            index = forward.frame.index
            results = [forward] * 3
            if index <= three.last:
                backward = kept.read(three.last - index, forward.frame)
                nearer = forward if three.forward_share(1, index) >= 0.5 else backward
                results = [forward, join(three, forward, backward), nearer]
            for run, result in zip(runs, results, strict=True):
                run.append(result.labels)
    return [plain, from_middle, *runs]


def go_back(
    session: Session,
    reader: SourceReader,
    plan: BothWays,
    folder: Path,
    told: Callable[[Result], None] = lambda _: None,
) -> KeptResults:
    """Follow the way back of a plan, and keep its results in a folder."""
    kept = KeptResults(folder)
    for result in follow_backwards(session, reader, plan):
        kept.write(result)
        told(result)
    return kept


def memory(loaded: Models, options: argparse.Namespace) -> None:
    """Measure the memory of a run from masks on the first and the last frame of the drawn clip."""
    count = options.memory_frames
    print("| way | frames | own memory, MB |\n|---|---|---|", flush=True)
    sizes: list[tuple[int, float]] = []

    def sample(way: str, done: int) -> None:
        if done in (count // 6, count // 3, 2 * count // 3, count):
            sizes.append((done, own_megabytes()))
            print(f"| {way} | {done} | {sizes[-1][1]:.1f} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, count)
        masks = {at: first_mask_from_array(disc_labels(SMALL, 3, sway(SMALL, at % LOOP))) for at in (0, count - 1)}
        plan = BothWays(masks)
        with open_reader(path) as reader:
            back, session = (
                loaded.session(EditableStill() if options.still else new_tracker(options.tracker)) for _ in range(2)
            )
            kept = go_back(back, reader, plan, Path(folder), lambda result: sample("back", result.frame.index + 1))
            for result in follow_forwards(session, prefetch(reader), plan, kept):
                sample("forwards", result.frame.index + 1)
        label_maps = sum(file.stat().st_size for file in (Path(folder) / "labels").iterdir())
    for way, part in (("back", sizes[:4]), ("forwards", sizes[4:])):
        (start, before), (end, after) = part[1], part[-1]
        slope = 1000 * (after - before) / (end - start)
        print(f"{way}: slope over the last two thirds {slope:.2f} MB per 1,000 frames")
    print(f"kept on disk: {label_maps / count / 1000:.2f} kB per frame of the way back")


def own_megabytes() -> float:
    """Memory that is the process's own, without its programs and libraries, swapped out or not; of Linux."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1000


def write_clip(path: Path, count: int) -> None:
    """Encode the drawn clip, looped, at a small size, a key frame every 250 frames."""
    drawn = [av.VideoFrame.from_ndarray(frame.rgb) for frame in itertools.islice(clip(SMALL), LOOP)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "g": "250"})
        stream.height, stream.width, stream.pix_fmt = *SMALL, "yuv420p"
        for index in range(count):
            frame = drawn[index % LOOP]
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
