"""The backend for streams (cameras, network addresses, standard input), and the reader that drops frames.

:class:`StreamSource` reconnects after a break if asked to; :class:`LiveReader` delivers the newest frame.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import replace
from threading import Event, Thread
from typing import TypeVar

import av
from av.container import InputContainer

from ..errors import InputError, TruncatedVideoError, parameter
from ..structures import Frame
from .address import Address
from .decoding import Decoding, refuse_text
from .limits import MAX_PIXELS, size_text
from .prefetch import prefetch
from .source import SourceFrame, SourceReader

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
"""Seconds to wait before each try to reconnect; after the last try the stream is given up."""

OPEN_TIMEOUT_S = 10.0
"""How long a network address may take to answer."""

READ_TIMEOUT_S = 10.0
"""How long a network address may stay silent once it is open."""

_SHORT_ANALYSIS = {"analyzeduration": "1000000"}
"""FFmpeg's option to analyse 1 s (in microseconds) of a stream before its first frame, not 5 s."""

_LONGEST_PAUSE_S = 10.0
"""Largest step in a live stream's own times; a larger one means that its clock has started again."""


class StreamSource:
    """A camera, network address or standard input as a :class:`~vos.readers.source.Source`; it is read once.

    On construction it is opened and its first frame decoded.

    Args:
        address: to open.
        live: reconnect after a break, and let times go on over it.
        max_pixels: larger frames are refused.

    Attributes:
        reconnections: how often it was opened again.

    Raises:
        InputError: it cannot be opened, or has no video.
    """

    def __init__(self, address: Address, live: bool, max_pixels: int = MAX_PIXELS) -> None:
        self._address = address
        self._live = live
        self._max_pixels = max_pixels
        self._stop = Event()
        self._earlier_damage = 0
        self.reconnections = 0
        self._connection: _Connection | None = _on_thread(lambda: _Connection(address, live, max_pixels))
        self._decoding: Decoding | None = self._connection.decoding
        stated = self._connection.decoding.probe
        self.fps, self.size = stated.fps, stated.size
        self.length: int | None = None

    @property
    def damaged(self) -> int:
        """Number of packets found damaged so far, over all connections."""
        return self._earlier_damage + (self._decoding.damaged if self._decoding else 0)

    def stop(self) -> None:
        """Let :meth:`frames` end soon, also while it waits to reconnect; may be called from any thread."""
        self._stop.set()

    def frames(self) -> Generator[SourceFrame, None, None]:
        """Deliver all frames until the stream ends or is stopped.

        Raises:
            TruncatedVideoError: it broke off and, if live, did not come back.
            InputError: it was read before, or the frame size changed.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            raise InputError(f"{self._address.name}: can be read only once")
        timeline, count = _Timeline(), 0
        while connection is not None:
            why = "it ended"
            try:
                for frame in connection.decoding.frames():
                    if self._stop.is_set():
                        return
                    count += 1
                    yield replace(frame, time_s=timeline.time_s(frame.time_s)) if self._live else frame
            except TruncatedVideoError as error:
                if not (self._live and self._address.lasting):
                    raise
                why = str(error)
            finally:
                connection.close()
            if self._stop.is_set() or not (self._live and self._address.lasting):
                return
            timeline.restart()
            connection = self._reconnected(why, count)

    def _reconnected(self, why: str, frames: int) -> _Connection | None:
        """Open the stream again, with pauses between the tries; None if stopped meanwhile.

        Args:
            why: reason that the last connection ended, for the log.
            frames: number of frames so far.
        """
        self._earlier_damage, self._decoding = self.damaged, None
        name, tries = self._address.name, len(BACKOFF_S)
        for number, delay_s in enumerate(BACKOFF_S, start=1):
            _log.warning("%s; trying again in %g s (%d of %d)", _with_name(name, why), delay_s, number, tries)
            if self._stop.wait(delay_s):
                return None
            try:
                connection = _Connection(self._address, self._live, self._max_pixels)
            except InputError as error:
                why = str(error)
                continue
            self._decoding = connection.decoding
            self.reconnections += 1
            self._check_size(connection)
            return connection
        raise TruncatedVideoError(
            f"{name}: ended after {frames} frames and did not come back in {tries} tries over "
            f"{sum(BACKOFF_S):g} s; what came before is whole",
            frames,
        )

    def _check_size(self, connection: _Connection) -> None:
        """Close a connection, and raise an error, if its frames have another size."""
        size = connection.decoding.probe.size
        if size != self.size:
            connection.close()
            raise InputError(
                f"{self._address.name}: came back as {size_text(size)}, but was {size_text(self.size)} "
                "before; start again with a mask of that size"
            )


class LiveReader(SourceReader):
    """A reader that delivers the newest frame of a stream each time it is asked; those between are dropped.

    The first frame is never dropped. ``index`` counts the frames that are delivered, as ``max_frames`` does;
    ``start`` and ``stride`` count those of the source. ``time_s`` is the source's.
    """

    live = True

    def __init__(self, name: str, source: StreamSource, *, start: int, max_frames: int | None, stride: int) -> None:
        super().__init__(name, source, start=start, stride=stride)
        self._stream = source
        self._max_delivered = max_frames
        self._dropped = 0

    @property
    def faults(self) -> dict[str, int]:
        """As for any reader, with the dropped frames and the reconnections."""
        return {"dropped_frames": self._dropped, "reconnections": self._stream.reconnections, **super().faults}

    def __iter__(self) -> Generator[Frame, None, None]:
        """Deliver the newest frame each time; a thread goes on reading between them.

        Raises:
            TruncatedVideoError: the stream broke off and did not come back.
            InputError: the frame size changed.
        """
        self._running = self._newest()
        return self._running

    def _newest(self) -> Generator[Frame, None, None]:
        frames = prefetch(self._frames(), depth=1, on_drop=self._drop)
        try:
            for index, frame in enumerate(frames):
                yield replace(frame, index=index)
                if index + 1 == self._max_delivered:
                    return
        finally:
            self._stream.stop()
            frames.close()

    def _drop(self) -> None:
        self._dropped += 1


class _Connection:
    """An opened stream with its first frame decoded.

    Attributes:
        decoding: the pass over its frames.

    Raises:
        InputError: it cannot be opened, or has no video.
    """

    def __init__(self, address: Address, live: bool, max_pixels: int) -> None:
        self._container = _open(address, live)
        try:
            refuse_text(self._container, address.name)
            self.decoding = Decoding(self._container, address.name, finite=False, low_delay=live, max_pixels=max_pixels)
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Close the container."""
        self._container.close()


class _Timeline:
    """Turns the times that a stream states into times from 0 on, which go on over a break.

    A break, or a jump of the stream's own clock, counts as long as it took on the local clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offset_s: float | None = None
        self._last_s = self._last_clock_s = 0.0
        self._begun = False

    def restart(self) -> None:
        """Take the next time as that of another clock."""
        self._offset_s = None

    def time_s(self, stated_s: float) -> float:
        """Convert the time that the stream states for its next frame, in seconds."""
        now_s = self._clock()
        step_s = 0.0 if self._offset_s is None else stated_s + self._offset_s - self._last_s
        if self._offset_s is None or not 0 <= step_s <= _LONGEST_PAUSE_S:
            passed_s = now_s - self._last_clock_s if self._begun else 0.0
            self._offset_s = self._last_s + passed_s - stated_s
        self._last_s, self._last_clock_s, self._begun = stated_s + self._offset_s, now_s, True
        return self._last_s


def _open(address: Address, live: bool) -> InputContainer:
    """Open a stream by FFmpeg.

    Raises:
        InputError: it cannot be opened, or is a terminal.
    """
    if address.url == "pipe:0" and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("standard input: is a terminal; pipe a video into the command, or name a file")
    timeout = None
    if "://" in address.url:
        timeout = (None if address.waits else OPEN_TIMEOUT_S, READ_TIMEOUT_S)
    try:
        options = address.options | (_SHORT_ANALYSIS if live else {})
        return av.open(address.url, format=address.format, options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.ExitError):
            reason = f"no answer in {OPEN_TIMEOUT_S:g} s"
        hint = f"pipe MPEG-TS or the like, or pass {parameter('raw', 'WxH')}"
        if address.lasting:
            hint = "look whether it is sending"
        raise InputError(f"{address.name}: cannot be opened ({reason}); {hint}") from error


def _with_name(name: str, why: str) -> str:
    """Put the stream's name before a reason that does not start with it."""
    return why if why.startswith(name) else f"{name}: {why}"


def _on_thread(action: Callable[[], _T]) -> _T:
    """Run an action on a thread and wait for it, so that Ctrl-C is seen; a blocked FFmpeg call would not see it."""
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:  # whatever it is, the caller must hear of it
            outcome.set_exception(error)

    Thread(target=run, name="vos-connect", daemon=True).start()
    return outcome.result()
