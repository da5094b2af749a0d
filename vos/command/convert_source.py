"""Reads a result folder back as results, frame by frame, for ``vos-convert``."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from ..engine.merge import result_of_labels
from ..errors import InputError, parameter
from ..files import frame_png
from ..readers.limits import open_image
from ..readers.open import open_reader
from ..readers.prefetch import read_ahead
from ..readers.source import SourceReader
from ..structures import Frame, Result, object_ids_of
from ..writers.encoded import FALLBACK_FPS
from .same_run import fingerprint
from .saved import read_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Objects:
    """The objects of one frame, as the table has them.

    Attributes:
        time_s: presentation time in seconds, or None.
        scores: confidence of each object by id.
    """

    time_s: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)


class ResultFolder:
    """A folder that ``vos-track`` wrote.

    Args:
        folder: it has ``run.json`` and ``masks/``, and ``objects.csv`` unless ``--save`` left it out.
        video: where the video is now; None: where it was.
        max_pixels: larger frames and masks are refused.

    Attributes:
        count: number of frames.
        names: names of objects by id, as the run was given them.
        start: index in the video of the first frame.
        stride: frames of the video from one frame to the next.

    Raises:
        InputError: it is no such folder.
    """

    def __init__(self, folder: Path, video: Path | None, max_pixels: int) -> None:
        record = read_json(folder / "run.json")
        options = (record or {}).get("options")
        count = (record or {}).get("frames")
        if record is None or not isinstance(options, dict) or not isinstance(count, int):
            raise InputError(f"{folder}: holds no run.json of vos-track; give a folder that vos-track wrote")
        if not (folder / "masks").is_dir():
            raise InputError(
                f"{folder}: has no masks/, as its run was told to save others only; track again with masks"
            )
        self.count = count
        self.names = {int(number): str(name) for number, name in options.get("name") or ()}
        self.start = int(options.get("start") or 0)
        self.stride = int(options.get("stride") or 1)
        self._folder = folder
        self._options = options
        self._frame_names = _texts(record.get("names"))
        self._inputs = record.get("inputs")
        self._max_pixels = max_pixels
        self._video = video

    def video(self) -> Path | None:
        """Return the file or folder of the video, if it is there; log a line if it has changed since."""
        given = str(self._options.get("video", ""))
        places = [self._video] if self._video else [Path(given), self._folder.resolve().parent / Path(given).name]
        if self._options.get("live") or self._options.get("raw"):
            places = places if self._video else []
        found = next((place for place in places if os.path.exists(place)), None)
        digest = self._inputs.get(given) if isinstance(self._inputs, dict) else None
        if found is not None and digest is not None and fingerprint(found) != digest:
            _log.warning("%s: is not the video of this run, or has changed since", found)
        return found

    def open_video(self, found: Path | None) -> SourceReader:
        """Open what :meth:`video` has found, for the frames that were tracked.

        Raises:
            InputError: it is not there any more, or cannot be read.
        """
        if found is None:
            raise InputError(
                f"{self._video or self._options.get('video')}: the video is not there, and its frames are needed; say"
                f" where it is by {parameter('video_file')}"
            )
        options = self._options
        return open_reader(
            found,
            backend=options.get("reader", "pyav"),
            start=self.start,
            stride=self.stride,
            max_frames=options.get("max_frames"),
            max_pixels=self._max_pixels,
        )

    def rate_of(self, reader: SourceReader | None) -> float | None:
        """Return the frames per second of the results: those of the video, else as the table's times have them."""
        if reader is not None:
            return reader.fps / self.stride if reader.fps else None
        times = [(frame, objects.time_s) for frame, objects in self._table() if objects.time_s is not None]
        if len(times) < 2:
            return None
        (first, begin), (last, end) = times[0], times[-1]
        return (last - first) / (end - begin) if end > begin else None

    def results(self, reader: SourceReader | None) -> Iterator[Result]:
        """Yield the results in order.

        Args:
            reader: delivers the frames; None: they are black.

        Raises:
            InputError: a mask is missing or damaged, or does not fit its frame, or the video has too few frames.
        """
        table = self._table()
        entry = next(table, None)
        ids: tuple[int, ...] = ()
        frames = self._black() if reader is None else read_ahead(reader)
        done = 0
        try:
            for frame in frames:
                if done == self.count:
                    break
                labels = self._labels(frame)
                objects = _Objects()
                if entry is not None and entry[0] == frame.index:
                    objects, entry = entry[1], next(table, None)
                if reader is None and objects.time_s is not None:
                    frame = replace(frame, time_s=objects.time_s)
                known = tuple(objects.scores) or ids
                ids = (*known, *(each for each in object_ids_of(labels) if each not in known))
                scores = np.array([objects.scores.get(each, 1.0) for each in ids])
                yield self._with_edges(result_of_labels(frame, ids, labels, scores))
                done += 1
        finally:
            frames.close()
        if done < self.count:
            raise InputError(
                f"{reader.name if reader else self._folder}: has {done} of the {self.count} frames tracked"
            )

    def has_edges(self) -> bool:
        """Tell whether there are cut-outs, which keep soft edges."""
        return (self._folder / "cutout").is_dir()

    def _table(self) -> Iterator[tuple[int, _Objects]]:
        """Yield the frames of ``objects.csv`` with their objects; none without that file.

        Raises:
            InputError: it is damaged.
        """
        path = self._folder / "objects.csv"
        if not path.is_file():
            return
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for frame, lines in groupby(csv.DictReader(file), key=lambda line: int(line["frame"])):
                    rows = list(lines)
                    scores = {int(row["object"]): float(row["confidence"]) for row in rows}
                    yield frame, _Objects(float(rows[0]["time_s"]), scores)
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"{path}: is not the table of a run ({error})") from error

    def _black(self) -> Generator[Frame, None, None]:
        """Yield black frames of the masks' size, with the names of the frames."""
        for index in range(self.count):
            name = self._frame_names[index] if index < len(self._frame_names) else None
            height, width = _png_pixels(frame_png(self._folder / "masks", index, name), self._max_pixels).shape[:2]
            rgb = np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3))
            yield Frame(index, index / FALLBACK_FPS, rgb, name=name)

    def _labels(self, frame: Frame) -> np.ndarray:
        """Read the mask of a frame, (H, W) uint8.

        Raises:
            InputError: it is missing or damaged, or has another size than the frame.
        """
        path = frame_png(self._folder / "masks", frame.index, frame.name)
        labels = _png_pixels(path, self._max_pixels)
        if labels.shape != frame.size:
            height, width = frame.size
            raise InputError(
                f"{path}: {labels.shape[1]} x {labels.shape[0]}, but the video is {width} x {height}; say where the"
                f" video of this run is by {parameter('video_file')}"
            )
        return labels

    def _with_edges(self, result: Result) -> Result:
        """Add the soft edges that a cut-out has kept, if there is one."""
        path = frame_png(self._folder / "cutout", result.frame.index, result.frame.name)
        if not path.is_file():
            return result
        pixels = _png_pixels(path, self._max_pixels)
        return replace(result, opacity=np.ascontiguousarray(pixels[..., 3])) if pixels.ndim == 3 else result


def _png_pixels(path: Path, max_pixels: int) -> np.ndarray:
    """Return the pixels of a PNG of the run.

    Raises:
        InputError: it is missing, damaged or too large.
    """
    try:
        with open_image(path, ("PNG",), max_pixels) as image:
            return np.array(image)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; track again, or with --resume if the run was stopped") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error}); track again") from error


def _texts(values: object) -> Sequence[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
