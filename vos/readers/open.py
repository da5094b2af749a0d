"""Opens videos, image folders and streams, each by the backend for it.

The module of a backend offers ``open_source(path, max_pixels) -> Source`` and is imported on first use.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Literal

from ..errors import InputError, parameter
from .address import Address, parse_address
from .limits import MAX_PIXELS
from .source import SeekableSource, Source, SourceReader, check_range

BACKENDS = {"pyav": ".pyav", "decord": ".decord"}
"""Backends for video files: name and module. Folders always go to ``.images``."""


def open_reader(
    source: str | Path,
    *,
    backend: Literal["pyav", "decord"] = "pyav",
    start: int = 0,
    max_frames: int | None = None,
    stride: int = 1,
    live: bool = False,
    raw: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> SourceReader:
    """Open a video file, a folder of images, or a stream.

    Args:
        source: a video file, a folder of images, or a camera's number, a network address or ``-``
            for standard input, see :mod:`.address`.
        backend: reads video files; folders and streams have their own.
        start: index of the first frame of the source to deliver.
        max_frames: largest number of frames to deliver; None for all.
        stride: deliver every ``stride``-th frame from ``start`` on.
        live: for a stream only: drop frames rather than fall behind, and reconnect if it breaks.
        raw: format of standard input if it is bare rgb24 pixels, ``WxH`` or ``WxH@FPS``.
        max_pixels: larger frames are refused before memory is taken for them.

    Raises:
        InputError: the source is missing, unreadable, too large or no video, or an option is out of range.
    """
    check_range(start, max_frames, stride)
    address = parse_address(source, raw)
    if address is not None:
        _check_reads_streams(backend, address)
        from .live import LiveReader, StreamSource

        stream = StreamSource(address, live, max_pixels)
        reader = LiveReader if live else SourceReader
        return reader(address.name, stream, start=start, max_frames=max_frames, stride=stride)
    if live:
        raise InputError(
            f"{source}: {parameter('live')} is for cameras, network addresses and standard input, not for files"
        )
    opened = open_source(source, backend, max_pixels)
    return SourceReader(str(source), opened, start=start, max_frames=max_frames, stride=stride)


def open_source(
    source: str | Path, backend: Literal["pyav", "decord"] = "pyav", max_pixels: int = MAX_PIXELS
) -> Source:
    """Open a video file by a backend, or a folder of images.

    Raises:
        InputError: it is missing, unreadable or no video, or the backend is unknown.
    """
    path = _readable(source)
    if path.is_dir():
        module = ".images"
    elif backend in BACKENDS:
        module = BACKENDS[backend]
    else:
        raise InputError(f"reader {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    opened: Source = importlib.import_module(module, __package__).open_source(path, max_pixels)
    return opened


def open_seekable_source(source: str | Path, max_pixels: int = MAX_PIXELS) -> SeekableSource:
    """Open a video file or a folder of images by a backend that can start in the middle.

    Raises:
        InputError: it is missing, unreadable or no video.
    """
    path = _readable(source)
    if path.is_dir():
        from .images import ImagesSource

        return ImagesSource(path, max_pixels)
    from .pyav import PyAVSource

    return PyAVSource(path, max_pixels)


def _check_reads_streams(backend: str, address: Address) -> None:
    if backend != "pyav":
        raise InputError(f"{address.name}: the reader {backend} reads files only; leave out {parameter('reader')}")


def _readable(source: str | Path) -> Path:
    """Check that a file or folder is there, may be read and is not empty.

    Raises:
        InputError: it is not.
    """
    path = Path(source)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read (permission denied); check the permissions")
    if path.is_file() and size == 0:
        raise InputError(f"{path}: is empty (0 bytes); copy or download it again")
    return path
