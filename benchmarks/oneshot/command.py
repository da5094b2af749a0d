"""The command ``vos-oneshot``: one-shot segmentation on FSS-1000, LVIS-92i, COCO-20i, PASCAL-Part and PACO-Part.

    vos-oneshot --set fss --root DATASETS -o results
    vos-oneshot --set coco --root DATASETS --fold 0 --shots 5 -o results

An episode gives a picture with a mask, and asks for the same class in another picture. For each class of a fold, the
intersection is summed over its episodes and divided by the summed union; mIoU is the mean over classes, then over folds
and seeds (tables 3, 8 and 14). Tables and ``report.html`` go to the result folder. ``docs/one-shot.md`` has the
layouts.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from ...command.run_record import write_run_record
from ...command.status import exit_status
from ...engine.session import Session
from ...errors import InputError, parameter
from ...files import atomic_path, make_folder, output_errors
from ...folder_lock import FolderLock
from ...references import Reference
from ...structures import Frame
from .. import finding
from ..davis import write_csv
from ..finding import Finding
from ..overlap import Overlap
from ..picture_report import Worst, write_picture_report
from .episodes import Episode, EpisodeSet, MaskedPicture
from .sets import SETS

PROGRESS = 50
"""Number of episodes after which a line tells how far it is."""

SHOWN = 10
"""Number of episodes of each fold that the report shows."""

NOTE = (
    "IoU of a class: intersection summed over its episodes, over the union summed. mIoU: mean over classes. FB-IoU: "
    "mean of the foreground's and the background's, all classes together."
)

COLUMNS = ("fold", "seed", "episode", "class", "query", "supports", "shared", "either", "IoU", "presence")
"""Columns of the table of episodes."""


@dataclass
class FoldScore:
    """What was measured in one fold with one seed.

    Attributes:
        fold: its number.
        seed: drew the episodes.
        classes: counts by class.
        episodes: number of episodes by class.
        worst: pictures of the worst.
    """

    fold: int
    seed: int = 0
    classes: dict[str, Overlap] = field(default_factory=dict)
    episodes: dict[str, int] = field(default_factory=dict)
    worst: Worst = field(default_factory=lambda: Worst(SHOWN))

    def add(self, class_name: str, overlap: Overlap) -> None:
        """Count one episode."""
        self.classes[class_name] = self.classes.get(class_name, Overlap()) + overlap
        self.episodes[class_name] = self.episodes.get(class_name, 0) + 1

    @property
    def miou(self) -> float:
        """Mean of the classes' IoU."""
        return float(np.mean([each.iou for each in self.classes.values()]))

    @property
    def fb_iou(self) -> float:
        """Mean of the IoU of foreground and background, summed over all classes."""
        total = sum(self.classes.values(), Overlap())
        return (total.iou + total.outside.iou) / 2

    def record(self) -> dict[str, object]:
        """A line of the table."""
        return {
            "Fold": self.fold,
            "Seed": self.seed,
            "mIoU": self.miou,
            "FB-IoU": self.fb_iou,
            "Classes": len(self.classes),
            "Episodes": sum(self.episodes.values()),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse(arguments)
    return exit_status("vos-oneshot", lambda: run(options), options.traceback, "run the command again")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="vos-oneshot", description="Measure one-shot segmentation on a published set."
    )
    parser.add_argument("--set", required=True, choices=SETS, help="which set")
    parser.add_argument("--root", type=Path, required=True, metavar="DATASETS", help="holds the sets' own folders")
    parser.add_argument("--fold", type=int, nargs="+", help="these folds, from 0 (default: all)")
    parser.add_argument("--shots", type=int, default=1, help="pictures with masks in an episode (default: 1)")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="of drawn episodes (default: 0, as published)")
    parser.add_argument("--episodes", type=int, help="at most so many of each fold, the first ones")
    parser.add_argument("--square", type=int, metavar="PIXELS", help="squeeze all pictures and masks to a square")
    finding.add_options(parser)
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("-o", "--output", type=Path, metavar="RESULTS", required=True)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Measure the chosen folds and write the tables.

    Raises:
        VosError: a file of the set or a model is missing or unusable, or a result cannot be written.
    """
    if min(options.seed) < 0:
        raise InputError(f"{parameter('seed')} {min(options.seed)}: must be 0 or more")
    for name in ("shots", "episodes", "square"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"{parameter(name)} {value}: must be 1 or more")
    opened = SETS[options.set](options.root)
    folds = list(dict.fromkeys(options.fold or range(opened.folds)))
    wrong = [fold for fold in folds if not 0 <= fold < opened.folds]
    if wrong:
        raise InputError(f"{parameter('fold')} {wrong[0]}: {options.set} has folds 0 to {opened.folds - 1}")
    make_folder(options.output)
    with FolderLock(options.output, "vos-oneshot"):
        made = Finding.chosen(options)
        began = time.perf_counter()
        with episode_table(options.output / f"episodes-{options.set}.csv") as write_row:
            pairs = [(fold, seed) for fold in folds for seed in dict.fromkeys(options.seed)]
            measured = [measure_fold(made, opened, fold, seed, options, write_row) for fold, seed in pairs]
        write_results(options, [score for score, _ in measured])
        count = sum(sum(score.episodes.values()) for score, _ in measured)
        spent = time.perf_counter() - began
        write_run_record(options.output / "run.json", vars(options), measured[-1][1], count, spent, "finished")
    return 0


@contextmanager
def episode_table(path: Path) -> Iterator[Callable[[Mapping[str, object]], object]]:
    """Open the table of episodes, which appears once it is complete; yield a function that writes a row."""
    with output_errors(path), atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        yield writer.writerow


def measure_fold(
    made: Finding,
    opened: EpisodeSet,
    fold: int,
    seed: int,
    options: argparse.Namespace,
    write_row: Callable[[Mapping[str, object]], object],
) -> tuple[FoldScore, Session]:
    """Run the episodes of one fold that a seed draws; write a row for each, and print now and then how far it is.

    Raises:
        InputError: a file of the set cannot be used, or there is no episode.
    """
    scored = FoldScore(fold, seed)
    session = None
    for index, drawn in enumerate(islice(opened.episodes(fold, options.shots, seed), options.episodes)):
        episode = drawn if options.square is None else squeezed(drawn, options.square)
        predicted, presence, session = predict(made, episode)
        overlap = Overlap.of(predicted, episode.query.mask)
        scored.add(episode.class_name, overlap)
        scored.worst.add(
            f"{episode.class_name}, {episode.query.name}",
            episode.query.rgb,
            episode.query.mask,
            predicted,
            overlap.iou,
        )
        supports = " ".join(each.name for each in episode.supports)
        cells = (fold, seed, index, episode.class_name, episode.query.name, supports, overlap.shared, overlap.either)
        write_row(dict(zip(COLUMNS, (*cells, f"{overlap.iou:.6f}", f"{presence:.6f}"), strict=True)))
        if (index + 1) % PROGRESS == 0:
            print(f"fold {fold}, seed {seed}: {index + 1} episodes, mIoU {scored.miou:.3f}", flush=True)
    if session is None:
        raise InputError(f"{options.root}: fold {fold} of {options.set} has no episode; complete the set")
    return scored, session


def predict(made: Finding, episode: Episode) -> tuple[np.ndarray, float, Session]:
    """Find what the supports show in the query.

    Returns:
        The mask, (H, W) bool; how sure it is that the object is there; the session that was used.

    Raises:
        InputError: the mask of a support is empty.
    """
    references = [Reference(each.rgb, each.mask, name=each.name) for each in episode.supports]
    with made.finder(references) as finder:
        found = finder.find(Frame(0, 0.0, episode.query.rgb, Path(episode.query.name).stem))
        return found.labels > 0, float(found.scores[0]), finder.session


def squeezed(episode: Episode, side: int) -> Episode:
    """Resize all pictures (bilinear, antialiased) and masks (nearest neighbour) of an episode to squares."""

    def resize(picture: MaskedPicture) -> MaskedPicture:
        rgb = Image.fromarray(picture.rgb).resize((side, side), Image.Resampling.BILINEAR)
        mask = Image.fromarray(picture.mask).resize((side, side), Image.Resampling.NEAREST)
        return MaskedPicture(picture.name, np.asarray(rgb), np.asarray(mask))

    return Episode(tuple(map(resize, episode.supports)), resize(episode.query), episode.class_name, episode.fold)


def write_results(options: argparse.Namespace, scores: list[FoldScore]) -> None:
    """Write the tables and the report, and print the scores.

    Raises:
        OutputError: one of them cannot be written.
    """
    folds = [score.record() for score in scores]
    mean: dict[str, object] = {
        "Fold": "mean",
        "Seed": "",
        "mIoU": float(np.mean([score.miou for score in scores])),
        "FB-IoU": float(np.mean([score.fb_iou for score in scores])),
        "Classes": sum(len(score.classes) for score in scores),
        "Episodes": sum(sum(score.episodes.values()) for score in scores),
    }
    classes: list[dict[str, object]] = [
        {"Fold": score.fold, "Seed": score.seed, "Class": name, "IoU": overlap.iou, "Episodes": score.episodes[name]}
        for score in scores
        for name, overlap in score.classes.items()
    ]
    out = options.output
    write_csv(out / f"global_results-{options.set}.csv", [*folds, mean])
    write_csv(out / f"per-class_results-{options.set}.csv", classes)
    title = f"{options.set}, {options.shots} shot" + "s" * (options.shots > 1)
    shown = {f"fold {score.fold}, seed {score.seed}: the worst episodes": score.worst for score in scores}
    write_picture_report(out / "report.html", f"{title}: {out.name}", NOTE, [[*folds, mean], classes], shown)
    for record in [*folds, mean]:
        part = f"fold {record['Fold']!s:5s} seed {record['Seed']!s:4s}"
        print(f"{part} mIoU {record['mIoU']:.3f}  FB-IoU {record['FB-IoU']:.3f}")
    print(f"report: {out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(main())
