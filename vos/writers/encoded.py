"""Encodes videos frame by frame, under a temporary name until they are complete; used by the video outputs."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from ..errors import OutputError
from ..files import cannot_write, output_errors, partial_path
from .sound import Soundtrack

_log = logging.getLogger(__name__)

_H264_ENCODERS = ("libx264", "libopenh264")
"""FFmpeg's encoders of H.264, the better one first."""

_CLOCK = 60_000
"""Most ticks per second of the files' time base; MPEG-4 Part 2 allows 65 535 at most."""

_LONGEST_GAP_S = 3600
"""Longest time between two frames, seconds. MP4 stores it in 32 bits of ticks."""

_ROUNDED_S = 0.001
"""Most that a container which counts in milliseconds, such as WebM, moves the time between two frames."""

FALLBACK_FPS = 24.0
"""Frames per second of a source that states none, such as a folder of images."""

_BT709 = 1
"""FFmpeg's number of the colour space BT.709, of its primaries, its transfer function and the usual range."""

_FULL_RANGE = 2
"""FFmpeg's number of the range 0 to 255."""


@dataclass(frozen=True)
class Encoding:
    """How frames become a video, in FFmpeg's terms.

    Attributes:
        encoder: name of the encoder.
        pixels: pixel format of the file.
        options: options of the encoder; empty: a bit rate that follows the frame size is set instead.
        container: options of the container format.
        lossless: keep all values, in the full range of the pixel format; needs no even sides.
    """

    encoder: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    lossless: bool = False


PRORES_4444 = Encoding("prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"})
"""Video with transparency, for editing."""

VP9_ALPHA = Encoding(
    "libvpx-vp9", "yuva420p", {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "auto-alt-ref": "0"}
)
"""Video with transparency, for browsers."""


FFV1_GREY = Encoding("ffv1", "gray", {"level": "3", "slicecrc": "1"}, {"fflags": "+bitexact"}, lossless=True)
"""Grey video without any loss, for archives and compositors; a Matroska file has random numbers unless it is exact."""


def h264() -> Encoding:
    """Return the encoding that any browser plays, by the encoder that this PyAV has; MPEG-4 Part 2 if it has none."""
    name = _h264_encoder()
    options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {}
    return Encoding(name, options=options, container={"movflags": "+faststart"})


class VideoFile:
    """Encodes one video; frames keep the times of the source, shifted so that the first is at 0.

    Times that a container has rounded to milliseconds return to the even grid of the frame rate, so that the video has
    the rate and the length of its source. An odd width or height is padded by one pixel, as 4:2:0 needs even ones.

    Args:
        path: of the finished file.
        encoding: how the frames are encoded.
        fps: frames per second as the source states it, or None.
        size: (H, W) of the frames.
        sound: file whose sound is copied; None: the video is silent.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(
        self, path: Path, encoding: Encoding, *, fps: float | None, size: tuple[int, int], sound: Path | None = None
    ) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._encoding = encoding
        self._pad = (0, 0) if encoding.lossless else (size[0] % 2, size[1] % 2)
        self._rate = Fraction(fps or FALLBACK_FPS).limit_denominator(1001)
        # A whole number of ticks per frame, where that is possible.
        self._clock = _CLOCK // self._rate.numerator * self._rate.numerator or _CLOCK
        self._sound = sound
        self._soundtrack: Soundtrack | None = None
        self._start_s: float | None = None
        self._last_pts = -1
        self._failed = self._closed = False
        with output_errors(path):
            try:
                self._container = self._open()
            except av.FFmpegError as error:
                raise cannot_write(path, error) from error
        self._stream = self._add_stream(size[0] + self._pad[0], size[1] + self._pad[1])

    def write(self, pixels: np.ndarray, time_s: float) -> None:
        """Encode one frame.

        Args:
            pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8.
            time_s: presentation time in seconds, as in :class:`~vos.structures.Frame`.

        Raises:
            OutputError: it cannot be written.
        """
        if any(self._pad):
            pixels = np.pad(pixels, ((0, self._pad[0]), (0, self._pad[1]), (0, 0))[: pixels.ndim], mode="edge")
        pixels = np.ascontiguousarray(pixels)
        layout = "gray" if pixels.ndim == 2 else "rgb24" if pixels.shape[2] == 3 else "rgba"
        picture = av.VideoFrame.from_ndarray(pixels, format=layout)
        if layout != self._encoding.pixels:
            # With several threads FFmpeg's conversion to 10 bits with alpha damages pixels where the slices meet.
            picture = picture.reformat(
                format=self._encoding.pixels, dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
            )
        if self._start_s is None:
            self._start_s = time_s
            self._add_sound(time_s)
        picture.time_base = Fraction(1, self._clock)
        picture.pts = self._next_pts(time_s - self._start_s)
        self._encode(picture)

    def close(self) -> None:
        """Finish the video and give it its name; without any frame there is none.

        An error that :meth:`write` raised before is not raised again.

        Raises:
            OutputError: it cannot be finished; no file is left.
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
        if self._soundtrack is not None:
            self._soundtrack.close()
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as late:
            self._failed, error = True, error or cannot_write(self._path, late)
        self._settle(whole=not self._failed and self._last_pts >= 0)
        if error is not None and not failed_before:
            raise error

    def _open(self) -> OutputContainer:
        """Open the container that the packets go to; ``file:`` keeps a name with a colon from being a protocol."""
        return av.open(f"file:{self._partial}", "w", options=self._encoding.container)

    def _settle(self, whole: bool) -> None:
        """Rename the closed file if it is whole, else remove it."""
        if not whole:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
            return
        with output_errors(self._path):
            self._partial.replace(self._path)

    def _encode(self, picture: av.VideoFrame | None) -> None:
        """Encode a picture and write its packets and sound; None: write what is left of both."""
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
            if self._soundtrack is not None:
                ended = self._last_pts / self._clock + (float(1 / self._rate) if picture is None else 0)
                self._soundtrack.write_until(ended)
        except (av.FFmpegError, OSError) as error:
            self._failed = True
            raise cannot_write(self._path, error) from error

    def _add_sound(self, start_s: float) -> None:
        """Add the sound, which begins at a time of the source; nothing may have been written yet."""
        if self._sound is not None:
            self._soundtrack = Soundtrack(self._sound, self._container, start_s)

    def _next_pts(self, since_s: float) -> int:
        """Return the ticks of a frame's time since the first frame: more than the last frame's, by an hour at most."""
        on_grid = float(round(since_s * self._rate) / self._rate)
        if abs(since_s - on_grid) <= _ROUNDED_S:
            since_s = on_grid
        ticks = round(since_s * self._clock)
        self._last_pts = max(self._last_pts + 1, min(ticks, self._last_pts + _LONGEST_GAP_S * self._clock))
        return self._last_pts

    def _add_stream(self, height: int, width: int) -> VideoStream:
        """Add the video stream to the container, with its size, clock and colours."""
        encoding = self._encoding
        stream = self._container.add_stream(encoding.encoder, rate=self._rate, options=encoding.options)
        assert isinstance(stream, VideoStream)  # as all of our encoders are
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.pixels
        context = stream.codec_context
        context.time_base = Fraction(1, self._clock)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _FULL_RANGE if encoding.lossless else _BT709
        if not encoding.options:
            context.bit_rate = max(1_000_000, int(width * height * self._rate * 0.15))
        return stream


def _h264_encoder() -> str:
    """Return the name of the first encoder there is; warn if none is H.264."""
    for name in _H264_ENCODERS:
        with suppress(av.codec.codec.UnknownCodecError):
            av.Codec(name, "w")
            return name
    _log.warning("PyAV has no H.264 encoder; videos are MPEG-4 Part 2, which browsers may not play")
    return "mpeg4"
