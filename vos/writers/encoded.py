"""Video files as outputs: encoded frame by frame, under a temporary name until they are whole."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from ..errors import OutputError
from ..files import output_errors, partial_path

_log = logging.getLogger(__name__)

_H264_ENCODERS = ("libx264", "libopenh264")
_CLOCK = 60_000  # ticks per second; MPEG-4 Part 2 takes no more than 65 535
_LONGEST_GAP = 3600 * _CLOCK  # mp4 counts those between two frames in 32 bits
_FALLBACK_FPS = 24.0  # for folders of images
_BT709 = 1  # FFmpeg's number of this colour space, primaries and transfer


@dataclass(frozen=True)
class Encoding:
    """How frames become a video.

    Attributes:
        encoder: FFmpeg's name.
        pixels: FFmpeg's pixel format of the file.
        options: of the encoder.
        container: of the file's writer.
    """

    encoder: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)


PRORES_4444 = Encoding("prores_ks", "yuva444p10le", {"profile": "4444", "vendor": "apl0"})
"""With transparency, for editing."""
VP9_ALPHA = Encoding(
    "libvpx-vp9", "yuva420p", {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "auto-alt-ref": "0"}
)
"""With transparency, for browsers."""


def h264() -> Encoding:
    """What any browser plays, by the encoder that this PyAV has."""
    name = _h264_encoder()
    options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {}
    return Encoding(name, options=options, container={"movflags": "+faststart"})


class VideoFile:
    """One video; frames keep the times of the source, from 0 on.

    An odd width or height is padded by one pixel, as 4:2:0 needs even ones.
    """

    def __init__(self, path: Path, encoding: Encoding, *, fps: float | None, size: tuple[int, int]) -> None:
        self._path = path
        self._partial = partial_path(path)
        self._encoding = encoding
        self._pad = size[0] % 2, size[1] % 2
        self._fps = fps or _FALLBACK_FPS
        self._start_s: float | None = None
        self._last_pts = -1
        self._failed = self._closed = False
        with output_errors(path):
            try:
                self._container = self._open()
            except av.FFmpegError as error:
                raise _failure(path, error) from error
        self._stream = self._add_stream(size[0] + self._pad[0], size[1] + self._pad[1])

    def write(self, pixels: np.ndarray, time_s: float) -> None:
        """Encode one frame.

        Args:
            pixels: (H, W, 3) RGB or (H, W, 4) RGBA, uint8.
            time_s: when it is shown.

        Raises:
            OutputError: it cannot be written.
        """
        if any(self._pad):
            pixels = np.pad(pixels, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        pixels = np.ascontiguousarray(pixels)
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24" if pixels.shape[2] == 3 else "rgba")
        # On several threads FFmpeg's conversion to 10 bits with alpha spoils pixels where their slices meet.
        picture = picture.reformat(
            format=self._encoding.pixels, dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
        )
        picture.time_base = Fraction(1, _CLOCK)
        picture.pts = self._next_pts(time_s)
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
        self._settle(whole=not self._failed and self._last_pts >= 0)
        if error is not None and not failed_before:
            raise error

    def _open(self) -> OutputContainer:
        return av.open(str(self._partial), "w", options=self._encoding.container)

    def _settle(self, whole: bool) -> None:
        """Give the closed file its name, or remove it."""
        if not whole:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)
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
        """Ticks since the first frame, later than those of the last frame in any case, by an hour at most."""
        self._start_s = time_s if self._start_s is None else self._start_s
        ticks = round((time_s - self._start_s) * _CLOCK)
        self._last_pts = max(self._last_pts + 1, min(ticks, self._last_pts + _LONGEST_GAP))
        return self._last_pts

    def _add_stream(self, height: int, width: int) -> av.VideoStream:
        encoding = self._encoding
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = self._container.add_stream(encoding.encoder, rate=rate, options=encoding.options)
        stream.width, stream.height, stream.pix_fmt = width, height, encoding.pixels
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        if not encoding.options:
            context.bit_rate = max(1_000_000, int(width * height * self._fps * 0.15))
        return stream


def _h264_encoder() -> str:
    for name in _H264_ENCODERS:
        with suppress(av.codec.codec.UnknownCodecError):
            av.Codec(name, "w")
            return name
    _log.warning("PyAV has no H.264 encoder; videos are MPEG-4 Part 2, which browsers may not play")
    return "mpeg4"


def _failure(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{path}: cannot be written ({reason}); free some space there or choose another folder")
