"""First masks from a box or a point: how good they are, on the first frame of each sequence.

    python -m vos.benchmarks.hints --davis DAVIS_ROOT --year 2016 --set dev.txt [--model lite]

The box is the tight one around the true mask, the point is the one deepest inside it. Prints J of
each as a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..engine.merge import result_of_labels
from ..pipeline import open_session
from ..readers.open import open_reader
from ..structures import FirstMask, Frame, Hint
from . import dataset, models
from .scoring import region


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    davis = dataset.Davis.chosen(options)
    print("| sequence | object | J from its box | J from a point |\n|---|---|---|---|")
    found = []
    with open_session(tracker="persam", model=options.model, device=options.device) as session:
        for name in dataset.chosen_names(options):
            with open_reader(davis.folders(name)[0], max_frames=1) as reader:
                frame = next(iter(reader))
            truth = davis.first_mask(name, frame.size)
            for object_id, mask, *hints in hinted_objects(frame, truth):
                found.append([region(session.segment(frame, [hint]).labels > 0, mask) for hint in hints])
                print(f"| {name} | {object_id} | {found[-1][0]:.3f} | {found[-1][1]:.3f} |", flush=True)
    box, point = np.mean(found, axis=0)
    print(f"| mean | | {box:.3f} | {point:.3f} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dataset.add_options(parser)
    models.add_options(parser)
    return parser.parse_args(arguments)


def hinted_objects(frame: Frame, truth: FirstMask) -> list[tuple[int, np.ndarray, Hint, Hint]]:
    """Make two hints for each object.

    Returns:
        For each object its id, its mask (H, W) bool, its tight box, and the point deepest inside it.
    """
    zeros = np.zeros(len(truth.object_ids), np.float32)
    boxes = result_of_labels(frame, truth.object_ids, truth.labels, zeros).boxes.astype(float).tolist()
    return [
        (object_id, mask, Hint(box=(x0, y0, x1, y1)), Hint(points=((*deepest(mask), True),)))
        for object_id, mask, (x0, y0, x1, y1) in zip(truth.object_ids, truth.masks(), boxes, strict=True)
    ]


def deepest(mask: np.ndarray) -> tuple[float, float]:
    """Pixel (x, y) of a mask (H, W) bool with the most steps to its outside; beyond the frame is outside, too.

    Among pixels that are equally deep it is the middle one in reading order.
    """
    depth = ndimage.distance_transform_cdt(np.pad(mask, 1), metric="taxicab")
    candidates = np.argwhere(depth == depth.max())
    y, x = candidates[len(candidates) // 2]
    return float(x - 1), float(y - 1)


if __name__ == "__main__":
    main()
