"""The command: a real run, and every mistake is one clear line with status 2."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.command.convert import main as convert
from vos.command.options import Options, build_parser
from vos.command.run import destination
from vos.command.status import with_flags
from vos.errors import parameter


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, published: Callable[[str], dict[str, np.ndarray]]) -> Path:
    """A folder with video.mp4 (4 frames), mask.png (two objects)."""
    folder = tmp_path_factory.mktemp("clip")
    arrays = published("frames_multi")
    with av.open(str(folder / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 454, 256, "yuv420p"
        for rgb in arrays["frames"]:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:, :454]))):
                container.mux(packet)
        container.mux(stream.encode())
    mask = Image.fromarray(arrays["labels"][0][:, :454])
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask.save(folder / "mask.png")
    return folder


def run(*arguments: object) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        return stop.code


def test_a_whole_run(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(clip / "video.mp4", "--first-mask", clip / "mask.png", "-o", out, "--quiet") == 0
    masks = sorted((out / "masks").iterdir())
    assert [path.name for path in masks] == [f"{i:05d}.png" for i in range(4)]
    assert np.array_equal(np.asarray(Image.open(masks[0])), np.asarray(Image.open(clip / "mask.png")))
    with (out / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["object"]) for row in rows] == [(str(f), str(o)) for f in range(4) for o in (1, 2)]
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
    record = json.loads((out / "run.json").read_text())
    assert record["frames"] == 4 and record["outcome"] == "finished"
    assert record["options"]["tracker"] == "persam-f"
    assert record["persam_f"]["fit_seconds"] > 0
    assert all(len(digest) == 64 for digest in record["weights"].values()) and record["weights"]


def test_a_later_mask_corrects_and_adds(
    clip: Path, tmp_path: Path, published: Callable[[str], dict[str, np.ndarray]]
) -> None:
    labels = published("frames_multi")["labels"][:, :, :454].astype(np.uint8)
    first, later, out = tmp_path / "first.png", tmp_path / "later.png", tmp_path / "out"
    Image.fromarray((labels[0] == 1).astype(np.uint8)).save(first)
    indexed = Image.fromarray(labels[2], mode="P")
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    indexed.save(later)
    arguments = (clip / "video.mp4", "--first-mask", first, "--tracker", "persam", "--quiet")
    assert run(*arguments, "-o", out, "--mask-at", f"2={later}") == 0
    masks = [np.asarray(Image.open(out / f"masks/{i:05d}.png")) for i in range(4)]
    assert [set(np.unique(mask)) for mask in masks] == [{0, 1}, {0, 1}, {0, 1, 2}, {0, 1, 2}]
    assert np.array_equal(masks[2], labels[2])
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
    with (out / "objects.csv").open() as file:
        assert [row["object"] for row in csv.DictReader(file)] == ["1", "1", "1", "2", "1", "2"]
    assert run(*arguments, "-o", tmp_path / "late", "--mask-at", f"9={later}") == 2
    assert run(*arguments, "-o", tmp_path / "bad", "--mask-at", "nine") == 2


def test_save_and_max_frames(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--quiet", "--save", "masks", "--max-frames", 2, "--tracker", "persam")
    status = run(clip / "video.mp4", "--first-mask", clip / "mask.png", "-o", out, *more)
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == ["masks", "run.json"]
    assert len(list((out / "masks").iterdir())) == 2


def test_frames_of_the_video_and_a_folder_with_a_dash(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """CVAT is told which frames of the video are shown, by a run as by a conversion."""
    monkeypatch.chdir(tmp_path)
    more = ("--quiet", "--save", "masks,cvat", "--start", 1, "--stride", 2, "--tracker", "persam")
    assert run(clip / "video.mp4", "--first-mask", clip / "mask.png", "-o", "-out", *more) == 0
    written = Path("-out/cvat.xml").read_text()
    assert set(re.findall(r'frame="(\d)" keyframe="1" outside="0"', written)) == {"1", "3"}
    assert convert(["./-out", "--to", "cvat", "-o", "-other", "--quiet"]) == 0
    assert Path("-other/cvat.xml").read_text() == written
    for wrong in (["-o"], ["-o", "--quiet"]):
        assert run(clip / "video.mp4", "--first-mask", clip / "mask.png", *wrong) == 2
        assert "expected one argument" in capfd.readouterr().err


def mistakes(clip: Path, tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """Name -> (arguments, what the line must say)."""
    video, mask = clip / "video.mp4", clip / "mask.png"
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    small = tmp_path / "small.png"
    Image.fromarray(np.ones((10, 12), np.uint8)).save(small)
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros((256, 454), np.uint8)).save(empty)
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    return {
        "no video": ([tmp_path / "none.mp4", "--first-mask", mask], "none.mp4"),
        "text": ([text, "--first-mask", mask], "text.mp4"),
        "no mask": ([video, "--first-mask", tmp_path / "none.png"], "none.png"),
        "empty mask": ([video, "--first-mask", empty], "empty.png"),
        "size": ([video, "--first-mask", small], "12 x 10, but the video is 454 x 256; pass --resize-mask"),
        "out not empty": ([video, "--first-mask", mask, "-o", full], "--overwrite"),
        "out is a file": ([video, "--first-mask", mask, "-o", text], "text.mp4"),
        "save": ([video, "--first-mask", mask, "--save", "pdf"], "masks, overlay, csv"),
        "tracker": ([video, "--first-mask", mask, "--tracker", "x"], "persam, persam-f"),
        "model": ([video, "--first-mask", mask, "--model", "x"], "lite"),
        "weights": ([video, "--first-mask", mask, "--model", tmp_path / "sam.pth"], "sam.pth"),
        "prior": ([video, "--first-mask", mask, "--prior", "x"], "dinov2-large"),
        "device": ([video, "--first-mask", mask, "--device", "abacus"], "abacus"),
        "start": ([video, "--first-mask", mask, "--start", "99"], "frame"),
    }


MISTAKES = (
    "no video,text,no mask,empty mask,size,out not empty,out is a file,save,tracker,model,weights,prior,device,start"
)


@pytest.mark.parametrize("name", MISTAKES.split(","))
def test_a_mistake_is_one_line(
    name: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, expected = mistakes(clip, tmp_path)[name]
    assert run(*arguments, "--quiet") == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1 and "Traceback" not in error


def test_a_video_cut_off_keeps_what_came_before(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], published: Callable[[str], dict[str, np.ndarray]]
) -> None:
    source = published("frames")["frames"]
    whole = tmp_path / "whole.mkv"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 454, 256, "yuv420p"
        for index in range(48):
            rgb = np.ascontiguousarray(source[index % 4][:, :454])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb)))
        container.mux(stream.encode())
    cut = tmp_path / "cut.mkv"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 4])
    out = tmp_path / "out"
    status = run(
        cut, "--first-mask", clip / "mask.png", "-o", out, "--quiet", "--save", "masks,csv", "--tracker", "persam"
    )
    assert status == 2
    error = capsys.readouterr().err
    assert "cut.mkv" in error and "frame" in error and error.count("\n") == 1
    written = len(list((out / "masks").iterdir()))
    assert 0 < written < 48
    assert json.loads((out / "run.json").read_text())["frames"] == written


HELP = """
import sys
from vos.command.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
assert "torch" not in sys.modules
"""


def test_help_is_quick_has_groups_and_examples() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    places = [
        done.stdout.index(f"\n{group}:\n") for group in ("input", "objects", "models", "output", "run", "examples")
    ]
    assert places == sorted(places)


def test_asking_for_the_destination_changes_nothing() -> None:
    options = build_parser().parse_args(["clips/dog.mp4", "--first-mask", "dog.png"], namespace=Options())
    before = dict(vars(options))
    assert destination(options) == Path("dog-vos")
    assert vars(options) == before


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"pass {parameter('resize_mask', True)}", "pass --resize-mask"),
        (f"look at {parameter('start')}", "look at --start"),
        (f"pass {parameter('reader', 'pyav')}, or", "pass --reader pyav, or"),
        (f"{parameter('max_pixels', 100)}", "--max-pixels 100"),
        (f"{parameter('points', 'pips:a b.pth')} is", "--points pips:a b.pth is"),
        (f"{parameter('masks_at')} 9: no", "--mask-at 9: no"),
        (f"{parameter('video')}, {parameter('hints')}", "VIDEO, --box or --point"),
        (f"{parameter('tracker', 'x')} or {parameter('model', 'y')}", "--tracker x or --model y"),
        (f"{parameter('of_a_plugin', 3)}", "--of-a-plugin 3"),
        (
            "call `start(frame)`, `Class.load` or `| ffplay -`; `-`",
            "call `start(frame)`, `Class.load` or `| ffplay -`; `-`",
        ),
        ("a name with ` in it", "a name with ` in it"),
    ],
)
def test_parameters_become_flags_and_all_else_stays(message: str, shown: str) -> None:
    assert with_flags(message) == shown


def test_messages_of_the_library_name_flags(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late, out = f"9={clip / 'mask.png'}", tmp_path / "out"
    arguments = (clip / "video.mp4", "--first-mask", clip / "mask.png", "--tracker", "persam", "--save", "masks")
    assert run(*arguments, "-o", out, "--quiet", "--mask-at", late) == 2
    error = capsys.readouterr().err
    assert error == "vos-track: --mask-at 9: there are 4 frames to track, numbered from 0\n"


def test_the_record_of_a_stopped_run_names_flags(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vos.command.run.check_frames", lambda *_: None)  # as if the length was not known
    late, out = f"9={clip / 'mask.png'}", tmp_path / "out"
    arguments = (clip / "video.mp4", "--first-mask", clip / "mask.png", "--tracker", "persam", "--save", "masks")
    assert run(*arguments, "-o", out, "--quiet", "--mask-at", late) == 2
    error = capsys.readouterr().err
    assert "--mask-at 9: the video ended after frame 3" in error and "`" not in error
    outcome = json.loads((out / "run.json").read_text())["outcome"]
    assert error == f"vos-track: {outcome}\n"
