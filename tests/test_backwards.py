"""Tests that frames walked back are those of reading forwards in reverse, with a bounded number of them in memory."""

from __future__ import annotations

import gc
from collections.abc import Generator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from weakref import WeakSet

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vos.errors import InputError
from vos.readers import backwards
from vos.readers.backwards import frames_back, walk_back
from vos.readers.frames import open_frames
from vos.readers.open import open_reader
from vos.readers.pyav import PyAVSource
from vos.readers.seek import VideoFrames
from vos.readers.source import SourceFrame
from vos.structures import Frame
from vos.testing.clip import clip

HEIGHT, WIDTH = 64, 96


def picture(index: int) -> np.ndarray:
    """Make noise that no other frame has."""
    coarse = np.random.default_rng(index).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def woven(index: int) -> np.ndarray:
    """Make an interlaced picture, whose second field is another moment's."""
    rgb = picture(index)
    rgb[1::2] = picture(index + 1000)[1::2]
    return rgb


def encode(path: Path, codec: str, count: int, options: dict[str, str], times: list[int] | None = None) -> Path:
    """Encode ``count`` pictures; ``times`` are in milliseconds."""
    interlaced = "tff" in str(options) or "ilme" in str(options)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(woven(index) if interlaced else picture(index))
            if times:
                frame.time_base, frame.pts = Fraction(1, 1000), times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


UNEVEN = [0, 40, 41, 200, 1000, 1010, 3000, 3040, 3100, 9000, 9001, 9500, 9510, 9900, 9901, 9950]

KINDS = {
    "b-frames.mp4": ("libx264", 70, {"g": "30", "bf": "3", "b-adapt": "0"}),
    "open-gop.mkv": ("libx264", 70, {"x264-params": "keyint=20:open-gop=1:bframes=3"}),
    "one-key-frame.mp4": ("libx264", 45, {"g": "1000"}),
    "every-frame.mov": ("libx264", 12, {"g": "1"}),
    "stream.ts": ("libx264", 45, {"g": "20", "bf": "2"}),
    "open.mpg": ("mpeg2video", 45, {"g": "12", "bf": "2"}),
    "hidden.webm": ("libvpx", 45, {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200000"}),
    "vp9.webm": ("libvpx-vp9", 45, {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200000"}),
    "a.avi": ("mpeg4", 45, {"g": "10", "bf": "2"}),
    "woven.mp4": ("libx264", 45, {"x264-params": "tff=1:keyint=12"}),
    "woven.mpg": ("mpeg2video", 45, {"flags": "+ilme+ildct", "g": "12"}),
}


def assert_reverse(path: Path | str, group: int | None, **options: int) -> None:
    with open_reader(path, **options) as reader:
        expected = list(reader)
    with open_reader(path, **options) as reader:
        walked = list(walk_back(reader, len(expected) - 1, group))
    assert [frame.index for frame in walked] == list(range(len(expected)))[::-1]
    for frame, other in zip(walked[::-1], expected, strict=True):
        assert (frame.time_s, frame.name, frame.suffix) == (other.time_s, other.name, other.suffix)
        assert np.array_equal(frame.rgb, other.rgb), frame.index


@pytest.mark.parametrize("name", KINDS)
def test_backwards_is_forwards_in_reverse(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, *KINDS[name])
    for group in (7, None):
        assert_reverse(path, group)


def test_uneven_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "uneven.mkv", "libx264", len(UNEVEN), {"g": "3"}, UNEVEN)
    assert_reverse(path, 5)


def test_start_stride_and_the_drawn_clip(tmp_path: Path) -> None:
    path = tmp_path / "drawn.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for frame in islice(clip((HEIGHT, WIDTH)), 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
        container.mux(stream.encode())
    assert_reverse(path, 4, start=3, stride=3, max_frames=11)


def test_folders_and_sequences(tmp_path: Path) -> None:
    pictures = [picture(index) for index in range(6)]
    for index, rgb in enumerate(pictures):
        Image.fromarray(rgb).save(tmp_path / f"shot-{index}.png")
    assert_reverse(tmp_path, 2, start=1)
    for frames in (pictures, np.stack(pictures), torch.from_numpy(np.stack(pictures))):
        with open_frames(frames, fps=10, start=1, stride=2) as reader:
            walked = list(walk_back(reader, 2))
        assert [frame.time_s for frame in walked] == [0.5, 0.3, 0.1]
        assert all(np.array_equal(frame.rgb, pictures[at]) for frame, at in zip(walked, (5, 3, 1), strict=True))


def test_a_part_of_a_video(tmp_path: Path) -> None:
    frames = VideoFrames(encode(tmp_path / "a.mp4", "libx264", 30, {"g": "12", "bf": "2"}))
    walked = list(frames_back(frames, 20, 9))
    assert [frame.index for frame in walked] == list(range(20, 8, -1))
    assert all(np.array_equal(frame.rgb, frames.frame(frame.index).rgb) for frame in walked)


def test_what_comes_in_its_own_order_only(tmp_path: Path) -> None:
    with open_frames(iter([picture(0), picture(1)])) as reader, pytest.raises(InputError, match="iterator come in"):
        list(walk_back(reader, 1))
    pytest.importorskip("decord")
    path = encode(tmp_path / "a.mp4", "libx264", 5, {})
    with open_reader(path, backend="decord") as reader, pytest.raises(InputError, match="can be read forwards only"):
        list(walk_back(reader, 1))


def test_no_such_frame(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", "libx264", 5, {})
    with open_reader(path) as reader, pytest.raises(InputError, match="has no frame 5; there are 5"):
        list(walk_back(reader, 5))


def test_frames_in_memory_are_bounded_and_each_group_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the decoded frames that live, by their sources' records, and those that are decoded at all."""
    path = encode(tmp_path / "a.mp4", "libx264", 200, {"g": "20", "bf": "2"})
    alive: WeakSet[Held] = WeakSet()
    decoded = 0

    class Held(SourceFrame):
        """A frame that can be counted."""

    original = PyAVSource.frames

    def counted(self: PyAVSource, start_s: float = 0.0) -> Generator[SourceFrame, None, None]:
        nonlocal decoded
        for frame in original(self, start_s):
            decoded += 1
            held = Held(frame.time_s, frame.load)
            alive.add(held)
            yield held

    monkeypatch.setattr(PyAVSource, "frames", counted)
    most = 0
    with open_reader(path) as reader:
        for frame in walk_back(reader, 199, 16):
            assert isinstance(frame, Frame)
            most = max(most, len(alive))
    gc.collect()
    assert most <= 17  # a group, and the frame that was decoded last
    assert decoded <= 200 + (200 // 16 + 1) * (20 + 2 + 16)  # at most a key frame's distance before each group


def test_a_group_of_large_frames_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", "libx264", 12, {})
    groups = []
    original = backwards._group
    monkeypatch.setattr(backwards, "_group", lambda *given: (groups.append(list(given[2])), original(*given))[1])
    monkeypatch.setattr(backwards, "GROUP_BYTES", 5 * 3 * HEIGHT * WIDTH)
    with open_reader(path) as reader:
        assert len(list(walk_back(reader, 11))) == 12
    assert groups == [[7, 8, 9, 10, 11], [2, 3, 4, 5, 6], [0, 1]]


def test_damage_in_the_middle_is_one_line(tmp_path: Path) -> None:
    """Frames behind lost ones have other numbers when they are read forwards than their times tell."""
    path = encode(tmp_path / "a.mp4", "libx264", 36, {"g": "12"})
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data, place = bytearray(whole), whole.index(packets[14])
    data[place : place + len(packets[14])] = bytes(len(packets[14]))
    path.write_bytes(data)
    with open_reader(path) as reader:
        count = len(list(reader))
    with open_reader(path) as reader, pytest.raises(InputError, match=r"a\.mp4: frame \d+ cannot be decoded where"):
        list(walk_back(reader, count - 1))


def test_decoded_frames_need_no_garbage_collector(tmp_path: Path) -> None:
    """A frame that is part of a circle would stay in memory until Python looks for such, which may be much later."""
    path = encode(tmp_path / "a.mp4", "libx264", 12, {})
    with open_reader(path) as reader:
        list(walk_back(reader, 11, 4))
        gc.collect()
        gc.disable()
        try:
            list(walk_back(reader, 11, 4))
            assert not [each for each in gc.get_objects() if type(each) is av.VideoFrame]
        finally:
            gc.enable()
