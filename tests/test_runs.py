"""Runs as people start them: two at once, any name, coordinates as other tools write them, masks beyond the end."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.command.coordinates import parse_box, parse_point, protect_values
from vos.command.option_values import hints_of
from vos.command.options import parse_options
from vos.engine.hints import fit_hints
from vos.errors import InputError, OutputError
from vos.files import cannot_write
from vos.folder_lock import LOCK, FolderLock
from vos.pipeline import check_frames
from vos.readers.open import open_reader
from vos.structures import Hint
from vos.testing.clip import clip as drawn_clip
from vos.testing.clip import disc_labels
from vos.writers.encoded import PRORES_4444, VP9_ALPHA, Encoding, VideoFile, h264

SIZE = (48, 80)
FRAMES = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 and mask.png."""
    folder = tmp_path_factory.mktemp("runs")
    write_clip(folder / "clip.mp4", FRAMES)
    Image.fromarray(disc_labels(SIZE, 1)).save(folder / "mask.png")
    return folder


def write_clip(path: Path, frames: int, movflags: str = "faststart") -> None:
    with av.open(f"file:{path}", "w", options={"movflags": movflags}) as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for frame, _ in zip(drawn_clip(SIZE), range(frames), strict=False):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
        container.mux(stream.encode())


def arguments(inputs: Path, *more: object) -> list[str]:
    line = [inputs / "clip.mp4", "--first-mask", inputs / "mask.png", "--tracker", "persam", "--quiet", *more]
    return [str(each) for each in line]


def run(line: list[str]) -> int:
    try:
        return main(line)
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error, error
    return error


# -- two at once --------------------------------------------------------------------------------


def test_of_two_runs_into_one_folder_one_is_refused(inputs: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "vos.command.cli", *arguments(inputs, "--save", "masks,csv,npz")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for more in ([], ["--overwrite"]):
        started = [
            subprocess.Popen([*line, *more], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        errors = [process.communicate(timeout=300)[1] for process in started]
        statuses = [process.returncode for process in started]
        # With --overwrite a run that begins after the other has ended is right to go on.
        assert sorted(statuses) == [0, 2] or (more and statuses == [0, 0]), errors
        for status, error in zip(statuses, errors, strict=True):
            assert error.count("\n") == (1 if status else 0), error
        out = tmp_path / "clip-vos"
        assert sorted(path.name for path in out.iterdir()) == ["masks", "masks.npz", "objects.csv", "run.json"]
        with (out / "objects.csv").open() as file:
            assert [record["frame"] for record in csv.DictReader(file)] == [str(index) for index in range(FRAMES)]
        with np.load(out / "masks.npz") as archive:
            assert all(len(archive[name]) for name in archive.files)
        assert json.loads((out / "run.json").read_text())["outcome"] == "finished"


@pytest.mark.parametrize("option", [None, "--overwrite", "--resume"])
@pytest.mark.parametrize("before", ["no folder", "empty", "results"])
def test_a_folder_that_is_locked_is_left_alone(
    option: str | None, before: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "out"
    if before != "no folder":
        out.mkdir(parents=True)
    with FolderLock(out, "vos-track"):
        if before == "results":
            (out / "objects.csv").write_text("half")
        there = sorted(out.iterdir())
        assert run(arguments(inputs, "-o", out, *([option] if option else []))) == 2
        assert "another vos-track is writing there" in one_line(capsys)
        assert sorted(out.iterdir()) == there
    assert sorted(path.name for path in out.iterdir()) == (["objects.csv"] if before == "results" else [])


def test_a_lock_file_that_was_left_behind_is_taken_over(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    assert run(arguments(inputs, "-o", tmp_path, "--save", "csv", "--max-frames", 1)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["objects.csv", "run.json"]


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from vos.folder_lock import FolderLock\n"
        "FolderLock(Path(sys.argv[1]), 'x').acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / LOCK).exists()
    with FolderLock(tmp_path, "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused_as_before(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert run(arguments(inputs, "-o", tmp_path)) == 2
    assert "not empty; pass --overwrite" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_lock_of_another_run_is_not_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = FolderLock(out, "x"), FolderLock(out, "x")
    first.acquire()
    (out / LOCK).unlink()  # as if the folder was removed and made again
    second.acquire()
    first.release()
    with pytest.raises(OutputError, match="another x is writing there"):
        FolderLock(out, "x").acquire()
    second.release()
    assert not list(out.iterdir())


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with FolderLock(tmp_path, "x"), FolderLock(tmp_path, "x"):
        pass
    assert not list(tmp_path.iterdir())


# -- names --------------------------------------------------------------------------------------

NAMES = ["2024-05-01T12:30:00.mp4", "file:foo.mp4", "http:video.mp4", "-foo.mp4", "a%03d.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_a_video_of_any_name(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((inputs / "clip.mp4").read_bytes())
    line = [name, *arguments(inputs)[1:], "--max-frames", "1", "--save", "overlay"]
    assert run(line) == 0, capsys.readouterr().err
    out = tmp_path / f"{Path(name).stem}-vos"
    assert sorted(path.name for path in out.iterdir()) == ["overlay.mp4", "run.json"]


@pytest.mark.parametrize("name", ["12:30.mp4", "file:foo.mp4"])
def test_decord_reads_a_video_of_any_name(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("decord")
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((inputs / "clip.mp4").read_bytes())
    with open_reader(name, backend="decord") as reader:
        assert len(list(reader)) == FRAMES


@pytest.mark.parametrize("out", ["a:b", "./c:d", "e/f:g", "http:h"])
def test_a_result_folder_of_any_name(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds: dict[str, Encoding] = {"overlay.mp4": h264(), "matte.mov": PRORES_4444, "matte.webm": VP9_ALPHA}
    Path(out).mkdir(parents=True)
    for name, encoding in kinds.items():
        file = VideoFile(Path(out) / name, encoding, fps=24.0, size=SIZE)
        file.write(np.zeros((*SIZE, 4), np.uint8), 0.0)
        file.close()
    assert sorted(path.name for path in Path(out).iterdir()) == sorted(kinds)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
def test_only_a_full_disk_is_told_as_one(code: int) -> None:
    assert "free some space" in str(cannot_write(Path("a"), OSError(code, os.strerror(code))))
    for other in (OSError(errno.EACCES, "Permission denied"), ValueError("Protocol not found")):
        assert "space" not in str(cannot_write(Path("a"), other))
        assert "choose another folder" in str(cannot_write(Path("a"), other))


# -- coordinates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "fitted"),
    [
        ((10, 6, 80, 48), (10, 6, 79, 47)),
        ((-2, 6, 30, 40), (0, 6, 30, 40)),
        ((-5, -5, 900, 900), (0, 0, 79, 47)),
        ((10.5, 6.25, 40.75, 30), (10.5, 6.25, 40.75, 30)),
    ],
)
def test_a_box_is_clipped(box: tuple[float, float, float, float], fitted: tuple[float, ...]) -> None:
    assert fit_hints([Hint(box)], SIZE)[0].box == fitted


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (Hint((0.36, 0.52, 0.55, 0.75)), "pixels are wanted"),
        (Hint((0, 0, 1, 1)), "pixels are wanted"),
        (Hint((30, 20, 30.4, 40)), "pixels are wanted"),
        (Hint((0.6, 0.5, 0.2, 0.3)), "pixels are wanted"),
        (Hint(points=((0.5, 0.25, True),)), "pixels are wanted"),
        (Hint((10, 6, 40, 30), ((0.5, 0.5, False),)), "pixels are wanted"),
        (Hint((80, 6, 90, 40)), "lies outside of the 80 x 48 video"),
        (Hint((-20, 6, -1, 40)), "lies outside of the 80 x 48 video"),
        (Hint((40, 6, 20, 40)), "x0 < x1"),
        (Hint((10, 6, float("nan"), 40)), "finite"),
        (Hint(points=((82, 6, True),)), "82,6 lies outside of the 80 x 48 video"),
        (Hint(points=((5, -1.5, True),)), "5,-1.5 lies outside"),
    ],
)
def test_hints_that_are_refused(hint: Hint, message: str) -> None:
    with pytest.raises(InputError, match=f"^object 1 .*{message}"):
        fit_hints([hint], SIZE)


def test_points_at_the_edge_are_clipped() -> None:
    given = ((80.0, 48.0, True), (-1.0, 5.0, False), (79.5, 3.0, True), (0.0, 1.0, True))
    assert fit_hints([Hint(points=given)], SIZE)[0].points == (
        (79.0, 47.0, True),
        (0.0, 5.0, False),
        (79.5, 3.0, True),
        (0.0, 1.0, True),
    )


def test_the_command_takes_coordinates_as_people_write_them() -> None:
    line = "v.mp4|--box|-2,60,180,150|--point|-1,5|--box|10, 20, 30, 40|--point|150, 110 :0|--box=[1 2 3 4]"
    hints = hints_of(parse_options(line.split("|")).hints or ())
    assert hints == [
        Hint((-2, 60, 180, 150), ((-1, 5, True),)),
        Hint((10, 20, 30, 40), ((150, 110, False),)),
        Hint((1, 2, 3, 4)),
    ]
    assert parse_box("-2.5,+1,1e2,.5") == (-2.5, 1, 100, 0.5) and parse_point("(5, 6):1") == (5, 6, True)


@pytest.mark.parametrize(
    "given",
    [
        *(f"--box={text}" for text in ("1;2;3;4", "1,2,3", "", "1,2,3,4,5", "a,b,c,d")),
        *(f"--point={text}" for text in ("1;2", "1,2:", "1,2:5", "1,2,3", "")),
        *("--box|-inf,2,3,4", "--point|-nan,3", "--box"),
    ],
)
def test_garbage_is_one_line(given: str, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(inputs / "clip.mp4"), *given.split("|")]) == 2
    assert given.split("|")[0].partition("=")[0] in one_line(capsys)


def test_values_are_protected_and_options_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-o", "-out", "--box", "-dog.mp4", "--quiet"):
        Path(name).touch()
    options = ("-h", "-o", "--box", "--point", "--quiet")
    assert protect_values(["-dog.mp4", "-out", "--qui", "--box", "-1,2,3,4"], options) == [
        f".{os.sep}-dog.mp4",
        "-out",
        "--qui",
        "--box=-1,2,3,4",
    ]
    assert protect_values(["-", "--box", "--quiet", "--", "-dog.mp4"], options) == [
        "-",
        "--box",
        "--quiet",
        "--",
        "-dog.mp4",
    ]


def test_normalised_boxes_are_refused_before_the_folder_is_touched(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(inputs / "clip.mp4"), "--box", "0.2,0.2,0.6,0.7", "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert "pixels are wanted" in one_line(capsys)
    assert not (tmp_path / "out").exists()


# -- masks beyond the end -----------------------------------------------------------------------


def test_a_mask_beyond_the_end_is_refused_before_tracking(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = f"{FRAMES}={inputs / 'mask.png'}"
    assert run(arguments(inputs, "-o", tmp_path / "out", "--mask-at", late)) == 2
    assert f"--mask-at {FRAMES}: there are {FRAMES} frames to track" in one_line(capsys)
    assert not (tmp_path / "out").exists()
    with open_reader(inputs / "clip.mp4", max_frames=2) as reader:
        check_frames("masks_at", [1], reader)
        with pytest.raises(InputError, match="there are 2 frames"):
            check_frames("masks_at", [1, 2], reader)


def test_a_file_that_states_too_few_frames_is_counted(tmp_path: Path) -> None:
    write_clip(tmp_path / "fragments.mp4", 12, "frag_keyframe")
    with open_reader(tmp_path / "fragments.mp4") as reader:
        assert reader.length is not None and reader.length < 12
        check_frames("masks_at", [11], reader)
        with pytest.raises(InputError, match="`masks_at` 12"):
            check_frames("masks_at", [12], reader)


def test_where_the_length_is_not_known_nothing_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", 3)
    with open_reader(tmp_path / "clip.mkv") as reader:
        assert reader.length is None
        check_frames("masks_at", [99], reader)
