"""Keeps the results of one way on the disk, so that a long video takes no more memory than a short one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import OutputError
from ..files import atomic_path, frame_png, make_folder, output_errors
from ..readers.limits import open_image
from ..structures import Frame, Result, alpha
from .merge import result_of_labels

_OBJECTS = "objects"
"""Key of the text in a label map's PNG that holds the time of the frame, the ids of its objects and their scores."""


class KeptResults:
    """A folder with a small PNG for each result: labels, and as text the frame's time, objects and scores.

    It is a :class:`~vos.io_interfaces.Writer`. Files appear whole. The folder is left to the caller.

    Args:
        folder: where the files go; made if need be.
        soft_edges: keep the objects' soft edges, too.

    Attributes:
        soft_edges: whether they are kept.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, soft_edges: bool = False) -> None:
        self._labels, self._opacity = folder / "labels", folder / "opacity"
        self.soft_edges = soft_edges
        make_folder(self._labels)
        if soft_edges:
            make_folder(self._opacity)

    def write(self, result: Result) -> None:
        """Keep one result under the index of its frame, in place of an earlier one.

        Raises:
            OutputError: it cannot be written.
        """
        index = result.frame.index
        if self.soft_edges:
            _save(Image.fromarray(alpha(result)), frame_png(self._opacity, index), "")
        about = {"time_s": result.frame.time_s, "ids": result.object_ids, "scores": result.scores.tolist()}
        _save(Image.fromarray(np.ascontiguousarray(result.labels)), frame_png(self._labels, index), json.dumps(about))

    def close(self) -> None:
        """Do nothing: no file is open between frames."""

    def __contains__(self, index: int) -> bool:
        """Tell whether there is a result of the frame with an index."""
        return frame_png(self._labels, index).exists()

    def read(self, index: int, frame: Frame) -> Result:
        """Return the result that was kept under an index, as one of a frame, its objects by ascending id.

        Raises:
            OutputError: it is missing or damaged, or belongs to a frame of another time.
        """
        path = frame_png(self._labels, index)
        labels, about = _load(path, frame)
        try:
            told = json.loads(about)
            scores, time_s = dict(zip(told["ids"], told["scores"], strict=True)), told["time_s"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path) from error
        if time_s != frame.time_s:
            raise OutputError(
                f"{path}: frame {frame.index} is at {frame.time_s:.3f} s forwards and at {time_s:.3f} s backwards, so "
                "the video is damaged; convert it first"
            )
        ids = tuple(sorted(scores))
        result = result_of_labels(frame, ids, labels, np.array([scores[each] for each in ids], np.float32))
        if not self.soft_edges:
            return result
        opacity, _ = _load(frame_png(self._opacity, index), frame)
        return with_opacity(result, opacity)


def with_opacity(result: Result, opacity: np.ndarray) -> Result:
    """Give a result soft edges, (H, W) uint8, in place of its logits."""
    return Result(
        result.frame, result.object_ids, result.labels, result.boxes, result.areas, result.scores, opacity=opacity
    )


def _save(image: Image.Image, path: Path, text: str) -> None:
    """Write a PNG with a text under a temporary name, then rename it.

    Raises:
        OutputError: it cannot be written; no file is left.
    """
    about = PngImagePlugin.PngInfo()
    about.add_text(_OBJECTS, text)
    with output_errors(path), atomic_path(path) as partial:
        image.save(partial, format="PNG", compress_level=1, pnginfo=about)


def _load(path: Path, frame: Frame) -> tuple[np.ndarray, str]:
    """Read the pixels (H, W) uint8 and the text of a PNG.

    Raises:
        OutputError: it is missing or damaged, or of another size than the frame.
    """
    try:
        with open_image(path, ("PNG",), frame.size[0] * frame.size[1]) as image:
            pixels, text = np.array(image), image.info.get(_OBJECTS)
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise _damaged(path) from error
    if pixels.shape != frame.size or pixels.dtype != np.uint8 or not isinstance(text, str):
        raise _damaged(path)
    return pixels, text


def _damaged(path: Path) -> OutputError:
    return OutputError(f"{path}: missing, or changed since it was written; begin anew with --overwrite")
