"""DAVIS on disk: the sequences of a set, their folders, frames and annotations.

Used by the benchmarks and by the tools that make clips out of DAVIS. A tree has three folders:

    JPEGImages/<resolution>/<sequence>/00000.jpg
    Annotations/<resolution>/<sequence>/00000.png
    ImageSets/<year>/<set>.txt

In the layouts of YouTube-VOS and LVOS there is no folder for the resolution. Frames may have any names; a picture
and its annotation have the same.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, parameter
from ..readers.first_mask import load_first_mask
from ..readers.images import image_paths
from ..structures import FirstMask
from .mask_folder import foreground, mask_paths, natural

_PAIR = re.compile(r"/?JPEGImages/(?:[^/]+/)?([^/]+)/[^/]+\s+/?Annotations/")
"""Start of a line of a set of DAVIS 2016: a picture and its annotation, below the folder of the sequence."""


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
            InputError: there is no such set, or it lists no sequence.
        """
        folder = self.root / "ImageSets" / str(self.year)
        for path in (Path(set_name), folder / set_name, folder / f"{set_name}.txt"):
            if path.is_file():
                return listed(path)
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
        raise InputError(
            f"{folder}: no set {set_name}; there are: {known}; name one of them or a file with {parameter('set')}, "
            f"or sequences with {parameter('sequences')}"
        )

    def listed_names(self, file: str) -> list[str]:
        """List the sequences in a file under ``ImageSets``, such as ``2016/dev.txt``.

        Raises:
            InputError: there is no such file, or it lists no sequence.
        """
        return listed(self.root / "ImageSets" / file)

    def folders(self, name: str) -> tuple[Path, Path]:
        """Images and annotations of a sequence.

        Raises:
            InputError: one of the folders does not exist.
        """
        return self.images(name), self.annotations(name)

    def images(self, name: str) -> Path:
        """Folder of a sequence's pictures.

        Raises:
            InputError: it does not exist.
        """
        return self._folder("JPEGImages", name)

    def annotations(self, name: str) -> Path:
        """Folder of a sequence's annotations.

        Raises:
            InputError: it does not exist.
        """
        return self._folder("Annotations", name)

    def pictures(self, name: str) -> dict[str, Path]:
        """Pictures of a sequence by the names of their frames, in order; empty if there are none that can be used."""
        try:
            return {path.stem: path for path in image_paths(self.images(name))}
        except InputError:
            return {}

    def _folder(self, kind: str, name: str) -> Path:
        """Folder of a sequence, under the resolution or, as in YouTube-VOS and LVOS, right under ``kind``."""
        folder = self.root / kind / self.resolution / name
        if folder.is_dir():
            return folder
        if (self.root / kind / name).is_dir():
            return self.root / kind / name
        root = f"{parameter('davis')} the folder that holds JPEGImages and Annotations"
        raise InputError(f"{folder}: no such folder; is {root}?")

    def first_mask(self, name: str, frame_size: tuple[int, int]) -> FirstMask:
        """Read the first annotation of a sequence.

        Args:
            name: the sequence.
            frame_size: (H, W) that the annotation must have.

        Raises:
            InputError: it is missing or cannot be used.
        """
        images, annotations = self.folders(name)
        return load_first_mask([annotations / f"{frame_names(images)[0]}.png"], frame_size)

    def check(self, name: str) -> None:
        """Check a sequence's folders before anything is tracked.

        Raises:
            InputError: the first frame has no annotation, or an annotation no picture.
        """
        images, annotations = self.folders(name)
        frames, paths = frame_names(images), mask_paths(annotations)
        if frames[0] not in paths:
            raise InputError(f"{annotations / frames[0]}.png: no such annotation; the first frame needs one")
        stray = sorted(set(paths) - set(frames), key=natural)
        if stray:
            raise InputError(f"{paths[stray[0]]}: no picture of this name in {images}; annotations are matched by name")

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
            masks.append(foreground(annotations / f"{path.stem}.png"))
        return Sequence(name, np.stack(frames), np.stack(masks))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a tree and its sequences, see :meth:`Davis.chosen` and :func:`chosen_names`."""
    parser.add_argument("--davis", type=Path, required=True, metavar="ROOT", help="JPEGImages, Annotations, ImageSets")
    parser.add_argument("--year", type=int, choices=(2016, 2017), default=2017)
    parser.add_argument("--set", default="val", help="val, train, or a file, also one under ImageSets/<year>")
    parser.add_argument("--sequences", nargs="+", help="these alone")
    parser.add_argument("--resolution", default="480p", help="480p or Full-Resolution; ignored where there is none")


def chosen_names(options: argparse.Namespace) -> list[str]:
    """Names of the sequences that the options of :func:`add_options` choose, each once.

    Raises:
        InputError: there is no such set, or it lists no sequence.
    """
    return list(dict.fromkeys(options.sequences or Davis.chosen(options).set_names(options.set)))


def set_name(options: argparse.Namespace) -> str:
    """Name of the set in file names: a set file's name without its folder and suffix."""
    return Path(options.set).stem


def listed(path: Path) -> list[str]:
    """Names in a file that lists sequences, one on each line; empty lines and those that begin with # are left out.

    A line of DAVIS 2016, ``/JPEGImages/480p/dog/00000.jpg /Annotations/480p/dog/00000.png``, stands for its sequence.

    Raises:
        InputError: it cannot be read, is no text, or lists none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text; a set is a text file with a sequence on each line") from error
    pairs = ((_PAIR.match(line), line) for line in lines if line and not line.startswith("#"))
    names = list(dict.fromkeys(pair[1] if pair else line for pair, line in pairs))
    if not names:
        raise InputError(f"{path}: lists no sequence; a set is a text file with a sequence on each line")
    return names


def frame_names(images: Path) -> list[str]:
    """Names of a sequence's frames, in order: those of its pictures without their suffix.

    Raises:
        InputError: there are no pictures.
    """
    return [path.stem for path in image_paths(images)]
