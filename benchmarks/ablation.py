"""Ablation: the worth of each part of the method, one variant for each change, on a set of sequences.

    python -m vos.benchmarks.ablation --davis DAVIS_ROOT --year 2016 --set dev.txt [--model lite]

The variants are the paper's tables 12 and 15 as far as they concern propagation, and this project's
own parts. Prints a Markdown table; ``--output`` saves it, with a CSV beside it. A variant whose prior
has no weights here says so.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.models import new_tracker
from ..errors import WeightsError
from ..interfaces import Tracker
from ..pipeline import follow
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from . import dataset, models
from .annotations import Truth
from .dataset import Davis
from .models import Models
from .scoring import ObjectScore, SequenceScorer, global_scores


@dataclass(frozen=True)
class Variant:
    """One line of the table.

    Attributes:
        name: name of the change.
        tracker: name of the tracker.
        prior: name of the prior encoder.
        points: name of the point tracker, or ``none``.
        changes: options of the tracker that differ from its defaults.
    """

    name: str
    tracker: str = "persam"
    prior: str = "same"
    points: str = "none"
    changes: dict[str, object] = field(default_factory=dict)

    def new_tracker(self) -> Tracker:
        """A fresh tracker with the variant's options.

        Raises:
            InputError: the tracker has no such options.
        """
        return new_tracker(self.tracker, published=False, points=self.points, **self.changes)


VARIANTS = (
    Variant("persam"),
    Variant("persam-f", "persam-f"),
    Variant("top-1 point", changes={"positives": 1}),
    Variant("top-3 points", changes={"positives": 3}),
    Variant("no negative point", changes={"negative_point": False}),
    Variant("with the box's centre as a point", changes={"centre_point": True}),
    Variant("without last frame's box", changes={"last_box": False}),
    Variant("with guided attention (eq. 8)", changes={"guided_attention": True}),
    Variant("objects looked for in all of the region", changes={"window": 0.0}),
    Variant("with guided attention, alpha 0.5", changes={"guided_attention": True, "alpha": 0.5}),
    Variant("with guided attention, alpha 2", changes={"guided_attention": True, "alpha": 2.0}),
    Variant("without semantic prompting (eq. 10)", changes={"semantic_prompting": False}),
    Variant("no refinement", changes={"refine_steps": 0}),
    Variant("one step of refinement", changes={"refine_steps": 1}),
    Variant("two steps of refinement", changes={"refine_steps": 2}),
    Variant("whole frame, no zoom", changes={"zoom": 0}),
    Variant("zoom 1.1", changes={"zoom": 1.1}),
    Variant("zoom 1.4", changes={"zoom": 1.4}),
    Variant("zoom 2", changes={"zoom": 2.0}),
    Variant("nothing read out of memory", changes={"read_out": False}),
    Variant("discriminant of the first frame alone", changes={"given_share": 1.0}),
    Variant("discriminant of later frames alone", changes={"given_share": 0.0}),
    Variant("discriminant without best matches", changes={"contrast_share": 0.0}),
    Variant("discriminant with a quarter of best matches", changes={"contrast_share": 0.25}),
    Variant("discriminant with three quarters of best matches", changes={"contrast_share": 0.75}),
    Variant("best matches without discriminant", changes={"contrast_share": 1.0}),
    Variant("discriminant that learns half as fast", changes={"learning_rate": 0.05}),
    Variant("discriminant that learns twice as fast", changes={"learning_rate": 0.2}),
    Variant("twins that a mask took in stay", changes={"patience": 0}),
    Variant("twins are dropped after 2 frames", changes={"patience": 2}),
    Variant("twins are dropped after 10 frames", changes={"patience": 10}),
    Variant("objects do not contest pixels", changes={"contest": 0.0}),
    Variant("persam-f, objects do not contest pixels", "persam-f", changes={"contest": 0.0}),
    Variant("+ points propagated by lk", points="lk"),
    Variant("persam-f + points propagated by lk", "persam-f", points="lk"),
    Variant("prior: dinov2-large", prior="dinov2-large"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    loaded = Models.load(options.model, options.device)
    names = dataset.chosen_names(options)
    lines = ["| change | J&F | J | F | frames/s |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    records: list[dict[str, str | float]] = []
    for variant in VARIANTS:
        if options.rows and variant.name not in options.rows:
            continue
        try:
            loaded.encoder(variant.prior)
        except WeightsError:
            lines.append(f"| {variant.name} | weights not there | | | |")
        else:
            figures = measure(variant, loaded, names, options)
            records.append({"change": variant.name} | figures)
            measures = " | ".join(f"{figures[name]:.3f}" for name in ("J&F", "J", "F"))
            lines.append(f"| {variant.name} | {measures} | {figures['frames/s']:.1f} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with options.output.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dataset.add_options(parser)
    models.add_options(parser)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these changes alone")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    return parser.parse_args(arguments)


def measure(variant: Variant, loaded: Models, names: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Track and score all sequences: J&F, J, F, and frames/s of tracking with reading."""
    davis = Davis.chosen(options)
    scores: list[ObjectScore] = []
    frames, spent = 0, 0.0
    for name in names:
        images, annotations = davis.folders(name)
        truth = Truth(annotations, options.year)
        frames_named = dataset.frame_names(images)[: options.max_frames]
        scorer = SequenceScorer(truth, frames_named)
        session = loaded.session(variant.new_tracker(), variant.prior)
        with open_reader(images, max_frames=options.max_frames) as reader:
            results = follow(session, prefetch(reader), davis.first_mask(name, reader.size), ahead=True)
            while True:
                began = time.perf_counter()
                result = next(results, None)
                spent += time.perf_counter() - began
                if result is None:
                    break
                scorer.add(frames_named[result.frame.index], result.labels)
                frames += 1
        scores += scorer.scores()
    totals = global_scores(scores)
    return {"J&F": totals["J&F-Mean"], "J": totals["J-Mean"], "F": totals["F-Mean"], "frames/s": frames / spent}


if __name__ == "__main__":
    main()
