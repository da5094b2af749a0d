"""One photograph of a thing, and the thing in other photographs: hit rate, box IoU and false finds.

    python -m vos.benchmarks.subjects --root SUBJECTS

The folder holds one folder of photographs for each subject, and ``boxes.json``: by subject the boxes of its first
pictures in the order of their names, x0, y0, x1, y1 as shares of width and height. Picture 0 with its box is the
reference. In the other pictures with boxes, a box IoU above 0.5 is a hit. Pictures of all other subjects, also of those
without boxes, show how often something is found that is not there. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..command.status import exit_status
from ..errors import InputError, parameter
from ..finder import Finder
from ..readers.images import image_paths
from ..references import Reference
from ..structures import Frame, Hint
from . import finding
from .davis import write_csv
from .finding import Finding
from .pictures import read_rgb

HIT = 0.5
"""Box IoU above which a subject counts as found."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1; of truth as shares of the picture."""


@dataclass(frozen=True)
class Subject:
    """A thing with photographs.

    Attributes:
        name: of its folder.
        pictures: its photographs, in the order of their names.
        boxes: where it is in the first of them, as shares of width and height; may be empty.
    """

    name: str
    pictures: list[Path]
    boxes: list[Box]


@dataclass(frozen=True)
class Outcome:
    """What was found in one picture.

    Attributes:
        reference: subject that was looked for.
        shown: subject of the picture.
        picture: name of the file.
        present: whether it was said to be there.
        presence: how sure that is, in [0, 1].
        similarity: largest similarity to the reference, in [-1, 1].
        iou: box IoU; 0 where it was not found; None: the picture shows another subject.
    """

    reference: str
    shown: str
    picture: str
    present: bool
    presence: float
    similarity: float
    iou: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    options = parse(arguments)
    return exit_status("subjects", lambda: run(options), options.traceback, "run the command again")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, metavar="SUBJECTS", help="holds the folders and boxes.json")
    parser.add_argument("--subjects", nargs="+", help="look for these alone")
    parser.add_argument("--distractors", type=int, metavar="N", help="pictures of each other subject (default: all)")
    parser.add_argument("--threshold", type=float, help="presence from which on it is there (default: the model's)")
    parser.add_argument("--output", type=Path, metavar="CSV", help="a table with a line for each picture")
    finding.add_options(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table.

    Raises:
        VosError: a file or model is missing or unusable, or the table cannot be written.
    """
    subjects = read_subjects(options.root)
    boxed = {each.name: each for each in subjects if len(each.boxes) > 1}
    unknown = sorted(set(options.subjects or ()) - set(boxed))
    if unknown:
        raise InputError(f"{options.root / 'boxes.json'}: has no boxes of {unknown[0]}; it has: {', '.join(boxed)}")
    made = Finding.chosen(options)
    print(
        "| subject | pictures | hit rate | mean box IoU | pictures of others | false finds |\n|---|---|---|---|---|---|"
    )
    outcomes: list[Outcome] = []
    for name in options.subjects or boxed:
        own = list(look_for(made, boxed[name], subjects, options.threshold, options.distractors))
        print(row(name, own), flush=True)
        outcomes += own
    print(row("all", outcomes))
    if options.output:
        write_csv(options.output, [vars(outcome) for outcome in outcomes])
    return 0


def read_subjects(root: Path) -> list[Subject]:
    """List the subjects of a folder with their pictures and boxes.

    Raises:
        InputError: a file is missing or cannot be understood.
    """
    path = root / "boxes.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        boxes = {name: [_box(each) for each in own] for name, own in listed.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); is {parameter('root')} its folder?") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: holds no boxes of subjects, x0, y0, x1, y1 as shares of 1 ({error})") from error
    folders = sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    subjects = [Subject(each.name, image_paths(each), boxes.get(each.name, [])) for each in folders]
    missing = sorted(set(boxes) - {each.name for each in subjects})
    if missing:
        raise InputError(f"{root / missing[0]}: no such folder, but {path.name} has its boxes")
    for each in subjects:
        if len(each.boxes) > len(each.pictures):
            raise InputError(f"{root / each.name}: {len(each.pictures)} pictures, but {len(each.boxes)} boxes of them")
    return subjects


def _box(numbers: Sequence[float]) -> Box:
    """Check the numbers of a box."""
    x0, y0, x1, y1 = map(float, numbers)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(f"{list(numbers)} is none")
    return x0, y0, x1, y1


def look_for(
    made: Finding, subject: Subject, subjects: Sequence[Subject], threshold: float | None, distractors: int | None
) -> Iterator[Outcome]:
    """Look for one subject in its own other pictures, then in those of all others.

    Args:
        made: makes the finder.
        subject: with two boxes or more.
        subjects: all of them.
        threshold: presence from which on it is there; None: that of the model.
        distractors: pictures of each other subject; None: all.
    """
    rgb = read_rgb(subject.pictures[0])
    hint = Hint(box=in_pixels(subject.boxes[0], rgb))
    reference = Reference(rgb, hint=hint, name=str(subject.pictures[0]))
    with made.finder([reference], threshold) as finder:
        for path, box in list(zip(subject.pictures, subject.boxes, strict=False))[1:]:
            yield outcome(finder, subject.name, subject.name, path, box)
        for other in subjects:
            if other.name != subject.name:
                for path in other.pictures[:distractors]:
                    yield outcome(finder, subject.name, other.name, path, None)


def outcome(finder: Finder, reference: str, shown: str, path: Path, box: Box | None) -> Outcome:
    """Look into one picture.

    Args:
        finder: of the reference.
        reference: name of the subject that is looked for.
        shown: name of the subject that the picture shows.
        path: file of the picture.
        box: where it is there; None: the picture shows another subject.
    """
    rgb = read_rgb(path)
    found = finder.find(Frame(0, 0.0, rgb, path.stem))
    present = bool(found.present[0])
    iou = None
    if box is not None:
        x0, y0, x1, y1 = (float(value) for value in found.boxes[0])
        iou = box_iou((x0, y0, x1 + 1, y1 + 1), in_pixels(box, rgb)) if present else 0.0
    return Outcome(reference, shown, path.name, present, float(found.scores[0]), float(found.similarity[0]), iou)


def in_pixels(box: Box, rgb: np.ndarray) -> Box:
    """Scale a box in shares of a picture (H, W, 3) to its pixels."""
    height, width = rgb.shape[:2]
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, whose right and lower edges lie one behind the last pixel."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return width * height / (sum(areas) - width * height)


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """A line of the table: means over pictures."""
    ious = np.array([each.iou for each in outcomes if each.iou is not None])
    others = [each.present for each in outcomes if each.iou is None]
    false = f"{np.mean(others):.3f}" if others else ""
    return f"| {name} | {len(ious)} | {(ious > HIT).mean():.3f} | {ious.mean():.3f} | {len(others)} | {false} |"


if __name__ == "__main__":
    sys.exit(main())
