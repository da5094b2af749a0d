"""Decodes an opened container with PyAV: frames and their times, past damaged packets, up to a broken end.

The backends for files (:mod:`.pyav`) and streams (:mod:`.live`) open containers and decode them here.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import InputError, TruncatedVideoError, parameter
from .limits import MAX_PIXELS, check_pixels, size_text
from .pixels import Pixels, Turn, deinterlaced
from .source import SourceFrame

_FALLBACK_FPS = 24.0
"""Frames per second that a video without a stated rate is taken to have."""


@dataclass(frozen=True)
class Probe:
    """What a container states about its video, as found with its first frame decoded.

    Attributes:
        fps: mean frames per second, or None.
        size: (H, W) of the upright frames.
        length: number of frames, or None.
        duration_s: seconds from the first frame to the end of the last, or None.
        turn: what makes its frames upright.
        stream: index of its stream in the container.
        streams: number of video streams in the container among which it was chosen.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None
    duration_s: float | None
    turn: Turn
    stream: int = 0
    streams: int = 1

    @property
    def interval_s(self) -> float:
        """Seconds from one frame to the next at the stated rate."""
        return 1 / (self.fps or _FALLBACK_FPS)

    def broke_off(self, frames: int, end_s: float) -> bool:
        """Tell whether ``frames`` frames that end at ``end_s`` seconds are clearly fewer than was stated.

        A stated count proves nothing by itself: a clip trimmed by an edit list keeps the count of the whole.
        A stated duration may be rounded, so without a count the video must miss it by more.
        """
        if self.length is not None:
            few = frames < self.length - 2
            return few and (self.duration_s is None or end_s < self.duration_s - 1.5 * self.interval_s)
        return self.duration_s is not None and end_s < self.duration_s - max(0.5, 3 * self.interval_s)


class Decoding:
    """One pass over an opened container; the first frame is decoded on construction.

    A packet that cannot be decoded is skipped if a later one can be. If none can, the video breaks off there.

    Args:
        container: to decode; the caller closes it.
        name: of the video, for messages.
        finite: a file, which is expected to have the length that it states; False for a stream.
        low_delay: deliver each frame as soon as it is whole, at the cost of speed.
        start_s: seconds at which to begin, at a key frame near them.
        max_pixels: larger frames are refused before memory is taken for them.

    Attributes:
        probe: what the container states.

    Raises:
        InputError: there is no video stream, or no frame that can be decoded.
    """

    def __init__(
        self,
        container: InputContainer,
        name: str,
        finite: bool = True,
        low_delay: bool = False,
        start_s: float = 0.0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._name = name
        self._finite = finite
        self._whole = finite and not start_s
        self._stream = video_stream(container, name, max_pixels)
        if start_s > 0 and self._stream.time_base is not None:
            with suppress(av.FFmpegError):  # without a seek it starts at the beginning
                offset = round(start_s / self._stream.time_base) + (self._stream.start_time or 0)
                container.seek(offset, stream=self._stream)
        refused = not self._stream.width  # a decoder that refuses the size leaves it at 0
        self._decoder = Decoder(container, self._stream, low_delay)
        self._pixels = Pixels(name)
        frames = deinterlaced(self._decoder.frames())
        first = next(frames, None)
        if first is None:
            why = f" ({self._decoder.failure})" if self._decoder.failure else ""
            if refused:
                why = f", or has more than {max_pixels} pixels, which {parameter('max_pixels')} would allow"
            hint = "; it may be cut off, so copy it again" if finite else ""
            raise InputError(f"{name}: contains no frames that can be decoded{why}{hint}")
        self._frames = chain([first], frames)
        turn = Turn.of(first)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.probe = Probe(
            fps=float(rate) if rate else None,
            size=turn.size(first.height, first.width),
            length=self._stream.frames or None,
            duration_s=_stated_duration(container, self._stream),
            turn=turn,
            stream=self._stream.index,
            streams=len(moving_streams(container)),
        )

    @property
    def damaged(self) -> int:
        """Number of packets so far that were skipped, or used though flagged as damaged."""
        return self._decoder.damaged

    def frames(self) -> Generator[SourceFrame, None, None]:
        """Deliver all frames; can be called once.

        Raises:
            TruncatedVideoError: the video breaks off, or is damaged up to its end.
            InputError: the frame size changes.
        """
        count, end_s = 0, 0.0
        for frame in self._frames:
            time_s, end_s = self._start_and_end(frame, end_s)
            self._check_size(frame, count)
            yield SourceFrame(time_s, partial(self._pixels.upright, frame))
            count += 1
        failure = self._decoder.failure
        if failure or (self._whole and self.probe.broke_off(count + self.damaged, end_s)):
            if self._finite:
                raise truncated(self._name, count, end_s, self.probe, failure)
            raise TruncatedVideoError(f"{self._name}: breaks off after {count} frames ({failure})", count)

    def _start_and_end(self, frame: VideoFrame, expected_s: float) -> tuple[float, float]:
        """Find when a frame is shown, from and to, in seconds.

        A frame without a time of its own starts at ``expected_s``, the end of the frame before.
        """
        time_base = frame.time_base or self._stream.time_base
        interval_s = self.probe.interval_s
        if frame.pts is None or time_base is None:
            return expected_s, expected_s + interval_s
        start = (self._stream.start_time or 0) * (self._stream.time_base or time_base)
        time_s = float(frame.pts * time_base - start)
        time_s = max(0.0, time_s) if self._finite else time_s  # the clock of a stream may start again
        return time_s, time_s + (float(frame.duration * time_base) if frame.duration else interval_s)

    def _check_size(self, frame: VideoFrame, index: int) -> None:
        size, first = Turn.of(frame).size(frame.height, frame.width), self.probe.size
        if size != first:
            raise InputError(
                f"{self._name}: frame {index} is {size_text(size)}, but those before are {size_text(first)}; "
                "convert the video to one size"
            )


def truncated(
    name: str | Path, frames: int, end_s: float, stated: Probe, failure: str | None = None
) -> TruncatedVideoError:
    """Make the error for a video that broke off.

    Args:
        name: of the video.
        frames: number of frames before the end.
        end_s: end of the last of them, in seconds.
        stated: what the video should have had.
        failure: of the decoder, if it told any.
    """
    missing = ""
    if stated.length is not None:
        missing = f" of {stated.length}"
    elif stated.duration_s is not None:
        missing = f" ({end_s:.1f} of {stated.duration_s:.1f} s)"
    reason = f" ({failure})" if failure else ""
    return TruncatedVideoError(
        f"{name}: breaks off after {frames} frames{missing}{reason}; the frames before that were "
        "used; copy or download the file again for the rest",
        frames,
    )


class Decoder:
    """Decodes the video stream of a container up to its end, past damaged packets.

    Attributes:
        failure: why the last packets could not be decoded; None if they could.
        damaged: number of packets so far that were skipped, or used though flagged as damaged.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, low_delay: bool) -> None:
        self.failure: str | None = None
        self.damaged = 0
        self._container = container
        self._stream = stream
        self._context: VideoCodecContext = _alpha_decoder(stream) or stream.codec_context
        self._context.thread_type = "SLICE" if low_delay else "AUTO"
        self._skipped = 0  # packets since the last one that was decoded

    def frames(self) -> Generator[VideoFrame, None, None]:
        """Deliver all frames that can be decoded, in presentation order."""
        begun = False
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:
                    continue  # the end, or a dropped frame of an AVI; either would end the decoding
                decoded = self._decode(packet, begun)
                begun = begun or bool(decoded)
                yield from decoded
        except av.FFmpegError as error:
            self.failure = _reason(error)
        yield from self._held_back()

    def _decode(self, packet: Packet, begun: bool) -> list[VideoFrame]:
        """Decode a packet to the frames that it completes; none if it is damaged."""
        # MPEG-TS flags a packet for any lost bit. Elsewhere the flag means that the file ends inside the packet.
        if packet.is_corrupt and self._container.format.name != "mpegts":
            return self._skip("it ends inside a frame")
        try:
            decoded = self._context.decode(packet)
        except av.FFmpegError as error:
            # Before the first frame it is no damage: a cut video may not start at a key frame.
            return self._skip(_reason(error)) if begun else []
        self.damaged += self._skipped + packet.is_corrupt
        self._skipped, self.failure = 0, None
        return decoded

    def _skip(self, failure: str) -> list[VideoFrame]:
        """Note a packet that was not decoded; it counts as damaged once a later one is decoded."""
        self._skipped += 1
        self.failure = failure
        return []

    def _held_back(self) -> Generator[VideoFrame, None, None]:
        """Flush the frames that the decoder still holds."""
        try:
            yield from self._context.decode(None)
        except av.FFmpegError as error:
            self.failure = self.failure or _reason(error)


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """Create libvpx's decoder for VP8 or VP9 with transparency, which FFmpeg's own decoders leave out."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return None
    try:
        context = CodecContext.create(name, "r")
    except (ValueError, av.FFmpegError):  # this PyAV is built without libvpx
        return None
    if not isinstance(context, VideoCodecContext):
        return None
    context.options = stream.codec_context.options
    return context


def _reason(error: av.FFmpegError) -> str:
    if isinstance(error, av.ExitError):  # raised after a timeout
        return "nothing came any more"
    return error.strerror or str(error)


def size_limit(max_pixels: int) -> dict[str, str]:
    """Make FFmpeg's option that limits decoders, with room for the margins that they add."""
    return {"max_pixels": str(min(max_pixels + max_pixels // 4 + 65536, 2**31 - 1))}


def refuse_text(container: InputContainer, name: str) -> None:
    """Refuse a text, which FFmpeg would render as a video of a terminal.

    Raises:
        InputError: the container is a text.
    """
    if container.format.name == "tty":
        raise no_video(name)


def no_video(name: str) -> InputError:
    """Make the error for a file that is no video."""
    return InputError(f"{name}: is not a video that can be read; give an mp4, mov, webm, mkv, avi or gif")


def video_stream(container: InputContainer, name: str, max_pixels: int) -> VideoStream:
    """Select the video stream that plays longest, and limit its decoder to ``max_pixels``.

    Raises:
        InputError: there is none, its codec is unknown, or it is too large.
    """
    if not container.streams:
        raise InputError(f"{name}: contains no frames (it has no streams); record or export it again")
    streams = moving_streams(container)
    if streams:
        stream = max(streams, key=lambda each: _playing_s(container, each))  # the first of equals
        if stream.codec_context is None:
            raise InputError(f"{name}: its pictures are coded in a way that is not known here; convert it to H.264")
        check_pixels(name, (stream.height, stream.width), max_pixels)
        stream.codec_context.options = size_limit(max_pixels)
        return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams}))
    raise InputError(f"{name}: has no video stream (only {kinds}); give a file with pictures")


def moving_streams(container: InputContainer) -> list[VideoStream]:
    """List the video streams that are no cover picture; those in a known codec, if there are any."""
    streams = [each for each in container.streams.video if not each.disposition & av.stream.Disposition.attached_pic]
    return [each for each in streams if each.codec_context is not None] or streams


def _playing_s(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that a stream plays, as the container states them or as its number of frames tells; 0 if not known.

    A single picture without a stated duration, as AVIF holds one beside its animation, does not play.
    """
    rate = stream.average_rate or stream.guessed_rate
    return _stated_duration(container, stream) or (float(stream.frames / rate) if rate and stream.frames > 1 else 0.0)


def _stated_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Read the seconds from the first frame to the end of the last, as the container states them."""
    if stream.time_base is None:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    start_s = float((stream.start_time or 0) * stream.time_base)
    tag = re.match(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - start_s
    if container.duration and len(container.streams) == 1:  # with others it may be theirs
        return container.duration / av.time_base - start_s
    return None
