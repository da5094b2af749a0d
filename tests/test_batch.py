"""``vos-batch``: rows, scheduler, worker processes that are killed, results in folders and at addresses."""

from __future__ import annotations

import csv
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vos.batch import cli, lengths, results
from vos.batch.arguments import parse_batch, split
from vos.batch.drive import drive
from vos.batch.local import LocalExecutor
from vos.batch.manifest import read_rows
from vos.batch.progress import BatchProgress
from vos.batch.scheduler import Event, Scheduler, Task, Try
from vos.batch.serve import Worker, answer
from vos.batch.storage import Place, Storage, upload
from vos.batch.worker import VideoWorker, video_request
from vos.command.cli import main as vos_track
from vos.command.options import Options
from vos.errors import InputError, OutputError, VosError
from vos.segmenters.lite import LiteSegmenter
from vos.testing.clip import clip, disc_labels
from vos.weights.model_cache import ModelCache

SIZE = (64, 96)
FRAMES = 5

# ---------------------------------------------------------------- the scheduler


def tasks(**costs: float) -> list[Task]:
    return [Task(name, {}, cost) for name, cost in costs.items()]


def test_long_ones_come_first_and_those_of_unknown_length_before_them() -> None:
    scheduler = Scheduler(tasks(short=1, long=9, unknown=float("inf"), middle=5, long_too=9))
    order = [scheduler.next_for(str(worker), "01234").name for worker in range(5)]
    assert order == ["unknown", "long", "long_too", "middle", "short"]
    assert scheduler.next_for("5", "012345") is None and not scheduler.is_finished


def test_a_failed_task_goes_to_another_worker() -> None:
    scheduler = Scheduler(tasks(a=2, b=1), tries=3)
    assert scheduler.next_for("1", "12").name == "a"
    ended = scheduler.take(Event("1", "failed", error="no"))
    assert (ended.number, ended.last, ended.event.error) == (1, False, "no")
    assert scheduler.next_for("1", "12").name == "b"  # not a, although it is longer
    scheduler.take(Event("1", "done"))
    assert scheduler.next_for("1", "12") is None
    assert scheduler.next_for("2", "12").name == "a"
    assert scheduler.take(Event("2", "done")).number == 2
    assert scheduler.is_finished


def test_the_only_worker_gets_a_failed_task_again_until_it_was_tried_often_enough() -> None:
    scheduler = Scheduler(tasks(a=1), tries=3)
    for number in (1, 2, 3):
        assert scheduler.next_for("1", "1").name == "a"
        ended = scheduler.take(Event("1", "lost" if number == 2 else "failed"))
        assert (ended.number, ended.last) == (number, number == 3)
    assert scheduler.is_finished


def test_whatever_becomes_of_the_workers_each_task_is_ended_once() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        scheduler = Scheduler([Task(str(each), {}, chance.choice((1, 2, 3))) for each in range(20)], tries=4)
        workers, ended = ["w0", "w1", "w2"], []
        for turn in range(1, 10_000):
            if scheduler.is_finished:
                break
            for worker in workers:
                if worker not in scheduler.running:
                    scheduler.next_for(worker, workers)
            assert len({task.name for task in scheduler.running.values()}) == len(scheduler.running)
            worker = chance.choice(sorted(scheduler.running))
            outcome = chance.choice(("done", "failed", "lost"))
            ended.append(scheduler.take(Event(worker, outcome)))
            if outcome == "lost":
                workers[workers.index(worker)] = f"n{turn}"
        assert scheduler.is_finished
        assert sorted(each.task.name for each in ended if each.last) == sorted(map(str, range(20)))
        assert all(each.event.outcome == "done" or each.number == 4 for each in ended if each.last)


# ---------------------------------------------------------------- rows and options


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with empty files dog.mp4, cat.mp4, dog.png, cat.png and later.png."""
    monkeypatch.chdir(tmp_path)
    for name in ("dog.mp4", "cat.mp4", "dog.png", "cat.png", "later.png"):
        Path(name).touch()
    return tmp_path


def rows_of(text: str, name: str = "m.csv", shared: Sequence[str] = ()) -> list:
    Path(name).write_text(text, encoding="utf-8")
    return read_rows([name], shared)


def test_a_table_has_a_column_for_any_option(folder: Path) -> None:
    rows = rows_of(
        "video,name,mask,box,resize-mask,mask_at,Tracker,options\n"
        "dog.mp4,,dog.png,,crop,2=later.png,persam,\n"
        "\n"
        'cat.mp4,katze,,"-2, 3,40,50",no,,,"--point 7,8 --save masks,csv --resize-mask --debug 4"\n'
    )
    dog, cat = rows
    assert (dog.name, dog.origin, dog.video) == ("dog", "m.csv:2", "dog.mp4")
    assert dog.options.first_mask == ["dog.png"] and dog.options.resize_mask == "crop"
    assert dog.options.mask_at == [(2, "later.png")] and dog.options.tracker == "persam"
    assert (cat.name, cat.origin) == ("katze", "m.csv:4")
    assert cat.options.hints == [("box", (-2, 3, 40, 50)), ("point", (7, 8, True))]
    assert cat.options.save == "masks,csv" and cat.options.resize_mask is True and cat.options.debug == 4


def test_lines_of_json_take_lists_numbers_and_truth_values(folder: Path) -> None:
    [row, other] = rows_of(
        '{"video": "dog.mp4", "first_mask": ["dog.png", "cat.png"], "max-frames": 3, "resize_mask": true}\n\n'
        '{"video": "cat.mp4", "box": [1, 2, 30, 40], "point": ["5,6", [7, 8]], "object": false, "points": null}\n',
        "m.jsonl",
    )
    assert row.options.first_mask == ["dog.png", "cat.png"] and row.options.max_frames == 3
    assert row.options.resize_mask is True
    assert other.origin == "m.jsonl:3"
    assert other.options.hints == [("box", (1, 2, 30, 40)), ("point", (5, 6, True)), ("point", (7, 8, True))]


def test_a_key_may_be_in_capitals_and_what_adds_up_may_be_there_twice(folder: Path) -> None:
    [row] = rows_of("Video,Name,mask,MASK,Options,options\ndog.mp4,rex,dog.png,cat.png,--stride 2,--start 1\n")
    assert (row.video, row.name, row.options.first_mask) == ("dog.mp4", "rex", ["dog.png", "cat.png"])
    assert (row.options.stride, row.options.start) == (2, 1)


def test_lines_of_json_may_hold_null_and_words(folder: Path) -> None:
    Path("my dog.png").touch()
    [row] = rows_of(
        '{"video": "dog.mp4", "name": null, "options": ["--save", "masks", "--first-mask", "my dog.png"]}', "m.jsonl"
    )
    assert (row.name, row.options.save, row.options.first_mask) == ("dog", "masks", ["my dog.png"])
    [row] = rows_of('{"video": "dog.mp4", "name": 7, "options": null, "mask": "dog.png", "tracker": null}', "m.jsonl")
    assert (row.name, row.options.tracker) == ("7", "persam-f")
    for line, message in (
        ('{"video": null, "mask": "dog.png"}', "m.jsonl:1: no video: no such file"),
        ('{"video": ["dog.mp4"], "mask": "dog.png"}', 'm.jsonl:1: video: give a text, not ["dog.mp4"]'),
        ('{"video": "dog.mp4", "name": true, "mask": "dog.png"}', "name: give a text, not true"),
        ('{"video": "dog.mp4", "options": [["--save", "masks"]]}', "options: give a text, not"),
        ('{"video": "dog.mp4", "options": ["-o", "x"], "mask": "dog.png"}', "options: '-o' is no option"),
        ('{"video": "dog.mp4", "options": "--tracker \'x"}', "options "),
    ):
        with pytest.raises(InputError) as told:
            rows_of(line, "m.jsonl")
        assert message in str(told.value)


def test_options_of_the_command_line_hold_for_every_video_and_know_its_name(folder: Path) -> None:
    options = parse_batch(
        [
            "--tracker",
            "persam",
            "--resize-mask",
            "*.mp4",
            "-o",
            "out",
            "--debug",
            "--first-mask={name}.png",
            "--shard=2/3",
        ]
    )
    assert options.manifest == ["*.mp4"] and options.shard == (2, 3) and options.output == "out"
    assert options.shared == ["--tracker=persam", "--resize-mask", "--debug", "--first-mask={name}.png"]
    rows = read_rows(options.manifest, options.shared)
    assert [(row.name, row.options.first_mask) for row in rows] == [("cat", ["cat.png"]), ("dog", ["dog.png"])]
    assert rows[0].options.resize_mask is True and rows[0].options.debug == 1
    assert parse_batch(["*.mp4", "-o", "-out", "--tracker", "persam"]).output == os.path.join(".", "-out")
    assert split(["--resize-mask", "pad", "--", "--odd"]) == (["--", "--odd"], ["--resize-mask=pad"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,mask\nsheep.mp4,dog.png\n", "m.csv:2: sheep.mp4: no such file or folder"),
        ("video,mask\ndog.mp4,sheep.png\n", "m.csv:2: sheep.png: no such mask"),
        ("video,mask\ndog.mp4,\n", "m.csv:2: give the objects of the first frame"),
        ("video,musk\ndog.mp4,dog.png\n", "m.csv:2: 'musk': no such column"),
        ('video,box\ndog.mp4,"1,2"\n', "m.csv:2: argument --box"),
        ("video,mask,save\ndog.mp4,dog.png,mosks\n", "m.csv:2: --save mosks: choose from"),
        ("video,mask,overwrite\ndog.mp4,dog.png,yes\n", "m.csv:2: overwrite: is not for a row"),
        ("video,mask,options\ndog.mp4,dog.png,-o x\n", "m.csv:2: options: '-o' is no option"),
        ("video,mask,options\ndog.mp4,dog.png,--tracker 'x\n", "m.csv:2: options"),
        ("video,mask,object\ndog.mp4,dog.png,3\n", "m.csv:2: object: takes no value"),
        ("video,masks\ndog.mp4,nolabels/\n", "m.csv:2: nolabels/: no such file or folder; check the path of the masks"),
        ("video,reference\ndog.mp4,nope.jpg=nope.png\n", "m.csv:2: nope.jpg: no such file; check the path of the ref"),
        ("video,reference\ndog.mp4,dog.png=nope.png#2\n", "m.csv:2: nope.png: no such file; check the path of the"),
        ("video,reference\ndog.mp4,dog.png\n", "needs the object's mask or box"),
        ("video,mask,name\ndog.mp4,dog.png,report.csv\n", "m.csv:2: 'report.csv': is the name of a table"),
        ("video,mask,name\ndog.mp4,dog.png,Tries.3-of-64.csv\n", "is the name of a table of the batch"),
        ("video,mask,tracker,Tracker\ndog.mp4,dog.png,persam,cutie\n", "m.csv:2: tracker: is given twice"),
        ("video,video,mask\ndog.mp4,cat.mp4,dog.png\n", "m.csv:2: video: is given twice"),
        ("video,mask,name,name\ndog.mp4,dog.png,a,b\n", "m.csv:2: name: is given twice"),
        ("video,mask,name\ndog.mp4,dog.png,../x\n", "m.csv:2: '../x': is no name of a folder"),
        ("video,mask\ndog.mp4,dog.png\ndog.mp4,cat.png\n", "m.csv:3: is named dog, as m.csv:2 is"),
        ("video,mask\ndog.mp4,dog.png,oh\n", "m.csv:2: has more cells"),
        ("video,mask\n", "m.csv: has no row"),
        ("video,mask\n" + "x.mp4,dog.png\n" * 7, "m.csv:6: x.mp4: no such file or folder; check the path; and 2 more"),
    ],
)
def test_a_bad_row_is_told_with_file_and_line(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        rows_of(text)
    assert message in str(told.value)


def test_what_is_no_manifest_is_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"m\.jsonl:2: is no JSON"):
        rows_of('{"video": "dog.mp4", "mask": "dog.png"}\n{nonsense\n', "m.jsonl")
    with pytest.raises(InputError, match=r"m\.jsonl:1: is no JSON object"):
        rows_of("[1]\n", "m.jsonl")
    with pytest.raises(InputError, match=r"\*\.avi: no such file, and no file fits"):
        read_rows(["*.avi"])
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read"):
        read_rows(["gone.csv"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["m.csv"], "required: -o/--output"),
        (["m.csv", "-o", "out", "--live"], "--live: is not for vos-batch"),
        (["m.csv", "-o", "out", "--shard", "0/3"], "give I/N with I from 1 to N"),
        (["m.csv", "-o", "out", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    line: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(line)
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and told.count("\n") == 1


# ---------------------------------------------------------------- worker processes

ODD_WORKER = """
import os, pathlib, signal, time
from vos.errors import InputError

class Odd:
    def __init__(self):
        if os.environ.get("ODD_START"):
            raise RuntimeError("cannot start")
        self.tasks = 0
    def run(self, request):
        self.tasks += 1
        what = request["what"]
        if what == "error":
            raise InputError("`resize_mask=True`: not this one")
        if what == "bug":
            raise KeyError("a bug")
        if what == "die" and not os.path.exists(request["mark"]):
            pathlib.Path(request["mark"]).touch()
            os._exit(7)
        if what == "wait":
            try:
                pathlib.Path(request["mark"]).touch()
                time.sleep(60)
            except KeyboardInterrupt:
                pathlib.Path(request["mark"]).write_text("stopped")
                raise
        if what == "hang":
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_IGN)
            time.sleep(60)
        print("printed")
        return {"tasks": self.tasks, "threads": os.environ["OMP_NUM_THREADS"]}
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Worker]:
    """A class of workers that start at once and do what their requests say."""
    (tmp_path / "odd_worker.py").write_text(ODD_WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sys.modules.pop("odd_worker", None)
    return importlib.import_module("odd_worker").Odd


def driven(
    executor: LocalExecutor, requests: Mapping[str, Mapping], tries: int = 3, limit_s: float | None = None
) -> list[Try]:
    ended: list[Try] = []
    scheduler = Scheduler([Task(name, request) for name, request in requests.items()], tries)
    drive(scheduler, executor, ended.append, limit_s=limit_s)
    return ended


def test_workers_are_reused_and_a_lost_or_broken_one_is_replaced(odd: type[Worker], tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    with LocalExecutor(odd, 1) as executor:
        ended = driven(
            executor,
            {name: {"what": what, "mark": mark} for name, what in zip("abcd", ("", "", "die", ""), strict=True)},
        )
        assert [(each.task.name, each.event.outcome) for each in ended] == [
            ("a", "done"),
            ("b", "done"),
            ("c", "lost"),
            ("d", "done"),
            ("c", "done"),
        ]
        assert [each.event.reply["tasks"] for each in ended if each.last] == [1, 2, 1, 2]
        assert ended[0].event.reply["threads"] == "1"
        assert ended[2].event.error == "the worker process ended, exit status 7: printed"
        ended = driven(executor, {"bug": {"what": "bug"}}, tries=2)
        assert [(each.event.outcome, each.event.error) for each in ended] == [("failed", "KeyError: 'a bug'")] * 2
        assert ended[0].event.worker != ended[1].event.worker  # it may be unusable
        ended = driven(executor, {"error": {"what": "error"}}, tries=2)
        assert [each.event.error for each in ended] == ["--resize-mask: not this one"] * 2
        assert ended[0].event.worker == ended[1].event.worker


def test_a_try_that_takes_too_long_is_ended_and_has_failed(odd: type[Worker], tmp_path: Path) -> None:
    """One hears Ctrl-C, by which it is asked to end, the other does not; the rest of the batch goes on."""
    mark = tmp_path / "mark"
    with LocalExecutor(odd, 1) as executor:
        requests = {"waits": {"what": "wait", "mark": str(mark)}, "hangs": {"what": "hang"}, "good": {"what": ""}}
        ended = driven(executor, requests, tries=1, limit_s=0.8)
        [pid] = executor.pids()
    assert [(each.task.name, each.event.outcome, each.event.error, each.last) for each in ended] == [
        ("waits", "failed", "took longer than --video-timeout 0.8 s", True),
        ("hangs", "failed", "took longer than --video-timeout 0.8 s", True),
        ("good", "done", "", True),
    ]
    assert mark.read_text() == "stopped"
    workers = {each.event.reply["where"].rpartition(":")[2] for each in ended}
    assert len(workers) == 3 and str(pid) in workers  # the last one is the one that did the good task


def test_a_video_that_hangs_fails_alone(
    odd: type[Worker],
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli.Batch, "_executor", lambda self: LocalExecutor(odd, 1))
    monkeypatch.setattr(
        "vos.batch.worker.video_request", lambda place, arguments: {"what": "wait", "mark": str(tmp_path / "mark")}
    )
    out = tmp_path / "out"
    line = [str(videos / "v0.mp4"), "-o", str(out), "--first-mask", str(videos / "first.png"), *MODE]
    assert cli.main([*line, "--tries", "2", "--video-timeout", "1"]) == 1
    told = capsys.readouterr().err
    assert "v0: took longer than --video-timeout 1 s; it is tried again" in told
    assert "v0: took longer than --video-timeout 1 s; given up after 2 tries" in told
    assert [each["outcome"] for each in table(out / "tries.csv")] == ["failed", "failed"]
    [failed] = table(out / "failed.csv")
    assert (failed["name"], failed["tries"], failed["error"]) == ("v0", "2", "took longer than --video-timeout 1 s")
    assert failed["command"].endswith("--resume")


def test_closing_stops_a_busy_worker_as_ctrl_c_does(odd: type[Worker], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with LocalExecutor(odd, 1) as executor:
        while not executor.workers:
            executor.wait(1)
        executor.give(executor.workers[0], {"what": "wait", "mark": str(mark)})
        while not mark.exists():
            time.sleep(0.01)
    assert mark.read_text() == "stopped"


def test_workers_that_cannot_start_end_the_batch(odd: type[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_START", "no")
    with LocalExecutor(odd, 1) as executor, pytest.raises(VosError, match="before they begin .*cannot start"):
        driven(executor, {"a": {"what": ""}})


def test_what_a_worker_says_is_handed_over(odd: type[Worker]) -> None:
    class Loud:
        def run(self, request: Mapping) -> dict[str, object]:
            print("vos-track: a line", file=sys.stderr)
            importlib.import_module("logging").getLogger("vos.x").warning("pass `resize_mask=True`")
            return {}

    told = answer(Loud(), {})
    assert sorted(told["lines"]) == ["a line", "pass --resize-mask"]


# ---------------------------------------------------------------- videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with v0.mp4 to v9.mp4 of a few frames each, first.png, and m.csv of all of them."""
    folder = tmp_path_factory.mktemp("videos")
    frames = [frame for frame, _ in zip(clip(SIZE), range(FRAMES + 10), strict=False)]
    for index in range(10):
        with av.open(str(folder / f"v{index}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            for frame in frames[index : index + FRAMES + index % 3]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
            container.mux(stream.encode())
    Image.fromarray(disc_labels(SIZE, 2)).save(folder / "first.png")
    lines = [f"{folder}/v{index}.mp4,{folder}/first.png" for index in range(10)]
    (folder / "m.csv").write_text("\n".join(["video,mask", *lines]) + "\n")
    return folder


MODE = ["--tracker", "persam", "--save", "masks,csv"]


class Inline:
    """An executor with one worker in this process, as quick as it can be; ``fail`` names videos that fail."""

    def __init__(self, fail: Sequence[str] = (), stop_at: int | None = None) -> None:
        self._worker = VideoWorker()
        self._told: list[Event] = []
        self._fail, self._stop_at = fail, stop_at
        self.workers = ["1"]
        self.done: list[str] = []

    def give(self, worker: str, request: Mapping) -> None:
        name = request["place"]["name"]
        if len(self.done) == self._stop_at:
            raise KeyboardInterrupt
        if name in self._fail:
            self._told.append(Event(worker, "failed", {}, "as it should"))
            return
        told = answer(self._worker, request)
        self._told.append(Event(worker, told["outcome"], {**told["reply"], "lines": told["lines"]}, told["error"]))
        self.done.append(name)

    def wait(self, timeout_s: float) -> list[Event]:
        told, self._told = self._told, []
        return told

    def close(self) -> None:
        pass


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Inline]]:
    """The executors to use, in the order of the batches; the last one serves all that follow."""
    executors = [Inline()]

    def take(self: cli.Batch) -> Inline:
        return executors.pop(0) if len(executors) > 1 else executors[0]

    monkeypatch.setattr(cli.Batch, "_executor", take)
    yield executors


def test_a_batch_goes_on_where_it_was_stopped(
    videos: Path, tmp_path: Path, inline: list[Inline], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = [str(videos / "m.csv"), "-o", str(out), *MODE, "--max-frames", "2"]
    inline[:] = [Inline(stop_at=3), Inline(fail=["v4"]), Inline()]
    second, third = inline[1:]
    assert cli.main(line) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [each["status"] for each in table(out / "report.csv")].count("done") == 3
    assert not (out / "failed.csv").exists()
    assert cli.main([*line, "--tries", "2"]) == 1
    assert len(second.done) == 6
    [failed] = table(out / "failed.csv")
    assert (failed["name"], failed["tries"], failed["error"]) == ("v4", "2", "as it should")
    assert failed["row"].endswith("m.csv:6") and failed["command"].endswith(f"-o {out / 'v4'} --resume")
    assert "v4: as it should; given up after 2 tries" in capsys.readouterr().err
    assert cli.main(line) == 0
    assert third.done == ["v4"] and not (out / "failed.csv").exists()
    report = table(out / "report.csv")
    assert [each["name"] for each in report] == [f"v{index}" for index in range(10)]
    assert {(each["status"], each["frames"]) for each in report} == {("done", "2")}
    assert [each["tries"] for each in report] == ["3" if each["name"] == "v4" else "1" for each in report]
    assert len(table(out / "tries.csv")) == 12
    assert cli.main([*line, "--quiet"]) == 0 and third.done == ["v4"]


def test_a_row_that_has_changed_is_refused_before_anything_starts(
    videos: Path, tmp_path: Path, inline: list[Inline], capsys: pytest.CaptureFixture[str]
) -> None:
    line = [str(videos / "v0.mp4"), "-o", str(tmp_path), "--first-mask", str(videos / "first.png"), *MODE]
    assert cli.main([*line, "--max-frames", "2", "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main([*line, "--max-frames", "3"]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}/v0: its run was begun with --max-frames 2, not 3; remove that folder" in told


def test_parts_of_a_manifest_make_the_whole(videos: Path, tmp_path: Path, inline: list[Inline]) -> None:
    line = [str(videos / "m.csv"), "-o", str(tmp_path), *MODE, "--max-frames", "1", "--quiet"]
    for index in (1, 2, 3):
        assert cli.main([*line, "--shard", f"{index}/3"]) == 0
    assert sorted(inline[0].done) == [f"v{index}" for index in range(10)]
    assert [each["name"] for each in table(tmp_path / "report.2-of-3.csv")] == ["v1", "v4", "v7"]
    assert cli.main(line) == 0
    assert len(inline[0].done) == 10 and len(table(tmp_path / "report.csv")) == 10


def test_models_are_loaded_once_for_all_videos(
    videos: Path, tmp_path: Path, inline: list[Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = LiteSegmenter.load.__func__
    monkeypatch.setattr(
        LiteSegmenter, "load", classmethod(lambda kind, *arguments: (loads.append(1), load(kind, *arguments))[1])
    )
    assert cli.main([str(videos / "m.csv"), "-o", str(tmp_path), *MODE, "--max-frames", "1", "--quiet"]) == 0
    assert len(inline[0].done) == 10 and len(loads) == 1


def test_the_cache_of_models_drops_what_was_not_used_for_longest() -> None:
    cache, made = ModelCache(kept=2), []
    for key in "abacba":
        assert cache.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert "".join(made) == "abcba"


def test_a_tracker_that_cannot_be_saved_leaves_whole_results_only(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vos.batch.worker._can_resume", lambda arguments: False)
    request = video_request(
        Place("x", tmp_path / "x"), (str(videos / "v0.mp4"), "--first-mask", str(videos / "first.png"), *MODE)
    )
    (tmp_path / ".x.partial").mkdir()
    (tmp_path / ".x.partial/half").touch()
    assert VideoWorker().run(request)["frames"] == FRAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["masks", "objects.csv", "run.json"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_soak_workers_are_killed_and_nothing_is_lost_or_done_twice(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, kills = tmp_path / "out", []
    open_executor = cli.Batch._executor
    tried = cli.Batch._tried

    def watched(self: cli.Batch, ended: Try, progress: BatchProgress) -> None:
        tried(self, ended, progress)
        if ended.last and len(kills) < 3:  # a moment after a video is done all workers are busy or about to be
            kills.append(self.executor.pids()[len(kills) % 2])
            os.kill(kills[-1], signal.SIGKILL)

    def kept(self: cli.Batch) -> LocalExecutor:
        self.executor = open_executor(self)
        return self.executor

    monkeypatch.setattr(cli.Batch, "_executor", kept)
    monkeypatch.setattr(cli.Batch, "_tried", watched)
    line = [str(videos / "m.csv"), "-o", str(out), *MODE, "--workers", "2", "--tries", "9", "--quiet"]
    assert cli.main(line) == 0
    assert len(kills) == 3
    report, tries = table(out / "report.csv"), table(out / "tries.csv")
    assert [each["status"] for each in report] == ["done"] * 10
    done = [each["name"] for each in tries if each["outcome"] == "done"]
    assert sorted(done) == [f"v{index}" for index in range(10)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for index in (0, 4, 8):
            alone = tmp_path / f"alone-{index}"
            video = [str(videos / f"v{index}.mp4"), "--first-mask", str(videos / "first.png")]
            assert vos_track([*video, "-o", str(alone), *MODE, "--quiet"]) == 0
            assert_same_files(out / f"v{index}", alone)
    finally:
        torch.set_num_threads(threads)


def assert_same_files(out: Path, expected: Path) -> None:
    names = sorted(str(path.relative_to(expected)) for path in expected.rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == names
    for name in names:
        if name != "run.json":
            assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    assert json.loads((out / "run.json").read_text())["machine"]["threads"] == 1


def test_a_video_whose_run_was_killed_while_its_files_were_opened_is_begun_anew(
    videos: Path, tmp_path: Path, inline: list[Inline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soak of benchmarks/batch.py found one of 200 that refused to go on: its folder held no state yet."""
    line = [str(videos / "v0.mp4"), "-o", str(tmp_path), "--first-mask", str(videos / "first.png"), *MODE, "--quiet"]
    with monkeypatch.context() as patch:

        def killed(names: Sequence[str], out: Path, **how: object) -> None:
            (out / "masks").mkdir()
            (out / ".objects.partial.csv").touch()
            raise KeyboardInterrupt

        patch.setattr("vos.command.run.open_writers", killed)
        assert cli.main(line) == 130
    assert (tmp_path / "v0/.objects.partial.csv").exists()
    assert cli.main(line) == 0
    (tmp_path / "v1/masks").mkdir(parents=True)
    assert cli.main([str(videos / "v1.mp4"), *line[1:]]) == 0
    assert inline[0].done == ["v0", "v1"]


# ---------------------------------------------------------------- addresses


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The folder of a finished result, ``made/dog``."""
    folder = tmp_path / "made/dog"
    (folder / "masks").mkdir(parents=True)
    (folder / "masks/00000.png").write_bytes(b"mask")
    (folder / "run.json").write_text('{"outcome": "finished"}')
    return folder


def test_a_result_is_uploaded_whole_then_renamed_its_record_last(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    address = f"memory://bucket-{result.parent.parent.name}"
    seen = []
    move = type(memory).mv

    def watched(self, source: str, target: str, **how: object) -> None:
        seen.append((memory.exists(f"{address}/dog/run.json"), target.rpartition("/")[2]))
        move(self, source, target, **how)

    monkeypatch.setattr(type(memory), "mv", watched)
    memory.pipe_file(f"{address}/dog/old.png", b"of an earlier try")
    upload(Place("dog", result, address))
    assert seen == [(False, "00000.png"), (False, "run.json")]
    root = address.removeprefix("memory:/")
    assert sorted(memory.find(address)) == [f"{root}/dog/masks/00000.png", f"{root}/dog/run.json"]
    assert not result.exists()
    storage = Storage(result.parent, address)
    assert storage.records(["dog", "cat"]) == {"dog": {"outcome": "finished"}}
    (result.parent / "report.csv").write_text("name\n")
    storage.publish(result.parent / "report.csv")
    assert memory.cat_file(f"{address}/report.csv") == b"name\n"
    assert Storage(result.parent, f"{address}-empty").records(["dog"]) == {}


def test_a_batch_into_an_address(videos: Path, tmp_path: Path, inline: list[Inline]) -> None:
    pytest.importorskip("fsspec")
    line = [str(videos / "v*.mp4"), "--first-mask", str(videos / "first.png"), *MODE, "--max-frames", "1", "--quiet"]
    line += ["-o", f"file://{tmp_path}/there", "--scratch", str(tmp_path / "scratch")]
    assert cli.main(line) == 0
    there = tmp_path / "there"
    assert sorted(path.name for path in there.iterdir()) == sorted(
        [*(f"v{index}" for index in range(10)), "report.csv", "tries.csv"]
    )
    assert sorted(path.name for path in (there / "v3").iterdir()) == ["masks", "objects.csv", "run.json"]
    assert not [path for path in (tmp_path / "scratch").iterdir() if path.is_dir() and path.name != ".batch"]
    assert len(inline[0].done) == 10
    assert cli.main(line) == 0 and len(inline[0].done) == 10


def test_an_address_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="nonsense://x: cannot be used"):
        Storage.open("nonsense://x")
    with pytest.raises(InputError, match="--scratch is for results that go to an address"):
        Storage.open(str(tmp_path / "out"), tmp_path / "scratch")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be used"):
        Storage(tmp_path, f"file://{tmp_path}/file/under").publish(tmp_path / "file")


# ---------------------------------------------------------------- the rest


def test_a_header_that_is_never_read_is_not_waited_for(
    videos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    length = lengths.frames_of

    def frames_of(options: Options) -> float:
        if options.video.endswith("v1.mp4"):
            released.wait()
        return length(options)

    monkeypatch.setattr(lengths, "frames_of", frames_of)
    rows = read_rows([str(videos / f"v{index}.mp4") for index in range(3)], [f"--first-mask={videos / 'first.png'}"])
    assert lengths.lengths(rows, patience_s=2) == [FRAMES, float("inf"), FRAMES + 2]
    released.set()
    assert lengths.lengths(rows, patience_s=60) == [FRAMES, FRAMES + 1, FRAMES + 2]


def test_lengths_are_told_by_headers(videos: Path, folder: Path) -> None:
    [row] = read_rows([str(videos / "v2.mp4")], [f"--first-mask={videos / 'first.png'}"])
    assert lengths.frames_of(row.options) == FRAMES + 2
    [row] = read_rows([str(videos / "v2.mp4")], [f"--first-mask={videos / 'first.png'}", "--stride=2"])
    assert lengths.frames_of(row.options) == (FRAMES + 3) // 2
    [row] = read_rows(["dog.mp4"], ["--first-mask=dog.png"])
    assert lengths.frames_of(row.options) == float("inf")


class Stream:
    """Keeps what is printed."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_is_one_line() -> None:
    now = [0.0]
    stream = Stream(terminal=True)
    progress = BatchProgress([100, 50, float("inf")], stream, clock=lambda: now[0])
    now[0] = 10
    progress.ended(100, 100, failed=False)
    assert progress.text(2) == "1 of 3 videos, 2 under way, 10.0 frames/s, 0:12 left, 0:10 so far"
    progress.show(2)
    progress.ended(50, 0, failed=True)
    progress.say("told")
    now[0] = 20
    progress.ended(float("inf"), 80, failed=False)
    progress.close()
    assert stream.text.count("\n") == 2
    assert stream.text.endswith("told\n2 of 3 videos, 1 failed, 9.0 frames/s, in 0:20\n")
    plain = Stream(terminal=False)
    progress = BatchProgress([1, 1], plain, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 1
        progress.show(1)
    assert plain.text.count("\n") == 3


@pytest.mark.skipif(os.name == "nt", reason="needs signals of its own")
def test_ctrl_c_stops_workers_and_leaves_what_is_finished(videos: Path, tmp_path: Path) -> None:
    """The one test of the command as a program of its own."""
    out = tmp_path / "out"
    line = [sys.executable, "-m", "vos.batch.cli", str(videos / "m.csv"), "-o", str(out), *MODE, "--workers", "1"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 120
    while not (out / "tries.csv").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "stopped; what is finished is valid; the same command goes on" in told
    report = table(out / "report.csv")
    done = [each["name"] for each in report if each["status"] == "done"]
    assert done and {each["status"] for each in report} <= {"done", "left"}
    assert (
        sorted(
            results.finished(read_rows([str(videos / "m.csv")], ["--tracker=persam", "--save=masks,csv"]), Storage(out))
        )
        == done
    )
    for name in done:
        assert len(list((out / name / "masks").glob("*.png"))) >= FRAMES
        with Image.open(out / name / "masks/00000.png") as image:
            assert np.array(image).any()
