"""DAVIS on disk: the sequences of a set, their folders, frames and annotations.

Used by the benchmarks and by the tools that make clips out of DAVIS. A tree has three folders:

    JPEGImages/<resolution>/<sequence>/00000.jpg
    Annotations/<resolution>/<sequence>/00000.png
    ImageSets/<year>/<set>.txt
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, parameter
from ..readers.first_mask import load_first_mask
from ..readers.images import image_paths
from ..structures import FirstMask


@dataclass(frozen=True)
class Sequence:
    """A whole sequence in memory, without telling objects apart.

    Attributes:
        name: name of its folders.
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) bool, the pixels with any label.
    """

    name: str
    frames: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Davis:
    """A tree in the layout of DAVIS.

    Attributes:
        root: folder that holds JPEGImages, Annotations and ImageSets.
        year: 2016 or 2017, the folder of the sets.
        resolution: ``480p`` or ``Full-Resolution``.
    """

    root: Path
    year: int = 2017
    resolution: str = "480p"

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> Davis:
        """The tree that the options of :func:`add_options` name."""
        return cls(options.davis, options.year, options.resolution)

    def set_names(self, set_name: str) -> list[str]:
        """List the sequences of a set.

        Args:
            set_name: ``val``, ``train``, or a file, also one under ``ImageSets/<year>``.

        Raises:
            InputError: there is no such set.
        """
        folder = self.root / "ImageSets" / str(self.year)
        for path in (Path(set_name), folder / set_name, folder / f"{set_name}.txt"):
            if path.is_file():
                return path.read_text(encoding="utf-8").split()
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise InputError(f"{folder}: no set {set_name}; there are: {known}")

    def listed_names(self, file: str) -> list[str]:
        """List the sequences in a file under ``ImageSets``, such as ``2016/dev.txt``."""
        return (self.root / "ImageSets" / file).read_text(encoding="utf-8").split()

    def folders(self, name: str) -> tuple[Path, Path]:
        """Images and annotations of a sequence.

        Raises:
            InputError: one of the folders does not exist.
        """
        images, annotations = (self.root / kind / self.resolution / name for kind in ("JPEGImages", "Annotations"))
        for folder in (images, annotations):
            if not folder.is_dir():
                root = f"{parameter('davis')} the folder that holds JPEGImages and Annotations"
                raise InputError(f"{folder}: no such folder; is {root}?")
        return images, annotations

    def first_mask(self, name: str, frame_size: tuple[int, int]) -> FirstMask:
        """Read the first annotation of a sequence.

        Args:
            name: the sequence.
            frame_size: (H, W) that the annotation must have.

        Raises:
            InputError: it is missing or cannot be used, or the sequence's numbering has a gap.
        """
        images, annotations = self.folders(name)
        return load_first_mask([annotations / f"{frame_names(images)[0]}.png"], frame_size)

    def read(self, name: str) -> Sequence:
        """Read all frames and annotations of a sequence.

        Raises:
            InputError: a folder or an annotation is missing, or an annotation is unreadable.
        """
        images, annotations = self.folders(name)
        frames, masks = [], []
        for path in image_paths(images):
            with Image.open(path) as image:
                frames.append(np.asarray(image.convert("RGB")))
            masks.append(read_labels(annotations / f"{path.stem}.png") > 0)
        return Sequence(name, np.stack(frames), np.stack(masks))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a tree and its sequences, see :meth:`Davis.chosen` and :func:`chosen_names`."""
    parser.add_argument("--davis", type=Path, required=True, metavar="ROOT", help="JPEGImages, Annotations, ImageSets")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2017)
    parser.add_argument("--set", default="val", help="val, train, or a file, also one under ImageSets/<year>")
    parser.add_argument("--sequences", nargs="+", help="these alone")
    parser.add_argument("--resolution", default="480p", help="480p or Full-Resolution")


def chosen_names(options: argparse.Namespace) -> list[str]:
    """Names of the sequences that the options of :func:`add_options` choose.

    Raises:
        InputError: there is no such set.
    """
    return options.sequences or Davis.chosen(options).set_names(options.set)


def frame_names(images: Path) -> list[str]:
    """Names of a sequence's frames: 00000, 00001, and so on.

    Raises:
        InputError: the numbering has a gap.
    """
    names = [path.stem for path in image_paths(images)]
    for index, name in enumerate(names):
        if name != f"{index:05d}":
            raise InputError(f"{images}: expected frame {index:05d} but found {name}; frames are numbered without gaps")
    return names


def read_labels(path: Path) -> np.ndarray:
    """Read an annotation, indexed, grey or RGB: labels (H, W) uint8, of RGB the largest channel.

    Raises:
        InputError: it is not a readable image.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable image") from error
    if labels.ndim == 3:
        labels = labels.max(axis=2)
    return labels.astype(np.uint8)
