"""The command ``vos-perseg``: find the objects of PerSeg by one picture and its mask, and score (table 1).

    vos-perseg --root PERSEG -o results
    vos-perseg --root PERSEG --evaluate-only results

For each object, the first picture with its mask is the reference, and the object is looked for in the others. Its IoU
is the intersection summed over these pictures, over the union summed; the mean is over objects. Boundary IoU is summed
likewise. Masks, tables and ``report.html`` go to the result folder; objects whose masks are complete are skipped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..command.run_record import write_run_record
from ..command.status import exit_status
from ..engine.session import Session
from ..errors import InputError, OutputError, parameter
from ..files import output_errors
from ..folder_lock import FolderLock
from ..references import Reference
from ..structures import Frame
from ..writers.masks import MaskWriter
from . import finding
from .boundary_iou import boundary_overlap
from .davis import write_csv
from .finding import Finding
from .mask_folder import foreground, mask_paths
from .overlap import Overlap
from .picture_report import Worst, write_picture_report
from .pictures import read_rgb
from .same_results import RECORD, check_same_results

LEFT_OUT = ("cat2", "clock", "flower", "mug_skulls", "physics_mug", "pink_sunglasses", "red_teapot", "vase")
"""Objects that the released evaluation script leaves out of the mean; ``--published`` does so, too."""

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of pictures, which have the names of their annotations."""

NOTE = (
    "Pictures that were given as references are left out. IoU: intersection summed over an object's pictures, over the "
    "union summed. Boundary IoU: the same of the masks' inner rims, 2 % of the diagonal wide. Accuracy: share of the "
    "true pixels that were found."
)


@dataclass(frozen=True)
class Pictures:
    """One object of the set.

    Attributes:
        name: of its folders.
        images: file of each picture by its name, in order.
        masks: annotation of each.
        shots: number of pictures, the first ones, that are references.
    """

    name: str
    images: dict[str, Path]
    masks: dict[str, Path]
    shots: int

    @property
    def references(self) -> list[str]:
        """Names of the pictures that show the object to the tracker."""
        return list(self.masks)[: self.shots]

    @property
    def scored(self) -> list[str]:
        """Names of the others."""
        return list(self.masks)[self.shots :]


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object.

    Attributes:
        name: of the object.
        region: counts of its masks' pixels, over all scored pictures.
        rims: counts of their inner rims.
        pictures: number of scored pictures.
    """

    name: str
    region: Overlap
    rims: Overlap
    pictures: int

    def record(self) -> dict[str, object]:
        """A line of the table."""
        return {
            "Object": self.name,
            "IoU": self.region.iou,
            "Boundary-IoU": self.rims.iou,
            "Accuracy": self.region.accuracy,
            "Pictures": self.pictures,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse(arguments)
    return exit_status("vos-perseg", lambda: run(options), options.traceback, "run the same command again to go on")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="vos-perseg", description="Find the objects of PerSeg by references; score.")
    parser.add_argument("--root", type=Path, required=True, metavar="PERSEG", help="holds Images and Annotations")
    parser.add_argument("--objects", nargs="+", help="these alone")
    parser.add_argument("--shots", type=int, default=1, help="pictures of each object that are references (default: 1)")
    finding.add_options(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-o", "--output", type=Path, metavar="RESULTS")
    target.add_argument("--evaluate-only", type=Path, metavar="RESULTS", help="score masks that are there")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Find the objects that are not complete, then score all.

    Raises:
        VosError: a file of the set or a model is missing or unusable, or a result cannot be written.
    """
    objects = objects_of(options)
    if options.output:
        find_all(options, objects)
    evaluate(objects, options.output or options.evaluate_only)
    return 0


def objects_of(options: argparse.Namespace) -> list[Pictures]:
    """List the objects to measure, and check that their files are there.

    Raises:
        InputError: a folder or picture is missing, or an object has too few pictures.
    """
    if options.shots < 1:
        raise InputError(f"{parameter('shots')} {options.shots}: must be 1 or more")
    folder = options.root / "Annotations"
    found = sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise InputError(f"{folder}: holds no folders of objects; is {parameter('root')} the folder that holds it?")
    unknown = sorted(set(options.objects or ()) - set(found))
    if unknown:
        raise InputError(f"{folder}: no object {unknown[0]}; there are: {', '.join(found)}")
    names = options.objects or [name for name in found if not (options.published and name in LEFT_OUT)]
    return [pictures_of(options.root, name, options.shots) for name in dict.fromkeys(names)]


def pictures_of(root: Path, name: str, shots: int) -> Pictures:
    """List the pictures of an object.

    Raises:
        InputError: a picture is missing, or there are too few.
    """
    masks = mask_paths(root / "Annotations" / name)
    if len(masks) <= shots:
        raise InputError(
            f"{root / 'Annotations' / name}: {len(masks)} annotations, but {shots} for references and one to score are "
            "needed"
        )
    images = {}
    for stem in masks:
        paths = [root / "Images" / name / f"{stem}{suffix}" for suffix in SUFFIXES]
        there = [path for path in paths if path.is_file()]
        if not there:
            raise InputError(f"{paths[0]}: no such picture; the annotation {masks[stem]} needs one")
        images[stem] = there[0]
    return Pictures(name, images, masks, shots)


def find_all(options: argparse.Namespace, objects: list[Pictures]) -> None:
    """Find the objects whose masks are not complete, and print a line for each.

    Raises:
        OutputError: a folder to write to is a link, another run writes there, or a mask cannot be written.
        VosError: a reference or a model is unusable, or masks there were made with other options or weights.
    """
    todo = [each for each in objects if not is_complete(options.output, each)]
    if len(todo) < len(objects):
        print(f"{len(objects) - len(todo)} of {len(objects)} objects are complete already")
    made = Finding.chosen(options)
    check_same_results(options.output, vars(options), made.session())
    if not todo:
        return
    with FolderLock(options.output, "vos-perseg"):
        write_run_record(options.output / RECORD, vars(options), made.session(), 0, 0, "begun")
        count, began = 0, time.perf_counter()
        for each in todo:
            start = time.perf_counter()
            session = find_object(made, options.output, each)
            spent = time.perf_counter() - start
            count += len(each.scored)
            print(f"{each.name}: {len(each.scored)} pictures, {spent:.1f} s", flush=True)
        total = time.perf_counter() - began
        write_run_record(options.output / RECORD, vars(options), session, count, total, "finished")


def is_complete(results: Path, pictures: Pictures) -> bool:
    """Tell whether every scored picture of an object has its mask."""
    return all((results / pictures.name / f"{name}.png").is_file() for name in pictures.scored)


def find_object(made: Finding, results: Path, pictures: Pictures) -> Session:
    """Find one object in its pictures; its folder appears once it is complete.

    Returns:
        The session that was used.
    """
    references = [
        Reference(read_rgb(pictures.images[name]), foreground(pictures.masks[name]), name=str(pictures.images[name]))
        for name in pictures.references
    ]
    with made.finder(references) as finder, whole_folder(results / pictures.name) as folder:
        writer = MaskWriter(folder)
        for index, name in enumerate(pictures.scored):
            found = finder.find(Frame(index, 0.0, read_rgb(pictures.images[name]), name))
            writer.write(found.result)
        return finder.session


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder to write to, which takes the place of ``target`` when the block ends well.

    Raises:
        OutputError: one of the two is a link, or cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    for path in (target, partial):
        if path.is_symlink():
            raise OutputError(f"{path}: is a link, so that files would be written elsewhere; remove it")
    with output_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    yield partial
    with output_errors(target):
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def evaluate(objects: list[Pictures], results: Path) -> None:
    """Score the masks; write the tables and the report, and print the scores.

    Raises:
        InputError: a mask is missing, unreadable, or has another size than the annotation.
        OutputError: a table or the report cannot be written.
    """
    worst = {each.name: Worst() for each in objects}
    scores = [score(each, results / each.name, worst[each.name]) for each in objects]
    totals = {
        "mIoU": float(np.mean([each.region.iou for each in scores])),
        "mBoundary-IoU": float(np.mean([each.rims.iou for each in scores])),
        "mAccuracy": float(np.mean([each.region.accuracy for each in scores])),
        "Objects": len(scores),
    }
    records = [each.record() for each in scores]
    write_csv(results / "global_results.csv", [totals])
    write_csv(results / "per-object_results.csv", records)
    write_picture_report(results / "report.html", f"PerSeg: {results.name}", NOTE, [[totals], records], worst)
    for each in scores:
        print(f"{each.name:32s} IoU {each.region.iou:.3f}  boundary IoU {each.rims.iou:.3f}")
    print(f"mIoU {totals['mIoU']:.3f}  boundary {totals['mBoundary-IoU']:.3f}  accuracy {totals['mAccuracy']:.3f}")
    print(f"report: {results / 'report.html'}")


def score(pictures: Pictures, results: Path, worst: Worst) -> ObjectScore:
    """Score the masks of one object.

    Raises:
        InputError: a mask is missing, unreadable, or has another size than the annotation.
    """
    region, rims = Overlap(), Overlap()
    for name in pictures.scored:
        path = results / f"{name}.png"
        if not path.is_file():
            raise InputError(f"{path}: no such mask; every picture needs one, empty where the object is not found")
        predicted, truth = foreground(path), foreground(pictures.masks[name])
        if predicted.shape != truth.shape:
            raise InputError(f"{path}: the mask is {predicted.shape} but the annotation {truth.shape} (H, W)")
        own = Overlap.of(predicted, truth)
        region, rims = region + own, rims + boundary_overlap(predicted, truth)
        worst.add(name, read_rgb(pictures.images[name]), truth, predicted, own.iou)
    return ObjectScore(pictures.name, region, rims, len(pictures.scored))


if __name__ == "__main__":
    sys.exit(main())
