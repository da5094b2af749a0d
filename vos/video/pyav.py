"""Reads video files through PyAV: mp4, mov, webm, mkv, avi, gif."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import InputError, TruncatedVideoError
from .reader import SourceFrame

_FALLBACK_FPS = 24.0
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")


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


@dataclass(frozen=True)
class Probe:
    """What a file states about its video, with the first frame decoded.

    Attributes:
        fps: mean frames per second, or None.
        size: (H, W) of the upright frames.
        length: number of frames, or None.
        duration_s: length of the video from its first frame, or None.
        turn: makes frames upright.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None
    duration_s: float | None
    turn: Turn

    def broke_off(self, frames: int, end_s: float) -> bool:
        """Whether ``frames`` frames that end at ``end_s`` are clearly less than was stated.

        A stated count alone proves nothing: a clip trimmed by an edit list keeps the count of
        the whole. A stated duration alone may be a rounded one.
        """
        interval = 1 / (self.fps or _FALLBACK_FPS)
        if self.length is not None:
            few = frames < self.length - 2
            return few and (self.duration_s is None or end_s < self.duration_s - 1.5 * interval)
        return self.duration_s is not None and end_s < self.duration_s - max(0.5, 3 * interval)


def probe(path: Path) -> Probe:
    """Open a file and decode its first frame.

    Raises:
        InputError: it is no video, is damaged, or has no video stream or no frames.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        decoder = _Decoder(container, stream)
        first = next(decoder.frames(), None)
        if first is None:
            why = f" ({decoder.failure})" if decoder.failure else ""
            raise InputError(
                f"{path}: contains no frames that can be decoded{why}; it may be cut off, so copy it again"
            )
        turn = _turn(first)
        rate = stream.average_rate or stream.guessed_rate
        return Probe(
            fps=float(rate) if rate else None,
            size=turn.size(first.height, first.width),
            length=stream.frames or None,
            duration_s=_stated_duration(container, stream),
            turn=turn,
        )


class PyAVSource:
    """A video file read by PyAV; see :class:`~vos.video.reader.Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._probe = probe(path)
        self.fps = self._probe.fps
        self.size = self._probe.size
        self.length = self._probe.length

    def frames(self) -> Generator[SourceFrame, None, None]:
        """All frames.

        Raises:
            TruncatedVideoError: the file breaks off or is damaged in the middle.
            InputError: the frame size changes.
        """
        count, end_s = 0, 0.0
        with _open(self._path) as container:
            stream = _video_stream(container, self._path)
            decoder = _Decoder(container, stream)
            for frame in decoder.frames():
                time_s, end_s = self._times(frame, stream, end_s)
                self._check_size(frame, count)
                yield SourceFrame(time_s, lambda frame=frame: _upright(frame))
                count += 1
        if decoder.failure or self._probe.broke_off(count, end_s):
            raise truncated(self._path, count, end_s, self._probe, decoder.failure)

    def _times(self, frame: VideoFrame, stream: VideoStream, expected_s: float) -> tuple[float, float]:
        """Start and end of a frame in seconds; without a time of its own it follows the last."""
        time_base = frame.time_base or stream.time_base
        interval = 1 / (self.fps or _FALLBACK_FPS)
        if frame.pts is None or time_base is None:
            return expected_s, expected_s + interval
        time_s = max(0.0, float((frame.pts - (stream.start_time or 0)) * time_base))
        return time_s, time_s + (float(frame.duration * time_base) if frame.duration else interval)

    def _check_size(self, frame: VideoFrame, index: int) -> None:
        size = _turn(frame).size(frame.height, frame.width)
        if size != self.size:
            raise InputError(
                f"{self._path}: frame {index} is {size[1]} x {size[0]}, but those before are "
                f"{self.size[1]} x {self.size[0]}; convert the video to one size"
            )


def open_source(path: Path) -> PyAVSource:
    """Open a video file.

    Raises:
        InputError: it is no video, is damaged, or has no video stream or no frames.
    """
    return PyAVSource(path)


def truncated(
    path: Path, frames: int, end_s: float, stated: Probe, failure: str | None = None
) -> TruncatedVideoError:
    """The error for a video that broke off after ``frames`` frames."""
    promised = ""
    if stated.length is not None:
        promised = f" of {stated.length}"
    elif stated.duration_s is not None:
        promised = f" ({end_s:.1f} of {stated.duration_s:.1f} s)"
    reason = f" ({failure})" if failure else ""
    return TruncatedVideoError(
        f"{path}: breaks off after {frames} frames{promised}{reason}; the frames before that were "
        "used; copy or download the file again for the rest",
        frames,
    )


class _Decoder:
    """Decodes a stream up to its end or to the first damage, which ``failure`` then describes."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.failure: str | None = None
        self._container = container
        self._stream = stream
        stream.thread_type = "AUTO"

    def frames(self) -> Generator[VideoFrame, None, None]:
        """All frames that can be decoded, in presentation order."""
        count = 0
        # MPEG-TS flags packets for any lost bit; elsewhere the flag means that the file ends inside.
        trust_flag = self._container.format.name != "mpegts"
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt and trust_flag:
                    self.failure = "the file ends inside a frame"
                    break
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    if count:
                        raise
                    continue  # as after a cut that does not start at a key frame
                for frame in decoded:
                    count += 1
                    yield frame
        except av.FFmpegError as error:
            self.failure = error.strerror or str(error)
        if self.failure:
            yield from self._held_back()

    def _held_back(self) -> Generator[VideoFrame, None, None]:
        """Frames from before the damage that the decoder still holds."""
        try:
            held = self._stream.codec_context.decode(None)
        except av.FFmpegError:
            return
        yield from held


def _open(path: Path) -> InputContainer:
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: cannot be read (permission denied); check the permissions") from error
        if path.open("rb").read(12)[4:8] in _MP4_BOXES:
            raise InputError(
                f"{path}: is cut off or damaged (its index cannot be read); copy or download it again"
            ) from error
        raise _no_video(path) from error
    if container.format.name == "tty":  # text, shown as a terminal would
        container.close()
        raise _no_video(path)
    return container


def _no_video(path: Path) -> InputError:
    return InputError(f"{path}: is not a video that can be read; give an mp4, mov, webm, mkv, avi or gif")


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams:
        raise InputError(f"{path}: contains no frames (it has no streams); record or export it again")
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams}))
    raise InputError(f"{path}: has no video stream (only {kinds}); give a file with pictures")


def _stated_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds from the first frame to the end of the last, as the file states them."""
    if stream.time_base is None:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    start_s = float((stream.start_time or 0) * stream.time_base)
    tag = re.match(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start_s
    if container.duration and len(container.streams) == 1:  # else it may be that of the sound
        return container.duration / av.time_base - start_s
    return None


def _turn(frame: VideoFrame) -> Turn:
    for place in range(len(frame.side_data)):
        entry = frame.side_data[place]
        if entry.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(entry), np.int32)
            return Turn.from_matrix(int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4]))
    return Turn()


def _upright(frame: VideoFrame) -> np.ndarray:
    return _turn(frame).apply(frame.to_ndarray(format="rgb24"))
