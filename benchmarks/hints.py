"""First masks from a box or a point: how good they are, on the first frame of each sequence.

    python -m vos.benchmarks.hints --davis DAVIS_ROOT --year 2016 --set dev.txt [--model lite]

The box is the tight one around the true mask, the point is the one deepest inside it. Prints J of
each as a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from ..engine.merge import describe
from ..pipeline import open_session
from ..readers.first_mask import load_first_mask
from ..readers.open import open_reader
from ..structures import FirstMask, Frame, Hint
from .davis import add_data_options, folders, frame_names, sequence_names
from .quick import jaccard
from .scoring import dilate


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print("| sequence | object | J from its box | J from a point |\n|---|---|---|---|")
    found = []
    with open_session(tracker="persam", model=options.model, device=options.device) as session:
        for name in options.sequences or sequence_names(options):
            images, annotations = folders(options, name)
            with open_reader(images, max_frames=1) as reader:
                frame = next(iter(reader))
            truth = load_first_mask(annotations / f"{frame_names(images)[0]}.png", frame.size)
            for object_id, mask, *hints in objects(frame, truth):
                found.append([jaccard(session.segment(frame, [hint]).labels > 0, mask) for hint in hints])
                print(f"| {name} | {object_id} | {found[-1][0]:.3f} | {found[-1][1]:.3f} |", flush=True)
    box, point = np.mean(found, axis=0)
    print(f"| mean | | {box:.3f} | {point:.3f} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(line)
    return line.parse_args(arguments)


def objects(frame: Frame, truth: FirstMask) -> list[tuple[int, np.ndarray, Hint, Hint]]:
    """Each object's number, its mask (H, W) bool, and the hints: its box, and the point deepest inside it."""
    zeros = np.zeros(len(truth.object_ids), np.float32)
    boxes = describe(frame, truth.object_ids, truth.labels, zeros).boxes
    return [
        (object_id, mask, Hint(box=tuple(map(float, box))), Hint(points=((*deepest(mask), True),)))
        for object_id, mask, box in zip(truth.object_ids, truth.masks(), boxes, strict=True)
    ]


def deepest(mask: np.ndarray) -> tuple[float, float]:
    """The pixel (x, y) that is left longest when a mask (H, W) bool is eroded, the frame's rim included."""
    left = np.pad(mask, 1)
    while (smaller := ~dilate(~left, 1)).any():
        left = smaller
    y, x = np.argwhere(left)[np.count_nonzero(left) // 2]
    return float(x - 1), float(y - 1)


if __name__ == "__main__":
    main()
