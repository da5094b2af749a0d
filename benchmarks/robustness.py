"""Robustness: the loss when the input is worse than the benchmark's (the paper's table 17 and E.5).

    python -m vos.benchmarks.robustness --davis DAVIS_ROOT --year 2016 --set dev.txt

Erodes or dilates the first mask; compresses, drops or shrinks frames; paints the object over for ten
frames, and then also counts the frames until it is found again (J above 0.5). Makes the first frame a reference, beside
its mask and in its place. Prints a Markdown table.
DAVIS 2016 only: with a single object, painting over has one meaning.

``--cuts`` measures scene cuts instead: clips of two sequences, A, B and A again. The object of A is followed, with its
first mask as a reference and without; nothing of it is in B, and it has to be found again. Once more with two objects:
that of B joins there, and is gone when A comes back. B is the sequence after A in the set; ``--pairs`` names others,
such as those that show the same kind of thing:

    python -m vos.benchmarks.robustness --cuts --pairs dog=dog-agility car-shadow=car-roundabout --davis DAVIS_ROOT
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..readers.images import image_paths
from ..references import Reference
from ..structures import FirstMask, Frame, first_mask_from_array
from . import dataset, models
from .dataset import Davis
from .mask_folder import foreground
from .models import Models
from .pictures import read_rgb
from .scoring import boundary, dilate, region

AWAY = 10
"""Number of frames in which the object is painted over, from a third of the sequence on."""

FOUND = 0.5
"""J above which the object counts as found."""


@dataclass(frozen=True)
class Condition:
    """One line of the table.

    Attributes:
        name: name of the change to the input.
        mask: change of the first mask, (H, W) bool.
        pixels: change of a frame, (H, W, 3) uint8.
        stride: distance between the frames that are used.
        scale: factor on the size of the frames and the first mask.
        away: paint the object over for a while.
        refer: the first frame is a reference.
        given: there is a first mask; else the object is looked for by its reference.
    """

    name: str
    mask: Callable[[np.ndarray], np.ndarray] = lambda mask: mask
    pixels: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb
    stride: int = 1
    scale: float = 1.0
    away: bool = False
    refer: bool = False
    given: bool = True


def eroded(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    """Make an erosion by a disc; it leaves a mask alone that would vanish."""
    return lambda mask: smaller if (smaller := ~dilate(~mask, radius)).any() else mask


def dilated(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    """Make a dilation by a disc."""
    return lambda mask: dilate(mask, radius)


def compressed(rgb: np.ndarray, quality: int = 30) -> np.ndarray:
    """Encode a frame as JPEG and decode it."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


CONDITIONS = (
    Condition("as it is"),
    Condition("first mask eroded by 3 pixels", mask=eroded(3)),
    Condition("first mask eroded by 8 pixels", mask=eroded(8)),
    Condition("first mask dilated by 3 pixels", mask=dilated(3)),
    Condition("first mask dilated by 8 pixels", mask=dilated(8)),
    Condition("JPEG quality 30", pixels=compressed),
    Condition("every second frame", stride=2),
    Condition("half resolution", scale=0.5),
    Condition(f"object away for {AWAY} frames", away=True),
    Condition("first mask is a reference, too", refer=True),
    Condition(f"the same, object away for {AWAY} frames", away=True, refer=True),
    Condition("reference in the place of the first mask", refer=True, given=False),
)


CUT = 12
"""Frames of each of the three parts of a clip with scene cuts."""

REFERENCES = ("none", "first-mask")
"""What the object of a clip with scene cuts may have as a reference."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    davis = Davis.chosen(options)
    loaded = Models.load(options.model, options.device)
    if options.cuts:
        measure_cuts(options, davis, loaded, options.pairs or in_turn(dataset.chosen_names(options)))
        return
    names = dataset.chosen_names(options)
    lines = ["| condition | J&F | J | F | frames until found again |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for condition in CONDITIONS:
        regions, boundaries = [], []
        returns: list[int | None] = []
        for name in names:
            images, annotations = davis.folders(name)
            references = [shown_first(images, annotations)] if condition.refer else []
            session = new_session(options, loaded, references)
            measured = np.array(list(follow(session, condition, images, annotations, options.max_frames)))
            regions.append(measured[:, 0].mean())
            boundaries.append(measured[:, 1].mean())
            if condition.away:
                returns.append(frames_until_found(measured[:, 0], measured[:, 2] > 0))
        j, f = np.mean(regions), np.mean(boundaries)
        lines.append(f"| {condition.name} | {(j + f) / 2:.3f} | {j:.3f} | {f:.3f} | {summary(returns)} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dataset.add_options(parser)
    models.add_options(parser)
    parser.set_defaults(year=2016)
    parser.add_argument("--tracker", default="persam-f")
    parser.add_argument("--prior", default="same")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--cuts", action="store_true", help="measure scene cuts instead")
    parser.add_argument("--pairs", nargs="+", type=pair, metavar="A=B", help="sequences of the clips of --cuts")
    parser.add_argument("--objects", nargs="+", type=int, choices=(1, 2), default=(1, 2), help="of --cuts")
    parser.add_argument("--refer", nargs="+", choices=REFERENCES, default=REFERENCES, help="references of --cuts")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    options = parser.parse_args(arguments)
    if options.year != 2016:
        parser.error("one object is painted over: DAVIS 2016 only")
    return options


def new_session(options: argparse.Namespace, loaded: Models, references: Sequence[Reference]) -> Session:
    """Make a session for one clip by the options of the command line."""
    return Session(new_tracker(options.tracker), loaded.segmenter, loaded.encoder(options.prior), references)


def shown_first(images: Path, annotations: Path) -> Reference:
    """Make a reference of the first frame of a sequence."""
    path = image_paths(images)[0]
    return Reference(read_rgb(path), foreground(annotations / f"{path.stem}.png"))


def follow(
    session: Session, condition: Condition, images: Path, annotations: Path, max_frames: int | None
) -> Iterator[tuple[float, float, bool]]:
    """Track one sequence; yield J, F and whether the object is painted over for each scored frame."""
    paths = image_paths(images)[:: condition.stride][:max_frames]
    away = range(len(paths) // 3, len(paths) // 3 + AWAY) if condition.away else range(0)
    for index, path in enumerate(paths):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        truth = foreground(annotations / f"{path.stem}.png")
        if index in away:
            rgb = painted_over(rgb, truth)
            truth = np.zeros_like(truth)
        frame = Frame(index, float(index), resized(condition.pixels(rgb), condition.scale))
        if index == 0:
            first = resized(condition.mask(truth), condition.scale)
            nothing = FirstMask(np.zeros(first.shape, np.uint8), ())
            session.start(frame, first_mask_from_array(first) if condition.given else nothing)
            continue
        labels = session.step(frame).labels > 0
        if index == len(paths) - 1:
            return
        if labels.shape != truth.shape:
            labels = np.asarray(Image.fromarray(labels).resize(truth.shape[::-1], Image.Resampling.NEAREST))
        yield region(labels, truth), boundary(labels, truth), index in away


def pair(text: str) -> tuple[str, str]:
    """Read two sequences, ``A=B``."""
    name, _, other = text.partition("=")
    if not (name and other):
        raise argparse.ArgumentTypeError(f"{text}: two sequences are meant, A=B")
    return name, other


def in_turn(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each sequence with the one after it."""
    return list(zip(names, [*names[1:], names[0]], strict=True))


def measure_cuts(options: argparse.Namespace, davis: Davis, loaded: Models, pairs: Sequence[tuple[str, str]]) -> None:
    """Measure clips of the first sequence of each pair with the second in between, and print a Markdown table."""
    head = "| references | objects | A, cut by B | J before | false in B | J after | J of B | false of B after |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for refer in (each != REFERENCES[0] for each in options.refer):
        for objects in options.objects:
            measured = []
            for name, other in pairs:
                before = cut_part(davis, name, 0)
                between = cut_part(davis, other, 0, before[0][1].shape)
                parts = [before, between, cut_part(davis, name, CUT)]
                measured.append(follow_cuts(options, loaded, parts, objects == 2, refer))
                lines.append(cut_row(refer, objects, f"{name}, {other}", measured[-1]))
                print(lines[-1], flush=True)
            lines.append(cut_row(refer, objects, "mean", np.mean(measured, axis=0)))
            print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cut_part(
    davis: Davis, name: str, start: int, size: Sequence[int] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read a part of a clip: frames, and the masks of their objects, (H, W) bool.

    Args:
        davis: has the sequence.
        name: of it.
        start: index of the first frame.
        size: (H, W) to which frames and masks are brought; None: they stay as they are.

    Raises:
        InputError: the sequence is too short.
    """
    images, annotations = davis.folders(name)
    paths = image_paths(images)[start : start + CUT]
    if not paths:
        raise InputError(f"{images}: has no frame {start}, so it cannot come back after a cut")
    shown = [(read_rgb(path), foreground(annotations / f"{path.stem}.png")) for path in paths]
    return [(brought_to(rgb, size), brought_to(mask, size)) for rgb, mask in shown]


def follow_cuts(
    options: argparse.Namespace,
    loaded: Models,
    parts: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
    two: bool,
    refer: bool,
) -> tuple[float, ...]:
    """Follow the object of the first part through all three; return the numbers of a line of the table.

    Args:
        options: of the command line.
        loaded: the models.
        parts: frames and masks of A, B and A.
        two: the object of B joins on its first frame.
        refer: the first mask is a reference, too.
    """
    rgb, truth = parts[0][0]
    session = new_session(options, loaded, [Reference(rgb, truth, 1)] if refer else [])
    own: list[list[float]] = [[], [], []]
    others: list[list[float]] = [[], [], []]
    index = 0
    for place, part in enumerate(parts):
        for rgb, truth in part:
            frame = Frame(index, float(index), rgb)
            labels = (session.step(frame) if index else session.start(frame, truth)).labels
            if place == 1 and two and 2 not in session.object_ids:
                labels = session.add_object(truth, 2).labels
            shows = (truth, np.zeros_like(truth)) if place != 1 else (np.zeros_like(truth), truth)
            for values, object_id, mask in ((own, 1, shows[0]), (others, 2, shows[1])):
                found = labels == object_id
                values[place].append(region(found, mask) if mask.any() else float(found.mean()))
            index += 1
    means = [float(np.mean(values)) for values in (own[0], own[1], own[2], others[1], others[2])]
    return tuple(means if two else [*means[:3], np.nan, np.nan])


def cut_row(refer: bool, objects: int, clip: str, measured: Sequence[float]) -> str:
    """Make a line of the table of scene cuts; what was not measured is left out."""
    shown = ["" if np.isnan(value) else f"{value:.4f}" for value in measured]
    return f"| {REFERENCES[refer]} | {objects} | {clip} | " + " | ".join(shown) + " |"


def painted_over(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint the object, with a rim of 6 pixels, in the mean colour of the rest of the frame."""
    covered = dilate(mask, 6)
    result = rgb.copy()
    result[covered] = rgb[~covered].mean(axis=0).astype(np.uint8)
    return result


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize a frame (bilinear, antialiased) or a mask (nearest neighbour)."""
    return brought_to(image, (round(image.shape[0] * scale), round(image.shape[1] * scale)))


def brought_to(image: np.ndarray, size: Sequence[int] | None) -> np.ndarray:
    """Resize a frame (bilinear, antialiased) or a mask (nearest neighbour) to (H, W); None: leave it as it is."""
    if size is None or image.shape[:2] == tuple(size):
        return image
    filter_ = Image.Resampling.NEAREST if image.dtype == np.bool_ else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), filter_))


def frames_until_found(regions: np.ndarray, away: np.ndarray) -> int | None:
    """Count the frames from the object's return until J is above 0.5; None if it never is."""
    after = regions[np.flatnonzero(away)[-1] + 1 :] if away.any() else regions
    found = np.flatnonzero(after > FOUND)
    return int(found[0]) if len(found) else None


def summary(returns: list[int | None]) -> str:
    """Describe the frames until found: the median, and how often the object was never found again."""
    if not returns:
        return ""
    found = [frames for frames in returns if frames is not None]
    lost = f", {len(returns) - len(found)} of {len(returns)} never" if len(found) < len(returns) else ""
    return (f"median {np.median(found):.0f}" if found else "none") + lost


if __name__ == "__main__":
    main()
