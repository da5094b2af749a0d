"""From decoded frames to upright 8-bit RGB: colours, transparency, interlacing, turning.

- The matrix (BT.601, 709, 2020) and the range (limited, full) are those that the video states. One
  that states no matrix is taken as BT.709 from 1280 x 720 on, as players do, else as BT.601.
- More than 8 bits are reduced; HDR (PQ, HLG) is tone-mapped first, see :mod:`.tonemap`.
- Transparency lies on black; colours are taken as not multiplied by it.
- Frames that are flagged interlaced go through FFmpeg's ``bwdif``: one frame out for each one in,
  at the same time.
- Pixels stay as stored where they are not square.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from ..errors import InputError
from .tonemap import HDR_TRANSFERS, ToneMap

_RGB, _BT709, _UNSPECIFIED, _BT601, _BT2020 = 0, 1, 2, 6, 9  # FFmpeg's numbers of matrices


@dataclass(frozen=True)
class Turn:
    """How stored pixels become upright: transpose, then flip rows, then flip columns."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_matrix(cls, a: int, b: int, c: int, d: int) -> Turn:
        """From a display matrix, x' = a x + c y, y' = b x + d y; rounded to quarter turns."""
        if abs(b) > abs(a):
            return cls(True, b < 0, c < 0)
        return cls(False, d < 0, a < 0)

    @classmethod
    def of(cls, frame: VideoFrame) -> Turn:
        """From a frame's side data."""
        matrix = side_data(frame, "DISPLAYMATRIX")
        if matrix is None:
            return cls()
        entries = np.frombuffer(matrix, np.int32)
        return cls.from_matrix(int(entries[0]), int(entries[1]), int(entries[3]), int(entries[4]))

    @property
    def mirrored(self) -> bool:
        """Whether this is more than a rotation."""
        return self.transpose ^ self.flip_rows ^ self.flip_columns

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the upright frame."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Turn (H, W, 3) pixels upright; a contiguous array."""
        if self.transpose:
            rgb = rgb.transpose(1, 0, 2)
        if self.flip_rows:
            rgb = rgb[::-1]
        if self.flip_columns:
            rgb = rgb[:, ::-1]
        return np.ascontiguousarray(rgb)


class Pixels:
    """Converts the frames of one video; what it sets up for the first frame serves the others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tone_map = ToneMap()

    def upright(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB.

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
        hdr = frame.color_trc in HDR_TRANSFERS
        if not frame.format.is_rgb and frame.colorspace in (_RGB, _UNSPECIFIED):
            large = frame.width >= 1280 or frame.height >= 720
            frame.colorspace = _BT2020 if hdr else _BT709 if large else _BT601
        if hdr:
            frame = self._tone_map.apply(frame, side_data(frame, "MASTERING_DISPLAY_METADATA"))
        if not any(component.is_alpha for component in frame.format.components):
            return frame.to_ndarray(format="rgb24")
        # On several threads FFmpeg's conversion spoils pixels where their slices meet.
        return on_black(frame.reformat(format="rgba", threads=1).to_ndarray())


def on_black(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 with straight alpha, laid on black: (H, W, 3) uint8."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return rgb
    return ((rgb.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def side_data(frame: VideoFrame, name: str) -> bytes | None:
    """One entry of a frame's side data by FFmpeg's name, or None."""
    for place in range(len(frame.side_data)):
        entry = frame.side_data[place]
        if entry.type.name == name:
            return bytes(entry)
    return None


def deinterlaced(frames: Iterable[VideoFrame]) -> Generator[VideoFrame, None, None]:
    """The frames, those flagged interlaced made progressive; their number and times stay."""
    graph, kind = None, None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != kind:
            yield from _pushed(graph, None)
            graph = None
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph, kind = _deinterlacer(frame), now
        yield from _pushed(graph, frame)
    if graph is not None:
        yield from _pushed(graph, None)


def _deinterlacer(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _pushed(graph: Graph, frame: VideoFrame | None) -> Generator[VideoFrame, None, None]:
    """Give a frame, or the end, to a filter graph; what comes out of it."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
