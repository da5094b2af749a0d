"""Opens videos and image folders; the one place that applies start, stride and max_frames.

A backend module offers ``open_source(path, max_pixels) -> Source`` and is imported on first use.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Protocol

import numpy as np

from ..errors import InputError
from ..structures import Frame
from .address import Address, parse_address
from .limits import MAX_PIXELS

_FAULTS = {
    "damaged_packets": "damaged packets",
    "dropped_frames": "frames dropped to keep up",
    "reconnections": "reconnections",
}

BACKENDS = {"pyav": ".pyav", "decord": ".decord"}
"""Backends for video files: name and module. Folders always go to ``.images``."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame as a backend delivers it.

    Attributes:
        time_s: presentation time in seconds from the start of the source.
        load: gives the upright pixels, (H, W, 3) uint8; not called for frames that are skipped.
    """

    time_s: float
    load: Callable[[], np.ndarray]


class Source(Protocol):
    """What a backend offers: all frames of one file or folder.

    Attributes:
        fps: frames per second as stated, or None.
        size: (H, W) of the upright frames.
        length: number of frames as stated, or None.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None

    def frames(self) -> Generator[SourceFrame, None, None]:
        """All frames in presentation order; each call starts again and owns what it opens."""
        ...


class SourceReader:
    """A :class:`~vos.interfaces.Reader` over every ``stride``-th frame of a source.

    Iterating again starts again. ``fps`` is that of the source, whatever the stride.

    Attributes:
        fps: frames per second as the source states it, or None.
        size: (H, W) of the upright frames.
        length: number of frames that will be delivered, as far as the source states its own.
        live: whether frames are dropped rather than falling behind.
    """

    live = False

    def __init__(
        self, name: str, source: Source, *, start: int = 0, max_frames: int | None = None, stride: int = 1
    ) -> None:
        self.name = name
        self.fps = source.fps
        self.size = source.size
        self.length = _delivered(source.length, start, max_frames, stride)
        self._source = source
        self._start = start
        self._stride = stride
        self._max_frames = max_frames
        self._running: Generator[Frame, None, None] | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Frames in presentation order; ``index`` counts from 0, ``time_s`` is the source's.

        Raises:
            TruncatedVideoError: the source broke off; its ``frames`` counts frames of the source.
            InputError: a frame does not fit the others, or ``start`` lies behind the last frame.
        """
        self._running = self._frames()
        return self._running

    def _frames(self) -> Generator[Frame, None, None]:
        delivered = total = 0
        frames = self._source.frames()
        try:
            for position, frame in enumerate(frames):
                total = position + 1
                if position < self._start or (position - self._start) % self._stride:
                    continue
                yield Frame(delivered, frame.time_s, frame.load())
                delivered += 1
                if delivered == self._max_frames:
                    return
        finally:
            frames.close()
        if not delivered:
            raise InputError(
                f"{self.name}: has {total} frames, so none is left from frame {self._start} on; choose a smaller start"
            )

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong without ending the last pass, by kind, zeros included; when it is over."""
        damaged = getattr(self._source, "damaged", None)
        return {} if damaged is None else {"damaged_packets": damaged}

    def close(self) -> None:
        """Release the source. Not to be called while another thread is iterating."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def faults_line(reader: SourceReader) -> str | None:
    """One line on what went wrong without ending a pass, or None."""
    told = [f"{_FAULTS[kind]}: {count}" for kind, count in reader.faults.items() if count]
    return f"{reader.name}: {', '.join(told)}" if told else None


def read_ahead(reader: SourceReader) -> Generator[Frame, None, None]:
    """The reader's frames, read on a thread: a few in advance, or of a live one the newest."""
    return iter(reader) if reader.live else prefetch(reader)


def prefetch(
    reader: Iterable[Frame], depth: int = 4, on_drop: Callable[[], None] | None = None
) -> Generator[Frame, None, None]:
    """Read ahead by up to ``depth`` frames on a thread.

    With ``on_drop`` the thread does not wait: the oldest waiting frame gives way to a new one, and
    ``on_drop`` is called for it; but the first frame stays until it is taken.

    An exception of the reader is raised here, after the frames before it. Closing the generator
    stops the thread.

    Yields:
        The reader's frames, in order.
    """
    queue: Queue[Frame | BaseException | None] = Queue(max(1, depth))
    stop, taken = Event(), Event()

    def put(item: Frame | BaseException | None) -> bool:
        while not stop.is_set():
            if on_drop is not None and isinstance(item, Frame) and taken.is_set() and queue.full():
                with suppress(Empty):  # taken just now
                    queue.get_nowait()
                    on_drop()
            try:
                queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def read() -> None:
        end: BaseException | None = None
        try:
            frames = iter(reader)
            try:
                for frame in frames:
                    if not put(frame):
                        return
            finally:
                if isinstance(frames, Generator):
                    frames.close()
        except BaseException as error:  # whatever it is, the consumer must hear of it
            end = error
        put(end)

    thread = Thread(target=read, name="vos-reader", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            taken.set()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        _drain(queue)
        thread.join(timeout=5)


def _drain(queue: Queue[Frame | BaseException | None]) -> None:
    """Empty the queue, so that a waiting put returns at once."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return


def _delivered(length: int | None, start: int, max_frames: int | None, stride: int) -> int | None:
    if length is None:
        return None
    count = max(0, -(-(length - start) // stride))
    return count if max_frames is None else min(count, max_frames)


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
