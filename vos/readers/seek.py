"""Frames of a video in any order, by the same index that a reader would give them.

The annotation page shows them by :class:`VideoFrames`; :mod:`.backwards` walks back over a :class:`Timeline`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator
from contextlib import closing, suppress
from itertools import islice, pairwise
from pathlib import Path
from threading import Lock

from ..errors import InputError, TruncatedVideoError
from ..structures import Frame
from .open import open_seekable_source
from .source import SeekableSource, SourceFrame

_DECODE_ON = 64
"""Largest distance ahead, in frames, at which decoding on is quicker than seeking."""

SAME_TIME_S = 1e-6
"""Largest difference between two times that count as equal."""

_SEEK_EARLIER_S = (0.0, 1.0, 10.0)
"""Seeks that are tried, in seconds before the frame: a key frame may be shown after the frame that was sought."""


class Timeline:
    """The times of all frames of a source, and its frames from any index on.

    Seeking is checked: a frame is delivered only if its time is the one that its index has. Otherwise the video is
    decoded from its beginning.

    Args:
        source: a video file or a folder of images.

    Attributes:
        times: seconds, of all frames up to the first damage.
    """

    def __init__(self, source: SeekableSource) -> None:
        self._source = source
        self.times = source.times() or self._decoded_times()
        self._seekable = all(time_s < next_s for time_s, next_s in pairwise(self.times))

    def __len__(self) -> int:
        """Number of frames, up to the first damage."""
        return len(self.times)

    def frames_near(self, index: int) -> Generator[tuple[int, SourceFrame], None, None]:
        """Deliver frames with their indices, from ``index`` or an earlier one up to the last."""
        done = -1
        for earlier_s in _SEEK_EARLIER_S if self._seekable else ():
            start_s = self.times[index] - earlier_s
            if done >= 0 or start_s <= 0:
                break
            with closing(self._sought(start_s)) as frames:
                for position, frame in frames:
                    if done < 0 and position > index:
                        break
                    yield position, frame
                    done = position
        if done < len(self) - 1:
            with closing(self._source.frames()) as from_beginning:
                for position, frame in enumerate(islice(from_beginning, len(self))):
                    if position > done:
                        yield position, frame

    def _sought(self, start_s: float) -> Generator[tuple[int, SourceFrame], None, None]:
        """Deliver frames from about a time on, as long as their times are those of successive indices."""
        position = None
        with closing(self._source.frames(start_s)) as frames:
            for frame in frames:
                if position is None:
                    position = bisect_left(self.times, frame.time_s - SAME_TIME_S)
                if position == len(self) or abs(self.times[position] - frame.time_s) > SAME_TIME_S:
                    return
                yield position, frame
                position += 1
                if position == len(self):
                    return

    def _decoded_times(self) -> list[float]:
        """Find the times of all frames by decoding the whole video once."""
        times: list[float] = []
        with suppress(TruncatedVideoError):
            for frame in self._source.frames():
                times.append(frame.time_s)
        return times


class VideoFrames:
    """A video file or a folder of images with access to any frame; safe to share between threads.

    It holds one decoded frame, see :class:`Timeline`.

    Attributes:
        name: of the source, for messages.
        fps: frames per second as the source states it, or None.
        size: (H, W) of the upright frames.
        timeline: its frames in their order, from any of them on.
    """

    def __init__(self, source: str | Path) -> None:
        self.name = str(source)
        opened = open_seekable_source(source)
        self.fps = opened.fps
        self.size = opened.size
        self.timeline = Timeline(opened)
        self._lock = Lock()
        self._running: Generator[tuple[int, SourceFrame], None, None] | None = None
        self._next = 0  # index of the frame that the running generator delivers next
        self._last: Frame | None = None

    def __len__(self) -> int:
        """Number of frames, up to the first damage."""
        return len(self.timeline)

    def frame(self, index: int) -> Frame:
        """Decode one frame, unless it is the last one that was asked for.

        Raises:
            InputError: there is no such frame, or it cannot be decoded.
        """
        if not 0 <= index < len(self):
            raise InputError(f"{self.name}: has no frame {index}; there are {len(self)}")
        with self._lock:
            if self._last is None or self._last.index != index:
                self._last = self._decoded(index)
            return self._last

    def frames_from(self, index: int) -> Generator[Frame, None, None]:
        """Deliver all frames from an index on, by a decoder of their own.

        Raises:
            InputError: a frame cannot be decoded.
        """
        for position, frame in self.timeline.frames_near(index):
            if position >= index:
                yield frame.at(position)

    def close(self) -> None:
        """Release the source."""
        with self._lock:
            self._stop()

    def _decoded(self, index: int) -> Frame:
        """Decode on to a frame that is near, or seek to it."""
        if self._running is None or not 0 <= index - self._next <= _DECODE_ON:
            self._stop()
            self._running = self.timeline.frames_near(index)
        for position, frame in self._running:
            self._next = position + 1
            if position == index:
                return frame.at(index)
        self._stop()
        raise InputError(f"{self.name}: frame {index} cannot be decoded; convert the video, or choose another frame")

    def _stop(self) -> None:
        """Close the running generator."""
        if self._running is not None:
            self._running.close()
        self._running, self._next = None, 0
