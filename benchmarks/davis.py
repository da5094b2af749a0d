"""The command ``vos-davis``: track DAVIS sequences and score them.

    vos-davis --davis DAVIS_ROOT --year 2016 --set val -o results
    vos-davis --davis DAVIS_ROOT --year 2017 --set val --evaluate-only results

Writes masks in the form that the official evaluation and its server take. Skips sequences whose
masks are complete, and refuses if other options, weights, pictures or first annotations made them. Scores go to
``global_results-<set>.csv``, ``per-sequence_results-<set>.csv`` and ``report.html`` beside the masks; ``--sequences``
replaces none that have more sequences.
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
from ..readers.images import image_paths
from ..readers.open import open_reader
from ..readers.prefetch import prefetch
from ..structures import FirstMask, Frame, Result
from ..writers.masks import MaskWriter
from ..writers.thread import WriterThread
from . import dataset
from .annotations import Predictions, Truth
from .dataset import Davis
from .mask_folder import natural
from .models import Models
from .report import Shown, write_report
from .same_results import (
    RECORD,
    check_same_inputs,
    check_same_results,
    fingerprint_inputs,
    has_others,
    recorded_inputs,
)
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
    if options.max_frames is not None and options.max_frames < 1:
        raise InputError(f"{parameter('max_frames')} {options.max_frames}: must be 1 or more")
    results = options.evaluate_only or options.output
    truths: dict[str, Truth] = {}
    if options.output or not options.official:
        davis = Davis.chosen(options)
        truths = {name: Truth(davis.annotations(name), options.year, options.threshold) for name in names}
    if options.output:
        track_all(options, truths)
    if options.official:
        evaluate_officially(options, results)
    else:
        evaluate(options, truths, results)
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


def track_all(options: argparse.Namespace, truths: Mapping[str, Truth]) -> None:
    """Track the sequences that are not complete, and print a line for each.

    Raises:
        OutputError: a folder to write to is a link, another run writes there, or a mask cannot be written.
        VosError: a sequence or a model is missing or unusable, or masks there were made with other options or weights,
            or from other pictures or annotations.
    """
    for path in (options.output / each for name in truths for each in (name, f".{name}{PARTIAL}")):
        if path.is_symlink():
            raise OutputError(f"{path}: is a link, so that files would be written elsewhere; remove it")
    todo = [name for name in truths if not is_complete(options, name)]
    if len(todo) < len(truths):
        print(f"{len(truths) - len(todo)} of {len(truths)} sequences are complete already")
    davis = Davis.chosen(options)
    for name in todo:
        davis.check(name)
    inputs = {name: inputs_of(davis, truth) for name, truth in truths.items()}
    check_same_inputs(options.output, {name: inputs[name] for name in truths if name not in todo})
    models = Models.load(options.model, options.device, options.dtype)
    check_same_results(options.output, vars(options), new_session(models, options))
    if todo:
        with FolderLock(options.output, "vos-davis"):
            track_each(options, models, {name: inputs[name] for name in todo})


def track_each(options: argparse.Namespace, models: Models, todo: Mapping[str, str]) -> None:
    """Track sequences into the result folder, which is locked, and print a line for each.

    Args:
        options: of the command.
        models: loaded.
        todo: fingerprint of each sequence, see :func:`inputs_of`.

    Raises:
        OutputError: a mask cannot be written.
        VosError: a sequence or a model is missing or unusable.
    """
    session = new_session(models, options)
    frames, began = 0, time.perf_counter()
    inputs = recorded_inputs(options.output) | dict(todo)
    write_run_record(options.output / RECORD, vars(options), session, frames, 0, "begun", inputs=inputs)
    names = list(todo)
    for name, count, seconds in (
        tracked(models, options, names) if options.ray is None else tracked_on_ray(options, names)
    ):
        frames += count
        print(f"{name}: {count} frames, {count / seconds:.1f} frames/s", flush=True)
    spent = time.perf_counter() - began
    print(f"{frames} frames in {spent:.0f} s, {frames / spent:.1f} frames/s")
    write_run_record(options.output / RECORD, vars(options), session, frames, spent, "finished", inputs=inputs)


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


def inputs_of(davis: Davis, truth: Truth) -> str:
    """Fingerprint of what a sequence is tracked from: its pictures, and the annotations that first show its objects.

    Raises:
        InputError: a file is missing or unreadable, or no annotation holds an object.
    """
    given = {object_id: truth.paths[frame] for object_id, frame in truth.introductions.items()}
    return fingerprint_inputs(image_paths(davis.images(truth.folder.name)), given)


def is_complete(options: argparse.Namespace, name: str) -> bool:
    """Tell whether every frame of a sequence has its mask.

    Raises:
        InputError: the sequence is missing.
    """
    expected = dataset.frame_names(Davis.chosen(options).images(name))[: options.max_frames]
    return all((options.output / name / f"{frame}.png").is_file() for frame in expected)


def evaluate(options: argparse.Namespace, truths: Mapping[str, Truth], results: Path) -> None:
    """Score the sequences; write the tables and the report, and print the scores.

    Raises:
        InputError: a mask or an annotation is missing, or the two do not fit.
        OutputError: a table or the report cannot be written.
    """
    if options.max_frames:
        print("no scores: --max-frames left out a part of the sequences")
        return
    davis = Davis.chosen(options)
    unscored = [name for name, truth in truths.items() if truth.first_annotations_only]
    if len(unscored) == len(truths):
        count = f"{len(truths)} sequence" + "s" * (len(truths) > 1)
        print(f"{count}, no scores: this set has first annotations only; the masks are in {results}")
        return
    scores: list[ObjectScore] = []
    predictions: dict[str, Predictions] = {}
    for name, truth in truths.items():
        if name not in unscored:
            predictions[name] = Predictions(results / name, truth)
            scores += score_sequence(truth, predictions[name], frames=all_frames(davis, truth))
    totals = global_scores(scores)
    name = dataset.set_name(options)
    is_part = has_others(results / f"per-sequence_results-{name}.csv", truths)
    suffix = "sequences" if is_part else name
    write_csv(results / f"global_results-{suffix}.csv", [totals])
    records = [{"Sequence": score.name, "J-Mean": score.j.mean, "F-Mean": score.f.mean} for score in scores]
    write_csv(results / f"per-sequence_results-{suffix}.csv", records)
    title = f"DAVIS {options.year} {suffix}: {results.name}"

    def shown(name: str) -> Shown:
        return Shown(davis.pictures(name), truths[name], predictions[name])

    report = results / ("report-sequences.html" if is_part else "report.html")
    write_report(report, title, totals, scores, shown)
    for score in scores:
        print(f"{score.name:32s} J {score.j.mean:.3f}  F {score.f.mean:.3f}")
    if unscored:
        print(f"not scored, as they have first annotations only: {', '.join(unscored)}; the masks are in {results}")
    print("  ".join(f"{name} {value:.3f}" for name, value in totals.items()))
    print(f"report: {report}")


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
    evaluation = DAVISEvaluation(
        davis_root=str(options.davis), task="semi-supervised", gt_set=dataset.set_name(options)
    )
    measured = evaluation.evaluate(str(results))
    for letter in "JF":
        print(f"{letter}-Mean {sum(measured[letter]['M']) / len(measured[letter]['M']):.6f}")


if __name__ == "__main__":
    sys.exit(main())
