"""Chooses the files of a folder that are the frames of a video, and those that only lie beside them.

Names are compared with their numbers left out, so that ``img_0005.jpg`` and ``img_0010.jpg`` belong together and
``cover.jpg`` does not. Files are opened only where names leave a doubt.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from .limits import MAX_PIXELS, open_image
from .pictures import FORMATS

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Names of files that are taken for images, in small or capital letters."""

_MOST_KINDS = 16
"""Largest number of kinds of name among which a series is looked for, unless one kind has most of the files."""

_FEW = 1 / 4
"""Share of the main kind's files up to which another kind counts as a few files that do not belong."""

_SAMPLES = 3
"""Files of a group that are opened to tell whether they are masks."""

_SAMPLE_SIDE = 512
"""Lines and columns of pixels to which a picture is thinned out before its colours are counted."""

_MASK_COLOURS = 8
"""Number of the most frequent colours that cover most of a mask."""

_MASK_SHARE = 0.9
"""Share of a mask's pixels that those colours cover at least."""

_NAMED = 3
"""Number of files that are named in a line; the others are counted."""


@dataclass(frozen=True)
class Series:
    """The images of a folder that are read as a video.

    Attributes:
        paths: in natural order: frame_2 before frame_10.
        notes: what the user should know of the choice, one line each.
    """

    paths: list[Path]
    notes: tuple[str, ...] = ()


def find_series(folder: Path, max_pixels: int = MAX_PIXELS) -> Series:
    """Choose the images of a folder that are its frames.

    Raises:
        InputError: there are none, the folder cannot be listed, or two files claim to be the same frame.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check the permissions") from error
    files = [path for path in entries if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise InputError(f"{folder}: holds no images ({', '.join(SUFFIXES)}); give a folder of frames or a video")
    files.sort(key=lambda path: natural_key(path.name))
    chooser = _Chooser(max_pixels)
    chosen, together = chooser.by_name(files)
    chosen = chooser.by_suffix(chosen)
    _check(chosen)
    kept, notes = set(chosen), []
    left_out = [path.name for path in files if path not in kept]
    if left_out:
        span = f"{chosen[0].name} to {chosen[-1].name}"
        notes.append(f"{folder}: left out, as no part of the series {span}: {_listed(left_out)}")
    if together:
        notes.append(f"{folder}: holds images of several kinds of name, which are read one after the other: {together}")
    return Series(chosen, tuple(notes))


class _Chooser:
    """Takes groups of files apart by their names and, in doubt, by what the files hold."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._ranks: dict[Path, int] = {}

    def by_name(self, files: Sequence[Path]) -> tuple[list[Path], str]:
        """Keep the largest kind of name, and others that may belong to it.

        Returns:
            The files that are kept; and if these are several series of names, an example of each.
        """
        groups = _grouped(files, _pattern)
        most = max(map(len, groups))
        if most == 1 or len(groups) == 1 or (len(groups) > _MOST_KINDS and 2 * most <= len(files)):
            return list(files), ""
        largest = [group for group in groups if len(group) == most]
        main = min(largest, key=lambda group: (self._rank(group), -_area(self._size(group[0]))))
        kept = [group for group in groups if group is main or not self._is_beside(group, main)]
        rest = sum(map(len, kept))
        if 2 * most > rest:
            kept = [group for group in kept if group is main or (len(group) > 1 and len(group) > _FEW * most)]
        names = {path for group in kept for path in group}
        several = [group for group in kept if len(group) > 1]
        examples = _listed([group[0].name for group in several]) if len(several) > 1 else ""
        return [path for path in files if path in names], examples

    def by_suffix(self, files: Sequence[Path]) -> list[Path]:
        """Leave out masks that have the names of frames but another suffix."""
        groups = _grouped(files, lambda path: path.suffix.lower().replace("jpeg", "jpg").replace("tiff", "tif"))
        if len(groups) == 1:
            return list(files)
        most = max(map(len, groups))
        main = min((group for group in groups if len(group) == most), key=self._rank)
        stems, rank = {path.stem for path in main}, self._rank(main)
        out: set[Path] = set()
        for group in groups:
            beside = group is not main and self._rank(group) > rank
            if beside and (self._rank(group) == _GREY_MASK or any(path.stem in stems for path in group)):
                out.update(group)
        return [path for path in files if path not in out]

    def _is_beside(self, group: Sequence[Path], main: Sequence[Path]) -> bool:
        """Tell whether images have another size than the main ones, or are masks while those are not."""
        size, main_size = self._size(group[0]), self._size(main[0])
        return (None not in (size, main_size) and size != main_size) or self._rank(group) > self._rank(main)

    def _size(self, path: Path) -> tuple[int, int] | None:
        """Upright size (H, W) as the file states it; None: it cannot be read."""
        if not path.is_file():
            return None
        try:
            with open_image(path, FORMATS, self._max_pixels) as image, warnings.catch_warnings(action="ignore"):
                width, height = image.size
                return (width, height) if image.getexif().get(0x0112, 1) in (5, 6, 7, 8) else (height, width)
        except (InputError, OSError):
            return None

    def _rank(self, group: Sequence[Path]) -> int:
        """How much a group of files looks like masks: the least of a few of them."""
        step = max(1, len(group) // _SAMPLES)
        for path in group[::step][:_SAMPLES]:
            if path not in self._ranks:
                self._ranks[path] = self._mask_rank(path)
        return min(self._ranks[path] for path in group[::step][:_SAMPLES])

    def _mask_rank(self, path: Path) -> int:
        if not path.is_file():  # reading a named pipe would wait for ever
            return _NO_MASK
        try:
            with open_image(path, FORMATS, self._max_pixels) as image, warnings.catch_warnings(action="ignore"):
                return _mask_rank(image)
        except (InputError, OSError):
            return _NO_MASK


_NO_MASK, _COLOUR_MASK, _GREY_MASK = 0, 1, 2
"""How much a picture looks like a mask: not, by its flat colours on black, or as it has one channel as well."""


def _mask_rank(image: Image.Image) -> int:
    """Judge by the colours of some of a picture's pixels how much it looks like a mask."""
    indexed = image.mode in ("P", "PA")
    single = indexed or image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    pixels = np.array(image if image.mode.startswith("I") else image.convert("RGB")).astype(np.int64)
    if pixels.ndim == 3:
        pixels = pixels @ np.array([1 << 16, 1 << 8, 1])
    height, width = pixels.shape
    pixels = pixels[:: -(-height // _SAMPLE_SIDE), :: -(-width // _SAMPLE_SIDE)]
    colours, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(-counts)[:_MASK_COLOURS]
    flat = len(colours) > 1 and counts[order].sum() >= _MASK_SHARE * pixels.size
    if not flat or not (indexed or 0 in colours[order]):
        return _NO_MASK
    return _GREY_MASK if single else _COLOUR_MASK


def _check(paths: Sequence[Path]) -> None:
    """Refuse a series with a name that is no file, or with two files of one name.

    Raises:
        InputError: there is such a one.
    """
    stems: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():  # reading a named pipe would wait for ever
            raise InputError(f"{path}: is no file that can be read, though it is named like an image; remove it")
    for path in paths:
        other = stems.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{path.parent}: {other.name} and {path.name} have one name, so that it is not clear which is the "
                "frame; remove one of them"
            )


def _grouped(files: Iterable[Path], key: Callable[[Path], str]) -> list[list[Path]]:
    """Group files by a key, each group in the order of the files."""
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        groups[key(path)].append(path)
    return list(groups.values())


def _pattern(path: Path) -> str:
    """The name of a file without its numbers and suffix."""
    return re.sub(r"\d+", "#", path.stem)


def _area(size: tuple[int, int] | None) -> int:
    return 0 if size is None else size[0] * size[1]


def _listed(names: Sequence[str]) -> str:
    """List some names, and the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def natural_key(name: str) -> tuple[list[tuple[str, int]], str]:
    """Make a sort key of a name's texts and numbers; the name itself decides between 1.jpg and 01.jpg."""
    parts = re.findall(r"(\D*)(\d*)", Path(name).stem)
    return [(text, int(number) if number else -1) for text, number in parts], name
