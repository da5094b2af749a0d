"""Photographs with instance masks as training data for ``lite``: each is a sequence of one frame.

Used by ``lite_clips.py``, which makes clips of them, and by ``train_lite.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HELD_OUT = 10
"""One picture in so many, in the order of their names, is kept aside for measuring."""

SET_ODDS = {"coco_open_licence": 0.6, "animals_openimages": 0.2, "ccp_people": 0.2}
"""Odds of each set; the most varied is drawn three times as often as the others."""

SMALLEST_SHARE = 0.004
"""Least area of an instance that is drawn, as a share of its picture."""


@dataclass(frozen=True)
class Picture:
    """A photograph with the masks of one or two instances.

    Attributes:
        rgb: (H, W, 3) uint8.
        mask: the instance that is followed, (H, W) uint8 of 0 and 255.
        other: another one, or all 0.
    """

    rgb: np.ndarray
    mask: np.ndarray
    other: np.ndarray


class Pictures:
    """Draws pictures from folders ``<set>/images/*.jpg`` with ``<set>/masks/*.png`` (0 background, 1, 2, … instances).

    Args:
        root: folder of the sets of :data:`SET_ODDS`.
        held_out: the pictures kept aside instead of the others.

    Raises:
        FileNotFoundError: a set has no pictures.
    """

    def __init__(self, root: Path, held_out: bool = False) -> None:
        self.sets = {}
        for name in SET_ODDS:
            paths = sorted((root / name / "images").glob("*.jpg"))
            if not paths:
                raise FileNotFoundError(f"{root / name / 'images'}: no pictures (*.jpg) there")
            self.sets[name] = [path for index, path in enumerate(paths) if (index % HELD_OUT == 0) == held_out]

    def draw(self, rng: np.random.Generator) -> Picture:
        """Draw an instance, and with even odds another one of the same picture."""
        names = list(SET_ODDS)
        while True:
            paths = self.sets[names[rng.choice(len(names), p=list(SET_ODDS.values()))]]
            rgb, labels = read(paths[int(rng.integers(len(paths)))])
            sizes = np.bincount(labels.ravel(), minlength=2)[1:]
            large = np.flatnonzero(sizes >= SMALLEST_SHARE * labels.size) + 1
            if len(large):
                break
        own, *others = rng.permutation(large)
        mask = (labels == own) * np.uint8(255)
        other = (labels == others[0]) * np.uint8(255) if others and rng.random() < 0.5 else np.zeros_like(labels)
        return Picture(rgb, mask, other)


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a picture (H, W, 3) uint8 RGB and its labels (H, W) uint8."""
    rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    with Image.open(path.parent.parent / "masks" / f"{path.stem}.png") as file:
        return rgb, np.array(file)
