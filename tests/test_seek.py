"""Tests that any frame by its index has the same pixels and times as from a reader that reads the whole video."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.errors import InputError
from vos.readers.open import open_reader
from vos.readers.pyav import PyAVSource
from vos.readers.seek import VideoFrames
from vos.readers.source import SourceFrame

HEIGHT, WIDTH = 48, 64


def picture(index: int) -> np.ndarray:
    """Make noise that no other frame has."""
    coarse = np.random.default_rng(index).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def encode(path: Path, codec: str, count: int, options: dict[str, str], times: list[int] | None = None) -> Path:
    """Encode ``count`` pictures; ``times`` are in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = HEIGHT, WIDTH
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times:
                frame.time_base, frame.pts = Fraction(1, 1000), times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sources(folder: Path) -> dict[str, Path]:
    """Make videos that differ in what matters to seeking: key frames, times and packets."""
    uneven = [0, 40, 41, 200, 1000, 1010, 3000, 3040, 3100, 9000, 9001, 9500]
    images = folder / "images"
    images.mkdir()
    for index in range(5):
        Image.fromarray(picture(index)).save(images / f"{index}.png")
    return {
        "b-frames": encode(folder / "b.mp4", "libx264", 200, {"g": "30", "bf": "3", "b-adapt": "0"}),
        "open-gop": encode(folder / "open.mkv", "libx264", 120, {"x264-params": "keyint=20:open-gop=1:bframes=3"}),
        "one-key-frame": encode(folder / "one.mp4", "libx264", 90, {"g": "1000"}),
        "uneven-times": encode(folder / "uneven.mkv", "libx264", 12, {"g": "3"}, uneven),
        "transport-stream": encode(folder / "stream.ts", "libx264", 60, {"g": "20", "bf": "2"}),
        "vp8-hidden": encode(
            folder / "hidden.webm", "libvpx", 60, {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200000"}
        ),
        "avi": encode(folder / "a.avi", "mpeg4", 40, {"g": "10", "bf": "2"}),
        "gif": encode(folder / "a.gif", "gif", 12, {}),
        "images": images,
    }


NAMES = (
    "b-frames",
    "open-gop",
    "one-key-frame",
    "uneven-times",
    "transport-stream",
    "vp8-hidden",
    "avi",
    "gif",
    "images",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sources(tmp_path_factory.mktemp("videos"))


@pytest.mark.parametrize("name", NAMES)
def test_any_order_gives_what_reading_through_gives(videos: dict[str, Path], name: str) -> None:
    with open_reader(videos[name]) as reader:
        expected = list(reader)
    frames = VideoFrames(videos[name])
    assert len(frames) == len(expected)
    order = list(range(len(expected)))
    random.Random(0).shuffle(order)
    for index in [*order[:25], len(expected) - 1, 0, 1, 2]:
        frame = frames.frame(index)
        assert (frame.index, frame.time_s) == (index, expected[index].time_s)
        assert np.array_equal(frame.rgb, expected[index].rgb)
    for start in (0, len(expected) // 2, len(expected) - 1):
        rest = list(frames.frames_from(start))
        assert [frame.index for frame in rest] == list(range(start, len(expected)))
        assert all(np.array_equal(frame.rgb, expected[frame.index].rgb) for frame in rest)
    frames.close()


def test_seeking_spares_decoding(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A far frame is decoded from a key frame, not from the beginning; the next one needs nothing but itself."""
    decoded = []
    original = PyAVSource.frames

    def counted(self: PyAVSource, start_s: float = 0.0) -> Iterator[SourceFrame]:
        for frame in original(self, start_s):
            decoded.append(frame.time_s)
            yield frame

    monkeypatch.setattr(PyAVSource, "frames", counted)
    frames = VideoFrames(videos["b-frames"])
    assert not decoded
    frames.frame(185)
    assert len(decoded) <= 30
    decoded.clear()
    assert frames.frame(186).index == 186 and len(decoded) == 1
    frames.frame(186)
    assert len(decoded) == 1


def test_a_video_that_breaks_off_has_the_frames_before_that(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mkv", "libx264", 60, {"g": "5", "qp": "0"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames = VideoFrames(cut)
    assert 5 < len(frames) < 60
    last = list(frames.frames_from(0))[-1]
    assert last.index == len(frames) - 1
    assert np.array_equal(frames.frame(len(frames) - 1).rgb, last.rgb)


def test_no_such_frame(videos: dict[str, Path]) -> None:
    frames = VideoFrames(videos["gif"])
    for index in (-1, 12):
        with pytest.raises(InputError, match=r"a\.gif: has no frame .*; there are 12"):
            frames.frame(index)
    with pytest.raises(InputError, match="no such file"):
        VideoFrames("nothing.mp4")
