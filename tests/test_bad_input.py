"""Bad input through the command: one clear line, status 2, and nothing finished is lost."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.palette import davis_palette
from vos.structures import Result

SIZE = (256, 454)


@pytest.fixture(scope="module")
def clip(
    tmp_path_factory: pytest.TempPathFactory, published: Callable[[str], dict[str, np.ndarray]]
) -> tuple[Path, np.ndarray]:
    """A video of 8 frames and the labels (H, W) of its first."""
    arrays = published("frames_multi")
    path = tmp_path_factory.mktemp("bad") / "video.mp4"
    write_video(path, [arrays["frames"][index % 4] for index in range(8)])
    return path, arrays["labels"][0][:, : SIZE[1]].astype(np.uint8)


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:, : SIZE[1]]))))
        container.mux(stream.encode())


def arguments(video: Path, mask: Path, out: Path, *more: object) -> list[str]:
    return [str(each) for each in (video, "--first-mask", mask, "-o", out, "--tracker", "persam", *more)]


def track(video: Path, mask: Path, out: Path, *more: object) -> int:
    return main(arguments(video, mask, out, "--quiet", *more))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


@pytest.fixture
def mask(clip: tuple[Path, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    Image.fromarray(clip[1]).save(path)
    return path


def test_a_file_with_sound_only(mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="flt", layout="mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    assert track(path, mask, tmp_path / "out") == 2
    assert "sound.mp4" in (line := one_line(capsys)) and "video stream" in line
    assert not (tmp_path / "out").exists()


def test_a_video_without_frames(mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.mkv"
    write_video(path, [])
    assert track(path, mask, tmp_path / "out") == 2
    assert "none.mkv" in one_line(capsys)


def test_a_folder_without_images(mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames").mkdir()
    assert track(tmp_path / "frames", mask, tmp_path / "out") == 2
    assert "holds no images" in one_line(capsys)


def test_a_mask_with_300_labels(
    clip: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros(SIZE, np.uint16)
    for index, object_id in enumerate(np.random.default_rng(0).permutation(300) + 1):
        row, column = divmod(index, 20)
        labels[16 * row : 16 * row + 8, 20 * column : 20 * column + 8] = object_id
    path = tmp_path / "many.png"
    Image.fromarray(labels).save(path)
    assert track(clip[0], path, tmp_path / "out") == 2
    assert "300 objects, but at most 255" in one_line(capsys)


def kinds(labels: np.ndarray) -> dict[str, tuple[Image.Image, set[int]]]:
    """Ways to store the same two objects, or one: name -> (image, object ids)."""
    one = labels == 1
    grey = one.astype(np.uint8) * np.uint8(255)
    alpha = np.dstack([np.full((*SIZE, 3), 200, np.uint8), grey])
    return {
        "16 bits": (Image.fromarray(labels.astype(np.uint16)), {1, 2}),
        "RGB of the palette": (Image.fromarray(davis_palette()[labels]), {1, 2}),
        "RGB, one colour": (Image.fromarray(np.where(one[..., None], [10, 200, 30], 0).astype(np.uint8)), {1}),
        "RGBA, the mask in alpha": (Image.fromarray(alpha), {1}),
        "1 bit": (Image.fromarray(grey).convert("1"), {1}),
        "black and white": (Image.fromarray(grey), {1}),
    }


@pytest.mark.parametrize(
    "kind", ["16 bits", "RGB of the palette", "RGB, one colour", "RGBA, the mask in alpha", "1 bit", "black and white"]
)
def test_masks_as_people_store_them(kind: str, clip: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    image, ids = kinds(clip[1])[kind]
    path = tmp_path / "mask.png"
    image.save(path)
    assert track(clip[0], path, tmp_path / "out", "--save", "masks", "--max-frames", 2) == 0
    first = np.asarray(Image.open(tmp_path / "out/masks/00000.png"))
    assert set(np.unique(first)) == {0, *ids}
    assert np.array_equal(first == 1, clip[1] == 1)


def test_a_photograph_is_no_mask(
    clip: tuple[Path, np.ndarray],
    tmp_path: Path,
    published: Callable[[str], dict[str, np.ndarray]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(published("frames")["frames"][0][:, : SIZE[1]]).save(path)
    assert track(clip[0], path, tmp_path / "out") == 2
    assert "photo.png" in one_line(capsys)


def test_a_mask_of_another_size_may_be_resized(clip: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(clip[1][::2, ::2]).save(path)
    assert track(clip[0], path, tmp_path / "out", "--resize-mask", "--max-frames", 2, "--save", "masks") == 0
    assert Image.open(tmp_path / "out/masks/00000.png").size == SIZE[::-1]


def test_an_output_folder_that_cannot_be_made(
    clip: tuple[Path, np.ndarray], mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert track(clip[0], mask, tmp_path / "file/out") == 2
    assert "file/out: cannot be written" in one_line(capsys)


def test_a_full_disk_keeps_the_finished_frames(
    clip: tuple[Path, np.ndarray],
    mask: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = Image.Image.save

    def full_after_three(self: Image.Image, path: Path, *arguments: object, **keywords: object) -> None:
        if "00003" in str(path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *arguments, **keywords)

    monkeypatch.setattr(Image.Image, "save", full_after_three)
    out = tmp_path / "out"
    assert track(clip[0], mask, out, "--save", "masks,csv") == 2
    assert "00003.png: cannot be written (No space left on device)" in one_line(capsys)
    written = sorted(path.name for path in (out / "masks").iterdir())
    assert written == ["00000.png", "00001.png", "00002.png"]
    for name in written:
        Image.open(out / "masks" / name).load()
    with (out / "objects.csv").open() as file:
        assert {row["frame"] for row in csv.DictReader(file)} >= {"0", "1", "2"}
    assert "No space left" in json.loads((out / "run.json").read_text())["outcome"]


@pytest.mark.parametrize(("most", "saves"), [(600, "masks"), (9000, "masks,overlay,npz,csv")])
def test_files_that_may_not_grow(
    most: int, saves: str, clip: tuple[Path, np.ndarray], mask: Path, tmp_path: Path
) -> None:
    """The same from the system's side: no file may pass so many bytes; a mask's PNG has about 1500."""
    code = (
        "import resource, signal, sys; from vos.command.cli import main\n"
        "import vos.pipeline\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-B", "-c", code, *arguments(clip[0], mask, out, "--quiet", "--save", saves)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert not list(out.rglob("*.partial*"))
    finished = sorted((out / "masks").glob("*"))
    assert bool(finished) == (most > 600)
    for path in finished:
        Image.open(path).load()


def test_a_folder_that_is_taken_away(
    clip: tuple[Path, np.ndarray],
    mask: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vos.writers.masks import MaskWriter

    out, write = tmp_path / "out", MaskWriter.write

    def take_away(self: MaskWriter, result: Result) -> None:
        if result.frame.index == 3:
            shutil.rmtree(out)
        write(self, result)

    monkeypatch.setattr(MaskWriter, "write", take_away)
    assert track(clip[0], mask, out) == 2
    assert "00003.png: cannot be written (No such file or directory)" in one_line(capsys)


def test_a_video_that_is_taken_away(
    clip: tuple[Path, np.ndarray],
    mask: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vos.command import run

    video = tmp_path / "video.mp4"
    shutil.copy(clip[0], video)
    read = run.read_first_mask
    monkeypatch.setattr(run, "read_first_mask", lambda *given: (video.unlink(missing_ok=True), read(*given))[1])
    assert track(video, mask, tmp_path / "out") == 2
    assert "video.mp4: cannot be opened (No such file or directory)" in one_line(capsys)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_terminal_does_not_stop_a_run(clip: tuple[Path, np.ndarray], mask: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vos.command.cli", str(clip[0]), "--first-mask", str(mask), "--tracker", "persam"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "-o", str(tmp_path / "out"), "--save", "masks"], stderr=full, check=False)
        assert done.returncode == 0
        done = subprocess.run([*command, "-o", str(tmp_path / "out")], stderr=full, check=False)
        assert done.returncode == 2
    assert len(list((tmp_path / "out/masks").iterdir())) == 8


def test_a_pipe_whose_reader_has_left(davis: Path, tmp_path: Path) -> None:
    shutil.copytree(davis / "Annotations/480p/cat", tmp_path / "theirs/cat")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "vos.benchmarks.davis", "--davis", str(davis), "--year", "2016"]
    done = subprocess.run(
        [*command, "--evaluate-only", str(tmp_path / "theirs")],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "the standard output was closed" in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_what_was_finished_valid(
    mask: Path, tmp_path: Path, published: Callable[[str], dict[str, np.ndarray]]
) -> None:
    frames = published("frames_multi")["frames"]
    video = tmp_path / "long.mp4"
    write_video(video, [frames[index % 4] for index in range(400)])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vos.command.cli", *arguments(video, mask, out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 300
        while len(list((out / "masks").glob("0*.png"))) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130, error
    assert "stopped; the finished frames are valid" in error
    assert "Traceback" not in error
    masks = sorted((out / "masks").iterdir())
    assert 3 <= len(masks) < 400
    for path in masks:
        Image.open(path).load()
    with (out / "objects.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(masks)
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(masks)
    record = json.loads((out / "run.json").read_text())
    assert record["outcome"] == "stopped by Ctrl-C"
    assert record["frames"] == len(masks)
    assert not list(out.rglob("*.partial*"))


def test_overwrite_leaves_nothing_of_an_earlier_run_and_all_else(
    clip: tuple[Path, np.ndarray], mask: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert track(clip[0], mask, out) == 0
    notes = out / "masks/notes.txt"
    notes.write_text("mine")
    (out / "masks/mine.png").touch()
    assert track(clip[0], mask, out, "--overwrite", "--max-frames", 3, "--save", "masks") == 0
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
        "mine.png",
        "notes.txt",
    ]
    assert sorted(path.name for path in out.iterdir()) == ["masks", "run.json"]


def test_traceback_is_for_developers(mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(tmp_path / "none.mp4", mask, tmp_path / "out", "--traceback") == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and "none.mp4: no such file" in error
