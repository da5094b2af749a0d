"""Reads masks of many frames from what labelling tools write: COCO, YOLO, CVAT, or a folder of mask files.

``--masks`` of the command uses it. Each format has a file of its own, ``label_sets_*``, which lists what is marked in
which frame; here the marks become objects with numbers, and label maps of the size of the video.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..structures import MAX_OBJECT_ID, FirstMask, check_object_count, object_ids_of
from .label_sets_coco import read_coco
from .label_sets_cvat import read_cvat
from .label_sets_files import read_mask_files
from .label_sets_yolo import read_yolo
from .limits import MAX_PIXELS, check_pixels, size_text
from .marked import Marked, Marks
from .mask_size import Resize, fit_labels
from .series import find_series

_log = logging.getLogger(__name__)

_MASKS = (".png", ".jpg", ".jpeg")
"""Names of mask files."""

_EXPORTED = re.compile(r"_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-z]+", re.IGNORECASE)
"""What Roboflow adds to the name of a picture, before its suffix: the old suffix and a hash."""


@dataclass(frozen=True)
class LabelSet:
    """True masks of some frames of a video.

    Attributes:
        masks: by frame index, ascending; one without objects says that its frame shows none.
        names: names of objects by id, where the labels have them.
    """

    masks: Mapping[int, FirstMask]
    names: Mapping[int, str] = field(default_factory=dict)

    def first_and_others(self) -> tuple[int, FirstMask, dict[int, FirstMask]]:
        """Return the index of the first frame, its mask, and the masks of the others by their index."""
        first = min(self.masks)
        return first, self.masks[first], {at: mask for at, mask in self.masks.items() if at != first}

    def gone(self) -> dict[int, list[int]]:
        """Return which objects of earlier frames a frame does not show, by its index."""
        known: set[int] = set()
        gone: dict[int, list[int]] = {}
        for at, mask in self.masks.items():
            if mask.object_ids and (missing := known - set(mask.object_ids)):
                gone[at] = sorted(missing)
            known |= set(mask.object_ids)
        return gone


def read_label_set(
    path: Path | str,
    frame_size: tuple[int, int],
    *,
    frame_names: Sequence[str] = (),
    start: int = 0,
    stride: int = 1,
    resize: Resize = False,
    max_pixels: int = MAX_PIXELS,
) -> LabelSet:
    """Read true masks of some frames; ``docs/outputs.md`` says which files are accepted.

    A frame is known by its name, if the video is a folder of images, or by the last number in the name of its file,
    counted from 0 as in the result's ``masks/``; CVAT counts the frames of the video. What is left out is logged.

    Args:
        path: a folder of mask files or of YOLO labels, or a file of COCO (``.json``) or CVAT (``.xml``).
        frame_size: (H, W) of the video.
        frame_names: names of the frames in order, see :func:`frame_names_of`.
        start: frame of the video that is tracked first.
        stride: every so-many-th frame is tracked.
        resize: what to do with masks of another size, see :func:`~vos.readers.mask_size.fit_labels`.
        max_pixels: larger masks are refused.

    Raises:
        InputError: it cannot be read or understood, or holds no object.
    """
    path = Path(path)
    reader = _reader_of(path)
    tracked = (start, stride) if reader is read_cvat else (0, 1)
    frames = _Frames(path, frame_names, *tracked)
    if reader is None:
        read = _read_files(path, frame_size, frames, resize, max_pixels)
    else:
        read = _drawn(path, reader(path), frame_size, frames, resize, max_pixels)
    frames.warn_of_numbers()
    masks = dict(sorted(read.masks.items()))
    while masks and not masks[min(masks)].object_ids:  # an object exists from where it is first shown
        del masks[min(masks)]
    if not masks:
        raise InputError(f"{path}: holds no mask of an object")
    return LabelSet(masks, read.names)


class _Frames:
    """Finds the frame that each label is of.

    Args:
        path: of the labels, for messages.
        names: of the frames in order; empty: they have none.
        start: number of the first frame.
        stride: by which the numbers of the others go up.
    """

    def __init__(self, path: Path, names: Sequence[str], start: int = 0, stride: int = 1) -> None:
        self._path = path
        self._start, self._stride = start, stride
        self._indices = {name: index for index, name in enumerate(names)}
        self._labels: dict[int, str] = {}
        self._are_named = False
        self._numbered: str | None = None

    def index_of(self, name: str) -> int | None:
        """Return the index of a frame by the name of a label or of its picture, or by the last number in it.

        It is None for a frame between those of the stride, or before the first.

        Raises:
            InputError: there is no such frame, or it has a label of another name.
        """
        plain = _EXPORTED.sub("", name)
        stems = [Path(each).stem if Path(each).suffix else each for each in (name, plain)]
        found = next((self._indices[each] for each in (name, *stems) if each in self._indices), None)
        self._are_named |= found is not None
        if found is None:
            digits = re.findall(r"\d+", stems[1])
            if not digits:
                raise InputError(
                    f"{self._path}: {name!r} is no frame of the video, and has no number that could be one's"
                )
            found, between = divmod(int(digits[-1]) - self._start, self._stride)
            if between or found < 0:
                return None
            if Path(name).suffix:  # what has none is a number that the format gives
                self._numbered = name
        other = self._labels.setdefault(found, name)
        if other != name:
            raise InputError(f"{self._path}: {other} and {name} are both of frame {found}")
        return found

    def warn_of_numbers(self) -> None:
        """Log a warning if frames have names of their own, and no label has one of these."""
        if self._indices and self._numbered is not None and not self._are_named:
            _log.warning(
                "%s: no label has the name of a frame, so the last number in each name is taken for the place of its"
                " frame, counted from 0: %s is of frame %d",
                self._path,
                self._numbered,
                self.index_of(self._numbered) or 0,
            )


def frame_names_of(video: Path | str, start: int = 0, stride: int = 1, max_pixels: int = MAX_PIXELS) -> list[str]:
    """Return the names of the frames that are read of a folder of images; none of any other video.

    Args:
        video: the video.
        start: index of the first image that is read.
        stride: every so-many-th image is read.
        max_pixels: larger images are not looked at.
    """
    folder = Path(video)
    return [file.stem for file in find_series(folder, max_pixels).paths[start::stride]] if folder.is_dir() else []


def _reader_of(path: Path) -> Callable[[Path], Marks] | None:
    """Return the reader of a format; None for a folder of mask files.

    Raises:
        InputError: there is nothing that could be read.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        by_suffix = {".json": read_coco, ".xml": read_cvat}
        if path.suffix.lower() not in by_suffix:
            raise InputError(f"{path}: give a folder of masks or labels, or a file of COCO (.json) or CVAT (.xml)")
        return by_suffix[path.suffix.lower()]
    if any((path / name).exists() for name in ("data.yaml", "labels")) or list(path.glob("*.txt")):
        return read_yolo
    if not _mask_files(path):
        raise InputError(f"{path}: holds no masks (PNG), no labels of YOLO, and is no file of COCO or CVAT")
    return None


def _mask_files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in _MASKS and not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())


def _read_files(
    folder: Path, frame_size: tuple[int, int], frames: _Frames, resize: Resize, max_pixels: int
) -> LabelSet:
    """Read a folder of mask files, one for each frame; numbers and colours mean the same objects in all of them."""
    files = {at: file for file in _mask_files(folder) if (at := frames.index_of(file.name)) is not None}
    return LabelSet(read_mask_files(folder, files, frame_size, resize, max_pixels))


def _drawn(
    path: Path,
    marks: Marks,
    frame_size: tuple[int, int],
    frames: _Frames,
    resize: Resize,
    max_pixels: int,
) -> LabelSet:
    """Draw what is marked: one label map for each frame, in which later marks lie over earlier ones."""
    for note in marks.notes:
        _log.warning("%s: %s", path, note)
    marked: dict[int, list[Marked]] = {at: [] for frame in marks.empty if (at := frames.index_of(frame)) is not None}
    for mark in marks.marked:
        at = frames.index_of(mark.frame)
        if at is not None:
            marked.setdefault(at, []).append(mark)
    ids = _numbered(path, marked)
    masks = {}
    for index, shown in marked.items():
        size, *others = sorted({mark.size for mark in shown if mark.size}) or [frame_size]
        if others or min(size) < 1:
            raise InputError(f"{path}: frame {index} has no certain size: {', '.join(map(size_text, (size, *others)))}")
        check_pixels(path, size, max_pixels)
        labels = np.zeros(size, np.uint8)
        for mark in shown:
            labels[mark.draw(size)] = ids[_key(mark, ids)]
        labels = fit_labels(f"{path}, frame {index}", labels, frame_size, resize)
        masks[index] = FirstMask(labels, object_ids_of(labels))
    names = {ids[_key(mark, ids)]: mark.label for shown in marked.values() for mark in shown if mark.label}
    return LabelSet(masks, names)


_Key = tuple[str, int | str, int | str]
"""What tells an object from others: how, by which value, and its class."""


def _key(mark: Marked, ids: Mapping[_Key, int]) -> _Key:
    """Return by what an object is known: its track and class, else its class, else its place in the only frame."""
    keys: Iterable[_Key] = (
        ("track", mark.track or 0, mark.kind),
        ("class", mark.kind, mark.kind),
        ("place", mark.place, mark.kind),
    )
    return next(key for key in keys if key in ids)


def _numbered(path: Path, frames: Mapping[int, Sequence[Marked]]) -> dict[_Key, int]:
    """Give each object its number: that of the labels if it can be an object's, else counted from 1.

    Raises:
        InputError: nothing says which object of one frame is which of another, or there are too many.
    """
    every = [mark for _, shown in sorted(frames.items()) for mark in shown]
    several = [(at, mark) for at, shown in sorted(frames.items()) for mark in shown if _shares_class(mark, shown)]
    keys: list[_Key]
    if all(mark.track is not None for mark in every):
        keys = [("track", mark.track or 0, mark.kind) for mark in every]
    elif not several:
        keys = [("class", mark.kind, mark.kind) for mark in every]
    elif sum(1 for shown in frames.values() if shown) == 1:
        keys = [("place", mark.place, mark.kind) for mark in every]
    else:
        at, mark = several[0]
        raise InputError(
            f"{path}: frame {at} shows {mark.label or mark.kind} several times, and nothing says which is which in the "
            "other frames; give tracks (track_id, group_id) or a class for each object"
        )
    found = list(dict.fromkeys(keys))
    check_object_count(str(path), len(found))
    values = [value for _, value, _ in found]
    if len({*values}) < len(values):
        _log.warning("%s: a track in several classes is an object in each, so objects are counted from 1", path)
    elif all(isinstance(each, int) and 1 <= each <= MAX_OBJECT_ID for each in values):
        return {key: int(key[1]) for key in found}
    return {key: number for number, key in enumerate(found, start=1)}


def _shares_class(mark: Marked, shown: Iterable[Marked]) -> bool:
    return any(other is not mark and other.kind == mark.kind for other in shown)
