"""The backend for video files that decodes with PyAV: mp4, mov, webm, mkv, avi, gif and so on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from ..errors import InputError
from .decoding import Decoder, Decoding, Probe, no_video, refuse_text, size_limit, video_stream
from .depth import depth_of
from .limits import MAX_PIXELS
from .pictures import read_picture
from .pixels import Turn
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

_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF or BigTIFF."""


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Probe:
    """Open a file and decode its first frame, to learn what the file states.

    Raises:
        InputError: it is no video, is damaged, or has no video stream or no frames.
    """
    with _open(path, max_pixels) as container:
        try:
            return Decoding(container, str(path), max_pixels=max_pixels).probe
        except InputError as error:
            if _is_animated_webp(_head(path)):
                raise InputError(
                    f"{path}: is an animated WebP, which FFmpeg does not decode; save it as a gif or an APNG, or its "
                    "pictures in a folder"
                ) from error
            raise


class PyAVSource:
    """A video file as a :class:`~vos.readers.source.SeekableSource`, decoded by PyAV.

    A TIFF is a video of one frame, which is decoded as in a folder: FFmpeg decodes some kinds wrongly.

    Attributes:
        damaged: number of packets found damaged in the last pass, see :class:`~vos.readers.decoding.Decoding`.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._path = path
        self._max_pixels = max_pixels
        self._still = _tiff(path, max_pixels)
        stated = probe(path, max_pixels) if self._still is None else Probe(None, self._still.shape[:2], 1, None, Turn())
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
        if self._still is not None:
            if start_s <= 0:
                yield SourceFrame(0.0, self._still.copy)
            return
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
        if self._still is not None:
            return [0.0]
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


def _tiff(path: Path, max_pixels: int) -> np.ndarray | None:
    """Decode a TIFF to RGB, (H, W, 3) uint8, as it is in a folder; None: it is another file.

    Raises:
        InputError: it is damaged, too large, or of a kind that is not decoded.
    """
    if _head(path)[:4] not in _TIFF_HEADS:
        return None
    try:
        picture = read_picture(path, max_pixels)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); replace it") from error
    depth = depth_of(picture.values)
    if depth is not None:
        _log.warning("%s: %s", path, depth.describe())
    if picture.several:
        _log.warning("%s: holds several pictures; the first is used", path)
    return picture.rgb(depth, path)


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


def _is_animated_webp(head: bytes) -> bool:
    """Tell by the first bytes of a file whether it is a WebP of several pictures."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21] and head[20] & 2)


def _head(path: Path) -> bytes:
    """Read the first 21 bytes, which hold the first box of an mp4, or what a WebP is."""
    try:
        with path.open("rb") as file:
            return file.read(21)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
