"""The command ``vos-davis``: track DAVIS sequences and score them.

    vos-davis --davis DAVIS_ROOT --year 2016 --set val -o results
    vos-davis --davis DAVIS_ROOT --year 2017 --set val --evaluate-only results

Writes masks in the form that the official evaluation and its server take. Skips sequences whose
masks are complete, and refuses if other options or weights made them. Scores go to ``global_results-<set>.csv``,
``per-sequence_results-<set>.csv`` and ``report.html`` beside the masks.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..command.run_record import write_run_record
from ..command.status import exit_status
from ..engine.ahead import Ahead, with_following
from ..engine.changes import update
from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError, OutputError, parameter
from ..files import output_errors
from ..folder_lock import FolderLock
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..structures import FirstMask, Frame, Result
from ..writers.masks import MaskWriter
from ..writers.thread import WriterThread
from . import dataset
from .annotations import Predictions, Truth
from .dataset import Davis
from .mask_folder import mask_paths, natural
from .models import Models
from .report import Shown, write_report
from .same_results import RECORD, check_same_results
from .scoring import ObjectScore, global_scores, score_sequence

DEFAULTS = {"tracker": "persam-f", "model": "lite", "prior": "same"}
"""Models of a run without options."""

PRESETS = {"paper": {"tracker": "persam-f", "model": "sam-vit-h", "prior": "dinov2-large"}}
"""``paper`` is section C.2; its numbers (top-2, last box, 800 epochs, 4e-4) are the trackers' defaults."""

PARTIAL = ".partial"
"""Suffix of the hidden folder that a sequence's masks are written to until all are there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse(arguments)
    return exit_status("vos-davis", lambda: run(options), options.traceback, "run the same command again to go on")


def run(options: argparse.Namespace) -> int:
    """Track the sequences that are not complete, then score all.

    Raises:
        VosError: a set, sequence or model is missing or unusable, or a result cannot be written.
    """
    names = dataset.chosen_names(options)
    for name in names:
        if not name.isprintable() or name.startswith(".") or set(name) & set("/\\"):
            asked = f"{parameter('set')} and {parameter('sequences')}"
            raise InputError(f"{name!r}: is no name of a sequence, but leads elsewhere; look at {asked}")
    results = options.evaluate_only or options.output
    if not options.evaluate_only:
        track_all(options, names)
    if options.official:
        evaluate_officially(options, results)
    else:
        evaluate(options, names, results)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; the preset fills in the models that are not named."""
    parser = argparse.ArgumentParser(prog="vos-davis", description="Track DAVIS sequences and score them.")
    dataset.add_options(parser)
    parser.add_argument("--tracker", help=f"an installed tracker (default: {DEFAULTS['tracker']})")
    parser.add_argument("--model", help=f"as for vos-track (default: {DEFAULTS['model']})")
    parser.add_argument("--prior", help=f"as for vos-track (default: {DEFAULTS['prior']})")
    parser.add_argument("--points", default="none", help="as for vos-track (default: none)")
    parser.add_argument("--preset", choices=PRESETS, help="paper: the models of section C.2")
    parser.add_argument("--published", action="store_true", help="the released scripts' behaviour where it differs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-frames", type=int, help="of each sequence; no scores then")
    parser.add_argument(
        "--threshold", type=int, metavar="T", help="masks are black and white; T and brighter is the object"
    )
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="track on a Ray cluster, as vos-batch does (needs ray)"
    )
    parser.add_argument("--official", action="store_true", help="score with the installed davis2017 package")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, metavar="RESULTS")
    target.add_argument("--evaluate-only", type=Path, metavar="RESULTS", help="score masks that are there")
    options = parser.parse_args(arguments)
    for name, value in (DEFAULTS | PRESETS.get(options.preset, {})).items():
        setattr(options, name, getattr(options, name) or value)
    return options


def set_name(options: argparse.Namespace) -> str:
    """Name of the set in file names: a set file's name without its folder and suffix."""
    return Path(options.set).stem


def track_all(options: argparse.Namespace, names: list[str]) -> None:
    """Track the sequences that are not complete, and print a line for each.

    Raises:
        OutputError: a folder to write to is a link, another run writes there, or a mask cannot be written.
        VosError: a sequence or a model is missing or unusable, or masks there were made with other options or weights.
    """
    for path in (options.output / each for name in names for each in (name, f".{name}{PARTIAL}")):
        if path.is_symlink():
            raise OutputError(f"{path}: is a link, so that files would be written elsewhere; remove it")
    todo = [name for name in names if not is_complete(options, name)]
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} sequences are complete already")
    for name in todo:
        check_sequence(Davis.chosen(options), name)
    models = Models.load(options.model, options.device, options.dtype)
    check_same_results(options.output, vars(options), new_session(models, options))
    if todo:
        with FolderLock(options.output, "vos-davis"):
            track_each(options, models, todo)


def track_each(options: argparse.Namespace, models: Models, todo: list[str]) -> None:
    """Track sequences into the result folder, which is locked, and print a line for each.

    Raises:
        OutputError: a mask cannot be written.
        VosError: a sequence or a model is missing or unusable.
    """
    session = new_session(models, options)
    frames, began = 0, time.perf_counter()
    write_run_record(options.output / RECORD, vars(options), session, frames, 0, "begun")
    for name, count, seconds in (
        tracked(models, options, todo) if options.ray is None else tracked_on_ray(options, todo)
    ):
        frames += count
        print(f"{name}: {count} frames, {count / seconds:.1f} frames/s", flush=True)
    spent = time.perf_counter() - began
    print(f"{frames} frames in {spent:.0f} s, {frames / spent:.1f} frames/s")
    write_run_record(options.output / RECORD, vars(options), session, frames, spent, "finished")


def new_session(models: Models, options: argparse.Namespace) -> Session:
    """Open a session for one sequence.

    Raises:
        VosError: a model is missing or unusable.
    """
    return models.session(new_tracker(options.tracker, options.published, points=options.points), options.prior)


def tracked(models: Models, options: argparse.Namespace, todo: list[str]) -> Iterator[tuple[str, int, float]]:
    """Track sequences one after the other; yield the name of each, its frames and seconds.

    Raises:
        VosError: as :func:`track_each`.
    """
    for name in todo:
        session, start = new_session(models, options), time.perf_counter()
        yield name, track_sequence(session, options, name), time.perf_counter() - start


def tracked_on_ray(options: argparse.Namespace, todo: list[str]) -> Iterator[tuple[str, int, float]]:
    """Track sequences on a Ray cluster, as ``vos-batch`` tracks videos; yield as :func:`tracked`.

    Raises:
        VosError: there is no cluster, or a sequence has failed on three actors; the others are tracked.
    """
    from ..batch.drive import drive
    from ..batch.ray_actors import RayExecutor
    from ..batch.scheduler import Scheduler, Task, Try

    davis, ended = Davis.chosen(options), list[Try]()
    tasks = [Task(name, vars(options) | {"name": name}, len(dataset.frame_names(davis.images(name)))) for name in todo]
    with closing(RayExecutor(SequenceWorker, options.ray)) as executor:
        drive(Scheduler(tasks), executor, ended.append)
    for each in ended:
        if each.event.outcome == "done":
            yield each.task.name, each.event.reply["frames"], each.event.reply["seconds"]
    for each in ended:
        if each.last and each.event.outcome != "done":
            raise OutputError(f"{each.task.name}: {each.event.error}")


class SequenceWorker:
    """Tracks sequences in an actor; a :class:`vos.batch.serve.Worker`."""

    def __init__(self) -> None:
        self._models: Models | None = None

    def run(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Track the sequence ``name`` of a request, which has the options too; return its ``frames``.

        Raises:
            VosError: the sequence or a model is missing or unusable, or a mask cannot be written.
        """
        options = argparse.Namespace(**request)
        if self._models is None:
            self._models = Models.load(options.model, options.device, options.dtype)
        return {"frames": track_sequence(new_session(self._models, options), options, options.name)}


def track_sequence(session: Session, options: argparse.Namespace, name: str) -> int:
    """Track one sequence into its folder, which appears once it is complete.

    An object is given to the tracker in the frame in which the annotations first show it. Frames before the first
    object get empty masks.

    Returns:
        The number of frames.

    Raises:
        OutputError: a mask cannot be written.
        VosError: the sequence is missing or unusable.
    """
    davis = Davis.chosen(options)
    images, truth = davis.images(name), Truth(davis.annotations(name), options.year, options.threshold)
    given = given_frames(truth, dataset.frame_names(images)[: options.max_frames])
    target, partial = options.output / name, options.output / f".{name}{PARTIAL}"
    with output_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    frames = 0
    with open_reader(images, max_frames=options.max_frames) as reader:
        masks = {index: truth.first_mask(frame, reader.size) for index, frame in given.items()}
        with WriterThread([MaskWriter(partial)]) as writer:
            for result in results_of(session, prefetch(reader), masks):
                writer.write(result)
                frames += 1
    with output_errors(target):
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    return frames


def results_of(
    session: Session, frames: Generator[Frame, None, None], masks: Mapping[int, FirstMask]
) -> Iterator[Result]:
    """Push frames through a session, and give it the objects of each mask in its frame, perhaps none in the first."""
    with closing(frames), Ahead(session) as stage:
        for frame, following in with_following(frames):
            mask = masks.get(frame.index)
            if not frame.index:
                yield session.start(frame, mask)
            else:
                result = stage.step(frame, following)
                yield result if mask is None else update(session, mask)


def given_frames(truth: Truth, frames: list[str]) -> dict[int, str]:
    """Name of each frame in which objects are given to the tracker, by its index; ``frames`` are all names."""
    position = {name: index for index, name in enumerate(frames)}
    return {position[name]: name for name in truth.introductions.values() if name in position}


def check_sequence(davis: Davis, name: str) -> None:
    """Check a sequence's folders before anything is tracked.

    Raises:
        InputError: the first frame has no annotation, or an annotation no picture.
    """
    images, annotations = davis.folders(name)
    frames, paths = dataset.frame_names(images), mask_paths(annotations)
    if frames[0] not in paths:
        raise InputError(f"{annotations / frames[0]}.png: no such annotation; the first frame needs one")
    stray = sorted(set(paths) - set(frames), key=natural)
    if stray:
        raise InputError(f"{paths[stray[0]]}: no picture of this name in {images}; annotations are matched by name")


def is_complete(options: argparse.Namespace, name: str) -> bool:
    """Tell whether every frame of a sequence has its mask.

    Raises:
        InputError: the sequence is missing.
    """
    expected = dataset.frame_names(Davis.chosen(options).images(name))[: options.max_frames]
    return all((options.output / name / f"{frame}.png").is_file() for frame in expected)


def evaluate(options: argparse.Namespace, names: list[str], results: Path) -> None:
    """Score the set; write the tables and the report, and print the scores.

    Raises:
        InputError: a mask or an annotation is missing, or the two do not fit.
        OutputError: a table or the report cannot be written.
    """
    if options.max_frames:
        print("no scores: --max-frames left out a part of the sequences")
        return
    davis = Davis.chosen(options)
    truths = {name: Truth(davis.annotations(name), options.year, options.threshold) for name in names}
    unscored = [name for name, truth in truths.items() if truth.first_annotations_only]
    if len(unscored) == len(names):
        count = f"{len(names)} sequence" + "s" * (len(names) > 1)
        print(f"{count}, no scores: this set has first annotations only; the masks are in {results}")
        return
    scores: list[ObjectScore] = []
    predictions: dict[str, Predictions] = {}
    for name in names:
        if name not in unscored:
            predictions[name] = Predictions(results / name, truths[name])
            scores += score_sequence(truths[name], predictions[name], frames=all_frames(davis, truths[name]))
    totals = global_scores(scores)
    suffix = set_name(options)
    write_csv(results / f"global_results-{suffix}.csv", [totals])
    records = [{"Sequence": score.name, "J-Mean": score.j.mean, "F-Mean": score.f.mean} for score in scores]
    write_csv(results / f"per-sequence_results-{suffix}.csv", records)
    title = f"DAVIS {options.year} {suffix}: {results.name}"

    def shown(name: str) -> Shown:
        return Shown(davis.pictures(name), truths[name], predictions[name])

    write_report(results / "report.html", title, totals, scores, shown)
    for score in scores:
        print(f"{score.name:32s} J {score.j.mean:.3f}  F {score.f.mean:.3f}")
    if unscored:
        print(f"not scored, as they have first annotations only: {', '.join(unscored)}; the masks are in {results}")
    print("  ".join(f"{name} {value:.3f}" for name, value in totals.items()))
    print(f"report: {results / 'report.html'}")


def all_frames(davis: Davis, truth: Truth) -> list[str] | None:
    """Names of a sequence's frames, those of its pictures and annotations; None if there are no pictures."""
    pictures = davis.pictures(truth.folder.name)
    return sorted({*pictures, *truth.paths}, key=natural) if pictures else None


def write_csv(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write a table whose columns are the first record's keys; floats get six decimals.

    Raises:
        OutputError: it cannot be written.
    """
    with output_errors(path), path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({key: f"{cell:.6f}" if isinstance(cell, float) else cell for key, cell in record.items()})


def evaluate_officially(options: argparse.Namespace, results: Path) -> None:
    """Score with the ``davis2017`` package and print the means.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from davis2017.evaluation import DAVISEvaluation
    except ImportError as error:
        raise InputError(
            f"{parameter('official')} needs the davis2017 package of davis2017-evaluation, which is not on the "
            "package index; leave the option out: the built-in scores are the same to six decimals"
        ) from error
    evaluation = DAVISEvaluation(davis_root=str(options.davis), task="semi-supervised", gt_set=set_name(options))
    measured = evaluation.evaluate(str(results))
    for letter in "JF":
        print(f"{letter}-Mean {sum(measured[letter]['M']) / len(measured[letter]['M']):.6f}")


if __name__ == "__main__":
    sys.exit(main())
