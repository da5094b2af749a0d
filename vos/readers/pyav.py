"""The backend for video files that decodes with PyAV: mp4, mov, webm, mkv, avi, gif and so on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import av
from av.container import InputContainer

from ..errors import InputError
from .decoding import Decoder, Decoding, Probe, no_video, refuse_text, size_limit, video_stream
from .limits import MAX_PIXELS
from .source import SourceFrame

_log = logging.getLogger(__name__)

_ONE_FRAME_PER_PACKET = (
    "h264",
    "hevc",
    "av1",
    "libdav1d",
    "vp9",
    "libvpx-vp9",
    "mpeg4",
    "mjpeg",
    "prores",
    "ffv1",
    "gif",
)
"""Decoders whose packets hold one shown frame each; VP8, for one, also has packets that are never shown."""

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
"""Kinds of box with which mp4 and mov files begin."""


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Probe:
    """Open a file and decode its first frame, to learn what the file states.

    Raises:
        InputError: it is no video, is damaged, or has no video stream or no frames.
    """
    with _open(path, max_pixels) as container:
        return Decoding(container, str(path), max_pixels=max_pixels).probe


class PyAVSource:
    """A video file as a :class:`~vos.readers.source.SeekableSource`, decoded by PyAV.

    Attributes:
        damaged: number of packets found damaged in the last pass, see :class:`~vos.readers.decoding.Decoding`.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path = path
        self._max_pixels = max_pixels
        stated = probe(path, max_pixels)
        if stated.streams > 1:
            _log.warning(
                "%s: has %d video streams; the one that plays longest is read (number %d)",
                path,
                stated.streams,
                stated.stream,
            )
        self.fps = stated.fps
        self.size = stated.size
        self.length = stated.length
        self.damaged = 0

    def frames(self, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        """Deliver all frames, or those from a key frame at about ``start_s`` seconds on.

        Raises:
            TruncatedVideoError: the file breaks off, or is damaged up to its end.
            InputError: the frame size changes.
        """
        with _open(self._path, self._max_pixels) as container:
            try:
                decoding = Decoding(container, str(self._path), start_s=start_s, max_pixels=self._max_pixels)
            except InputError:
                if start_s > 0:  # no key frame comes after it
                    return
                raise
            try:
                yield from decoding.frames()
            finally:
                self.damaged = decoding.damaged

    def times(self) -> list[float] | None:
        """Read the times of all frames, in seconds, from the packets; None if only decoding can tell them."""
        found: list[int] = []
        with _open(self._path, self._max_pixels) as container:
            stream = video_stream(container, str(self._path), self._max_pixels)
            if stream.codec_context.name not in _ONE_FRAME_PER_PACKET or stream.time_base is None:
                return None
            first = next(Decoder(container, stream, low_delay=False).frames()).pts
            if first is None:
                return None
            with suppress(av.FFmpegError):  # the pass that decodes that far will meet it again
                container.seek(0)
                for packet in container.demux(stream):
                    if packet.is_corrupt and container.format.name != "mpegts":
                        break
                    if packet.size and not packet.is_discard:
                        if packet.pts is None:
                            return None
                        found.append(packet.pts)
            base, start = stream.time_base, stream.start_time or 0
        return [max(0.0, float((pts - start) * base)) for pts in sorted(found) if pts >= first]


def open_source(path: Path, max_pixels: int = MAX_PIXELS) -> PyAVSource:
    """Open a video file.

    Raises:
        InputError: it is no video, is damaged, or has no video stream or no frames.
    """
    return PyAVSource(path, max_pixels)


def _open(path: Path, max_pixels: int) -> InputContainer:
    """Open a container, with decoders limited to frames of ``max_pixels``.

    Files and addresses that a playlist refers to are not followed to the network.

    Raises:
        InputError: it cannot be read, or is no video.
    """
    try:
        options = {"protocol_whitelist": "file", **size_limit(max_pixels)}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: cannot be read (permission denied); check the permissions") from error
        if _head(path)[4:8] in _MP4_BOXES:
            raise InputError(
                f"{path}: is cut off or damaged (its index cannot be read); copy or download it again"
            ) from error
        raise no_video(str(path)) from error
    try:
        refuse_text(container, str(path))
    except InputError:
        container.close()
        raise
    return container


def _head(path: Path) -> bytes:
    """Read the first 12 bytes, which hold the first box of an mp4."""
    try:
        with path.open("rb") as file:
            return file.read(12)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
