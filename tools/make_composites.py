"""Make two-object clips: the moving object of one DAVIS sequence pasted over another.

    python tools/make_composites.py --davis DAVIS_ROOT --set 2016/dev.txt -o composites

DAVIS 2016 marks one object per sequence. These clips test what it cannot: whether a tracker keeps two
objects apart while one passes in front of the other. Both masks are exact in every frame. The result
has the layout of DAVIS 2017 (``vos-davis --davis composites --year 2017 --set composites.txt``). The
same seed makes the same clips. The set needs at least eight sequences.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence as Arguments
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from vos.benchmarks.dataset import Davis, Sequence

CLIPS = 8
"""Number of clips to make."""

MOST_USES = 2
"""Number of clips that one sequence may take part in."""

LEAST_VISIBLE = 400
"""Pixels of each object that the first frame must show."""


def main(arguments: Arguments[str] | None = None) -> None:
    """Run the command."""
    options = parse(arguments)
    davis = Davis(options.davis, 2016)
    names = davis.listed_names(options.set)
    rng = np.random.default_rng(options.seed)
    made: list[str] = []
    uses: Counter[str] = Counter()
    while len(made) < CLIPS:
        below, above = rng.choice([name for name in names if uses[name] < MOST_USES], 2, replace=False)
        name = f"{above}-over-{below}" if len(made) % 2 == 0 else f"{above}-behind-{below}"
        clip = compose(rng, davis.read(below), davis.read(above), behind=len(made) % 2 == 1)
        if clip is None:
            continue
        uses.update((below, above))
        write(options.output, name, *clip)
        made.append(name)
        print(f"{name}: {len(clip[0])} frames", flush=True)
    listing = options.output / "ImageSets/2017/composites.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(made) + "\n")


def parse(arguments: Arguments[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages, Annotations, ImageSets")
    parser.add_argument("--set", default="2016/dev.txt", help="a file under ImageSets")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def compose(
    rng: np.random.Generator, below: Sequence, above: Sequence, behind: bool
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Paste the moving object of one sequence into another.

    The pasted object is scaled to 0.3 to 1 times the other's area. It moves across from one side to
    the other, and the two meet within the middle third of the clip.

    Args:
        rng: draws the meeting point, the size and the direction.
        below: the sequence that is pasted into.
        above: the sequence whose object is pasted.
        behind: paste behind the other object rather than in front of it.

    Returns:
        Frames (H, W, 3) uint8 and labels (H, W) uint8, 1 for the sequence's own object and 2 for the
        pasted one; None if one of them is missing where they meet or hidden in the first frame.
    """
    length = min(len(below.frames), len(above.frames))
    middle = int(length * rng.uniform(1 / 3, 2 / 3))
    if not below.masks[middle].any() or not above.masks[middle].any():
        return None
    share = rng.uniform(0.3, 1.0) * below.masks[middle].sum() / above.masks[middle].sum()
    scale = float(np.clip(np.sqrt(share), 0.3, 1.5))
    offset = centre(below.masks[middle]) - scale * centre(above.masks[middle])
    apart = (width(below.masks[middle]) + scale * width(above.masks[middle])) / 2
    velocity = np.array([rng.choice([-1, 1]) * apart / max(middle, length - middle), 0])
    frames, labels = [], []
    for index in range(length):
        where = offset + velocity * (index - middle)
        pixels = place(above.frames[index], scale, where, below.frames.shape[1:3])
        mask = place(above.masks[index].astype(np.uint8) * np.uint8(255), scale, where, below.frames.shape[1:3]) > 127
        own = below.masks[index]
        visible = mask & ~own if behind else mask
        alpha = np.asarray(Image.fromarray(visible.astype(np.uint8) * np.uint8(255)).filter(ImageFilter.BoxBlur(1)))
        alpha = alpha.astype(np.float32)[..., None] / 255
        frames.append(np.round(below.frames[index] * (1 - alpha) + pixels * alpha).astype(np.uint8))
        label = own.astype(np.uint8)
        label[visible] = 2
        labels.append(label)
    first = np.bincount(labels[0].ravel(), minlength=3)
    return (frames, labels) if min(first[1], first[2]) >= LEAST_VISIBLE else None


def centre(mask: np.ndarray) -> np.ndarray:
    """Centre of mass of a mask (H, W), (x, y)."""
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean(), ys.mean()])


def width(mask: np.ndarray) -> int:
    """Width in pixels of a mask's box."""
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[-1] - columns[0] + 1)


def place(image: np.ndarray, scale: float, offset: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image and move it by (x, y) pixels on a black canvas of (H, W)."""
    inverse = (1 / scale, 0, -offset[0] / scale, 0, 1 / scale, -offset[1] / scale)
    moved = Image.fromarray(image).transform(size[::-1], Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    return np.asarray(moved)


def write(root: Path, name: str, frames: list[np.ndarray], labels: list[np.ndarray]) -> None:
    """Write a clip in the layout of DAVIS: JPEG frames, and indexed PNGs for labels."""
    images, annotations = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        Image.fromarray(frame).save(images / f"{index:05d}.jpg", quality=95)
        indexed = Image.fromarray(label, mode="P")
        indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        indexed.save(annotations / f"{index:05d}.png")


if __name__ == "__main__":
    main()
