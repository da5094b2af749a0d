"""Tests readers: order, times, turning, damage, and reading ahead; all videos are made here."""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.errors import InputError, TruncatedVideoError
from vos.readers.open import open_reader
from vos.readers.prefetch import ReadAhead, prefetch
from vos.structures import Frame

HEIGHT, WIDTH, COUNT, FPS = 48, 64, 12, 24
UNIT = 1 << 16
TURNS = {90: (0, UNIT, 0, -UNIT, 0, 0), 180: (-UNIT, 0, 0, 0, -UNIT, 0), 270: (0, -UNIT, 0, UNIT, 0, 0)}
needs_decord = pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
BACKENDS = ("pyav", pytest.param("decord", marks=needs_decord))


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame whose grey encodes its number, with a bright top left corner that shows how it is turned."""
    rgb = np.full((height, width, 3), 10 + 15 * (number % 12), np.uint8)
    rgb[: height // 4, : width // 4] = 250
    return rgb


def number(rgb: np.ndarray) -> int:
    """Read the number that :func:`picture` encoded."""
    return round((float(rgb[rgb.shape[0] // 2 - 4 :, rgb.shape[1] // 2 :].mean()) - 10) / 15)


def make_video(
    path: Path,
    count: int = COUNT,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    times: list[float] | None = None,
    options: dict[str, str] | None = None,
    noise: bool = False,
    sound_s: float = 0.0,
) -> Path:
    """Encode numbered pictures; ``noise`` makes the file big enough to cut anywhere."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        base = Fraction(1, FPS if path.suffix == ".avi" else 1000)  # avi counts ticks as frames
        stream.codec_context.time_base = base
        sound = container.add_stream("aac", rate=8000) if sound_s else None
        for index in range(count):
            rgb = picture(index, *size)
            if noise:
                rgb[: size[0] // 3] = rng.integers(0, 255, (size[0] // 3, size[1], 3))
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.time_base = base
            frame.pts = round((times[index] if times else index / FPS) / base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            for block in range(round(sound_s * 8000 / 1024)):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.rate, silence.pts = 8000, block * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    """A copy that ends after a share of the bytes."""
    data = path.read_bytes()
    short = path.with_name(f"cut-{path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """Write a display matrix into the track header of an mp4, where phones put it."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and id, layer and volume
    data[place : place + 36] = struct.pack(">9i", *matrix, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def numbers(frames: list[Frame]) -> list[int]:
    return [number(frame.rgb) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("ten_bit.mp4", "libx264", "yuv420p10le"),
    ],
)
def test_formats(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    path = make_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
    with open_reader(path) as reader:
        assert reader.size == (HEIGHT, WIDTH)
        assert reader.length in (COUNT, None)
        assert reader.fps == pytest.approx(FPS, abs=1.1)  # a gif counts hundredths of a second
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(COUNT))
    tolerance = 2 if name.endswith("gif") else 1  # eight greys
    assert np.abs(np.subtract(numbers(frames), range(COUNT))).max() < tolerance
    assert [frame.time_s for frame in frames] == pytest.approx([i / FPS for i in range(COUNT)], abs=0.011)


@pytest.mark.parametrize("backend", BACKENDS)
def test_start_stride_and_max_frames(clip: Path, backend: str) -> None:
    with open_reader(clip, backend=backend, start=2, stride=3, max_frames=3) as reader:
        assert reader.length == 3
        frames = list(reader)
        assert [frame.index for frame in list(reader)] == [0, 1, 2]  # a second pass starts again
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert numbers(frames) == [2, 5, 8]
    assert [frame.time_s for frame in frames] == pytest.approx([2 / FPS, 5 / FPS, 8 / FPS], abs=2e-3)
    assert open_reader(clip, backend=backend, start=1, stride=5).length == 3


def test_options_out_of_range(clip: Path) -> None:
    for options in ({"start": -1}, {"stride": 0}, {"max_frames": 0}):
        with pytest.raises(InputError, match="must be"):
            open_reader(clip, **options)
    with pytest.raises(InputError, match="has 12 frames, so none is left from frame 12"):
        list(open_reader(clip, start=12))
    with pytest.raises(InputError, match="'nix' is unknown; choose one of pyav, decord"):
        open_reader(clip, backend="nix")


@pytest.mark.parametrize("angle", TURNS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(48, 64), (50, 70)])
def test_rotation(tmp_path: Path, backend: str, angle: int, size: tuple[int, int]) -> None:
    path = turned(make_video(tmp_path / "turned.mp4", 3, size=size), TURNS[angle])
    with open_reader(path, backend=backend) as reader:
        frames = list(reader)
        upright = np.rot90(picture(2, *size), -angle // 90)  # clockwise
        assert reader.size == upright.shape[:2] == frames[2].size
    assert np.abs(frames[2].rgb.astype(int) - upright).mean() < 4


def test_mirrored(tmp_path: Path) -> None:
    path = turned(make_video(tmp_path / "mirrored.mp4", 2), (-UNIT, 0, 0, 0, UNIT, 0))
    assert np.abs(next(iter(open_reader(path))).rgb.astype(int) - picture(0)[:, ::-1]).mean() < 4
    pytest.importorskip("decord")
    with pytest.raises(InputError, match="mirrored"):
        open_reader(path, backend="decord")


@needs_decord
def test_decord_gives_the_frames_of_pyav(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", noise=True)
    pairs = list(zip(open_reader(path), open_reader(path, backend="decord"), strict=True))
    assert len(pairs) == COUNT
    for ours, theirs in pairs:
        assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2
        assert ours.time_s == pytest.approx(theirs.time_s, abs=1e-3)


def test_decord_missing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vos.readers.decord", raising=False)
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(InputError, match="not installed; run `pip install decord`"):
        open_reader(clip, backend="decord")


def test_variable_frame_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.01]
    for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.mkv", "libx264"), ("a.gif", "gif")):
        pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        path = make_video(tmp_path / name, 6, codec=codec, pix_fmt=pix_fmt, times=times)
        assert [frame.time_s for frame in open_reader(path)] == pytest.approx(times, abs=0.006)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_start_at_zero_and_sound_may_be_longer(tmp_path: Path, name: str) -> None:
    times = [5 + index / FPS for index in range(COUNT)]
    late = list(open_reader(make_video(tmp_path / f"late-{name}", times=times)))
    assert late[0].time_s == 0 and late[-1].time_s == pytest.approx(11 / FPS, abs=2e-3)
    assert len(list(open_reader(make_video(tmp_path / name, sound_s=4)))) == COUNT


def test_live_webm_without_any_stated_length(tmp_path: Path) -> None:
    path = make_video(tmp_path / "live.webm", codec="libvpx", options={"live": "1"})
    assert open_reader(path).length is None
    assert len(list(open_reader(path))) == COUNT


def test_missing_times_follow_at_the_frame_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "raw.h264")
    times = [frame.time_s for frame in open_reader(path)]
    assert len(times) == COUNT
    assert np.diff(times) == pytest.approx([times[1] - times[0]] * (COUNT - 1))


def test_odd_size(tmp_path: Path) -> None:
    path = make_video(tmp_path / "odd.mp4", 2, pix_fmt="yuv444p", size=(47, 63))
    assert [frame.size for frame in open_reader(path)] == [(47, 63)] * 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_truncated(tmp_path: Path, name: str) -> None:
    options = {"movflags": "+faststart"} if name == "a.mp4" else {}
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = make_video(tmp_path / name, 48, codec=codec, options=options, noise=True)
    reader = open_reader(cut(path))
    frames: list[Frame] = []
    with pytest.raises(TruncatedVideoError, match=f"cut-{name}: breaks off after") as caught:
        frames.extend(reader)
    assert 10 < len(frames) < 40
    assert caught.value.frames == len(frames)
    assert f"after {len(frames)} frames" in str(caught.value)
    assert numbers(frames) == [index % 12 for index in range(len(frames))]
    assert len(list(open_reader(cut(path), max_frames=5))) == 5  # what is not asked for does not matter


def test_truncated_anywhere(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options={"movflags": "+faststart"}, noise=True)
    body = path.read_bytes().index(b"mdat") / path.stat().st_size
    for share in np.linspace(body + 0.1, 0.98, 12):
        with pytest.raises(InputError, match="breaks off|no frames"):
            list(open_reader(cut(path, share)))


def test_truncated_without_index(tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "a.mp4", noise=True))
    with pytest.raises(InputError, match="cut off or damaged") as caught:
        open_reader(path)
    assert not isinstance(caught.value, TruncatedVideoError)


@needs_decord
def test_truncated_decord(tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "a.mkv", 48, noise=True))
    with pytest.raises(TruncatedVideoError, match="breaks off after"):
        list(open_reader(path, backend="decord"))


def test_trimmed_by_an_edit_list_is_whole(tmp_path: Path) -> None:
    path = make_video(tmp_path / "trimmed.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12  # version and flags, count; then the length of the first edit
    data[place : place + 4] = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] // 2)
    path.write_bytes(data)
    reader = open_reader(path)
    assert reader.length == COUNT  # stated for the whole
    assert numbers(list(reader)) == list(range(COUNT // 2))


def make_streams(path: Path, counts: tuple[int, ...]) -> Path:
    """A file of several video streams, told apart by their brightness, with so many frames each."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=FPS) for _ in counts]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index in range(max(counts)):
            for place, (stream, count) in enumerate(zip(streams, counts, strict=True)):
                if index < count:
                    rgb = np.full((HEIGHT, WIDTH, 3), 40 + 60 * place, np.uint8)
                    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                    frame.pts = index
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts", "avi"])
@pytest.mark.parametrize(("counts", "chosen"), [((5, 12), 1), ((12, 5), 0), ((12, 12), 0), ((5, 12, 8), 1)])
def test_of_several_streams_the_longest_is_read(
    tmp_path: Path, suffix: str, counts: tuple[int, ...], chosen: int, caplog: pytest.LogCaptureFixture
) -> None:
    with open_reader(make_streams(tmp_path / f"a.{suffix}", counts)) as reader:
        frames = list(reader)
    assert len(frames) == 12
    assert all(abs(float(frame.rgb.mean()) - 40 - 60 * chosen) < 8 for frame in frames)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / f'a.{suffix}'}: has {len(counts)} video streams; the one that plays longest is read "
        f"(number {chosen})"
    ]


@needs_decord
def test_decord_does_not_choose_among_streams(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several video streams"):
        open_reader(make_streams(tmp_path / "a.mp4", (5, 12)), backend="decord")


def test_size_change(tmp_path: Path) -> None:
    first = make_video(tmp_path / "1.h264", 3).read_bytes()
    second = make_video(tmp_path / "2.h264", 3, size=(32, 96)).read_bytes()
    both = tmp_path / "both.h264"
    both.write_bytes(first + second)
    with pytest.raises(InputError, match="frame 3 is 96 x 32, but those before are 64 x 48"):
        list(open_reader(both))


def test_no_video_at_all(tmp_path: Path) -> None:
    text, notes, empty = tmp_path / "text.mp4", tmp_path / "notes.txt", tmp_path / "empty.mp4"
    for path in (text, notes):
        path.write_text("not a video\n" * 50)
    empty.touch()
    sound, bare = tmp_path / "sound.m4a", tmp_path / "bare.mp4"
    with av.open(str(sound), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with av.open(str(bare), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        container.start_encoding()
    header = make_video(tmp_path / "a.mp4", options={"movflags": "+faststart"})
    header.write_bytes(header.read_bytes()[: header.read_bytes().index(b"mdat") + 8])
    expected = {
        text: "is not a video",
        notes: "is not a video",
        empty: "is empty",
        sound: "no video stream .only audio",
        bare: "contains no frames",
        header: "contains no frames",
        tmp_path / "nowhere.mp4": "no such file",
    }
    for path, message in expected.items():
        with pytest.raises(InputError, match=f"{path.name}: .*{message}"):
            open_reader(path)


def test_unreadable(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="clip.mp4: cannot be read .permission denied"):
        open_reader(clip)


def test_folder(tmp_path: Path) -> None:
    for index in (10, 2, 1, 0, 3):
        Image.fromarray(picture(index)).save(tmp_path / f"frame_{index}.png")
    (tmp_path / "notes.txt").write_text("ignored")
    reader = open_reader(tmp_path)
    assert (reader.fps, reader.length, reader.size) == (None, 5, (HEIGHT, WIDTH))
    frames = list(reader)
    assert numbers(frames) == [0, 1, 2, 3, 10]
    assert [frame.time_s for frame in frames] == [index / 24 for index in range(5)]
    assert numbers(list(open_reader(tmp_path, start=1, stride=2))) == [1, 3]


def test_folder_of_every_kind(tmp_path: Path) -> None:
    rgb, exif = Image.fromarray(picture(4)), Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(np.ascontiguousarray(np.rot90(picture(4)))).save(tmp_path / "0.jpg", exif=exif, quality=95)
    rgb.convert("L").save(tmp_path / "1.png")
    rgb.convert("RGBA").save(tmp_path / "2.webp", lossless=True)
    rgb.save(tmp_path / "3.BMP")
    rgb.quantize(16).save(tmp_path / "4.png")
    for frame in open_reader(tmp_path):
        assert np.abs(frame.rgb.astype(int) - picture(4)).mean() < 3


def test_folder_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        open_reader(tmp_path)
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index:05d}.jpg")
    Image.fromarray(picture(2, 32, 64)).save(tmp_path / "00002.jpg")
    with pytest.raises(InputError, match="00002.jpg: 64 x 32, but 00000.jpg is 64 x 48"):
        list(open_reader(tmp_path))
    (tmp_path / "00002.jpg").write_bytes((tmp_path / "00001.jpg").read_bytes()[:300])
    with pytest.raises(TruncatedVideoError, match="00002.jpg: cannot be read") as caught:
        list(open_reader(tmp_path))
    assert caught.value.frames == 2
    (tmp_path / "00000.jpg").write_text("text")
    with pytest.raises(InputError, match="00000.jpg: cannot be read"):
        open_reader(tmp_path)


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vos-reader"]


def test_prefetch_gives_all_frames(clip: Path) -> None:
    assert numbers(list(prefetch(open_reader(clip), depth=2))) == list(range(COUNT))
    assert not reader_threads()


def test_prefetch_passes_the_exception_on() -> None:
    def failing() -> Iterator[Frame]:
        yield Frame(0, 0.0, picture(0))
        raise TruncatedVideoError("clip.mp4: breaks off", 1)

    seen: list[Frame] = []
    with pytest.raises(TruncatedVideoError, match="breaks off"):
        seen.extend(prefetch(failing(), depth=1))
    assert len(seen) == 1
    assert not reader_threads()


def test_prefetch_reads_ahead_by_no_more_than_depth_and_stops_early() -> None:
    read, closed = [], []

    def endless() -> Iterator[Frame]:
        try:
            while True:
                read.append(1)
                yield Frame(len(read) - 1, 0.0, picture(0))
        finally:
            closed.append(True)

    frames = prefetch(endless(), depth=2)
    next(frames)
    time.sleep(0.1)
    assert len(read) <= 4  # one taken, two waiting, one in hand
    began = time.monotonic()
    frames.close()
    assert time.monotonic() - began < 1
    assert closed and not reader_threads()


def counting(upto: int = 1000) -> Iterator[Frame]:
    for index in range(upto):
        yield Frame(index, index / FPS, picture(index))


def test_read_ahead_ends_once_and_closes_twice() -> None:
    frames = ReadAhead(counting(3))
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert list(frames) == []  # asking on does not wait for a thread that has ended
    frames.close()
    frames.close()
    assert not reader_threads()


def test_read_ahead_is_closed_while_frames_wait() -> None:
    with ReadAhead(counting(), depth=2) as frames:
        assert next(frames).index == 0
    assert not reader_threads()
    assert list(frames) == []


def test_read_ahead_raises_an_exception_once() -> None:
    def failing() -> Iterator[Frame]:
        raise InputError("clip.mp4: is no video")
        yield

    with ReadAhead(failing()) as frames:
        with pytest.raises(InputError, match="is no video"):
            next(frames)
        assert list(frames) == []
