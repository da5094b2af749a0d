"""Frames that are handed over in Python, one by one; :func:`vos.track` reads them as it reads a video."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from PIL import Image

from ..errors import InputError, parameter
from .depth import depth_of
from .images import FOLDER_FPS
from .limits import MAX_PIXELS, check_pixels, size_text
from .pictures import Picture, picture_of
from .source import SourceFrame, SourceReader, check_range

FrameLike = np.ndarray | Image.Image | torch.Tensor
"""A frame as users hand it over: RGB, (H, W, 3) uint8; a tensor may also be (3, H, W)."""

_ACCEPTED = "(H, W, 3) uint8 RGB arrays, PIL images, or (H, W, 3) or (3, H, W) uint8 tensors"


class FramesSource:
    """Frames of an iterable as a :class:`~vos.readers.source.Source`; each is taken when it is due.

    The first is taken at once, as it tells the size. An iterator can be read only once.

    Args:
        frames: the frames.
        fps: frames per second, from which their times follow; None: 24, and ``fps`` is None.
        max_pixels: larger frames are refused.

    Raises:
        InputError: there is no frame, or the first is none of :data:`FrameLike`.
    """

    def __init__(self, frames: Iterable[FrameLike], fps: float | None = None, max_pixels: int = MAX_PIXELS) -> None:
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise InputError(f"{parameter('fps', fps)}: give a number of frames per second above 0")
        self._all = frames
        self._max_pixels = max_pixels
        self._rest = _iterate(frames)
        first = next(self._rest, None)
        if first is None:
            raise InputError(f"{parameter('video')}: there is no frame in it")
        self._opened: Iterator[FrameLike] | None = chain([first], self._rest)
        picture = self._checked(first, 0)
        self._depth = depth_of(picture.values)
        self.fps = fps
        self.size: tuple[int, int] = picture.values.shape[0], picture.values.shape[1]
        self.length: int | None = len(frames) if isinstance(frames, (list, tuple, np.ndarray, torch.Tensor)) else None
        self.damaged: int | None = None

    def frames(self) -> Generator[SourceFrame, None, None]:
        """Deliver all frames.

        Raises:
            InputError: they come from an iterator, which was read before.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            if self._all is self._rest:
                raise InputError(f"{parameter('video')}: frames of an iterator can be read only once")
            opened = _iterate(self._all)
        for index, frame in enumerate(opened):
            yield SourceFrame(index / (self.fps or FOLDER_FPS), partial(self._pixels, frame, index))

    def frame(self, position: int) -> SourceFrame:
        """Take one frame by its index.

        Raises:
            InputError: the frames come from an iterator, in their own order.
        """
        if not isinstance(self._all, (list, tuple, np.ndarray, torch.Tensor)):
            raise InputError(
                f"{parameter('video')}: frames of an iterator come in their own order only; for "
                f"{parameter('both_ways')} give a list or an array of them, or a file"
            )
        return SourceFrame(position / (self.fps or FOLDER_FPS), partial(self._pixels, self._all[position], position))

    def _pixels(self, frame: FrameLike, index: int) -> np.ndarray:
        """Convert a frame to a copy of its own, (H, W, 3) uint8.

        Raises:
            InputError: it is none of :data:`FrameLike`, or does not fit the first.
        """
        picture = self._checked(frame, index)
        size = picture.values.shape[0], picture.values.shape[1]
        if size != self.size:
            raise InputError(
                f"frame {index}: {size_text(size)}, but frame 0 is {size_text(self.size)}; bring all frames to one size"
            )
        return np.array(picture.rgb(self._depth, f"frame {index}"), order="C")

    def _checked(self, frame: object, index: int) -> Picture:
        """Look at one frame.

        Raises:
            InputError: it is none of :data:`FrameLike`, or too large.
        """
        picture = picture_like(frame)
        if picture is None:
            raise InputError(f"frame {index}: is {described(frame)}; frames are {_ACCEPTED}")
        check_pixels(f"frame {index}", (picture.values.shape[0], picture.values.shape[1]), self._max_pixels)
        return picture


def open_frames(
    frames: Iterable[FrameLike],
    *,
    fps: float | None = None,
    start: int = 0,
    max_frames: int | None = None,
    stride: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> SourceReader:
    """Open frames that are handed over in Python; for the other arguments see :func:`vos.readers.open.open_reader`.

    Args:
        frames: the frames; nothing but the first is taken before it is due.
        fps: frames per second, from which their times follow; None for 24.
        start: index of the first frame to deliver.
        max_frames: largest number of frames to deliver; None for all.
        stride: deliver every ``stride``-th frame from ``start`` on.
        max_pixels: larger frames are refused.

    Raises:
        InputError: it is no iterable of frames, there are none, or an option is out of range.
    """
    check_range(start, max_frames, stride)
    source = FramesSource(frames, fps, max_pixels)
    return SourceReader("the frames", source, start=start, max_frames=max_frames, stride=stride)


def _iterate(frames: Iterable[FrameLike]) -> Iterator[FrameLike]:
    try:
        return iter(frames)
    except TypeError as error:
        raise InputError(
            f"{parameter('video')}: is {described(frames)}; "
            f"give a file, a folder, a stream, or an iterable of {_ACCEPTED}"
        ) from error


def picture_like(frame: object) -> Picture | None:
    """Take the pixels of a frame; None: it is none of :data:`FrameLike`."""
    if isinstance(frame, Image.Image):
        return picture_of(frame) if frame.width and frame.height else None
    if isinstance(frame, torch.Tensor):
        if frame.dtype != torch.uint8 or frame.ndim != 3:
            return None
        frame = frame.detach().cpu().numpy()
        if frame.shape[2] != 3:
            frame = frame.transpose(1, 2, 0)
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        return None
    return Picture(frame) if frame.size else None


def described(value: object) -> str:
    """Name the type of a value, of an array also its shape."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    known = f" {tuple(shape)} {dtype}" if isinstance(shape, tuple) and dtype is not None else ""
    return f"of type {type(value).__name__}{known}"
