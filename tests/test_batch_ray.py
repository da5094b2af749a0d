"""``vos-batch --ray``: the executor on a stand-in for Ray, and on Ray itself if it is installed."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vos.batch import ray_actors
from vos.batch.drive import drive
from vos.batch.ray_actors import RayExecutor
from vos.batch.scheduler import Scheduler, Task, Try
from vos.benchmarks.davis import SequenceWorker
from vos.benchmarks.davis import main as vos_davis
from vos.command.status import with_flags
from vos.errors import InputError, VosError


class RayError(Exception):
    """As Ray's own."""


class Method:
    """A method of an actor: a call returns the function that does the work, in place of a reference."""

    def __init__(self, work: Callable) -> None:
        self._work = work

    def remote(self, *arguments: object) -> Callable:
        def reference() -> object:
            return self._work(*arguments)

        reference.hangs = bool(arguments) and isinstance(arguments[0], dict) and arguments[0].get("what") == "hang"
        return reference


class StandInRay:
    """As much of Ray as the executor uses; an actor is an object in this process."""

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.resources = {"CPU": 3.0}
        self.asked: list[Mapping] = []
        self.killed: list[object] = []
        self.shut = False

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str | None, **how: object) -> None:
        if address == "nowhere:1":
            raise ConnectionError("nobody\nanswers")

    def cluster_resources(self) -> Mapping[str, float]:
        return self.resources

    def remote(self, **how: object) -> Callable:
        self.asked.append(how)

        def make(kind: type) -> SimpleNamespace:
            def start(*arguments: object) -> SimpleNamespace:
                actor = kind(*arguments)
                return SimpleNamespace(ready=Method(actor.ready), answer=Method(actor.answer))

            return SimpleNamespace(remote=start)

        return make

    def wait(self, references: list, num_returns: int, timeout: float) -> tuple[list, list]:
        ended = [each for each in references if not each.hangs]
        if len(ended) < num_returns:
            time.sleep(timeout)
        return ended[:num_returns], []

    def get(self, reference: Callable) -> object:
        return reference()

    def kill(self, actor: object) -> None:
        self.killed.append(actor)

    def shutdown(self) -> None:
        self.shut = True


class Odd:
    """A worker whose actor is lost, or that has a bug, if its request says so; lost twice in all."""

    losses = 0

    def run(self, request: Mapping) -> dict[str, object]:
        if request["what"] == "bug":
            raise KeyError("a bug")
        if request["what"] == "lose" and Odd.losses < 2:
            Odd.losses += 1
            raise SystemExit
        return {"name": request["name"]}


class LosableSeat(ray_actors.Seat):
    """An actor that is lost where its worker leaves."""

    def answer(self, request: Mapping) -> dict[str, object]:
        try:
            return super().answer(request)
        except SystemExit as error:
            raise RayError("the node\nis gone") from error


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandInRay:
    ray = StandInRay()
    threads = torch.get_num_threads()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_actors, "Seat", LosableSeat)
    monkeypatch.setattr(ray_actors, "make_worker", lambda name: Odd())
    monkeypatch.setattr(Odd, "losses", 0)
    yield ray
    torch.set_num_threads(threads)


def driven(executor: RayExecutor, *kinds: str, limit_s: float | None = None) -> list[Try]:
    tasks = [Task(f"{index}{what}", {"what": what, "name": f"{index}{what}"}) for index, what in enumerate(kinds)]
    ended: list[Try] = []
    drive(Scheduler(tasks), executor, ended.append, limit_s=limit_s)
    return ended


def test_a_lost_actor_is_replaced_and_its_task_tried_on_another(stand_in: StandInRay) -> None:
    executor = RayExecutor(Odd)
    ended = driven(executor, "", "lose", "", "bug", "")
    executor.close()
    assert sorted(each.task.name for each in ended if each.event.outcome == "done") == ["0", "1lose", "2", "4"]
    lost = [each for each in ended if each.event.outcome == "lost"]
    assert [each.event.error for each in lost] == ["the Ray actor was lost (the node is gone)"] * 2
    assert len({each.event.worker for each in ended if each.task.name == "1lose"}) == 3
    bugs = [each for each in ended if each.event.outcome == "failed"]
    assert [each.event.error for each in bugs] == ["KeyError: 'a bug'"] * 3
    assert len({each.event.worker for each in bugs}) == 3
    assert len(stand_in.asked) == 3 + len(lost) + len(bugs)  # one for each core, and one for each that was replaced
    assert set(map(str, stand_in.asked)) == {str({"max_restarts": 0, "num_cpus": 1})}
    assert stand_in.shut and len(stand_in.killed) == len(stand_in.asked)


def test_an_actor_that_takes_too_long_is_ended_and_replaced(stand_in: StandInRay) -> None:
    executor = RayExecutor(Odd)
    ended = driven(executor, "", "hang", "", limit_s=0.3)
    hung = [each for each in ended if each.task.name == "1hang"]
    assert [(each.event.outcome, each.event.error) for each in hung] == [
        ("failed", "took longer than --video-timeout 0.3 s")
    ] * 3
    assert len({each.event.worker for each in hung}) == 3
    assert sorted(each.task.name for each in ended if each.event.outcome == "done") == ["0", "2"]
    assert len(stand_in.killed) == 3 and len(stand_in.asked) == 6 and len(executor.workers) <= 3


def test_there_is_an_actor_for_each_gpu(stand_in: StandInRay) -> None:
    stand_in.resources["GPU"] = 2.0
    executor = RayExecutor(Odd)
    assert [each["num_gpus"] for each in stand_in.asked] == [1, 1]
    assert len(driven(executor, "", "", "")) == 3
    assert RayExecutor(Odd, count=5) and len(stand_in.asked) == 7


def test_actors_that_cannot_start_end_the_batch(stand_in: StandInRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_ready(self: LosableSeat) -> dict[str, object]:
        raise RayError("No module named 'vos'")

    monkeypatch.setattr(LosableSeat, "ready", not_ready)
    with pytest.raises(VosError, match="before they begin .*No module named 'vos'.*on every node"):
        driven(RayExecutor(Odd), "")


def test_without_a_cluster_or_without_ray_there_is_one_line(
    stand_in: StandInRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as told:
        RayExecutor(Odd, "nowhere:1")
    assert with_flags(str(told.value)) == "--ray nowhere:1: no Ray cluster can be used (nobody answers)"
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as told:
        RayExecutor(Odd)
    assert with_flags(str(told.value)).startswith("--ray: needs ray: pip install 'vos-track[ray]'")


def test_vos_davis_uses_the_same_door(
    davis: Path,
    tmp_path: Path,
    stand_in: StandInRay,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ray_actors, "make_worker", lambda name: SequenceWorker())
    line = ["--davis", str(davis), "--year", "2017", "--set", "val", "--tracker", "persam"]
    assert vos_davis([*line, "-o", str(tmp_path / "ray"), "--ray"]) == 0
    assert len(stand_in.asked) == 3 and stand_in.shut
    assert "cup: 6 frames" in capsys.readouterr().out
    assert vos_davis([*line, "-o", str(tmp_path / "here")]) == 0
    for path in (tmp_path / "here/cup").iterdir():
        assert (tmp_path / "ray/cup" / path.name).read_bytes() == path.read_bytes()
    assert json.loads((tmp_path / "ray/run.json").read_text())["frames"] == 6


def test_a_sequence_that_fails_on_ray_is_told(
    davis: Path,
    tmp_path: Path,
    stand_in: StandInRay,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["--davis", str(davis), "--year", "2017", "--set", "val", "-o", str(tmp_path / "ray"), "--ray"]
    monkeypatch.setattr(Odd, "run", lambda self, request: {}["what"])
    assert vos_davis(line) == 2
    assert "vos-davis: cup: KeyError: 'what'" in capsys.readouterr().err


@pytest.mark.slow
def test_real_actors_are_killed_and_nothing_is_lost(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from vos.batch import cli

    out, killed = tmp_path / "out", []
    give = RayExecutor.give

    def kill_one(self: RayExecutor, worker: str, request: Mapping) -> None:
        give(self, worker, request)
        if not killed:
            killed.append(worker)
            ray.kill(self._actors[worker])

    monkeypatch.setattr(RayExecutor, "give", kill_one)
    line = [str(videos / "*.mp4"), "-o", str(out), "--first-mask", str(videos / "first.png"), "--tracker", "persam"]
    assert cli.main([*line, "--save", "masks", "--ray", "--workers", "2", "--quiet"]) == 0
    with (out / "tries.csv").open(newline="") as file:
        tries = list(csv.DictReader(file))
    assert [each["outcome"] for each in tries].count("lost") == len(killed) == 1
    names = sorted(path.stem for path in videos.glob("*.mp4"))
    assert sorted(each["name"] for each in tries if each["outcome"] == "done") == names
    assert all(len(list((out / name / "masks").glob("*.png"))) == 3 for name in names)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with four videos of three frames, and first.png."""
    from vos.benchmarks.batch import Clips

    return Clips.draw(tmp_path / "videos", (64, 96), 3, 4).folder
