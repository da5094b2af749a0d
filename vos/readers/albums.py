"""Lists and decodes single pictures of any sizes: files, folders, globs, and pictures handed over in Python."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from .depth import depth_of
from .frames import FrameLike, described, picture_like
from .limits import MAX_PIXELS, check_pixels
from .references import load_rgb
from .series import SUFFIXES, natural_key

ImageLike = str | PathLike[str] | FrameLike
"""A picture as users give it: a file, a folder of files, a glob; or pixels."""


@dataclass(frozen=True)
class AlbumPicture:
    """One picture that is still to be decoded.

    Attributes:
        name: by which its outputs are named.
        path: its file; None: it was handed over in Python.
        pixels: those handed over.
        max_pixels: a larger one is refused.
    """

    name: str
    path: Path | None = None
    pixels: FrameLike | None = None
    max_pixels: int = MAX_PIXELS

    def rgb(self) -> np.ndarray:
        """Decode it, (H, W, 3) uint8.

        Raises:
            InputError: it cannot be read, or is too large.
        """
        if self.path is not None:
            return load_rgb(self.path, self.max_pixels)
        picture = picture_like(self.pixels)
        if picture is None:
            raise InputError(f"{self.name}: is {described(self.pixels)}, which is no picture")
        check_pixels(self.name, (picture.values.shape[0], picture.values.shape[1]), self.max_pixels)
        return np.array(picture.rgb(depth_of(picture.values), self.name), order="C")


def list_pictures(
    images: ImageLike | Iterable[ImageLike], max_pixels: int = MAX_PIXELS, named: Mapping[str, str] | None = None
) -> list[AlbumPicture]:
    """List pictures in the order given; those of folders and globs by the numbers in their names.

    Pictures of one name in several folders get names of their own: the folder's name goes before.

    Args:
        images: the pictures.
        max_pixels: larger ones are refused once they are decoded.
        named: names that files have already, by path; no other picture gets one of them.

    Raises:
        InputError: there is none, or it is none of these.
    """
    single = isinstance(images, (str, PathLike)) or hasattr(images, "shape") or hasattr(images, "convert")
    if not (single or isinstance(images, Iterable)):
        raise InputError(f"pictures are files, folders, globs, arrays or PIL images, not a {type(images).__name__}")
    given = [images] if single else list(images)  # type: ignore[arg-type]
    listed: list[Path | FrameLike] = []
    for each in given:
        if isinstance(each, (str, PathLike)):
            listed.extend(_files(str(each)))
        else:
            listed.append(each)  # type: ignore[arg-type]
    if not listed:
        raise InputError("no picture was given")
    return list(_named(listed, max_pixels, named or {}))


def _files(text: str) -> list[Path]:
    """List the picture files that one text names.

    Raises:
        InputError: there is none.
    """
    path = Path(text)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
        if not found:
            raise InputError(f"{path}: the folder holds no pictures ({', '.join(SUFFIXES)})")
    elif path.exists() or not glob.has_magic(text):
        return [path]
    else:
        found = [Path(each) for each in glob.glob(text, recursive=True) if Path(each).suffix.lower() in SUFFIXES]
        if not found:
            raise InputError(f"{text}: no picture has such a name")
    return sorted(found, key=lambda each: (str(each.parent), natural_key(each.name)))


def _named(listed: list[Path | FrameLike], max_pixels: int, named: Mapping[str, str]) -> Iterator[AlbumPicture]:
    """Give each picture a name of its own."""
    taken = {name.casefold() for name in named.values()}
    for index, each in enumerate(listed):
        if isinstance(each, Path) and str(each) in named:
            yield AlbumPicture(named[str(each)], path=each, max_pixels=max_pixels)
            continue
        own = each.stem if isinstance(each, Path) else f"{index:05d}"
        names = [own]
        if isinstance(each, Path):
            names += [f"{each.parent.name}-{own}" if each.parent.name else own, each.name.replace(".", "-")]
        names += [f"{own}-{number}" for number in range(2, len(listed) + 2)]
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        if isinstance(each, Path):
            yield AlbumPicture(name, path=each, max_pixels=max_pixels)
        else:
            yield AlbumPicture(name, pixels=each, max_pixels=max_pixels)
