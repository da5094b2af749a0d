"""Runs that are killed go on with --resume, to the bytes of a run that was not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from vos.command import frame_log, same_run
from vos.command.cli import main
from vos.command.journal import FOLDER, Journal
from vos.command.options import Options, build_parser
from vos.engine.models import new_tracker
from vos.engine.session import Session
from vos.errors import InputError, PluginError
from vos.folder_lock import LOCK
from vos.interfaces import FrameContext
from vos.segmenters.lite import LiteSegmenter
from vos.state_file import from_bytes, to_bytes
from vos.structures import FirstMask, Frame, Result
from vos.testing.clip import clip as drawn_clip
from vos.testing.clip import disc_labels, discs, sway

SIZE = (120, 200)
FRAMES = 14
EVERYTHING = "masks,overlay,csv,cutout,matte,matte-webm,npz,coco"

KILLED = """
import os, signal, sys
import vos.command.frame_log, vos.writers.masks
from vos.command.cli import main
{prepare}
write = vos.writers.masks.MaskWriter.write
def write_and_die(self, result):
    if result.frame.index == {frame}:
        (self._folder / ".{frame:05d}.partial.png").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, result)
vos.writers.masks.MaskWriter.write = write_and_die
sys.exit(main(sys.argv[1:]))
"""
OFTEN = "vos.command.frame_log.EVERY_S, vos.command.frame_log.SHARE = 0, 1e9"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames/, video.mp4, first.png (two discs) and later.png (disc 2 set right, disc 3 joins)."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "frames").mkdir()
    with av.open(str(folder / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for frame, _ in zip(drawn_clip(SIZE), range(FRAMES), strict=False):
            Image.fromarray(frame.rgb).save(folder / f"frames/{frame.index:05d}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
        container.mux(stream.encode())
    Image.fromarray(disc_labels(SIZE, 2)).save(folder / "first.png")
    labels = disc_labels(SIZE, 3, sway(SIZE, 6))
    Image.fromarray(np.where(labels == 1, 0, labels).astype(np.uint8)).save(folder / "later.png")
    return folder


def arguments(inputs: Path, out: Path, *more: object, source: str = "video.mp4", tracker: str = "persam") -> list[str]:
    line = [inputs / source, "--first-mask", inputs / "first.png", "-o", out, "--tracker", tracker, "--quiet", *more]
    return [str(each) for each in line]


def killed(line: list[str], frame: int, prepare: str = OFTEN) -> None:
    """Run the command in a process that kills itself when it is to write a frame's mask."""
    code = KILLED.format(frame=frame, prepare=prepare)
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


def tracked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the frames that are stepped through from now on."""
    indices = []
    step = Session.step

    def noted(self: Session, frame: Frame, *more: FrameContext) -> Result:
        indices.append(frame.index)
        return step(self, frame, *more)

    monkeypatch.setattr(Session, "step", noted)
    return indices


def assert_same_video(path: Path, expected: Path) -> None:
    """Times are equal and pictures look the same: the encoders' bytes differ from run to run.

    Two encodings of one picture, with edges of masks by logits or by labels, differ by less than a level of 255 on the
    mean; frames on the two sides of one of the clip's jumps by seven.
    """
    with av.open(str(path)) as ours, av.open(str(expected)) as theirs:
        pairs = list(zip(ours.decode(video=0), theirs.decode(video=0), strict=True))
    assert len(pairs) == FRAMES
    for a, b in pairs:
        assert a.time == b.time
        difference = a.to_ndarray(format="rgb24").astype(int) - b.to_ndarray(format="rgb24")
        assert np.abs(difference).mean() < 2, path


def assert_same(out: Path, whole: Path, saves: str = EVERYTHING) -> None:
    """Two results are equal, and no trace of the way there is left."""
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == names
    assert not (out / FOLDER).exists()
    for name in names:
        if name.endswith((".png", ".csv", ".json")) and name != "run.json":
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
        elif name.endswith((".mp4", ".mov", ".webm")):
            assert_same_video(out / name, whole / name)
    if "npz" in saves:
        with np.load(out / "masks.npz") as ours, np.load(whole / "masks.npz") as theirs:
            assert ours.files == theirs.files
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)


@pytest.mark.parametrize(
    ("tracker", "source", "moments", "more"),
    [
        ("persam", "video.mp4", [9], ["--save", EVERYTHING]),
        ("persam-f", "frames", [6, 11], ["--save", EVERYTHING, "--points", "lk", "--debug", "4"]),
        ("persam", "frames", [4], ["--save", "overlay,csv", "--mask-at"]),
        ("persam", "video.mp4", [11], ["--save", "masks,csv", "--points", "lk", "--mask-at"]),
    ],
    ids=["all outputs", "killed twice", "without masks, before --mask-at", "after --mask-at"],
)
def test_a_killed_run_goes_on_to_the_bytes_of_an_unbroken_one(
    tracker: str,
    source: str,
    moments: list[int],
    more: list[str],
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if more[-1] == "--mask-at":
        more = [*more, f"6={inputs / 'later.png'}"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(arguments(inputs, whole, *more, source=source, tracker=tracker)) == 0
    line = arguments(inputs, out, *more, source=source, tracker=tracker)
    if "masks" in more[1]:
        killed(line, moments[0])
        assert len(list((out / "masks").glob("[0-9]*.png"))) == moments[0]
    else:
        killed(line, moments[0])
        assert not (out / "masks").exists()
    assert not (out / "overlay.mp4").exists() and not (out / "run.json").exists()
    for moment in moments[1:]:
        killed([*line, "--resume"], moment)
    indices = tracked(monkeypatch)
    assert main([*line, "--resume"]) == 0
    assert indices == list(range(moments[-1], FRAMES))
    assert_same(out, whole, more[1])
    record = json.loads((out / "run.json").read_text())
    assert record["resumed_after"] == moments[-1] - 1 and record["frames"] == FRAMES
    if tracker == "persam-f":
        assert record["persam_f"]["weights"] == json.loads((whole / "run.json").read_text())["persam_f"]["weights"]


PLAIN = ["--save", "masks,csv"]


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of an unbroken run with ``PLAIN``."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(arguments(inputs, out, *PLAIN)) == 0
    return out


@pytest.fixture(scope="module")
def stopped(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of one that was killed at frame 10."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    killed(arguments(inputs, out, *PLAIN), 10)
    return out


def test_killed_before_the_first_save_it_begins_anew(
    inputs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    killed(arguments(inputs, out, *PLAIN), 7, prepare="")
    indices = tracked(monkeypatch)
    assert main(arguments(inputs, out, *PLAIN, "--resume")) == 0
    assert indices == list(range(1, FRAMES))
    assert_same(out, whole, "")


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "out")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error, error
    return error


def test_where_there_is_nothing_to_resume_it_begins(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(inputs, tmp_path / "new", "--resume", "--max-frames", "2")) == 0
    assert len(list((tmp_path / "new/masks").iterdir())) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    assert main(arguments(inputs, tmp_path / "mine", "--resume")) == 2
    assert "nothing to go on with" in one_line(capsys)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_finished_run_is_left_alone(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = arguments(inputs, tmp_path / "out", "--max-frames", "3", "--save", "masks")
    assert main(line) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert main([*line, "--resume"]) == 0
    assert "finished already" in one_line(capsys)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert main([*line, "--resume", "--stride", "2"]) == 2
    assert "--stride 1, not 2" in one_line(capsys)


def test_asking_whether_a_run_is_finished_changes_nothing(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(inputs, tmp_path / "out", "--max-frames", "2", "--save", "masks")
    assert main(line) == 0
    (tmp_path / "out" / FOLDER).mkdir()  # as if it was killed after run.json was written
    before = sorted((tmp_path / "out").rglob("*"))
    options = build_parser().parse_args([*line, "--resume"], namespace=Options())
    assert Journal.open(tmp_path / "out", new_tracker("persam"), options, ["masks"]).is_finished()
    assert sorted((tmp_path / "out").rglob("*")) == before
    assert main([*line, "--resume"]) == 0
    assert "finished already" in one_line(capsys)
    assert not (tmp_path / "out" / FOLDER).exists()


def test_without_a_result_folder_the_journal_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "run.json").write_text('{"outcome": "finished", "inputs": {"a": "b"}, "options": {}}')
    before = sorted(tmp_path.rglob("*"))
    writers = [object()]
    journal = Journal(None)
    assert not journal.is_finished() and not journal.is_there() and journal.load() is None
    assert journal.attach(writers) == writers
    journal.snapshot(None, SimpleNamespace(frame=SimpleNamespace(index=0)))
    journal.remove()
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tracker", "persam-f"], "begun with --tracker persam, not persam-f"),
        (["--points", "lk"], "begun with --points none, not lk"),
        (["--max-frames", "15"], "begun with --max-frames unset, not 15"),
        (["--overwrite"], "give one of them"),
    ],
)
def test_other_options_are_refused(
    more: list[str], message: str, inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(inputs, copied, *PLAIN, "--resume", *more)) == 2
    assert message in one_line(capsys)
    assert list((copied / FOLDER).glob("*.safetensors"))


def test_without_resume_the_stopped_run_is_named(
    inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(inputs, copied, *PLAIN)) == 2
    assert "go on with --resume" in one_line(capsys)
    assert main(arguments(inputs, copied, "--overwrite", "--max-frames", "2", "--save", "masks")) == 0
    assert sorted(path.name for path in copied.iterdir()) == ["masks", "run.json"]


def test_changed_inputs_are_refused(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = shutil.copytree(inputs, tmp_path / "inputs")
    out = tmp_path / "out"
    killed(arguments(own, out, *PLAIN), 5)
    for name in ("video.mp4", "first.png"):
        content = (own / name).read_bytes()
        (own / name).write_bytes(content + b"\0")
        assert main(arguments(own, out, *PLAIN, "--resume")) == 2
        assert f"{name}: has changed since" in one_line(capsys)
        (own / name).write_bytes(content)
    assert main(arguments(own, out, *PLAIN, "--resume")) == 0


def test_an_image_folder_is_known_by_its_names_sizes_and_content(inputs: Path, tmp_path: Path) -> None:
    own = shutil.copytree(inputs / "frames", tmp_path / "frames")
    first = same_run.fingerprint(own)
    assert same_run.fingerprint(inputs / "frames") == first
    flip(own / "00003.png")
    assert same_run.fingerprint(own) != first
    shutil.copy(inputs / "frames/00003.png", own)
    (own / "00003.png").rename(own / "00030.png")
    assert same_run.fingerprint(own) != first


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "resumed_after"),
    [
        (lambda folder, states: flip(states[-1]), 8),
        (lambda folder, states: states[-1].write_bytes(b""), 8),
        (lambda folder, states: states[-1].rename(folder / "00000099-00000000.safetensors"), 8),
        (lambda folder, states: [flip(state) for state in states], None),
        (lambda folder, states: (folder / "run.json").write_text('{"half'), None),
        (lambda folder, states: (folder / "frames.jsonl").unlink(), None),
        (lambda folder, states: (folder / "frames.jsonl").write_text('{"frame": 0}\n[]\n'), None),
    ],
    ids=["a bit", "empty", "name", "all states", "run.json", "no table", "table"],
)
def test_damage_costs_frames_and_nothing_else(
    damage: Callable[[Path, list[Path]], object], resumed_after: int | None, inputs: Path, copied: Path, whole: Path
) -> None:
    folder = copied / FOLDER
    states = sorted(folder.glob("*.safetensors"))
    assert [int(path.name[:8]) for path in states] == [8, 9]
    damage(folder, states)
    assert main(arguments(inputs, copied, *PLAIN, "--resume")) == 0
    assert json.loads((copied / "run.json").read_text())["resumed_after"] == resumed_after
    assert_same(copied, whole, "")


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_a_run_that_is_under_way_is_left_alone(
    option: str, inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(copied / LOCK):
        before = sorted(copied.rglob("*"))
        assert main(arguments(inputs, copied, *PLAIN, option)) == 2
        assert "another vos-track is writing there" in one_line(capsys)
        assert sorted(copied.rglob("*")) == before
    assert main(arguments(inputs, copied, *PLAIN, option)) == 0


def test_the_lock_ends_with_the_process_that_was_killed(copied: Path) -> None:
    with FileLock(copied / LOCK, timeout=0):
        pass


def test_a_file_system_without_locks_is_used_without(
    inputs: Path, copied: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(arguments(inputs, copied, *PLAIN, "--resume")) == 0
    assert_same(copied, whole, "")


def test_a_mask_that_was_changed_is_named(inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(copied / "masks/00003.png")
    assert main(arguments(inputs, copied, *PLAIN, "--resume")) == 2
    assert "masks/00003.png: missing, or changed" in one_line(capsys)


def test_the_journal_may_fail_and_the_run_goes_on(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(frame_log, "EVERY_S", 0)
    monkeypatch.setattr(
        frame_log, "to_bytes", lambda state: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert main(arguments(inputs, tmp_path / "out", "--save", "masks")) == 0
    assert caplog.text.count("could not be resumed") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "run.json"]


def test_a_tracker_without_the_ability_is_one_line(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vos.trackers import persam

    class Unsaved(persam.PerSAM):
        """A class of its own: ``isinstance`` remembers what it answered for PerSAM."""

        state = None

    monkeypatch.setattr(persam, "PerSAM", Unsaved)
    assert main(arguments(inputs, tmp_path / "out", "--resume")) == 2
    assert "persam: this tracker cannot be saved" in one_line(capsys)
    monkeypatch.setattr(frame_log, "EVERY_S", 0)
    assert main(arguments(inputs, tmp_path / "out", "--max-frames", "3", "--save", "masks")) == 0


# -- the session's own state --------------------------------------------------------------------


def frames_of_clip(count: int) -> list[Frame]:
    return [frame for frame, _ in zip(drawn_clip(SIZE), range(count), strict=False)]


def assert_goes_on(
    new_session: Callable[[], Session], changes: Callable[[Session, int], None] = lambda session, index: None
) -> None:
    """A session restored after each of some frames gives the very numbers of the one that was not."""
    frames = frames_of_clip(8)
    session = new_session()
    results, states = [session.start(frames[0], discs(2, SIZE))], []
    for frame in frames[1:]:
        states.append(to_bytes(session.state()))
        results.append(session.step(frame))
        changes(session, frame.index)
    for last in (0, 3, 6):
        fresh = new_session()
        again = fresh.restore(frames[last], from_bytes(states[last]))
        if last == 0:
            assert np.array_equal(again.labels, results[0].labels) and np.array_equal(again.scores, results[0].scores)
        for frame, expected in zip(frames[last + 1 :], results[last + 1 :], strict=True):
            result = fresh.step(frame)
            assert result.object_ids == expected.object_ids
            assert np.array_equal(result.logits, expected.logits)
            assert np.array_equal(result.scores, expected.scores)
            changes(fresh, frame.index)


def edit(session: Session, index: int) -> None:
    """Objects are corrected, join and leave."""
    labels = disc_labels(SIZE, 3, sway(SIZE, index))
    if index == 2:
        session.correct(1, labels == 1)
    elif index == 3:
        session.add_object(labels == 3)
    elif index == 5:
        session.remove(2)


@pytest.mark.parametrize("tracker", ["persam", "persam-f"])
@pytest.mark.parametrize("model", ["lite", "tiny_sam"])
@pytest.mark.parametrize("points", ["none", "lk"])
def test_a_restored_session_gives_the_same_numbers(
    tracker: str, model: str, points: str, request: pytest.FixtureRequest
) -> None:
    segmenter = request.getfixturevalue(model)
    from vos.encoders.same import SameEncoder

    encoder = SameEncoder.load("same", torch.device("cpu"), torch.float32)
    quick = {"epochs": 20} if tracker == "persam-f" else {}
    assert_goes_on(lambda: Session(new_tracker(tracker, points=points, **quick), segmenter, encoder), edit)


def test_a_session_without_objects_is_restored(lite: LiteSegmenter) -> None:
    frames = frames_of_clip(3)
    session = Session(new_tracker("persam"), lite, None)
    session.start(frames[0], None)
    fresh = Session(new_tracker("persam"), lite, None)
    fresh.restore(frames[0], from_bytes(to_bytes(session.state())))
    assert fresh.step(frames[1]).object_ids == ()


def test_a_state_of_something_else_is_refused(lite: LiteSegmenter) -> None:
    frames = frames_of_clip(2)
    session = Session(new_tracker("persam"), lite, None)
    with pytest.raises(InputError, match="start"):
        session.state()
    with pytest.raises(InputError, match="not of this video and tracker"):
        session.restore(frames[0], {"object_ids": [1]})
    with pytest.raises(InputError, match="cannot be read"):
        from_bytes(b"\x10\0\0\0\0\0\0\0not a file of ours")


def test_a_plugin_cannot_be_saved_and_says_so(lite: LiteSegmenter) -> None:
    class Bare:
        def start(self, context: FrameContext, first_mask: FirstMask) -> None: ...

    session = Session(Bare(), lite, None)
    session.start(frames_of_clip(1)[0], discs(1, SIZE))
    with pytest.raises(PluginError, match="Bare: this tracker cannot be saved"):
        session.state()


def test_values_come_back_as_they_were() -> None:
    state = {
        "a": torch.arange(6.0).view(2, 3).T,
        "b": [np.float32(0.1), None, "text", {"c": np.arange(4, dtype=np.uint8)}],
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
        "shared": (shared := torch.ones(3)),
        "again": shared,
        "expanded": torch.ones(1, 3).expand(4, 3),
    }
    back = from_bytes(to_bytes(state))
    assert torch.equal(back["a"], state["a"]) and back["a"].stride() == (1, 3)
    assert back["b"][:3] == [np.float32(0.1).item(), None, "text"]
    assert np.array_equal(back["b"][3]["c"], state["b"][3]["c"]) and isinstance(back["b"][3]["c"], np.ndarray)
    assert back["empty"].shape == (0, 3) and back["flags"].dtype == torch.bool
    assert torch.equal(back["expanded"], state["expanded"])
