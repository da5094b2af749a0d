"""The command ``vos-davis``: track DAVIS sequences and score them.

    vos-davis --davis DAVIS_ROOT --year 2016 --set val -o results
    vos-davis --davis DAVIS_ROOT --year 2017 --set val --evaluate-only results

Masks are written as the official evaluation and its server take them; a sequence that is complete
is not tracked again. Scores go to ``global_results-<set>.csv``, ``per-sequence_results-<set>.csv``
and ``report.html`` beside the masks.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..command.run_record import write_run_record
from ..command.status import exit_status
from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import load_encoder, load_segmenter, new_tracker
from ..engine.session import Session
from ..errors import InputError, OutputError
from ..files import output_errors
from ..pipeline import follow
from ..readers.first_mask import load_first_mask
from ..readers.images import image_paths
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..writers.masks import MaskWriter
from ..writers.thread import WriterThread
from .report import write_report
from .scoring import ObjectScore, global_scores, score_sequence

DEFAULTS = {"tracker": "persam-f", "model": "lite", "prior": "same"}
PRESETS = {"paper": {"tracker": "persam-f", "model": "sam-vit-h", "prior": "dinov2-large"}}
"""``paper``: section C.2; its numbers (top-2, last box, 800 epochs, 4e-4) are the trackers' defaults."""

PARTIAL = ".partial"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    return exit_status("vos-davis", lambda: run(options), options.traceback, "run the same command again to go on")


def run(options: argparse.Namespace) -> int:
    """Track what is not there yet, then score."""
    names = options.sequences or sequence_names(options)
    for name in names:
        if not name.isprintable() or name.startswith(".") or set(name) & set("/\\"):
            raise InputError(f"{name!r}: is no name of a sequence, but leads elsewhere; look at --set and --sequences")
    results = options.evaluate_only or options.output
    if not options.evaluate_only:
        track_all(options, names)
    if options.official:
        evaluate_officially(options, results)
    else:
        evaluate(options, names, results)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    line = argparse.ArgumentParser(prog="vos-davis", description="Track DAVIS sequences and score them.")
    line.add_argument("--davis", type=Path, required=True, metavar="ROOT", help="JPEGImages, Annotations, ImageSets")
    line.add_argument("--year", type=int, choices=(2016, 2017), default=2017)
    line.add_argument("--set", default="val", help="val, train, or a file, also one under ImageSets/<year>")
    line.add_argument("--sequences", nargs="+", help="these alone")
    line.add_argument("--resolution", default="480p", help="480p or Full-Resolution")
    line.add_argument("--tracker", help=f"an installed tracker (default: {DEFAULTS['tracker']})")
    line.add_argument("--model", help=f"as for vos-track (default: {DEFAULTS['model']})")
    line.add_argument("--prior", help=f"as for vos-track (default: {DEFAULTS['prior']})")
    line.add_argument("--points", default="none", help="as for vos-track (default: none)")
    line.add_argument("--preset", choices=PRESETS, help="paper: the models of section C.2")
    line.add_argument("--published", action="store_true", help="the released scripts' behaviour where it differs")
    line.add_argument("--device", default="auto")
    line.add_argument("--dtype", default="auto")
    line.add_argument("--max-frames", type=int, help="of each sequence; no scores then")
    line.add_argument("--official", action="store_true", help="score with the installed davis2017 package")
    line.add_argument("--traceback", action="store_true", help="show where an error came from")
    target = line.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, metavar="RESULTS")
    target.add_argument("--evaluate-only", type=Path, metavar="RESULTS", help="score masks that are there")
    options = line.parse_args(arguments)
    for name, value in (DEFAULTS | PRESETS.get(options.preset, {})).items():
        setattr(options, name, getattr(options, name) or value)
    return options


def add_data_options(line: argparse.ArgumentParser) -> None:
    """For the other benchmarks: which sequences, and what runs on them."""
    line.add_argument("--davis", type=Path, required=True)
    line.add_argument("--year", type=int, choices=(2016, 2017), default=2017)
    line.add_argument("--set", default="val")
    line.add_argument("--sequences", nargs="+")
    line.add_argument("--resolution", default="480p")
    line.add_argument("--model", default="lite")
    line.add_argument("--device", default="auto")


def sequence_names(options: argparse.Namespace) -> list[str]:
    """Names of the set's sequences.

    Raises:
        InputError: there is no such set.
    """
    folder = options.davis / "ImageSets" / str(options.year)
    candidates = [Path(options.set), folder / options.set, folder / f"{options.set}.txt"]
    for path in candidates:
        if path.is_file():
            return path.read_text(encoding="utf-8").split()
    there = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
    raise InputError(f"{folder}: no set {options.set}; there are: {there}")


def set_name(options: argparse.Namespace) -> str:
    """What the set is called in file names."""
    return Path(options.set).stem


def track_all(options: argparse.Namespace, names: list[str]) -> None:
    """Track the sequences that are not complete, one line of progress each."""
    keep_freed_memory()
    for path in (options.output / each for name in names for each in (name, f".{name}{PARTIAL}")):
        if path.is_symlink():
            raise OutputError(f"{path}: is a link, so that files would be written elsewhere; remove it")
    todo = [name for name in names if not complete(options, name)]
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} sequences are complete already")
    if not todo:
        return
    device = pick_device(options.device)
    precision = pick_dtype(options.dtype, device)
    segmenter = load_segmenter(options.model, device, precision)
    encoder = load_encoder(options.prior, device, precision)
    frames, began = 0, time.perf_counter()
    for name in todo:
        session = Session(new_tracker(options.tracker, options.published, points=options.points), segmenter, encoder)
        start = time.perf_counter()
        count = track_sequence(session, options, name)
        frames += count
        print(f"{name}: {count} frames, {count / (time.perf_counter() - start):.1f} frames/s", flush=True)
    spent = time.perf_counter() - began
    print(f"{frames} frames in {spent:.0f} s, {frames / spent:.1f} frames/s")
    write_run_record(options.output / "run.json", vars(options), session, frames, spent, "finished")


def track_sequence(session: Session, options: argparse.Namespace, name: str) -> int:
    """Track one sequence into its folder, which appears when it is whole; returns the frames."""
    images, annotations = folders(options, name)
    target, partial = options.output / name, options.output / f".{name}{PARTIAL}"
    with output_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    frames = 0
    with open_reader(images, max_frames=options.max_frames) as reader:
        mask = load_first_mask(annotations / f"{frame_names(images)[0]}.png", reader.size)
        with WriterThread([MaskWriter(partial)]) as writer:
            for result in follow(session, prefetch(reader), mask):
                writer.write(result)
                frames += 1
    with output_errors(target):
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    return frames


def folders(options: argparse.Namespace, name: str) -> tuple[Path, Path]:
    """Images and annotations of a sequence.

    Raises:
        InputError: they are not there.
    """
    pair = tuple(options.davis / kind / options.resolution / name for kind in ("JPEGImages", "Annotations"))
    for folder in pair:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; is --davis the folder that holds JPEGImages and Annotations?")
    return pair


def frame_names(images: Path) -> list[str]:
    """Names of a sequence's frames, 00000 and so on.

    Raises:
        InputError: their numbering has a gap.
    """
    names = [path.stem for path in image_paths(images)]
    for index, name in enumerate(names):
        if name != f"{index:05d}":
            raise InputError(f"{images}: expected frame {index:05d} but found {name}; frames are numbered without gaps")
    return names


def complete(options: argparse.Namespace, name: str) -> bool:
    """Whether every frame of a sequence has its mask."""
    wanted = frame_names(folders(options, name)[0])[: options.max_frames]
    return all((options.output / name / f"{frame}.png").is_file() for frame in wanted)


def evaluate(options: argparse.Namespace, names: list[str], results: Path) -> None:
    """Score the set, write the tables and the report, print them."""
    if options.max_frames:
        print("no scores: --max-frames left out a part of the sequences")
        return
    scores: list[ObjectScore] = []
    for name in names:
        scores += score_sequence(folders(options, name)[1], results / name, options.year)
    totals = global_scores(scores)
    suffix = set_name(options)
    write_csv(results / f"global_results-{suffix}.csv", [totals])
    rows = [{"Sequence": score.name, "J-Mean": score.j.mean, "F-Mean": score.f.mean} for score in scores]
    write_csv(results / f"per-sequence_results-{suffix}.csv", rows)
    title = f"DAVIS {options.year} {suffix}: {results.name}"
    write_report(results / "report.html", title, totals, scores, lambda name: (*folders(options, name), results / name))
    for row in rows:
        print(f"{row['Sequence']:32s} J {row['J-Mean']:.3f}  F {row['F-Mean']:.3f}")
    print("  ".join(f"{name} {value:.3f}" for name, value in totals.items()))
    print(f"report: {results / 'report.html'}")


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    """A table with six decimals."""
    with output_errors(path), path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()})


def evaluate_officially(options: argparse.Namespace, results: Path) -> None:
    """Score with the ``davis2017`` package.

    Raises:
        InputError: it is not installed.
    """
    try:
        from davis2017.evaluation import DAVISEvaluation
    except ImportError as error:
        raise InputError(
            "--official needs the davis2017 package of davis2017-evaluation, which is not on the package index; "
            "leave the option out: the built-in scores are the same to six decimals"
        ) from error
    evaluation = DAVISEvaluation(davis_root=str(options.davis), task="semi-supervised", gt_set=set_name(options))
    measured = evaluation.evaluate(str(results))
    for letter in "JF":
        print(f"{letter}-Mean {sum(measured[letter]['M']) / len(measured[letter]['M']):.6f}")


if __name__ == "__main__":
    sys.exit(main())
