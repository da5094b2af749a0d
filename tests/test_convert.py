"""``vos-convert``: outputs of a result that is there are those that the run itself would have written."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main as track
from vos.command.convert import main
from vos.writers.outputs import OUTPUTS

SIZE = (96, 128)
FRAMES = 4
ALL = ",".join(name for name in OUTPUTS if name not in ("masks", "csv"))
HARD = [name for name in OUTPUTS if not OUTPUTS[name].soft_edges and name not in ("masks", "csv", "exr")]


def picture(index: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    rgb = np.random.default_rng(0).integers(60, 90, (*SIZE, 3)).astype(np.uint8)
    rgb[np.hypot(rows - 48, columns - 50 - 2 * index) < 20] = (200, 80, 40)
    return rgb


def make_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        sound.layout = "mono"
        for index in range(FRAMES + 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))
        wave = av.AudioFrame.from_ndarray(np.full((1, 10240), 0.1, np.float32), format="fltp", layout="mono")
        wave.rate, wave.pts, wave.time_base = 44100, 0, Fraction(1, 44100)
        resampler = av.AudioResampler("fltp", "mono", 44100, 1024)
        for part in resampler.resample(wave):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``clip.mp4`` and ``clip-vos``, which holds everything that a run can save."""
    folder = tmp_path_factory.mktemp("convert")
    video = make_video(folder / "clip.mp4")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    mask = (np.hypot(rows - 48, columns - 52) < 20).astype(np.uint8)
    mask[80:90, 100:120] = 3
    Image.fromarray(mask).save(folder / "m.png")
    line = [str(video), "--first-mask", str(folder / "m.png"), "--tracker", "persam", "--start", "1", "--quiet"]
    saves = f"masks,csv,{ALL}"
    assert track([*line, "-o", str(folder / "clip-vos"), "--save", saves, "--name", "1=ball"]) == 0
    return folder


@pytest.fixture
def bare(tracked: Path, tmp_path: Path) -> Path:
    """A result folder with masks, the table and the record alone."""
    out = tmp_path / "clip-vos"
    out.mkdir()
    shutil.copytree(tracked / "clip-vos/masks", out / "masks")
    for name in ("objects.csv", "run.json"):
        shutil.copy(tracked / "clip-vos" / name, out / name)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outputs_are_those_of_the_run(tracked: Path, bare: Path) -> None:
    before = files(bare)
    assert main([str(bare), "--to", ",".join(HARD), "--quiet"]) == 0
    ours, theirs = files(bare), files(tracked / "clip-vos")
    new = ours.keys() - before.keys()
    assert {path: ours[path] for path in before} == before  # what was there is as it was
    assert len(new) == len(theirs.keys() - before.keys() - {path for path in theirs if is_soft(path)})
    for path in new - {"masks.npz"}:  # whose zip has the time of writing
        assert ours[path] == theirs[path], path
    with np.load(bare / "masks.npz") as one, np.load(tracked / "clip-vos/masks.npz") as other:
        assert set(one) == set(other)
        for key in one:
            if key == "confidence":  # the table has four digits
                np.testing.assert_allclose(one[key], other[key], atol=1e-4)
            elif key == "time_s":
                np.testing.assert_allclose(one[key], other[key], atol=1e-6)
            else:
                np.testing.assert_array_equal(one[key], other[key])


def is_soft(path: str) -> bool:
    return path.startswith(("cutout/", "exr/", "matte.", "green."))


def test_mattes_take_their_edges_from_cutouts(tracked: Path, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bare), "--to", "matte", "-o", str(bare / "hard"), "--quiet"]) == 0
    assert "matte: with hard edges" in capsys.readouterr().err
    shutil.copytree(tracked / "clip-vos/cutout", bare / "cutout")
    assert main([str(bare), "--to", "matte", "-o", str(bare / "soft"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    theirs = (tracked / "clip-vos/matte.mov").read_bytes()
    assert (bare / "soft/matte.mov").read_bytes() == theirs != (bare / "hard/matte.mov").read_bytes()


def test_without_the_video_what_needs_no_frames_is_written(
    tracked: Path, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move_away(bare)
    needless = [name for name in HARD if not OUTPUTS[name].pixels]
    assert main([str(bare), "--to", ",".join(needless), "--quiet"]) == 0
    for path in ("mask.mkv", "cvat.xml", "coco.json", "binary/3/00002.png"):
        if path != "mask.mkv":  # which had the sound
            assert (bare / path).read_bytes() == (tracked / "clip-vos" / path).read_bytes()
    with av.open(str(bare / "mask.mp4")) as container:
        assert container.streams.video[0].average_rate == 25 and not container.streams.audio
    assert main([str(bare), "--to", "yolo", "--quiet"]) == 2
    assert "gone.mp4: the video is not there, and its frames are needed; say where it is by --video-file" in one_line(
        capsys
    )
    assert main([str(bare), "--to", "yolo", "--video-file", str(tracked / "clip.mp4"), "--quiet"]) == 0
    assert (bare / "yolo/data.yaml").read_bytes() == (tracked / "clip-vos/yolo/data.yaml").read_bytes()


def move_away(folder: Path) -> None:
    """Let a result say that its video was one that is not there."""
    record = json.loads((folder / "run.json").read_text())
    record["options"]["video"] = "/nowhere/gone.mp4"
    (folder / "run.json").write_text(json.dumps(record))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("vos-convert: ")
    return told


def test_names_of_the_command_go_before_those_of_the_run(bare: Path) -> None:
    assert main([str(bare), "--to", "cvat", "--name", "3=box", "--quiet"]) == 0
    assert main([str(bare), "--to", "cvat", "--name", "1=sun", "-o", str(bare / "b"), "--quiet"]) == 0
    for path, names in ((bare, ("ball", "box")), (bare / "b", ("sun", "object 3"))):
        text = (path / "cvat.xml").read_text()
        assert all(f"<name>{name}</name>" in text for name in names)


def test_what_is_there_is_replaced_only_with_overwrite(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "binary/9").mkdir(parents=True)
    (bare / "binary/9/00001.png").write_bytes(b"old")
    (bare / "binary/9/notes.png").write_bytes(b"mine")
    assert main([str(bare), "--to", "binary", "--quiet"]) == 2
    assert "binary/9/00001.png: already there; pass --overwrite" in one_line(capsys)
    assert main([str(bare), "--to", "binary", "--overwrite", "--quiet"]) == 0
    assert [path.name for path in (bare / "binary/9").iterdir()] == ["notes.png"]
    assert len(list((bare / "binary/1").iterdir())) == FRAMES


def test_without_a_table_objects_are_those_of_the_masks(bare: Path) -> None:
    (bare / "objects.csv").unlink()
    assert main([str(bare), "--to", "csv,binary", "-o", str(bare / "new"), "--quiet"]) == 0
    lines = (bare / "new/objects.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == ["1", "3"] * FRAMES
    for mask in (bare / "new/binary/1").iterdir():
        np.testing.assert_array_equal(
            np.array(Image.open(mask)) > 0, np.array(Image.open(bare / "masks" / mask.name)) == 1
        )


@pytest.mark.parametrize(
    ("damage", "to", "message"),
    [
        (lambda out: (out / "run.json").unlink(), "cvat", "holds no run.json of vos-track"),
        (lambda out: shutil.rmtree(out / "masks"), "cvat", "has no masks/"),
        (lambda out: (out / "masks/00002.png").unlink(), "cvat", "00002.png: is missing"),
        (lambda out: (out / "masks/00002.png").write_bytes(b"no"), "cvat", "00002.png: "),
        (lambda out: (out / "objects.csv").write_text("frame,x\na,b\n"), "cvat", "objects.csv: is not the table"),
        (lambda out: None, "gif", "--to gif: choose from masks, overlay"),
        (lambda out: None, ",", "--to ',': choose from masks, overlay"),
        (lambda out: None, "masks", "is read from it; give another folder by -o"),
    ],
)
def test_mistakes_are_one_line(bare: Path, damage, to: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage(bare)
    assert main([str(bare), "--to", to, "--quiet"]) == 2
    assert message.replace("'", "") in one_line(capsys).replace("'", "")


def test_another_video_is_told(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_video(tmp_path / "other.mp4")
    other.write_bytes(other.read_bytes() + b"\0" * 8)
    assert main([str(bare), "--to", "overlay", "--video-file", str(other), "--quiet"]) == 0
    assert "other.mp4: is not the video of this run, or has changed since" in one_line(capsys)


def test_folder_of_images_keeps_its_names(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / "shots" / f"take_{10 * index}.png")
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    Image.fromarray((np.hypot(rows - 48, columns - 50) < 20).astype(np.uint8)).save(tmp_path / "m.png")
    out = tmp_path / "out"
    line = [str(tmp_path / "shots"), "--first-mask", str(tmp_path / "m.png"), "--tracker", "persam", "--quiet"]
    assert track([*line, "-o", str(out), "--save", "masks"]) == 0
    assert main([str(out), "--to", "binary,coco", "--quiet"]) == 0
    assert sorted(path.name for path in (out / "binary/1").iterdir()) == ["take_0.png", "take_10.png", "take_20.png"]
    assert main([str(out), "--to", "binary", "--quiet"]) == 2
    assert main([str(out), "--to", "binary", "--quiet", "--overwrite"]) == 0
