"""Runs in both directions: what is followed where, how the two ways are joined, and how a stopped run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

import vos
from vos import pipeline, tracking
from vos.command import frame_log, run
from vos.command.cli import main
from vos.command.journal import FOLDER
from vos.encoders.same import SameEncoder
from vos.engine.both_ways import BothWays, with_first
from vos.engine.joining import Way, between, join, joined_way, painted
from vos.engine.kept import KeptResults
from vos.engine.merge import result_of_labels
from vos.engine.session import Session
from vos.errors import InputError, OutputError
from vos.readers import backwards
from vos.readers.source import SourceFrame
from vos.structures import FirstMask, Frame, Result, first_mask_from_array
from vos.testing.clip import clip, disc_labels, sway
from vos.testing.still import EditableStill
from vos.writers.masks import MaskWriter

SIZE = (48, 64)
COUNT = 13


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``vos.track`` and the command use a tracker that leaves every mask where it was given."""
    segmenter = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, files=(), name="none")
    monkeypatch.setattr(pipeline, "new_tracker", lambda *_, **__: EditableStill())
    for module in (tracking, run):
        monkeypatch.setattr(module, "open_session", lambda **_: Session(EditableStill(), segmenter, SameEncoder()))


def square(left: int, value: int = 1, top: int = 8) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[top : top + 20, left : left + 20] = value
    return labels


def mask(left: int, value: int = 1, top: int = 8) -> FirstMask:
    return first_mask_from_array(square(left, value, top))


def nothing() -> FirstMask:
    return FirstMask(np.zeros(SIZE, np.uint8), ())


def frames(count: int = COUNT) -> list[np.ndarray]:
    return [np.full((*SIZE, 3), index, np.uint8) for index in range(count)]


def tracked(masks: dict[int, np.ndarray], **options: object) -> list[Result]:
    return list(vos.track(frames(), masks_at=masks, both_ways=True, **options))


def left_edge(labels: np.ndarray) -> int:
    return int(np.flatnonzero(labels[18])[0])


# The plan


def shares(plan: BothWays, object_id: int, *indices: int) -> list[float]:
    return [plan.forward_share(object_id, index) for index in indices]


def test_each_way_counts_by_how_near_its_end_is() -> None:
    plan = BothWays({2: mask(4), 6: mask(8)})
    assert (plan.first, plan.last, plan.forwards.first_frame) == (2, 6, 2)
    assert shares(plan, 1, 0, 2, 3, 4, 5, 6, 9) == [0, 1, 0.75, 0.5, 0.25, 1, 1]
    assert set(plan.forwards.masks_at) == {6} and set(plan.backwards.masks_at) == {4}


def test_an_object_is_followed_between_where_it_is_shown_and_where_it_is_gone() -> None:
    """Object 1 is shown at 2 and 12 and gone at 6; object 2 is shown at 12 alone and gone at 4."""
    both = square(40, 2) + square(4)
    plan = BothWays({2: mask(4), 12: first_mask_from_array(both)}, {6: [1], 4: [2]})
    assert shares(plan, 1, 0, 2, 5, 7, 11, 13) == [0, 1, 1, 0, 0, 1]
    assert shares(plan, 2, 0, 3, 5, 11, 13) == [0, 0, 0, 0, 1]
    assert plan.forwards.gone == {6: [1]}  # object 2 is not there yet at frame 4
    assert plan.backwards.gone == {6: [1], 8: [2]}


def test_an_empty_mask_says_that_all_are_gone() -> None:
    plan = BothWays({2: mask(4), 5: nothing(), 8: mask(8)})
    assert shares(plan, 1, 3, 4, 6, 7) == [1, 1, 0, 0]
    assert not plan.forwards.masks_at[5].object_ids and not plan.backwards.masks_at[3].object_ids


def test_what_cannot_be_planned_is_one_line() -> None:
    with pytest.raises(InputError, match="all masks are empty"):
        BothWays({3: nothing()})
    with pytest.raises(InputError, match=r"`gone` 2: there is no object 7 on any frame; there are: 1"):
        BothWays({3: mask(4)}, {2: [7]})
    with pytest.raises(InputError, match=r"`gone` 3: object 1 is in the mask of this very frame"):
        BothWays({3: mask(4)}, {3: [1]})


def test_objects_of_references_are_looked_for_on_both_ways() -> None:
    """Object 1 has masks and a reference, object 7 a reference alone, which either way looks for."""
    plan = BothWays({2: mask(4), 8: mask(8)}, {5: [1, 7], 9: [7]}, referred=(1, 7))
    assert shares(plan, 7, 0, 2, 3, 8, 10) == [0.5] * 5
    assert shares(plan, 1, 1, 3, 7, 9) == [0, 1, 0, 1]
    assert plan.forwards.gone == {5: [1, 7], 9: [7]} and plan.backwards.gone == {3: [1, 7]}
    with pytest.raises(InputError, match=r"`gone` 8: both ways begin on .* look for object 7 by its references there"):
        BothWays({2: mask(4), 8: mask(8)}, {8: [7]}, referred=(7,))
    with pytest.raises(InputError, match=r"`gone` 5: there is no object 9 on any frame; there are: 1"):
        BothWays({2: mask(4)}, {5: [9]}, referred=(7,))


def test_two_masks_of_one_frame() -> None:
    both = with_first(3, first_mask_from_array(square(4) + square(40, 2)), {3: mask(8), 5: mask(4)})
    assert both[3].object_ids == (1, 2)
    assert np.array_equal(both[3].labels, square(8) + square(40, 2))


# The rule


def test_where_the_ways_agree_the_contour_moves_from_one_to_the_other(still: None) -> None:
    """Squares at 10 and 16 overlap by 0.54; on the way the left edge lies at the mean weighted by nearness."""
    results = tracked({0: square(10), 12: square(16)})
    edges = [left_edge(result.labels) for result in results]
    assert edges[0] == 10 and edges[12] == 16 and edges == sorted(edges)
    for index, edge in enumerate(edges):
        assert abs(edge - (10 + index / 2)) <= 0.5
    assert np.array_equal(results[0].labels, square(10)) and np.array_equal(results[12].labels, square(16))


def test_where_they_do_not_the_nearer_one_is_taken_whole(still: None) -> None:
    results = tracked({0: square(2), 12: square(30)})
    assert all(np.array_equal(result.labels, square(2 if result.frame.index <= 6 else 30)) for result in results)


def test_a_correction_in_the_middle_mends_both_sides(still: None) -> None:
    results = tracked({0: square(2), 6: square(30), 12: square(2)})
    found = [left_edge(result.labels) for result in results]
    assert found == [2, 2, 2, 2, 30, 30, 30, 30, 30, 30, 2, 2, 2]


def test_certainty_counts_beside_nearness() -> None:
    near, far = square(2) > 0, square(30) > 0
    assert joined_way(Way(near, 0.9), Way(far, 0.2), 0.4).mask is near  # 0.36 against 0.12
    assert joined_way(Way(near, 0.2), Way(far, 0.9), 0.6).mask is far
    lost = np.zeros(SIZE, bool)
    assert joined_way(Way(lost, 0.0), Way(far, 0.3), 0.9).mask is far
    assert joined_way(Way(lost, 0.0), Way(lost, 0.0), 0.9).score == 0
    assert joined_way(None, Way(far, 0.1), 0.9).mask is far
    assert joined_way(Way(near, 0.1), None, 0.1).mask is near
    agreed = joined_way(Way(near, 0.5), Way(near, 1.0), 0.5)
    assert np.array_equal(agreed.mask, near) and agreed.score == pytest.approx(5 / 6)


def test_a_shape_between_two() -> None:
    inner, outer = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    inner[16:32, 24:40], outer[12:36, 20:44] = True, True
    middle = between(inner, outer, 0.5)
    assert (middle & ~outer).sum() == 0 and (inner & ~middle).sum() == 0
    assert middle[24].sum() == 20
    everything = np.ones(SIZE, bool)
    assert between(everything, everything, 0.3).all()


def test_a_pixel_that_two_objects_want_goes_to_the_one_it_lies_deeper_in() -> None:
    labels = painted({1: square(4) > 0, 2: square(18) > 0}, SIZE)
    assert labels[18, 10:32].tolist() == [1] * 11 + [2] * 11
    with_first_whole = painted({1: square(4) > 0, 2: square(30) > 0}, SIZE)
    assert np.array_equal(with_first_whole, square(4) + square(30, 2))


def test_soft_edges_follow_the_joined_mask() -> None:
    frame = Frame(1, 0.0, np.zeros((*SIZE, 3), np.uint8))
    ways = [result_of_labels(frame, (1,), square(left), np.ones(1)) for left in (10, 12)]
    joined = join(BothWays({0: mask(10), 2: mask(12)}), *ways, soft_edges=True)
    assert joined.opacity is not None
    assert (joined.opacity[joined.labels > 0] >= 128).all() and (joined.opacity[joined.labels == 0] < 128).all()


# Whole runs


def test_an_object_that_only_a_later_frame_shows_comes_from_there(still: None) -> None:
    results = tracked({4: square(2), 8: square(40, 2)}, gone={2: [1], 11: [2]})
    assert all(result.object_ids == (1, 2) for result in results)
    shown = [[int(area > 0) for area in result.areas] for result in results]
    assert [one for one, _ in shown] == [0] * 3 + [1] * 10
    assert [two for _, two in shown] == [1] * 11 + [0] * 2


def test_results_as_they_are_made(still: None) -> None:
    masks = {4: square(10), 8: square(16)}
    early = list(vos.track(frames(), masks_at=masks, both_ways=True, order="as-made"))
    assert [result.frame.index for result in early] == [3, 2, 1, 0, *range(4, COUNT)]
    assert early[0].tracked is not None  # with logits
    in_order = sorted(early, key=lambda result: result.frame.index)
    for one, other in zip(in_order, tracked(masks), strict=True):
        assert np.array_equal(one.labels, other.labels) and one.frame.time_s == other.frame.time_s
        assert one.frame.rgb[0, 0, 0] == other.frame.rgb[0, 0, 0] == one.frame.index
    with pytest.raises(InputError, match="`order=backwards`: choose frames or as-made"):
        list(vos.track(frames(), masks_at=masks, both_ways=True, order="backwards"))


def test_mask_of_any_frame_without_going_back(still: None) -> None:
    results = list(vos.track(frames(), masks_at={5: square(10)}))
    assert [result.object_ids for result in results] == [()] * 5 + [(1,)] * 8
    same = list(vos.track(frames(), square(10), first_frame=5))
    assert all(np.array_equal(one.labels, two.labels) for one, two in zip(results, same, strict=True))
    with pytest.raises(InputError, match="`masks_at` 2: lies before `first_frame=5`"):
        list(vos.track(frames(), square(10), first_frame=5, masks_at={2: square(4)}))
    with pytest.raises(InputError, match="`first_frame` 20: there are 13 frames"):
        list(vos.track(frames(), square(10), first_frame=20))
    with pytest.raises(InputError, match="nothing says which objects"):
        list(vos.track(frames()))
    with pytest.raises(InputError, match="`first_frame=3`: is the frame of a first mask"):
        list(vos.track(frames(), first_frame=3, masks_at={2: square(4)}))
    with pytest.raises(InputError, match="iterator come in their own order"):
        list(vos.track(iter(frames()), masks_at={2: square(4)}, both_ways=True))


def test_frames_and_label_maps_are_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still: None) -> None:
    """Frames that live at once while a video of 80 frames is followed both ways: those that wait, and a few."""
    path = video(tmp_path / "long.mp4", 80)
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counted(self: SourceFrame, index: int) -> Frame:
        nonlocal alive, most
        frame = at(self, index)
        weakref.finalize(frame.rgb, gone)
        alive += 1
        most = max(most, alive)
        return frame

    at = SourceFrame.at
    monkeypatch.setattr(SourceFrame, "at", counted)
    monkeypatch.setattr(backwards, "GROUP", 10)
    masks = {0: small_labels(0), 79: small_labels(79)}
    assert sum(1 for _ in vos.track(path, masks_at=masks, both_ways=True)) == 80
    assert most <= 10  # four wait, one is being read, the others are the last ones of the session and of the loop


def test_real_tracking_plain_runs_are_as_before() -> None:
    """With a mask of frame 0 alone there is no way back; from a later frame it is as with ``start``."""
    pictures = [frame.rgb for frame in islice(clip((120, 200)), 7)]
    masks = [disc_labels((120, 200), 2, sway((120, 200), index)) for index in range(7)]
    plain = list(vos.track(pictures, masks[0], tracker="persam"))
    both = list(vos.track(pictures, masks[0], tracker="persam", both_ways=True))
    assert all(np.array_equal(one.logits, two.logits) for one, two in zip(plain, both, strict=True))
    started = list(vos.track(pictures, masks[3], tracker="persam", start=3))
    later = list(vos.track(pictures, masks[3], tracker="persam", first_frame=3))
    assert all(np.array_equal(one.logits, two.logits) for one, two in zip(started, later[3:], strict=True))
    back = list(vos.track(pictures[3::-1], masks[3], tracker="persam"))
    middle = list(vos.track(pictures, masks[3], tracker="persam", first_frame=3, both_ways=True))
    expected = [result.labels for result in (*back[:0:-1], *started)]
    assert all(np.array_equal(one, two.labels) for one, two in zip(expected, middle, strict=True))
    box = vos.Hint(box=(29, 2, 47, 21))
    [*_, last] = vos.track(pictures, [box], first_frame=3, both_ways=True, tracker="persam")
    assert last.object_ids == (1,) and last.areas[0] > 100


# What is kept


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    frame = Frame(3, 0.125, np.zeros((*SIZE, 3), np.uint8))
    kept = KeptResults(tmp_path, soft_edges=True)
    labels = square(4) + square(40, 2)
    kept.write(result_of_labels(frame, (2, 1), labels, np.array([0.25, 0.1], np.float32)))
    back = kept.read(3, frame)
    assert 3 in kept and 4 not in kept
    assert back.object_ids == (1, 2) and back.scores.tolist() == [np.float32(0.1), np.float32(0.25)]
    assert np.array_equal(back.labels, labels) and np.array_equal(back.opacity, (labels > 0) * 255)
    with pytest.raises(OutputError, match=r"frame 3 is at 0\.250 s forwards and at 0\.125 s backwards"):
        kept.read(3, Frame(3, 0.25, frame.rgb))
    path = tmp_path / "labels/00003.png"
    for content in (path.read_bytes()[:-40], b"", b"no picture"):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=r"00003\.png: missing, or changed"):
            kept.read(3, frame)


# The command


SMALL = (48, 80)


def small_labels(index: int) -> np.ndarray:
    return disc_labels(SMALL, 2, sway(SMALL, index))


def video(path: Path, count: int = COUNT) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "6", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *SMALL, "yuv420p"
        for frame in islice(clip(SMALL), count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
        container.mux(stream.encode())
    return path


def given(folder: Path, *indices: int) -> list[str]:
    """Write masks of frames; return the options that give them."""
    for index in indices:
        Image.fromarray(small_labels(index)).save(folder / f"{index}.png")
    return [word for index in indices for word in ("--mask-at", f"{index}={folder / str(index)}.png")]


def written(out: Path) -> dict[str, bytes]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_the_command_writes_all_frames_in_order(
    tmp_path: Path, still: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = video(tmp_path / "a.mp4"), tmp_path / "out"
    assert main([str(path), *given(tmp_path, 8), "--both-ways", "-o", str(out), "--save", "masks,csv,cutout"]) == 0
    masks = sorted((out / "masks").iterdir())
    assert [file.name for file in masks] == [f"{index:05d}.png" for index in range(COUNT)]
    assert all(np.array_equal(np.asarray(Image.open(file)), small_labels(8)) for file in masks)
    indices = [int(line.split(",")[0]) for line in (out / "objects.csv").read_text().splitlines()[1:]]
    assert indices == sorted(2 * list(range(COUNT)))
    assert len(list((out / "cutout").iterdir())) == COUNT and not (out / FOLDER).exists()
    assert "22 of 22 frames" in capsys.readouterr().err  # nine back, thirteen forwards


def test_mistakes_are_one_line(tmp_path: Path, still: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = video(tmp_path / "a.mp4")
    first = given(tmp_path, 0)[1].partition("=")[2]

    def told(*arguments: object) -> str:
        status = main([str(each) for each in arguments])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and status in (0, 2)
        return lines[0]

    assert "give the objects of the first frame" in told(path)
    assert "--mask-at 3: lies before --first-frame 5" in told(
        path, "--first-mask", first, "--first-frame", 5, "--mask-at", f"3={first}", "-o", tmp_path / "x"
    )
    assert "--gone 2: there is no object 9 on any frame" in told(
        path, "--mask-at", f"3={first}", "--both-ways", "--gone", "2:9", "-o", tmp_path / "y", "--quiet"
    )
    nothing_before = told(
        path, "--first-mask", first, "--start", 4, "--both-ways", "-o", tmp_path / "z", "--quiet", "--save", "csv"
    )
    assert "the only mask is of frame 0" in nothing_before and "give --first-frame 4, in place of" in nothing_before


def test_standard_input_cannot_be_walked_back(tmp_path: Path) -> None:
    first = given(tmp_path, 0)[1].partition("=")[2]
    command = [sys.executable, "-m", "vos.command.cli", "-", "--raw", "80x48", "--first-mask", first, "--both-ways"]
    done = subprocess.run(command, input=bytes(80 * 48 * 3 * 2), capture_output=True, cwd=tmp_path, check=False)
    [line] = done.stderr.decode().splitlines()
    assert done.returncode == 2 and "can be read forwards only, like all that is live" in line


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every session note the frames that it steps to, by their indices."""
    stepped: list[int] = []
    step = Session.step

    def noted(session: Session, frame: Frame, *more: object) -> Result:
        stepped.append(frame.index)
        return step(session, frame, *more)

    monkeypatch.setattr(Session, "step", noted)
    return stepped


KILLED = """
import os, signal, sys
from vos.command import frame_log
from vos.command.cli import main
from vos.engine.kept import KeptResults
frame_log.EVERY_S, frame_log.SHARE = 0, 1e9
write = KeptResults.write
def write_and_die(self, result):
    if result.frame.index == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, result)
KeptResults.write = write_and_die
main(sys.argv[1:])
"""


def test_killed_on_the_way_back_it_goes_on_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole, out = video(tmp_path / "a.mp4"), tmp_path / "whole", tmp_path / "out"
    line = [str(path), *given(tmp_path, 3, 10), "--both-ways", "--tracker", "persam", "--quiet", "--save", "masks,csv"]
    assert main([*line, "-o", str(whole)]) == 0
    command = [sys.executable, "-c", KILLED, *line, "-o", str(out)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert len(list((out / FOLDER / "backwards/labels").glob("[0-9]*.png"))) == 5
    assert main([*line, "-o", str(out)]) == 2  # it is not taken without --resume
    stepped = counted_steps(monkeypatch)
    assert main([*line, "-o", str(out), "--resume"]) == 0
    assert stepped == [*range(stepped[0], 11), *range(4, COUNT)] and 3 <= stepped[0] <= 5
    assert written(out) == written(whole)


def test_stopped_on_the_way_forwards_it_goes_on_there(
    tmp_path: Path, still: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole, out = video(tmp_path / "a.mp4"), tmp_path / "whole", tmp_path / "out"
    line = [str(path), *given(tmp_path, 3, 10), "--both-ways", "--quiet", "--save", "masks,csv,cutout"]
    monkeypatch.setattr(frame_log, "EVERY_S", 0)
    monkeypatch.setattr(frame_log, "SHARE", 1e9)
    assert main([*line, "-o", str(whole)]) == 0
    write = MaskWriter.write

    def fail(self: MaskWriter, result: Result) -> None:
        if result.frame.index == 7:
            raise OutputError("the disk is full")
        write(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(MaskWriter, "write", fail)
        assert main([*line, "-o", str(out)]) == 2
    stepped = counted_steps(monkeypatch)
    assert main([*line, "-o", str(out), "--resume"]) == 0
    assert stepped == list(range(stepped[0], COUNT)) and 4 <= stepped[0] <= 7
    assert written(out) == written(whole)
    changed = [*line, "-o", str(out), "--resume", "--gone", "12:1"]
    assert main(changed) == 2  # another run
