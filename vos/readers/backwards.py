"""Delivers the frames of a reader from one of them back to the first, with a bounded number of frames in memory.

A video is walked back in groups: seek to a key frame, decode a group, hand it over from its end. Folders of images and
sequences of arrays are read in reverse order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from ..errors import InputError, parameter
from ..structures import Frame
from .seek import SAME_TIME_S, Timeline, VideoFrames
from .source import IndexedSource, SeekableSource, SourceFrame, SourceReader

GROUP = 250
"""Most frames of a group: as far apart as encoders usually set key frames."""

GROUP_BYTES = 512 * 2**20
"""Most memory of a group, bytes at three a pixel. Decoded frames take half of that, those of more than 8 bits all."""

_LEAD = 2
"""Frames that are decoded before a group, which deinterlacing looks at."""


def check_walks_back(reader: SourceReader) -> None:
    """Check that a reader's frames can be delivered backwards.

    Raises:
        InputError: it reads a stream, an iterator, or by a backend that reads forwards only.
    """
    if isinstance(reader.source, IndexedSource):
        reader.source.frame(0)
    elif not isinstance(reader.source, SeekableSource):
        raise InputError(
            f"{reader.name}: can be read forwards only, like all that is live and all that decord reads; for "
            f"{parameter('both_ways')} give a file or a folder, and {parameter('reader', 'pyav')}"
        )


def walk_back(reader: SourceReader, last: int, group: int | None = None) -> Generator[Frame, None, None]:
    """Deliver the frames with the indices ``last``, ``last - 1`` and so on to 0: those that the reader delivers.

    Args:
        reader: of a video file, a folder or a sequence of frames; its start and stride hold.
        last: index of the first frame to deliver.
        group: most frames in memory; None: as many as :data:`GROUP` and :data:`GROUP_BYTES` allow.

    Raises:
        InputError: the reader cannot be walked back, there is no such frame, or the video is damaged.
    """
    check_walks_back(reader)
    source = reader.source
    if isinstance(source, IndexedSource):
        for index in range(last, -1, -1):
            yield source.frame(reader.position(index)).at(index)
        return
    assert isinstance(source, SeekableSource)
    timeline = Timeline(source)
    yield from _walk(reader.name, timeline, reader.size, [reader.position(index) for index in range(last + 1)], group)


def frames_back(frames: VideoFrames, last: int, first: int = 0) -> Generator[Frame, None, None]:
    """Deliver the frames of a video with the indices ``last``, ``last - 1`` and so on to ``first``.

    Raises:
        InputError: there is no such frame, or the video is damaged.
    """
    for frame in _walk(frames.name, frames.timeline, frames.size, range(first, last + 1), None):
        yield replace(frame, index=first + frame.index)


def _walk(
    name: str, timeline: Timeline, size: tuple[int, int], positions: Sequence[int], group: int | None
) -> Generator[Frame, None, None]:
    """Deliver the frames at positions in the source, the last first; their indices are those of ``positions``."""
    count = group or min(GROUP, max(1, GROUP_BYTES // (3 * size[0] * size[1])))
    if positions[-1] >= len(timeline):
        raise InputError(f"{name}: has no frame {positions[-1]}; there are {len(timeline)}")
    for end in range(len(positions), 0, -count):
        start = max(0, end - count)
        held = _group(name, timeline, positions[start:end])
        for index in range(end - 1, start - 1, -1):
            yield held.pop().at(index)


def _group(name: str, timeline: Timeline, positions: Sequence[int]) -> deque[SourceFrame]:
    """Decode the frames at positions in the source, which ascend.

    Raises:
        InputError: one cannot be decoded, or is another one than reading forwards delivers: the video is damaged.
    """
    wanted, held = set(positions), deque[SourceFrame]()
    with closing(timeline.frames_near(max(0, positions[0] - _LEAD))) as frames:
        for position, frame in frames:
            if position in wanted:
                if abs(frame.time_s - timeline.times[position]) > SAME_TIME_S:
                    break
                held.append(frame)
            if position == positions[-1]:
                break
    if len(held) < len(wanted):
        raise InputError(
            f"{name}: frame {positions[len(held)]} cannot be decoded where it should be, so the video is damaged; "
            f"convert it for {parameter('both_ways')}"
        )
    return held
