"""What hostile files and names may not do: take memory, leave the result folder, reach the network, run code."""

from __future__ import annotations

import csv
import os
import pickle
import resource
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.benchmarks import davis as davis_command
from vos.command.cli import main
from vos.errors import InputError
from vos.readers.first_mask import load_first_mask
from vos.readers.open import open_reader

SIZE = (48, 64)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 20:40] = 1
    Image.fromarray(labels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.new("RGB", SIZE[::-1], (index, 99, 200)).save(tmp_path / f"frames/{index:05d}.png")
    return tmp_path / "frames"


def write_video(
    path: Path, size: tuple[int, int] = SIZE, codec: str = "libx264", pixels: str = "yuv420p", count: int = 3
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 40 * index, np.uint8)).reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def track(video: Path | str, mask: Path, out: Path, *more: object) -> int:
    return main([*map(str, (video, "--first-mask", mask, "-o", out, "--tracker", "persam", "--quiet", *more))])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error, error
    return error


def bomb(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def grown_by(action: Callable[[], object]) -> float:
    """Megabytes by which the peak of this process's memory rises."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    action()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


# -- sizes ----------------------------------------------------------------------------------------


def test_a_png_bomb_is_refused_before_memory_is_taken(
    folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(60_000, 60_000))
    assert grown_by(lambda: track(folder, tmp_path / "bomb.png", tmp_path / "out", "--resize-mask")) < 50
    line = one_line(capsys)
    assert "bomb.png: 60000 x 60000, more than the 67108864 pixels" in line and "--max-pixels" in line
    for frame in ("00000", "00001"):
        (folder / f"{frame}.png").write_bytes(bomb(60_000, 60_000))
    assert grown_by(lambda: track(folder, mask, tmp_path / "out")) < 50
    assert "00000.png: 60000 x 60000, more than" in one_line(capsys)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "png"])
def test_a_later_frame_may_be_the_bomb(
    suffix: str, folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (300, 200)).save(folder / f"00003.{suffix}")
    assert track(folder, mask, tmp_path / "out", "--max-pixels", 48 * 64) == 2
    assert f"00003.{suffix}: 300 x 200, more than the 3072 pixels" in one_line(capsys)
    assert len(list((tmp_path / "out/masks").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"), [("mp4", "libx264", "yuv420p"), ("gif", "gif", "rgb8"), ("avi", "mpeg4", "yuv420p")]
)
def test_a_video_of_absurd_size_is_refused(suffix: str, codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"video.{suffix}", codec=codec, pixels=pixels)
    with pytest.raises(InputError, match=r"64 x 48, more than the 3000 pixels .* `max_pixels`"):
        open_reader(path, max_pixels=3000)
    assert len(list(open_reader(path, max_pixels=3072))) == 3


def test_a_header_that_claims_a_huge_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.gif", codec="gif", pixels="rgb8")
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(content)

    def refused() -> None:
        with pytest.raises(InputError, match="more than 67108864 pixels, which `max_pixels` would allow"):
            open_reader(path)

    assert grown_by(refused) < 100


def test_more_may_be_allowed_than_pillow_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(np.tile(np.uint8([[0, 1]]), (20, 20))).save(tmp_path / "mask.png")
    assert load_first_mask([tmp_path / "mask.png"], (20, 40)).object_ids == (1,)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(InputError, match="40 x 20, more than the 799 pixels"):
        load_first_mask([tmp_path / "mask.png"], (20, 40), max_pixels=799)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/etc", "..", ".", "a/b", "a\\b", ".hidden", "a\x00b"])
def test_sequence_names_stay_inside_the_results(
    name: str, davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.txt").write_text(f"{name}\n")
    results = tmp_path / "deep/er/results"
    arguments = ["--davis", str(davis), "--year", "2016", "--tracker", "persam", "-o", str(results)]
    before = sorted(tmp_path.rglob("*"))
    for choice in (["--set", str(tmp_path / "set.txt")], ["--sequences", name]):
        assert davis_command.main([*arguments, *choice]) == 2
        assert "is no name of a sequence" in one_line(capsys)
        assert (
            davis_command.main(["--davis", str(davis), "--year", "2016", "--evaluate-only", str(tmp_path), *choice])
            == 2
        )
        assert "is no name of a sequence" in one_line(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_links_inside_a_result_are_not_followed(
    folder: Path, davis: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "00000.png").write_bytes(b"mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("masks", ".resume"):
        (out / name).symlink_to(elsewhere, target_is_directory=True)
        assert track(folder, mask, out, "--overwrite") == 2
        assert f"{name}: is a link" in one_line(capsys)
        assert track(folder, mask, out, "--resume") == 2
        assert f"{name}: is a link" in one_line(capsys)
        (out / name).unlink()
    for name in ("objects.csv", ".objects.partial.csv", "run.json"):
        (out / name).symlink_to(elsewhere / name)
    assert track(folder, mask, out, "--overwrite") == 0
    assert [path.name for path in elsewhere.iterdir()] == ["00000.png"]
    results = tmp_path / "results"
    results.mkdir()
    for name in ("cat", ".cat.partial"):
        (results / name).symlink_to(elsewhere, target_is_directory=True)
        assert (
            davis_command.main(["--davis", str(davis), "--year", "2016", "--tracker", "persam", "-o", str(results)])
            == 2
        )
        assert f"{name}: is a link" in one_line(capsys)
        (results / name).unlink()
    assert (elsewhere / "00000.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name",
    [
        "-rf 1.png",
        "a\nb 2.png",
        "ü 3.png",
        b"\xff 4.png",
        "%00d 5.png",
        "\x1b[31m6.png",
        "'; rm 7.png",
        "9" * 200 + ".png",
        "long" * 62 + "abc.png",
        "²8.png",
    ],
)
def test_odd_names_of_images_are_just_names(
    name: str | bytes, folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, out = os.fsencode(tmp_path / "odd"), tmp_path / "out"
    os.mkdir(frames)
    path = os.path.join(frames, os.fsencode(name))
    os.link(folder / "00000.png", path)
    outputs = ("--save", "masks,csv,npz,cutout,overlay")
    assert track(os.fsdecode(frames), mask, out, *outputs) == 0
    for kind in ("masks", "cutout"):
        assert os.listdir(os.fsencode(out / kind)) == [os.fsencode(name)]
    with (out / "objects.csv").open(newline="", encoding="utf-8") as table:
        written = [record["name"] for record in csv.DictReader(table)]
    stem = Path(os.fsdecode(name)).stem
    assert written == [stem.encode("utf-8", "backslashreplace").decode()]
    with np.load(out / "masks.npz") as arrays:
        assert arrays["name"].tolist() == [stem]
    own = out / "masks" / "my own.png"
    own.write_bytes(b"mine")
    assert track(os.fsdecode(frames), mask, out, "--save", "csv", "--overwrite") == 0
    assert [file.name for file in out.rglob("*.png")] == ["my own.png"]
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"broken")
    assert track(os.fsdecode(frames), mask, tmp_path / "again") == 2
    line = one_line(capsys)
    assert "cannot be read as an image" in line and line[:-1].isprintable()


@pytest.mark.parametrize("kind", ["pipe", "folder", "dead link"])
def test_what_is_only_named_like_an_image(
    kind: str, folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "00001.jpg"
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "dead link": lambda: path.symlink_to("nowhere")}[kind]()
    assert track(folder, mask, tmp_path / "out") == 2
    assert "00001.jpg: is no file that can be read" in one_line(capsys)


# -- network and code -------------------------------------------------------------------------------


def test_a_run_with_lite_opens_no_socket(folder: Path, mask: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event.startswith('socket.') and event != 'socket.gethostname':\n"
        "        print('SOCKET', event, arguments, flush=True)\n"
        "sys.addaudithook(hook)\n"
        "from vos.command.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    outputs = "masks,overlay,csv,npz,coco,matte"
    arguments = [folder, "--first-mask", mask, "-o", tmp_path / "out", "--save", outputs, "--quiet"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "SOCKET" not in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "http:video.mp4"])
def test_a_file_that_points_to_the_network_is_not_followed(
    name: str, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/video.ts"

        def listen() -> None:
            try:
                server.accept()[0].close()
                asked.append(address)
            except OSError:  # closed: nobody came
                pass

        thread = threading.Thread(target=listen)
        thread.start()
        monkeypatch.chdir(tmp_path)
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        Path(name).write_text(f"ffconcat version 1.0\nfile '{address}'\n" if name.endswith("ffconcat") else text)
        assert track(name, mask, tmp_path / "out") == 2
        one_line(capsys)
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert not asked


class Hostile:
    def __reduce__(self) -> tuple:
        return print, ("unpickled",)


@pytest.mark.parametrize("option", ["--model", "--points"])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_malicious_checkpoint_is_one_line(
    option: str, kind: str, folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    path = tmp_path / "sam.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": Hostile()}))
    else:
        torch.save({"weight": Hostile()}, path)
    assert track(folder, mask, tmp_path / "out", option, f"pips:{path}" if option == "--points" else path) == 2
    assert "unpickled" not in capsys.readouterr().out


def test_every_loader_of_weights_is_a_safe_one() -> None:
    """``torch.load`` only with ``weights_only=True``; no pickle, no ``allow_pickle=True``.

    Annotations of one-shot sets are published as pickles; the one reader of these allows containers and arrays alone.
    """
    import re

    root = Path(__file__).parents[1]
    plain = root / "benchmarks/oneshot/files.py"
    assert "def find_class(" in plain.read_text(encoding="utf-8")
    for path in [
        path for folder in ("vos", "trackers", "benchmarks", "tools") for path in (root / folder).rglob("*.py")
    ]:
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"(?<!safetensors\.)torch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call, path
        assert path == plain or not re.search(
            r"^\s*(import|from) (pickle|dill|joblib|shelve)\b|allow_pickle=True", text, re.MULTILINE
        ), path
