"""Opens videos and image folders; the one place that applies start, stride and max_frames.

A backend module offers ``open_source(path, max_pixels) -> Source`` and is imported on first use.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .address import Address, parse_address
from .limits import MAX_PIXELS
from .source import Source, SourceReader

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
    """Open a video file, a folder of numbered images, or a stream.

    Args:
        source: a video file, a folder of images, or a camera's number, a network address or ``-``
            for standard input, see :mod:`.address`.
        backend: reads video files; folders have their own.
        start: index of the first frame of the source to deliver.
        max_frames: deliver at most so many; None for all.
        stride: deliver every ``stride``-th frame from ``start`` on.
        live: of a stream: drop frames rather than fall behind, and open it again if it breaks.
        raw: standard input is bare rgb24 pixels, ``WxH`` or ``WxH@FPS``.
        max_pixels: larger frames are refused before memory is taken for them.

    Raises:
        InputError: the source is missing, unreadable, too large or no video, or an option is out of range.
    """
    if start < 0 or stride < 1 or (max_frames is not None and max_frames < 1):
        raise InputError(
            f"start {start}, stride {stride}, max_frames {max_frames}: "
            "start must be 0 or more, stride and max_frames 1 or more"
        )
    address = parse_address(source, raw)
    if address is not None:
        return _open_stream(address, backend, live, max_pixels, start=start, max_frames=max_frames, stride=stride)
    if live:
        raise InputError(f"{source}: --live is for cameras, network addresses and standard input, not for files")
    opened = open_source(source, backend, max_pixels)
    return SourceReader(str(source), opened, start=start, max_frames=max_frames, stride=stride)


def open_source(
    source: str | Path, backend: Literal["pyav", "decord"] = "pyav", max_pixels: int = MAX_PIXELS
) -> Source:
    """Open a video file or a folder of images for a reader.

    Raises:
        InputError: it is missing, unreadable or no video, or the backend is unknown.
    """
    path = Path(source)
    _check_readable(path)
    if path.is_dir():
        module = ".images"
    elif backend in BACKENDS:
        module = BACKENDS[backend]
    else:
        raise InputError(f"reader {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    return importlib.import_module(module, __package__).open_source(path, max_pixels)


def _open_stream(address: Address, backend: str, live: bool, max_pixels: int, **options: int | None) -> SourceReader:
    if backend != "pyav":
        raise InputError(f"{address.name}: the reader {backend} reads files only; leave out --reader")
    from .live import LiveReader, StreamSource

    return (LiveReader if live else SourceReader)(address.name, StreamSource(address, live, max_pixels), **options)


def _check_readable(path: Path) -> None:
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
