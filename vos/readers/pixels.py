"""Converts decoded frames to upright 8-bit RGB: colours, transparency, interlacing, turning.

- The matrix (BT.601, 709, 2020) and the range (limited, full) are those that the video states. Without a
  stated matrix, BT.709 is assumed from 1280 x 720 on, as players do, and BT.601 below.
- More than 8 bits are reduced to 8. HDR (PQ, HLG) is tone-mapped first, see :mod:`.tonemap`.
- Transparent pixels are laid on black; colours are taken as straight, not premultiplied.
- Frames that are flagged interlaced go through FFmpeg's ``bwdif``: one frame out for each one in, at the
  same time.
- Pixels that are not square stay as stored.

Used by :mod:`.decoding`; image folders share :func:`on_black`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from ..errors import InputError
from .filters import filter_graph
from .tonemap import HDR_TRANSFERS, ToneMap

_RGB, _BT709, _UNSPECIFIED, _BT601, _BT2020 = 0, 1, 2, 6, 9
"""FFmpeg's numbers of colour matrices."""


@dataclass(frozen=True)
class Turn:
    """The steps that turn stored pixels upright: transpose, then flip top to bottom, then left to right.

    Attributes:
        transpose: swap height and width.
        flip_vertical: turn upside down.
        flip_horizontal: swap left and right.
    """

    transpose: bool = False
    flip_vertical: bool = False
    flip_horizontal: bool = False

    @classmethod
    def from_matrix(cls, a: int, b: int, c: int, d: int) -> Turn:
        """Read off a display matrix, x' = a x + c y, y' = b x + d y; rounded to quarter turns."""
        if abs(b) > abs(a):
            return cls(True, b < 0, c < 0)
        return cls(False, d < 0, a < 0)

    @classmethod
    def of(cls, frame: VideoFrame) -> Turn:
        """Read the display matrix in a frame's side data; without one nothing is turned."""
        matrix = side_data(frame, "DISPLAYMATRIX")
        if matrix is None:
            return cls()
        entries = np.frombuffer(matrix, np.int32)
        return cls.from_matrix(int(entries[0]), int(entries[1]), int(entries[3]), int(entries[4]))

    @property
    def mirrored(self) -> bool:
        """Whether this is more than a rotation."""
        return self.transpose ^ self.flip_vertical ^ self.flip_horizontal

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the upright frame."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Turn (H, W, 3) pixels upright, as a contiguous array."""
        if self.transpose:
            rgb = rgb.transpose(1, 0, 2)
        if self.flip_vertical:
            rgb = rgb[::-1]
        if self.flip_horizontal:
            rgb = rgb[:, ::-1]
        return np.ascontiguousarray(rgb)


class Pixels:
    """Converts the frames of one video; the tone map is set up once for all of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tone_map = ToneMap()

    def upright(self, frame: VideoFrame) -> np.ndarray:
        """Convert a frame to upright RGB, (H, W, 3) uint8.

        Raises:
            InputError: FFmpeg cannot convert such colours.
        """
        turn = Turn.of(frame)
        try:
            return turn.apply(self._rgb(frame))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{self._name}: its colours cannot be converted ({frame.format.name}, matrix {frame.colorspace}: "
                f"{getattr(error, 'strerror', None) or error}); convert it to yuv420p in BT.709"
            ) from error

    def _rgb(self, frame: VideoFrame) -> np.ndarray:
        """Convert a frame to RGB, (H, W, 3) uint8, as it is stored."""
        hdr = frame.color_trc in HDR_TRANSFERS
        if not frame.format.is_rgb and frame.colorspace in (_RGB, _UNSPECIFIED):
            large = frame.width >= 1280 or frame.height >= 720
            frame.colorspace = _BT2020 if hdr else _BT709 if large else _BT601
        if hdr:
            frame = self._tone_map.apply(frame, side_data(frame, "MASTERING_DISPLAY_METADATA"))
        if not any(component.is_alpha for component in frame.format.components):
            return frame.to_ndarray(format="rgb24")
        # One thread: on several, FFmpeg's conversion spoils pixels where their slices meet.
        return on_black(frame.reformat(format="rgba", threads=1).to_ndarray())


def on_black(rgba: np.ndarray) -> np.ndarray:
    """Lay pixels with straight alpha, (H, W, 4) uint8, on black: (H, W, 3) uint8."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    return ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def side_data(frame: VideoFrame, name: str) -> bytes | None:
    """Look up an entry of a frame's side data by FFmpeg's name; None if there is none."""
    # The one that frame.side_data keeps is in a circle with the frame, which only the garbage collector would free.
    entries = SideDataContainer(frame)  # type: ignore[call-arg]
    for place in range(len(entries)):
        entry = entries[place]
        if entry.type.name == name:
            return bytes(entry)
    return None


def _unknown_type(kind: type[Type], number: object) -> Type:
    """Stand in for a type of side data that PyAV does not know, at which it would refuse all that the frame has."""
    unknown = object.__new__(kind)
    unknown._name_ = "UNKNOWN"
    unknown._value_ = number  # type: ignore[assignment]
    return unknown


Type._missing_ = classmethod(_unknown_type)  # type: ignore[assignment]  # asked by an Enum for unknown values


def deinterlaced(frames: Iterable[VideoFrame]) -> Generator[VideoFrame, None, None]:
    """Make frames that are flagged interlaced progressive; the number of frames and their times stay.

    Frames before the first flagged one pass as they are. A new filter is set up where the format changes.
    """
    graph: Graph | None = None
    kind: tuple[int, int, str] | None = None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != kind:
            yield from _pushed(graph, None)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph, kind = filter_graph(frame, "bwdif", mode="send_frame", deint="interlaced"), now
        yield from _pushed(graph, frame)
    if graph is not None:
        yield from _pushed(graph, None)


def _pushed(graph: Graph, frame: VideoFrame | None) -> Generator[VideoFrame, None, None]:
    """Push a frame, or None for the end, into a filter graph, and pull all that comes out."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
