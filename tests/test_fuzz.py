"""A short run of ``tools/fuzz.py``, and regression tests for what its full runs found."""

from __future__ import annotations

import importlib.util
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType

import av
import numpy as np
import pytest

from vos.errors import InputError
from vos.readers.first_mask import load_first_mask
from vos.readers.open import open_reader
from vos.writers.encoded import VideoFile, h264

pytest.importorskip("hypothesis")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """The tool as a module."""
    path = Path(__file__).parents[1] / "tools/fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "examples"), [("masks", 200), ("pictures", 200), ("videos", 25)])
def test_broken_files_are_refused_in_one_line(kind: str, examples: int, fuzz: ModuleType, tmp_path: Path) -> None:
    outcomes = fuzz.fuzz(kind, examples, tmp_path)
    assert sum(outcomes.values()) >= examples
    assert outcomes["accepted"] and outcomes["InputError"]  # the damage is neither too great nor too small


def test_the_fuzzer_sees_a_traceback(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "load_first_mask", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fuzz.fuzz("masks", 3, tmp_path)


@pytest.fixture
def limited(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit memory to 64 MB more than is in use."""
    monkeypatch.setattr(fuzz, "GROWTH", 64 << 20)
    fuzz.limit_memory()
    yield
    fuzz.resource.setrlimit(fuzz.resource.RLIMIT_AS, (fuzz.resource.RLIM_INFINITY,) * 2)


def test_the_fuzzer_sees_memory_that_was_taken(fuzz: ModuleType, limited: None, tmp_path: Path) -> None:
    peak = fuzz.resource.getrusage(fuzz.resource.RUSAGE_SELF).ru_maxrss * 1024

    def greedy(path: Path, rng: Random) -> None:
        try:
            b"x" * (peak + (128 << 20))
        except MemoryError as error:
            raise InputError(f"{path}: too large") from error

    with pytest.raises(AssertionError, match="input.png: took .* MB: .* too large"):
        fuzz.one_input(greedy, tmp_path / "input.png", None)


@pytest.fixture
def videos(fuzz: ModuleType, tmp_path: Path) -> dict[str, bytes]:
    """Small valid files by suffix."""
    return dict(fuzz.whole_videos(tmp_path))


def test_pictures_of_an_unknown_coding(videos: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "v.mkv").write_bytes(videos["mkv"].replace(b"V_MPEG4/ISO/AVC", b"V_NONE/SUCH/NOW"))
    with pytest.raises(InputError, match="coded in a way that is not known"):
        open_reader(tmp_path / "v.mkv")


def test_a_title_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "title.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Xaviers film"
        stream = container.add_stream("mpeg4", rate=24)
        stream.metadata["title"] = "Xaviers track"
        stream.height, stream.width, stream.pix_fmt = 24, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8))))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"Xaviers", b"Xavier\xd7"))
    assert len(list(open_reader(path))) == 1


def test_times_that_no_video_has(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "v.mp4", h264(), fps=24, size=(24, 32))
    for time_s in (0.0, 1e9, 1e15):
        video.write(np.zeros((24, 32, 3), np.uint8), time_s)
    video.close()
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert [round(frame.time) for frame in container.decode(video=0)] == [0, 3600, 7200]


def test_a_chunk_that_claims_gigabytes(fuzz: ModuleType, limited: None, tmp_path: Path) -> None:
    """Reading the chunk at once would allocate them."""
    chunks = fuzz.chunks_of(fuzz.whole_masks()[1])
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        length = 2**31 - 1 if kind == b"IDAT" else len(data)
        content += struct.pack(">I", length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    assert fuzz.one_input(lambda path, _: load_first_mask([path], fuzz.SIZE), path, None) in ("accepted", "InputError")
