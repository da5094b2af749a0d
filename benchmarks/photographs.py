"""First masks from a box or a point on photographs of anything: how good they are, by set.

    python -m vos.benchmarks.photographs --root PHOTOGRAPHS [--model lite] [--every 10]

``PHOTOGRAPHS`` holds folders ``<set>/images/*.jpg`` and ``<set>/masks/*.png`` of the same stems, indexed: 0
background, 1, 2, … instances, the largest first. Of every tenth picture, which training leaves out, the largest
instance is asked for by the tight box around it, and by the point deepest inside it. Prints the mean IoU of each set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..pipeline import open_session
from ..structures import FirstMask, Frame
from . import models
from .hints import hinted_objects
from .scoring import region


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    print("| set | pictures | IoU from its box | IoU from a point |\n|---|---|---|---|")
    everything = []
    with open_session(tracker="persam", model=options.model, device=options.device) as session:
        for folder in folders_of(options.root):
            found = []
            for path in sorted((folder / "images").glob("*.jpg"))[:: options.every]:
                frame, truth = read(path)
                for _, mask, *hints in hinted_objects(frame, truth):
                    masks = [session.segment(frame, [hint]).labels > 0 for hint in hints]
                    found.append([region(each, mask) for each in masks])
            everything += found
            print(row(folder.name, found), flush=True)
    print(row("all", everything))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="take every N-th picture of a set")
    models.add_options(parser)
    return parser.parse_args(arguments)


def folders_of(root: Path) -> list[Path]:
    """List the sets in a folder.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.parent for folder in root.glob("*/images"))
    if not found:
        raise InputError(f"{root}: no set there; a set is a folder with images/*.jpg and masks/*.png")
    return found


def read(path: Path) -> tuple[Frame, FirstMask]:
    """Read a photograph and the mask of its largest instance."""
    rgb = np.array(Image.open(path).convert("RGB"))
    labels = np.array(Image.open(path.parent.parent / "masks" / f"{path.stem}.png"))
    return Frame(0, 0.0, rgb), FirstMask((labels == 1).astype(np.uint8), (1,))


def row(name: str, found: Sequence[Sequence[float]]) -> str:
    """Write one line of the table."""
    box, point = np.mean(found, axis=0)
    return f"| {name} | {len(found)} | {box:.3f} | {point:.3f} |"


if __name__ == "__main__":
    main()
