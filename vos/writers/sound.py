"""Copies the sound of the source into a video that shows its frames; used by :mod:`.encoded`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

_log = logging.getLogger(__name__)

_COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
"""Codecs that are copied into any container; MP4 holds them all. Others become AAC."""

_OPTIONS = {"protocol_whitelist": "file"}
"""Of FFmpeg: files and addresses that a playlist refers to are not followed to the network."""


class Soundtrack:
    """The sound of a file as a stream of a video under construction.

    Packets are copied as they are where the container takes them, else the sound becomes AAC. They are read as the
    frames come, so that a bounded number is held. Sound before the first frame and after the last one is left out. What
    cannot be read ends the sound, with a line in the log; the video goes on.

    Args:
        source: the file; one without sound gives a silent video.
        target: container of the video, to which nothing has been written yet.
        start_s: time of the first frame, in seconds from the first frame of the source.
    """

    def __init__(self, source: Path, target: OutputContainer, start_s: float) -> None:
        self._name = source
        self._target = target
        self._input: InputContainer | None = None
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None
        try:
            self._open(start_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._end(error)

    def write_until(self, time_s: float) -> None:
        """Write what sounds up to a time, in seconds from the first frame of the video.

        Raises:
            av.FFmpegError: the container cannot be written.
        """
        while (packet := self._peek()) is not None and _start_of(packet) < time_s:
            self._next = None
            self._target.mux(packet)

    def close(self) -> None:
        """Release the file."""
        self._packets = iter(())
        if self._input is not None:
            self._input.close()
            self._input = None

    def _open(self, start_s: float) -> None:
        """Find the sound, add a stream for it to the target, and begin to read."""
        self._input = source = av.open(f"file:{self._name}", options=_OPTIONS, metadata_errors="replace")
        sound = source.streams.best("audio")
        if not isinstance(sound, AudioStream) or sound.time_base is None:
            return
        pictures = source.streams.best("video")
        if pictures is not None and pictures.start_time is not None and pictures.time_base is not None:
            start_s += float(pictures.start_time * pictures.time_base)
        if start_s > 1:
            source.seek(int((start_s - 1) / sound.time_base), stream=sound)
        codec = sound.codec_context.name
        if codec.partition("float")[0] in _COPIED:
            self._packets = self._copied(source, sound, start_s)
        else:
            self._packets = self._as_aac(source, sound, start_s)

    def _peek(self) -> Packet | None:
        """Return the packet to write next; None: there is none left."""
        if self._next is None:
            try:
                self._next = next(self._packets, None)
            except (av.FFmpegError, OSError, ValueError) as error:
                self._end(error)
        return self._next

    def _copied(self, source: InputContainer, sound: AudioStream, start_s: float) -> Iterator[Packet]:
        """Add a stream of the same codec; return its packets, with times from the first frame of the video."""
        stream = self._target.add_stream_from_template(sound)
        assert sound.time_base is not None
        shift = round(start_s / sound.time_base)

        def packets() -> Iterator[Packet]:
            for packet in source.demux(sound):
                if packet.pts is None or packet.pts < shift or not packet.size:
                    continue
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = stream
                yield packet

        return packets()

    def _as_aac(self, source: InputContainer, sound: AudioStream, start_s: float) -> Iterator[Packet]:
        """Add a stream of AAC; return its packets, with times from the first frame of the video."""
        rate = sound.rate if sound.rate in (22050, 32000, 44100, 48000) else 48000
        stream = self._target.add_stream("aac", rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout = "mono" if sound.channels == 1 else "stereo"
        resampler = AudioResampler("fltp", layout, rate, frame_size=1024)
        clock = Fraction(1, rate)

        def packets() -> Iterator[Packet]:
            done = None
            for frame in source.decode(sound):
                if frame.time is None or frame.time < start_s:
                    continue
                due = round((frame.time - start_s) * rate)
                if done is None or due - done > rate / 10:  # the beginning, or a gap
                    done = due
                for part in resampler.resample(frame):
                    part.pts, part.time_base = done, clock
                    done += part.samples
                    yield from stream.encode(part)
            yield from stream.encode(None)

        return packets()

    def _end(self, error: Exception) -> None:
        """Go on without sound."""
        _log.warning("%s: its sound cannot be read to the end (%s); the videos go on without", self._name, error)
        self.close()


def _start_of(packet: Packet) -> float:
    """Return when a packet sounds, in seconds."""
    return float((packet.pts or 0) * packet.time_base)
