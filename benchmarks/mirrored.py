"""An object in other pictures of it: the first frame finds it in later ones, mirrored, without following it.

    python -m vos.benchmarks.mirrored --davis DAVIS_ROOT --year 2016 --set dev.txt

Frame 0 of each sequence with its mask is the reference. Every eighth later frame is turned left to right, so that
position says nothing, and searched on its own. Prints mean J (without telling objects apart) as a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from ..command.status import exit_status
from ..errors import InputError
from ..readers.images import image_paths
from ..references import Reference
from ..structures import Frame
from . import dataset, finding
from .dataset import Davis
from .finding import Finding
from .mask_folder import foreground
from .pictures import read_rgb
from .scoring import region

STEP = 8
"""Distance between the frames that are searched."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    options = parse(arguments)
    return exit_status("mirrored", lambda: run(options), options.traceback, "run the command again")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dataset.add_options(parser)
    finding.add_options(parser)
    parser.set_defaults(year=2016)
    parser.add_argument("--step", type=int, default=STEP, help=f"distance between frames (default: {STEP})")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table.

    Raises:
        VosError: a sequence or a model is missing or unusable.
    """
    davis = Davis.chosen(options)
    names = dataset.chosen_names(options)
    made = Finding.chosen(options)
    print("| sequence | frames | J |\n|---|---|---|")
    means = []
    for name in names:
        regions = list(search(made, davis, name, options.step))
        if not regions:
            raise InputError(f"{davis.images(name)}: has no frame {options.step} to search")
        means.append(np.mean(regions))
        print(f"| {name} | {len(regions)} | {means[-1]:.3f} |", flush=True)
    print(f"| mean | | {np.mean(means):.3f} |")
    return 0


def search(made: Finding, davis: Davis, name: str, step: int = STEP) -> Iterator[float]:
    """Search every ``step``-th later frame of a sequence, mirrored, by its first; yield J of each."""
    images, annotations = davis.folders(name)
    first, *later = image_paths(images)[::step]
    reference = Reference(read_rgb(first), foreground(annotations / f"{first.stem}.png"), name=str(first))
    with made.finder([reference]) as finder:
        for index, path in enumerate(later):
            truth = foreground(annotations / f"{path.stem}.png")[:, ::-1]
            found = finder.find(Frame(index, 0.0, np.ascontiguousarray(read_rgb(path)[:, ::-1]), path.stem))
            yield region(found.labels > 0, truth)


if __name__ == "__main__":
    sys.exit(main())
