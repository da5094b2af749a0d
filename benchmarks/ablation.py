"""What each part of the method is worth: one row for each change, on a set of sequences.

    python -m vos.benchmarks.ablation --davis DAVIS_ROOT --year 2016 --set dev.txt [--model lite]

The rows are the paper's tables 12 and 15 as far as they concern propagation, and this project's own
parts. Prints a Markdown table; ``--output`` keeps it, with a CSV beside it. Rows that name a prior
whose weights are not there say so.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import load_encoder, load_segmenter, new_tracker
from ..engine.session import Session
from ..errors import WeightsError
from ..interfaces import Segmenter
from ..pipeline import follow
from ..readers.first_mask import load_first_mask
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from .davis import add_data_options, folders, frame_names, sequence_names
from .scoring import SequenceScorer, global_scores


@dataclass(frozen=True)
class Row:
    """One line of the table: a tracker, its prior, and the options that differ from its defaults."""

    name: str
    tracker: str = "persam"
    prior: str = "same"
    changes: dict[str, object] = field(default_factory=dict)


ROWS = (
    Row("persam"),
    Row("persam-f", "persam-f"),
    Row("top-1 point", changes={"positives": 1}),
    Row("top-3 points", changes={"positives": 3}),
    Row("no negative point", changes={"negative_point": False}),
    Row("with the box's centre as a point", changes={"centre_point": True}),
    Row("without last frame's box", changes={"last_box": False}),
    Row("with guided attention (eq. 8)", changes={"guided_attention": True}),
    Row("objects looked for in all of the region", changes={"window": 0.0}),
    Row("with guided attention, alpha 0.5", changes={"guided_attention": True, "alpha": 0.5}),
    Row("with guided attention, alpha 2", changes={"guided_attention": True, "alpha": 2.0}),
    Row("without semantic prompting (eq. 10)", changes={"semantic_prompting": False}),
    Row("no refinement", changes={"refine_steps": 0}),
    Row("one step of refinement", changes={"refine_steps": 1}),
    Row("two steps of refinement", changes={"refine_steps": 2}),
    Row("whole frame, no zoom", changes={"zoom": 0}),
    Row("zoom 1.1", changes={"zoom": 1.1}),
    Row("zoom 1.4", changes={"zoom": 1.4}),
    Row("zoom 2", changes={"zoom": 2.0}),
    Row("discriminant of the first frame alone", changes={"given_share": 1.0}),
    Row("discriminant of later frames alone", changes={"given_share": 0.0}),
    Row("discriminant without best matches", changes={"contrast_share": 0.0}),
    Row("discriminant with a quarter of best matches", changes={"contrast_share": 0.25}),
    Row("discriminant with three quarters of best matches", changes={"contrast_share": 0.75}),
    Row("best matches without discriminant", changes={"contrast_share": 1.0}),
    Row("discriminant that learns half as fast", changes={"learning_rate": 0.05}),
    Row("discriminant that learns twice as fast", changes={"learning_rate": 0.2}),
    Row("pieces of a mask may be anywhere", changes={"reach": 0}),
    Row("pieces of a mask begin within 2 patches", changes={"reach": 2}),
    Row("pieces of a mask begin within 8 patches", changes={"reach": 8}),
    Row("objects do not contest pixels", changes={"contest": 0.0}),
    Row("persam-f, objects do not contest pixels", "persam-f", changes={"contest": 0.0}),
    Row("+ points propagated by lk", changes={"points": "lk"}),
    Row("persam-f + points propagated by lk", "persam-f", changes={"points": "lk"}),
    Row("prior: dinov2-large", prior="dinov2-large"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    keep_freed_memory()
    device = pick_device(options.device)
    precision = pick_dtype("auto", device)
    segmenter = load_segmenter(options.model, device, precision)
    names = options.sequences or sequence_names(options)
    chosen = [row for row in ROWS if not options.rows or row.name in options.rows]
    lines = ["| change | J&F | J | F | frames/s |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    table = []
    for row in chosen:
        try:
            encoder = load_encoder(row.prior, device, precision)
        except WeightsError:
            lines.append(f"| {row.name} | weights not there | | | |")
        else:
            figures = measure(row, segmenter, encoder, names, options)
            table.append({"change": row.name} | figures)
            measures = " | ".join(f"{figures[name]:.3f}" for name in ("J&F", "J", "F"))
            lines.append(f"| {row.name} | {measures} | {figures['frames/s']:.1f} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with options.output.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(line)
    line.add_argument("--max-frames", type=int)
    line.add_argument("--rows", nargs="+", metavar="NAME", help="these changes alone")
    line.add_argument("--output", type=Path, help="a Markdown file")
    return line.parse_args(arguments)


def measure(row: Row, segmenter: Segmenter, encoder, names: list[str], options: argparse.Namespace) -> dict[str, float]:
    """J&F, J, F over the sequences, and frames/s of tracking with reading."""
    scores, frames, spent = [], 0, 0.0
    for name in names:
        images, annotations = folders(options, name)
        scorer = SequenceScorer(annotations, options.year, options.max_frames)
        session = Session(new_tracker(row.tracker, **row.changes), segmenter, encoder)
        with open_reader(images, max_frames=options.max_frames) as reader:
            mask = load_first_mask(annotations / f"{frame_names(images)[0]}.png", reader.size)
            results = follow(session, prefetch(reader), mask)
            while True:
                began = time.perf_counter()
                result = next(results, None)
                spent += time.perf_counter() - began
                if result is None:
                    break
                scorer.add(result.frame.index, result.labels)
                frames += 1
        scores += scorer.scores()
    totals = global_scores(scores)
    return {"J&F": totals["J&F-Mean"], "J": totals["J-Mean"], "F": totals["F-Mean"], "frames/s": frames / spent}


if __name__ == "__main__":
    main()
