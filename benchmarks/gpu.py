"""Speed and memory of SAM, DINOv2 and ``lite`` on a GPU, with random weights and a drawn clip.

    python -m vos.benchmarks.gpu -o gpu.json
    python -m vos.benchmarks.gpu --device cpu --models tiny lite --backend eager --seconds 0.1    # a trial without one

Prints a Markdown table, line by line as it is measured, and writes the same to a JSON file after each line:

- ``input``: a frame in main memory becomes an encoder's input on the device;
- ``encoder``: an image encoder alone;
- ``steps``: whole steps of a session with the tracker ``persam``, from a frame in main memory to its labels there;
- ``agreement``: masks in bfloat16 against those in float32.

Images are encoded plain, as the session does, as a CUDA graph, or through ``torch.compile``. Where a batch has more
than one frame, or the way is not plain, steps take encodings that were made just before, whose time counts.

A cell that fails is a line with its reason, and the rest goes on. When the minutes are over, what is left is listed as
not measured. Random weights take as long as trained ones. What they find means nothing, and their agreement says less
than that of ``lite``, which is trained.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from ..engine.device import DTYPES, keep_freed_memory, pick_device, pick_dtype
from ..files import atomic_path, output_errors
from .gpu_cells import LITE, SAME, Bench
from .gpu_encoders import COMPILED, COMPILED_GRAPH, GRAPH, PLAIN
from .gpu_table import AGREEMENT, ENCODER, HEAD, INPUT, STEPS, Cell, Measured, record, row, texts
from .machine import device_name
from .random_models import SAMS, TINY, TINY_DINOV2

MODELS = ("sam-vit-b", "sam-vit-l", "sam-vit-h", LITE)
"""Models that are measured unless others are named."""

BATCHES = (1, 2, 4, 8)
"""Frames that are encoded together."""

OBJECTS = (1, 4, 16, 64)
"""Numbers of objects."""

COMPARED = 4
"""Objects whose masks are compared in two precisions."""

OUT_OF_TIME = "not measured: the minutes were over"
"""Remark of a cell that was not begun."""

ROOM = 1.5
"""Time that must be left to begin a cell, as a multiple of the longest one of its kind so far."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    began = time.monotonic()
    keep_freed_memory()
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    height, width = options.size
    about = {
        "device": device_name(device),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "frame": f"{width} x {height}",
    }
    print(f"{', '.join(about.values())}\n\n{row(HEAD)}\n{'|---' * len(HEAD)}|", flush=True)
    bench = Bench(device, dtype, (height, width), options.seconds, options.backend)
    cells = plan(options.models, sorted(options.batches), options.objects)
    lines: list[tuple[Cell, Measured]] = []
    for cell, measured in within(cells, bench.measure, began + 60 * options.minutes):
        lines.append((cell, measured))
        print(row(texts(cell, measured)), flush=True)
        if options.output:
            write(options.output, about | {"seconds": round(time.monotonic() - began, 1)}, lines)
    left = sum(measured.remark == OUT_OF_TIME for _, measured in lines)
    failed = sum(bool(measured.remark) for _, measured in lines) - left
    took = time.monotonic() - began
    print(f"\n{len(lines) - left - failed} measured, {failed} failed, {left} not begun; {took:.0f} seconds")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="a JSON file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="auto: bfloat16 on CUDA")
    parser.add_argument("--models", nargs="+", choices=(*MODELS, TINY), default=MODELS, help=f"{TINY} is for trials")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="frames encoded together")
    parser.add_argument("--objects", type=int, nargs="+", default=OBJECTS, help="at most 80")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"), help="of the frames")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no further cell begins")
    parser.add_argument("--seconds", type=float, default=1, help="for which a cell repeats what it times")
    parser.add_argument("--backend", default="inductor", help="of torch.compile; eager needs no compiler")
    return parser.parse_args(arguments)


def plan(models: Sequence[str], batches: Sequence[int], objects: Sequence[int]) -> Iterator[Cell]:
    """List the cells: of all models what the session does by itself, then agreement, CUDA graphs, and compilation.

    What takes longest comes last, so that minutes that are over cost the least.

    Args:
        models: names of segmenters.
        batches: frames that are encoded together, ascending.
        objects: numbers of objects.
    """
    sams = [model for model in models if model in SAMS]
    priors = list(dict.fromkeys(prior_of(model) for model in sams))
    yield from (Cell(STEPS, model, SAME, count) for model in models if model == LITE for count in objects)
    for encoder in (*sams, *priors):
        yield from (Cell(INPUT, encoder, batch=batch) for batch in sorted({batches[0], batches[-1]}))
        yield from alone(encoder, batches, (PLAIN,))
    for model in sams:
        yield from (Cell(STEPS, model, prior, count) for prior in (SAME, prior_of(model)) for count in objects)
        yield from ahead(model, batches, (PLAIN,))
    yield from (Cell(AGREEMENT, model, SAME, COMPARED) for model in models)
    for modes in ((GRAPH,), (COMPILED, COMPILED_GRAPH)):
        for model in sams:
            yield from alone(model, batches, modes)
            yield from ahead(model, batches, modes)
        for prior in priors:
            yield from alone(prior, batches, modes)


def alone(encoder: str, batches: Sequence[int], modes: Sequence[str]) -> Iterator[Cell]:
    """List an image encoder's cells; those that share compiled code follow each other."""
    yield from (Cell(ENCODER, encoder, batch=batch, mode=mode) for batch in batches for mode in modes)


def ahead(model: str, batches: Sequence[int], modes: Sequence[str]) -> Iterator[Cell]:
    """List the cells of steps with one object whose encodings are made ahead, by the largest batch."""
    yield from (Cell(STEPS, model, prior_of(model), 1, batches[-1], mode) for mode in modes)


def prior_of(model: str) -> str:
    """Return the name of the prior encoder that goes with a SAM."""
    return TINY_DINOV2 if model == TINY else "dinov2-large"


def within(
    cells: Iterator[Cell],
    measure: Callable[[Cell], Measured],
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[Cell, Measured]]:
    """Measure cells while there is time.

    A cell is begun if the time left is :data:`ROOM` times that of the longest one so far of its kind and way to encode.
    The others are yielded, too, as not measured.

    Args:
        cells: in this order.
        measure: measures one.
        deadline: by the clock.
        clock: seconds.
    """
    longest: dict[tuple[str, str], float] = {}
    for cell in cells:
        alike, began = (cell.kind, cell.mode), clock()
        if deadline - began <= ROOM * longest.get(alike, 0.0):
            yield cell, Measured(remark=OUT_OF_TIME)
            continue
        measured = measure(cell)
        longest[alike] = max(longest.get(alike, 0.0), clock() - began)
        yield cell, measured


def write(path: Path, about: dict[str, object], lines: Sequence[tuple[Cell, Measured]]) -> None:
    """Write what was measured so far.

    Raises:
        OutputError: the file cannot be written.
    """
    cells = [record(*line) for line in lines]
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text(json.dumps(about | {"cells": cells}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
