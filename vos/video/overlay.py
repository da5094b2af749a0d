"""Writes ``overlay.mp4``: the frames with the objects tinted, outlined and numbered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import OutputError
from ..structures import Frame, Result
from .masks import davis_palette
from .writer import output_errors, partial_path

_log = logging.getLogger(__name__)

_ENCODERS = ("libx264", "libopenh264")
_CLOCK = 60_000  # ticks per second; MPEG-4 Part 2 takes no more than 65 535
_FALLBACK_FPS = 24.0  # for folders of images
_BT709 = 1  # FFmpeg's number of this colour space, primaries and transfer


def draw_overlay(
    rgb: np.ndarray, labels: np.ndarray, object_ids: Sequence[int], boxes: np.ndarray
) -> np.ndarray:
    """Tint each object half in its palette colour, outline it and write its number at its box.

    Args:
        rgb: (H, W, 3) uint8; left as it is.
        labels: (H, W) uint8, 0 background, else the object id.
        object_ids: ids in the order of ``boxes``.
        boxes: (N, 4) inclusive; a box of -1 is not numbered.

    Returns:
        (H, W, 3) uint8.
    """
    out = rgb.copy()
    rows = np.flatnonzero(labels.any(axis=1))
    columns = np.flatnonzero(labels.any(axis=0))
    if len(rows):
        region = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        width = 1 if min(labels.shape) < 360 else 2
        _tint(out[region], labels[region], _edges(labels, width)[region])
    size = max(10, round(min(labels.shape) / 22))
    for object_id, box in zip(object_ids, boxes, strict=True):
        if box[2] >= 0:
            _stamp(out, _number(int(object_id), size), box)
    return out


class OverlayWriter:
    """An H.264 video for any browser; frames keep the times of the source, from 0 on.

    An odd width or height is padded by one pixel, as H.264 in 4:2:0 needs even ones.
    """

    def __init__(self, path: Path, *, fps: float | None, size: tuple[int, int]) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._pad = size[0] % 2, size[1] % 2
        self._fps = fps or _FALLBACK_FPS
        self._start_s: float | None = None
        self._last_pts = -1
        self._failed = self._closed = False
        with output_errors(path):
            try:
                self._container = av.open(str(self._partial), "w", options={"movflags": "+faststart"})
            except av.FFmpegError as error:
                raise _failure(path, error) from error
        self._stream = self._add_stream(size[0] + self._pad[0], size[1] + self._pad[1])

    def write(self, result: Result) -> None:
        """Draw and encode one frame.

        Raises:
            OutputError: it cannot be written.
        """
        frame = result.frame
        drawn = draw_overlay(frame.rgb, result.labels, result.object_ids, result.boxes)
        if any(self._pad):
            drawn = np.pad(drawn, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        picture.time_base = Fraction(1, _CLOCK)
        picture.pts = self._next_pts(frame.time_s)
        self._encode(picture)

    def close(self) -> None:
        """Finish the video and give it its name; without any frame there is none.

        Raises:
            OutputError: it cannot be finished; it is then not there.
        """
        if self._closed:
            return
        self._closed = True
        failed_before, error = self._failed, None
        try:
            if self._last_pts >= 0 and not self._failed:
                self._encode(None)
        except OutputError as late:
            error = late
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as late:
            self._failed, error = True, error or _failure(self._path, late)
        if self._failed or self._last_pts < 0:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
            if error is not None and not failed_before:
                raise error
            return
        with output_errors(self._path):
            self._partial.replace(self._path)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            self._failed = True
            raise _failure(self._path, error) from error

    def _next_pts(self, time_s: float) -> int:
        """Ticks since the first frame, later than those of the last frame in any case."""
        self._start_s = time_s if self._start_s is None else self._start_s
        self._last_pts = max(self._last_pts + 1, round((time_s - self._start_s) * _CLOCK))
        return self._last_pts

    def _add_stream(self, height: int, width: int) -> av.VideoStream:
        name = _encoder()
        rate = Fraction(self._fps).limit_denominator(1001)
        options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {}
        stream = self._container.add_stream(name, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        if name != "libx264":
            context.bit_rate = max(1_000_000, int(width * height * self._fps * 0.15))
        return stream


def open_writer(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]
) -> OverlayWriter:
    """Write to ``out/overlay.mp4``.

    Raises:
        OutputError: the file cannot be made.
    """
    return OverlayWriter(out / "overlay.mp4", fps=fps, size=first_frame.size)


def _encoder() -> str:
    for name in _ENCODERS:
        with suppress(av.codec.codec.UnknownCodecError):
            av.Codec(name, "w")
            return name
    _log.warning("PyAV has no H.264 encoder; overlay.mp4 is MPEG-4 Part 2, which browsers may not play")
    return "mpeg4"


def _failure(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"{path}: cannot be written ({reason}); free some space there or choose another folder"
    )


def _tint(region: np.ndarray, labels: np.ndarray, edges: np.ndarray) -> None:
    """Colour a part of the frame in place."""
    inside = labels > 0
    half = davis_palette() >> 1
    region[inside] = (region[inside] >> 1) + half[labels[inside]]
    region[edges] = _bright()[labels[edges]]


@cache
def _bright() -> np.ndarray:
    """The palette with each colour at its full brightness, (256, 3) uint8: for outlines."""
    palette = davis_palette().astype(np.float32)
    peak = np.maximum(palette.max(axis=1, keepdims=True), 1)
    return (palette * (255 / peak)).astype(np.uint8)


def _edges(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels of an object within ``width`` of another label, left, right, above or below: (H, W) bool."""
    edges = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        across = labels[:, step:] != labels[:, :-step]
        edges[:, step:] |= across
        edges[:, :-step] |= across
        down = labels[step:] != labels[:-step]
        edges[step:] |= down
        edges[:-step] |= down
    return edges & (labels > 0)


@cache
def _number(object_id: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """White digits with a dark outline: colour (h, w, 3) uint8 and opacity (h, w, 1) uint16, 0 to 255."""
    font = ImageFont.load_default(size)
    stroke = max(1, size // 9)
    text = str(object_id)
    x0, y0, x1, y1 = (round(edge) for edge in ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
        (0, 0), text, font=font, stroke_width=stroke
    ))
    image = Image.new("RGBA", (x1 - x0 + 1, y1 - y0 + 1))
    ImageDraw.Draw(image).text(
        (-x0, -y0), text, font=font, fill=(255, 255, 255, 255), stroke_width=stroke, stroke_fill=(0, 0, 0, 255)
    )
    pixels = np.array(image)
    return pixels[..., :3], pixels[..., 3:].astype(np.uint16)


def _stamp(out: np.ndarray, stamp: tuple[np.ndarray, np.ndarray], box: np.ndarray) -> None:
    """Put a number above the box, or inside at its top where the frame ends; in place."""
    colour, opacity = stamp
    height, width = out.shape[:2]
    tall, wide = min(colour.shape[0], height), min(colour.shape[1], width)
    top = int(box[1]) - tall - 2
    top = min(int(box[1]) + 2 if top < 0 else top, height - tall)
    left = min(max(int(box[0]), 0), width - wide)
    place = out[top : top + tall, left : left + wide]
    weight = opacity[:tall, :wide]
    place[:] = (colour[:tall, :wide] * weight + place * (255 - weight)) // 255
