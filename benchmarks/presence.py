"""How similar something must be to count as the object: precision and recall over the threshold, and what fits best.

    python -m vos.benchmarks.presence --root SUBJECTS --write

Takes the folder of :mod:`vos.benchmarks.subjects`: picture 0 of each subject with its box is the reference; its other
pictures with boxes show the object, those of other subjects do not. Prints a Markdown table, and the numbers that turn
similarity into presence (see :mod:`vos.weights.presence`); ``--write`` puts these where the model's are read. Run it
again when the weights of a model change.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..command.status import exit_status
from ..errors import InputError
from ..files import atomic_path, output_errors
from ..weights.presence import FILE, Calibration, calibration_of
from . import finding
from .finding import ALWAYS, Finding
from .subjects import HIT, Outcome, look_for, read_subjects

STEEPEST = 40.0
"""Largest slope: between pictures that are told apart without a mistake, any slope would fit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    options = parse(arguments)
    return exit_status("presence", lambda: run(options), options.traceback, "run the command again")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, metavar="SUBJECTS", help="holds the folders and boxes.json")
    parser.add_argument("--distractors", type=int, default=1, metavar="N", help="pictures of each other subject")
    parser.add_argument("--write", action="store_true", help=f"write the numbers into {FILE.name}")
    parser.add_argument("--plot", type=Path, metavar="PICTURE", help="a curve of precision over recall, SVG or PNG")
    finding.add_options(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table and the numbers.

    Raises:
        VosError: a file or model is missing or unusable, or a file cannot be written.
    """
    subjects = read_subjects(options.root)
    made = Finding.chosen(options)
    outcomes: list[Outcome] = []
    for subject in subjects:
        if len(subject.boxes) > 1:
            outcomes += look_for(made, subject, subjects, ALWAYS, options.distractors)
    if not outcomes:
        raise InputError(f"{options.root}: no subject has two boxes")
    models = made.models.segmenter.name, options.prior
    there, others = similarities(outcomes, calibration_of(*models))
    fitted = fit(there, others)
    print("\n".join(table(there, others, fitted.middle)))
    ious = np.array([each.iou for each in outcomes if each.iou is not None])
    print(f"\nwithout a threshold: hit rate {(ious > HIT).mean():.3f}, mean box IoU {ious.mean():.3f}")
    print(f"{name_of(*models)}: middle {fitted.middle:.3f}, slope {fitted.slope:.1f}")
    if options.write:
        write(name_of(*models), fitted)
    if options.plot:
        plot(options.plot, there, others)
    return 0


def similarities(outcomes: Sequence[Outcome], used: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Turn the presence of outcomes back into similarity: of pictures that show the object, and of the others."""

    def similarity(presence: float) -> float:
        inside = min(max(presence, 1e-12), 1 - 1e-7)
        return used.middle + math.log(inside / (1 - inside)) / used.slope

    there = [similarity(each.presence) for each in outcomes if each.iou is not None]
    others = [similarity(each.presence) for each in outcomes if each.iou is None]
    return np.array(there), np.array(others)


def fit(there: np.ndarray, others: np.ndarray) -> Calibration:
    """Fit presence to similarities, both groups of pictures weighing the same (logistic regression).

    Args:
        there: of pictures that show the object.
        others: of pictures that do not.
    """
    from scipy.optimize import minimize

    def loss(values: np.ndarray) -> float:
        middle, slope = values
        missed = np.logaddexp(0, -slope * (there - middle)).mean()
        false = np.logaddexp(0, slope * (others - middle)).mean()
        return float(missed + false)

    start = (float(np.mean([np.median(there), np.median(others)])), STEEPEST / 2)
    found = minimize(loss, start, bounds=[(-1, 1), (1, STEEPEST)])
    return Calibration(round(float(found.x[0]), 3), round(float(found.x[1]), 1))


def table(there: np.ndarray, others: np.ndarray, chosen: float) -> list[str]:
    """Make the Markdown table of precision and recall; both groups of pictures weigh the same."""
    lines = ["| similarity from | recall | precision | found in pictures of others |", "|---|---|---|---|"]
    thresholds = sorted({*np.round(np.arange(0.3, 0.86, 0.05), 2).tolist(), chosen})
    for threshold in thresholds:
        recall, false = float((there >= threshold).mean()), float((others >= threshold).mean())
        precision = f"{recall / (recall + false):.3f}" if recall + false else ""
        mark = " (presence 0.5)" if threshold == chosen else ""
        lines.append(f"| {threshold:g}{mark} | {recall:.3f} | {precision} | {false:.3f} |")
    return lines


def name_of(segmenter: str, encoder: str) -> str:
    """Return the name under which the numbers of a model are kept."""
    name = segmenter if encoder == "same" else encoder
    return name.partition(":")[0]


def write(name: str, numbers: Calibration) -> None:
    """Write the numbers of a model into :data:`vos.weights.presence.FILE`.

    Raises:
        OutputError: it cannot be written.
    """
    known = json.loads(FILE.read_text(encoding="utf-8"))
    known[name] = vars(numbers)
    lines = [f"  {json.dumps(each)}: {json.dumps(known[each])}" for each in sorted(known, key=lambda each: each == "*")]
    with output_errors(FILE), atomic_path(FILE) as partial:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def plot(path: Path, there: np.ndarray, others: np.ndarray) -> None:
    """Draw precision over recall.

    Raises:
        InputError: matplotlib is not installed.
        OutputError: the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install matplotlib") from error
    thresholds = np.sort(np.concatenate([there, others]))
    recall = np.array([(there >= each).mean() for each in thresholds])
    false = np.array([(others >= each).mean() for each in thresholds])
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(recall, recall / (recall + false))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    with output_errors(path), atomic_path(path) as partial:
        figure.savefig(partial)


if __name__ == "__main__":
    sys.exit(main())
