"""How much is lost when the input is worse than the benchmark's (the paper's table 17 and E.5).

    python -m vos.benchmarks.robustness --davis DAVIS_ROOT --year 2016 --set dev.txt

The first mask eroded or dilated, frames compressed, dropped or at half resolution, and the object
painted over for ten frames; there also the frames until it is found again (J above 0.5). Prints a
Markdown table. DAVIS 2016 only: one object, so that painting over has one meaning.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import load_encoder, load_segmenter, new_tracker
from ..engine.session import Session
from ..readers.images import image_paths
from ..structures import Frame, first_mask_from_array
from .davis import add_data_options, folders, sequence_names
from .scoring import boundary, dilate, region

AWAY = 10
"""Frames for which the object is painted over, from a third of the sequence on."""
FOUND = 0.5
"""J above which the object counts as found."""


@dataclass(frozen=True)
class Condition:
    """One line of the table.

    Attributes:
        name: what is done to the input.
        mask: changes the first mask, (H, W) bool.
        pixels: changes a frame (H, W, 3) uint8.
        stride: every so-many-th frame.
        scale: of frames and first mask.
        away: whether the object is painted over for a while.
    """

    name: str
    mask: Callable[[np.ndarray], np.ndarray] = lambda mask: mask
    pixels: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb
    stride: int = 1
    scale: float = 1.0
    away: bool = False


def eroded(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    """Erosion by a disc; a mask that would vanish stays."""
    return lambda mask: smaller if (smaller := ~dilate(~mask, radius)).any() else mask


def dilated(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    """Dilation by a disc."""
    return lambda mask: dilate(mask, radius)


def compressed(rgb: np.ndarray, quality: int = 30) -> np.ndarray:
    """A frame after JPEG."""
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
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    keep_freed_memory()
    device = pick_device(options.device)
    precision = pick_dtype("auto", device)
    segmenter = load_segmenter(options.model, device, precision)
    encoder = load_encoder(options.prior, device, precision)
    names = options.sequences or sequence_names(options)
    lines = ["| condition | J&F | J | F | frames until found again |", "|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for condition in CONDITIONS:
        regions, boundaries, returns = [], [], []
        for name in names:
            session = Session(new_tracker(options.tracker), segmenter, encoder)
            measured = np.array(list(follow(session, condition, *folders(options, name), options.max_frames)))
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
    line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(line)
    line.set_defaults(year=2016)
    line.add_argument("--tracker", default="persam-f")
    line.add_argument("--prior", default="same")
    line.add_argument("--max-frames", type=int)
    line.add_argument("--output", type=Path, help="a Markdown file")
    options = line.parse_args(arguments)
    if options.year != 2016:
        line.error("one object is painted over: DAVIS 2016 only")
    return options


def follow(
    session: Session, condition: Condition, images: Path, annotations: Path, max_frames: int | None
) -> Iterator[tuple[float, float, bool]]:
    """J, F, and whether the object is painted over, of each scored frame."""
    paths = image_paths(images)[:: condition.stride][:max_frames]
    away = range(len(paths) // 3, len(paths) // 3 + AWAY) if condition.away else range(0)
    for index, path in enumerate(paths):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        truth = np.asarray(Image.open(annotations / f"{path.stem}.png").convert("L")) > 0
        if index in away:
            rgb = painted_over(rgb, truth)
            truth = np.zeros_like(truth)
        frame = Frame(index, float(index), resized(condition.pixels(rgb), condition.scale))
        if index == 0:
            first = resized(condition.mask(truth), condition.scale)
            session.start(frame, first_mask_from_array(first))
            continue
        labels = session.step(frame).labels > 0
        if index == len(paths) - 1:
            return
        if labels.shape != truth.shape:
            labels = np.asarray(Image.fromarray(labels).resize(truth.shape[::-1], Image.Resampling.NEAREST))
        yield region(labels, truth), boundary(labels, truth), index in away


def painted_over(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The frame with the object, and a rim, in the mean colour of the rest."""
    covered = dilate(mask, 6)
    result = rgb.copy()
    result[covered] = rgb[~covered].mean(axis=0).astype(np.uint8)
    return result


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """A frame (bilinear, antialiased) or a mask (nearest) at another size."""
    if scale == 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    filter_ = Image.Resampling.NEAREST if image.dtype == np.bool_ else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize(size, filter_))


def frames_until_found(regions: np.ndarray, away: np.ndarray) -> int | None:
    """Frames from the object's return until J is above 0.5; None if never."""
    after = regions[np.flatnonzero(away)[-1] + 1 :] if away.any() else regions
    found = np.flatnonzero(after > FOUND)
    return int(found[0]) if len(found) else None


def summary(returns: list[int | None]) -> str:
    """Median and how many were not found again."""
    if not returns:
        return ""
    found = [frames for frames in returns if frames is not None]
    lost = f", {len(returns) - len(found)} of {len(returns)} never" if len(found) < len(returns) else ""
    return (f"median {np.median(found):.0f}" if found else "none") + lost


if __name__ == "__main__":
    main()
