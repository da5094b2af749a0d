"""Tests streams: standard input, addresses that break and come back, dropped frames, pipes and windows.

The tests run their own servers on the loopback address. Nothing depends on the clock, apart from limits on
how long processes may take.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

import vos
from vos.command.cli import main
from vos.errors import InputError, TruncatedVideoError
from vos.readers import live
from vos.readers.address import parse_address, without_password
from vos.readers.live import LiveReader, StreamSource
from vos.readers.open import open_reader
from vos.readers.prefetch import prefetch
from vos.readers.source import SourceFrame
from vos.structures import Frame

SIZE = (48, 64)
FPS = 25


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame whose grey encodes its number, with a bright square."""
    rgb = np.full((*size, 3), 10 + 8 * (number % 30), np.uint8)
    rgb[12:36, 16:48] = 250
    return rgb


def transport(count: int, size: tuple[int, int] = SIZE, noise: bool = False) -> bytes:
    """An MPEG-TS of numbered pictures, each a key frame; ``noise`` makes them fill many packets."""
    memory, rng = io.BytesIO(), np.random.default_rng(0)
    with av.open(memory, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "1", "tune": "zerolatency"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for index in range(count):
            rgb = rng.integers(0, 255, (*size, 3), np.uint8) if noise else picture(index, size)
            frame = av.VideoFrame.from_ndarray(rgb)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return memory.getvalue()


def numbers(frames: list) -> list[int]:
    pixels = [frame.rgb if isinstance(frame, Frame) else frame.load() for frame in frames]
    return [round((float(rgb[:8].mean()) - 10) / 8) for rgb in pixels]


class Server:
    """A TCP server that serves one connection after another, each by its own function, then closes."""

    def __init__(self, *plays: Callable[[socket.socket], None]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self._plays = plays
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._listening:
            for play in self._plays:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):  # the other side has gone
                    play(connection)

    def join(self) -> None:
        self._thread.join(timeout=120)
        assert not self._thread.is_alive()


def sends(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tries without a pause."""
    monkeypatch.setattr(live, "BACKOFF_S", (0.0, 0.0, 0.0))


def source(address: str, as_live: bool = True) -> StreamSource:
    return StreamSource(parse_address(address), as_live)


def test_what_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    camera = parse_address("0")
    assert (camera.url, camera.format, camera.stem) == ("/dev/video0", "v4l2", "camera0")
    assert parse_address("/dev/video2").url == "/dev/video2"
    Path("0").mkdir()
    for path in ("0", "dog.mp4", "a/b.mp4", "c:dog.mp4", "ftp://host/x", tmp_path / "001"):
        assert parse_address(path) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (parse_address("1").url, parse_address("1").format) == ("1", "avfoundation")
    rtsp = parse_address("rtsp://me:secret@10.0.0.9:554/door/stream1")
    assert rtsp.url == "rtsp://me:secret@10.0.0.9:554/door/stream1"
    assert (rtsp.name, rtsp.stem) == ("rtsp://***@10.0.0.9:554/door/stream1", "stream1")
    assert parse_address("http://host/../../live.ts?key=1").stem == "live"
    assert parse_address("udp://239.0.0.1:1234").stem == "239_0_0_1"
    assert parse_address("tcp://127.0.0.1:1?listen").waits and not rtsp.waits
    assert parse_address("-").url == "pipe:0"
    assert without_password("a/b@c.mp4") == "a/b@c.mp4"


def test_windows_cameras_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"Microphone": "audio", "Webcam": "video"}
    devices = [SimpleNamespace(name=name, media_types=[kind]) for name, kind in kinds.items()]
    monkeypatch.setattr("av.device.enumerate_input_devices", lambda _: devices)
    monkeypatch.setattr(sys, "platform", "win32")
    assert (parse_address("0").url, parse_address("0").format) == ("video=Webcam", "dshow")
    with pytest.raises(InputError, match="camera 1: there are 1 cameras"):
        parse_address("1")


def test_options_that_do_not_go_together(tmp_path: Path, square: Path, capsys: pytest.CaptureFixture) -> None:
    video = tmp_path / "a.ts"
    video.write_bytes(transport(10))
    messages = {
        (video, "--live"): "--live is for cameras",
        (video, "--raw", "64x48"): "only for standard input",
        ("-", "--raw", "64*48"): "such as 640x480@30",
        ("udp://127.0.0.1:1", "--reader", "decord"): "reads files only",
        (video, "-o", "-", "--save", "csv"): "give them a folder by -o",
        (video, "--show", "--debug"): "give them a folder by -o",
        ("/dev/video999", "--live"): "camera 999: cannot be opened",
    }
    for arguments, expected in messages.items():
        assert main([*map(str, arguments), "--first-mask", str(square)]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1, error


def test_an_address_is_read_like_a_file() -> None:
    server = Server(sends(transport(20)))
    reader = open_reader(server.address, start=2, stride=3)
    assert (reader.size, reader.length) == (SIZE, None)
    frames = list(prefetch(reader))
    assert numbers(frames) == [2, 5, 8, 11, 14, 17]
    assert [frame.time_s for frame in frames] == pytest.approx(
        [index / FPS for index in (2, 5, 8, 11, 14, 17)], abs=1e-3
    )
    with pytest.raises(InputError, match="can be read only once"):
        list(reader)
    server.join()


def test_an_address_that_waits_for_a_sender() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def send() -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(transport(8))
                    return
            except ConnectionRefusedError:
                time.sleep(0.02)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert numbers(list(open_reader(f"tcp://127.0.0.1:{port}?listen"))) == list(range(8))
    sender.join(timeout=120)


def rtsp(data: bytes) -> Callable[[socket.socket], None]:
    """A server of one RTSP session: MPEG-TS in RTP, interleaved in the TCP connection."""
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
    answers = {
        "OPTIONS": ("Public: OPTIONS, DESCRIBE, SETUP, PLAY", ""),
        "DESCRIBE": ("Content-Type: application/sdp", sdp),
        "SETUP": ("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1", ""),
        "PLAY": ("Session: 1", ""),
    }

    def play(connection: socket.socket) -> None:
        asked, method = connection.makefile("r", newline="\r\n"), ""
        while method != "PLAY":
            method = asked.readline().split(" ")[0]
            headers = dict(line.rstrip().split(": ", 1) for line in iter(asked.readline, "\r\n"))
            assert method != "SETUP" or "RTP/AVP/TCP" in headers["Transport"]
            header, body = answers[method]
            answer = (
                f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
            connection.sendall(answer.encode())
        for number, start in enumerate(range(0, len(data), 7 * 188)):
            packet = struct.pack(">BBHII", 0x80, 33, number, number * 900, 1) + data[start : start + 7 * 188]
            connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)

    return play


def test_rtsp() -> None:
    server = Server(rtsp(transport(12)))
    reader = open_reader(server.address.replace("tcp", "rtsp") + "/door", live=True)
    assert reader.size == SIZE
    frames = iter(reader)
    assert numbers([next(frames)]) == [0]
    frames.close()
    server.join()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=f"tcp://127.0.0.1:{port}: cannot be opened .Connection refused.; look"):
        open_reader(f"tcp://127.0.0.1:{port}")


def test_a_silent_address_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match="no answer in 0.1 s"):
        open_reader(f"udp://127.0.0.1:{port}")


def test_a_stream_that_breaks_is_opened_again(at_once: None, caplog: pytest.LogCaptureFixture) -> None:
    half = transport(24)[: len(transport(12))]
    server = Server(sends(half), sends(transport(8)), sends(b""), sends(transport(9)))
    stream = source(server.address)
    frames: list[SourceFrame] = []
    with pytest.raises(TruncatedVideoError, match="did not come back in 3 tries") as caught:
        frames.extend(stream.frames())
    server.join()
    seen = numbers(frames)
    first = len(seen) - 17
    assert 9 <= first <= 12
    assert seen == [*range(first), *range(8), *range(9)]
    assert (stream.reconnections, caught.value.frames) == (2, len(frames))
    times = [frame.time_s for frame in frames]
    assert times[0] == 0 and times == sorted(times)
    assert np.diff(times[first : first + 8]) == pytest.approx([1 / FPS] * 7, abs=1e-3)
    tried = [message for message in caplog.messages if "trying again" in message]
    assert len(tried) == 1 + 2 + 3 and all(message.startswith(server.address) for message in tried)


def test_a_stream_that_falls_silent_is_opened_again(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "READ_TIMEOUT_S", 2.0)  # a busy machine needs a second for what takes a tenth
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 2.0)  # it is looked through before its first frame
    given_up, told, data = threading.Event(), [], transport(8)

    def warning(text: str, *values: object) -> None:
        told.append(text % values)
        given_up.set()

    def silent(connection: socket.socket) -> None:
        connection.sendall(data)
        given_up.wait(timeout=120)

    monkeypatch.setattr(live._log, "warning", warning)
    server, seen = Server(silent, sends(transport(9))), []
    with pytest.raises(TruncatedVideoError, match="did not come back"):
        seen.extend(source(server.address).frames())
    server.join()
    assert numbers(seen) == [*range(len(seen) - 9), *range(9)] and len(seen) > 9
    assert "breaks off after" in told[0] and "nothing came any more" in told[0]


def test_without_live_the_end_is_the_end() -> None:
    server = Server(sends(transport(8)))
    assert numbers(list(source(server.address, as_live=False).frames())) == list(range(8))
    server.join()


def test_damage_is_counted_over_breaks(at_once: None, tmp_path: Path) -> None:
    data = transport(8, noise=True)
    holed = data[: 188 * 60] + data[188 * 61 :]
    (tmp_path / "holed.ts").write_bytes(holed)
    whole = open_reader(tmp_path / "holed.ts")
    list(whole)
    once = whole.faults["damaged_packets"]
    assert once > 0
    stream = source(Server(sends(holed), sends(holed)).address)
    with pytest.raises(TruncatedVideoError):
        list(stream.frames())
    assert stream.damaged == 2 * once


def test_a_stream_that_comes_back_in_another_size(at_once: None) -> None:
    server = Server(sends(transport(8)), sends(transport(8, (96, 128))))
    with pytest.raises(InputError, match="came back as 128 x 96, but was 64 x 48 before"):
        list(source(server.address).frames())


def test_stopped_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BACKOFF_S", (3600.0,))
    stream = source(Server(sends(transport(8))).address)
    seen: list[SourceFrame] = []
    reading = threading.Thread(target=lambda: seen.extend(stream.frames()), daemon=True)
    reading.start()
    stream.stop()
    reading.join(timeout=120)
    assert not reading.is_alive()


def test_times_go_on_over_a_break_and_a_clock_that_jumps() -> None:
    now = 100.0
    timeline = live._Timeline(lambda: now)
    assert [timeline.time_s(stated) for stated in (7.0, 7.04, 7.08)] == pytest.approx([0, 0.04, 0.08])
    now = 103.0
    timeline.restart()
    assert [timeline.time_s(stated) for stated in (0.0, 0.04)] == pytest.approx([3.08, 3.12])
    now = 104.0
    assert timeline.time_s(0.0) == pytest.approx(4.12)  # a file that is sent in a loop
    assert timeline.time_s(0.04) == pytest.approx(4.16)
    now = 104.5
    assert timeline.time_s(90_000.0) == pytest.approx(4.66)


class Steps:
    """A source of numbered frames that sets ``all_given`` when it is asked for a frame after ``last``."""

    fps, size, length, damaged, reconnections = 25.0, SIZE, None, 0, 0

    def __init__(self, last: int) -> None:
        self._last = last
        self.all_given, self.stopped = threading.Event(), threading.Event()

    def frames(self) -> Iterator[SourceFrame]:
        index = 0
        while index <= self._last:
            yield SourceFrame(index / 10, lambda index=index: picture(index))
            index += 1
        self.all_given.set()
        self.stopped.wait(timeout=120)

    def stop(self) -> None:
        self.stopped.set()


def live_reader(steps: Steps, **options: int | None) -> LiveReader:
    return LiveReader("steps", steps, **({"start": 0, "stride": 1, "max_frames": None} | options))


class SlowTracker:
    """A tracker that keeps its mask; its start waits until the source has delivered all frames."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def start(self, context, first_mask) -> None:
        self._steps.all_given.wait(timeout=120)

    def step(self, context):
        import torch

        from vos.structures import Tracked

        return Tracked(torch.ones(1, *context.frame.size), torch.ones(1))

    def observe(self, context, result) -> None: ...


def test_frames_are_dropped_rather_than_falling_behind() -> None:
    from vos.engine.session import Session
    from vos.pipeline import follow
    from vos.readers.prefetch import read_ahead
    from vos.readers.source import faults_line
    from vos.structures import first_mask_from_array

    steps = Steps(last=9)
    reader = live_reader(steps, max_frames=2)
    mask = first_mask_from_array(np.ones(SIZE, np.uint8))
    results = list(follow(Session(SlowTracker(steps), None, None), read_ahead(reader), mask))
    assert numbers([result.frame for result in results]) == [0, 9]  # the mask's frame, then the newest
    assert [result.frame.index for result in results] == [0, 1]
    assert [result.frame.time_s for result in results] == [0.0, 0.9]
    assert reader.faults == {"dropped_frames": 8, "reconnections": 0, "damaged_packets": 0}
    assert faults_line(reader) == "steps: frames dropped to keep up: 8"
    assert steps.stopped.is_set()


def test_stride_counts_frames_of_the_source() -> None:
    steps = Steps(last=9)
    frames = iter(live_reader(steps, start=1, stride=4))
    first = next(frames)
    steps.all_given.wait(timeout=120)
    assert numbers([first, next(frames)]) == [1, 9]
    frames.close()


def test_nothing_is_dropped_if_nobody_is_slow() -> None:
    taken = threading.Event()

    def frames() -> Iterator[Frame]:
        for index in range(5):
            yield Frame(index, index / 10, picture(index))
            taken.wait(timeout=120)
            taken.clear()

    dropped: list[int] = []
    seen = []
    for frame in prefetch(frames(), depth=1, on_drop=lambda: dropped.append(1)):
        seen.append(frame.index)
        taken.set()
    assert seen == list(range(5)) and not dropped


@pytest.fixture
def looped() -> Iterator[str]:
    """An HTTP address that sends the same three seconds again and again."""
    data = transport(75)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            with suppress(OSError):  # the reader has gone
                while True:
                    self.wfile.write(data)
                    time.sleep(0.3)  # leaves the processor to the reader

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/live.ts"
        server.shutdown()


def test_track_follows_an_address(looped: str, square: Path) -> None:
    results = list(vos.track(looped, square, live=True, max_frames=4, tracker="persam"))
    assert [result.frame.index for result in results] == list(range(4))
    assert results[0].frame.time_s == 0
    times = [result.frame.time_s for result in results]
    assert times == sorted(times)
    assert numbers([results[0].frame]) == [0]


def command(*arguments: object, **options: object) -> subprocess.Popen:
    words = [sys.executable, "-m", "vos.command.cli", *map(str, arguments), "--tracker", "persam"]
    return subprocess.Popen(words, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_live_run_is_ended_by_a_signal(by: signal.Signals, looped: str, square: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = command(looped.replace("http://", "http://me:secret@"), "--live", "--first-mask", square, "-o", out)
    until = time.monotonic() + 300
    while len(list((out / "masks").glob("[0-9]*.png"))) < 3:
        assert running.poll() is None and time.monotonic() < until, running.stderr.read()
        time.sleep(0.05)
    running.send_signal(by)
    error = running.communicate(timeout=300)[1].decode()
    assert running.returncode == 0, error
    assert "Traceback" not in error and "secret" not in error and "frames dropped to keep up" in error
    text = (out / "run.json").read_text()
    record = json.loads(text)
    assert record["outcome"] == "stopped" and "secret" not in text
    assert record["input"]["dropped_frames"] > 0 and record["input"]["reconnections"] == 0
    count = record["frames"]
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{i:05d}.png" for i in range(count)]
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == count
    assert len((out / "objects.csv").read_text().splitlines()) == count + 1


def test_a_lost_stream_leaves_what_was_done(
    square: Path, tmp_path: Path, at_once: None, capsys: pytest.CaptureFixture[str]
) -> None:
    server, out = Server(sends(transport(8))), tmp_path / "out"
    arguments = [server.address, "--live", "--first-mask", square, "-o", out, "--tracker", "persam", "--quiet"]
    assert main([str(each) for each in arguments]) == 2
    assert "did not come back in 3 tries" in capsys.readouterr().err
    record = json.loads((out / "run.json").read_text())
    assert 0 < record["frames"] <= 8 and "did not come back" in record["outcome"]
    assert len(list((out / "masks").iterdir())) == record["frames"]
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == record["frames"]


def test_transport_stream_in_and_out(square: Path) -> None:
    running = command("-", "--first-mask", square, "-o", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    video, error = running.communicate(transport(10), timeout=120)
    assert running.returncode == 0 and b"10 frames in" in error
    with av.open(io.BytesIO(video)) as container:
        assert container.format.name == "mpegts"
        frames = list(container.decode(video=0))
    assert len(frames) == 10 and (frames[0].height, frames[0].width) == SIZE
    assert [frame.time - frames[0].time for frame in frames] == pytest.approx([i / FPS for i in range(10)], abs=2e-3)
    tinted = frames[0].to_ndarray(format="rgb24")[24, 32].astype(int)
    assert tinted[0] - tinted[1] > 50  # the square is red now


@pytest.fixture
def given() -> Iterator[Callable[[bytes], None]]:
    """Puts bytes on the standard input of this process."""
    with ExitStack() as stack:

        def give(data: bytes) -> None:
            reading, writing = os.pipe()
            before = os.dup(0)
            os.dup2(reading, 0)
            os.close(reading)
            pipe = stack.enter_context(os.fdopen(writing, "wb"))
            sender = threading.Thread(target=lambda: (pipe.write(data), pipe.close()), daemon=True)
            sender.start()
            stack.callback(sender.join, timeout=120)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, 0)

        yield give


def test_raw_pixels_that_end_inside_a_frame(
    square: Path, tmp_path: Path, given: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    given(b"".join(picture(index).tobytes() for index in range(5))[:-1000])
    arguments = ["-", "--raw", "64x48@10", "--first-mask", square, "--save", "csv", "--quiet", "-o", tmp_path / "out"]
    assert main([*map(str, arguments), "--tracker", "persam"]) == 2
    error = capsys.readouterr().err
    assert error == "vos-track: standard input: breaks off after 4 frames (it ends inside a frame)\n"
    records = (tmp_path / "out/objects.csv").read_text().splitlines()[1:]
    assert [float(record.split(",")[1]) for record in records] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_standard_input_that_is_no_video(
    square: Path, tmp_path: Path, given: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    given(b"this is not a video\n" * 200)
    assert main(["-", "--first-mask", str(square), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vos-track: standard input: ") and error.count("\n") == 1


def test_a_closed_pipe_ends_it_quietly(square: Path, looped: str) -> None:
    running = command(looped, "--first-mask", square, "-o", "-", "--quiet", stdout=subprocess.PIPE)
    assert running.stdout.read(188)[0] == 0x47  # as `head` would
    running.stdout.close()
    assert running.wait(timeout=120) == 0
    assert running.stderr.read() == b""


class FakeCv2:
    """Stands in for OpenCV's window functions; q is pressed at the third picture."""

    WINDOW_NORMAL, WND_PROP_VISIBLE = 0, 4

    def __init__(self, works: bool = True) -> None:
        self.shown: list[np.ndarray] = []
        self.threads: set[int] = set()
        self.works, self.closed = works, False

    def namedWindow(self, *_: object) -> None:
        if not self.works:
            raise RuntimeError("The function is not implemented")

    def imshow(self, _: str, picture: np.ndarray) -> None:
        self.shown.append(picture)
        self.threads.add(threading.get_ident())

    def waitKey(self, _: int) -> int:
        return ord("q") if len(self.shown) == 3 else -1

    def getWindowProperty(self, *_: object) -> float:
        return 1.0

    def destroyAllWindows(self) -> None:
        self.closed = True


def test_a_window(square: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = FakeCv2()
    monkeypatch.setitem(sys.modules, "cv2", window)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    Path("clip.ts").write_bytes(transport(10))
    before = set(tmp_path.iterdir())
    arguments = ["clip.ts", "--first-mask", str(square), "--show", "--tracker", "persam", "--quiet"]
    assert main(arguments) == 0
    assert len(window.shown) == 3 and window.closed and window.threads == {threading.get_ident()}
    assert window.shown[0][24, 32, 2] > int(window.shown[0][24, 32, 1]) + 50  # red, in OpenCV's order
    assert set(tmp_path.iterdir()) == before  # no files without -o
    window.shown.clear()
    assert main([*arguments, "-o", "out"]) == 0
    record = json.loads(Path("out/run.json").read_text())
    assert record["outcome"] == "the window was closed" and record["frames"] == len(list(Path("out/masks").iterdir()))


def test_no_window_is_one_line(
    square: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "clip.ts").write_bytes(transport(10))
    arguments = [str(tmp_path / "clip.ts"), "--first-mask", str(square), "--show"]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(arguments) == 2
    assert "there is no screen" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "cv2", FakeCv2(works=False))
    assert main(arguments) == 2
    assert "pip install opencv-python" in (error := capsys.readouterr().err) and error.count("\n") == 1
