"""Measures ``vos-batch``: throughput over the number of processes, what a video costs beside its frames, and a soak.

    python -m vos.benchmarks.batch throughput --workers 1 2 --repeats 3
    python -m vos.benchmarks.batch soak --videos 200 --every 3

``throughput`` times batches of drawn clips whose workers are warm, in turns, so that what else runs on the machine
falls on all alike. It tells how many cores the others kept busy meanwhile, and the workers' own time per frame, which
depends less on the others. ``soak`` kills a worker every few seconds and checks every result.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from ..batch.drive import drive
from ..batch.local import LocalExecutor
from ..batch.scheduler import Scheduler, Task, Try
from ..batch.storage import Place
from ..batch.worker import VideoWorker, video_request
from ..command.status import exit_status
from ..errors import OutputError
from ..testing.clip import clip, disc_labels

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Clips:
    """Drawn clips in a folder.

    Attributes:
        folder: holds ``0000.mp4`` and so on, and ``first.png`` with the first two discs.
        frames: frames of each.
        count: number of clips.
    """

    folder: Path
    frames: int
    count: int

    @classmethod
    def draw(cls, folder: Path, size: tuple[int, int], frames: int, count: int) -> Clips:
        """Draw a clip of (H, W), and write it as often as is asked for."""
        folder.mkdir(parents=True, exist_ok=True)
        first = folder / "0000.mp4"
        with av.open(str(first), "w") as container:
            stream = container.add_stream("libx264", rate=24, options={"preset": "veryfast"})
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            for frame, _ in zip(clip(size), range(frames), strict=False):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.rgb)))
            container.mux(stream.encode())
        for index in range(1, count):
            (folder / f"{index:04d}.mp4").write_bytes(first.read_bytes())
        Image.fromarray(disc_labels(size, 2)).save(folder / "first.png")
        return cls(folder, frames, count)

    def tasks(self, out: Path, options: Sequence[str]) -> list[Task]:
        """Return a task for each clip, whose results go into a folder."""
        given = ("--first-mask", str(self.folder / "first.png"), *options)
        names = [f"{index:04d}" for index in range(self.count)]
        return [
            Task(name, video_request(Place(name, out / name), (str(self.folder / f"{name}.mp4"), *given)), self.frames)
            for name in names
        ]


@dataclass(frozen=True)
class Timing:
    """One timed batch.

    Attributes:
        workers: number of processes.
        frames_per_s: of all together, by the clock.
        cpu_ms: the workers' own processor time for each frame.
        others: cores that everything else on the machine kept busy meanwhile.
        overhead_ms: what a video took beside its frames, median.
    """

    workers: int
    frames_per_s: float
    cpu_ms: float
    others: float
    overhead_ms: float


def time_batch(executor: LocalExecutor, workers: int, tasks: Sequence[Task]) -> Timing:
    """Time a batch whose workers are warm."""
    own, busy, began = _cpu_s(executor.pids()), _busy_s(), time.perf_counter()
    ended = run_all(executor, tasks)
    spent = time.perf_counter() - began
    own, busy = _cpu_s(executor.pids()) - own, _busy_s() - busy
    frames = sum(_number(each, "frames") for each in ended)
    overheads = [_number(each, "seconds") - _number(each, "tracking_s") for each in ended]
    return Timing(
        workers, frames / spent, 1e3 * own / frames, max(0.0, busy - own) / spent, 1e3 * statistics.median(overheads)
    )


def run_all(executor: LocalExecutor, tasks: Sequence[Task]) -> list[Try]:
    """Have workers do all tasks; return how each ended.

    Raises:
        OutputError: one has failed.
    """
    ended: list[Try] = []
    drive(Scheduler(tasks, tries=1), executor, ended.append)
    for each in ended:
        if each.event.outcome != "done":
            raise OutputError(f"{each.task.name}: {each.event.error}")
    return ended


def throughput(options: argparse.Namespace, folder: Path) -> int:
    """Time batches with each number of workers in turns, and print the table."""
    clips = Clips.draw(folder / "clips", options.size, options.frames, options.videos)
    tasks_into = lambda name: clips.tasks(folder / name, options.track)
    timings: list[Timing] = []
    for repeat in range(options.repeats):
        for workers in options.workers:
            began = time.perf_counter()
            with LocalExecutor(VideoWorker, workers) as executor:
                while len(executor.workers) < workers:
                    executor.wait(1.0)
                started = time.perf_counter() - began
                warm = [
                    Task(f"warm-{each.name}", each.request, each.cost) for each in tasks_into(f"w{repeat}-{workers}")
                ]
                first = run_all(executor, warm[:workers])
                extra = statistics.median(_number(each, "seconds") - _number(each, "tracking_s") for each in first)
                timing = time_batch(executor, workers, tasks_into(f"t{repeat}-{workers}"))
                memory = max(map(_memory_mb, executor.pids()))
            timings.append(timing)
            print(
                f"{workers} workers: {timing.frames_per_s:6.1f} frames/s, {timing.cpu_ms:5.1f} ms of processor time a "
                f"frame, others {timing.others:.2f} cores; start {started:.1f} s, first video {extra:.1f} s more, "
                f"each video {timing.overhead_ms:.0f} ms more; {memory:.0f} MB a worker",
                flush=True,
            )
    _print_ratios(timings, options.workers)
    return 0


def _print_ratios(timings: Sequence[Timing], workers: Sequence[int]) -> None:
    """Print the throughput of each number of workers over that of the first, from neighbours in time."""
    first, *others = workers
    base = [each for each in timings if each.workers == first]
    for count in others:
        pairs = list(zip(base, [each for each in timings if each.workers == count], strict=True))
        clock = [theirs.frames_per_s / mine.frames_per_s for mine, theirs in pairs]
        cost = [count / first * mine.cpu_ms / theirs.cpu_ms for mine, theirs in pairs]
        print(
            f"{count} over {first}: {statistics.median(clock):.2f} by the clock "
            f"({min(clock):.2f} to {max(clock):.2f}), {statistics.median(cost):.2f} by processor time; "
            f"load {os.getloadavg()[0]:.1f} now"
        )


def soak(options: argparse.Namespace, folder: Path) -> int:
    """Run a batch whose workers are killed in turn; check that each video was done once, and equals one done in peace.

    Raises:
        OutputError: something was lost, done twice, or has other masks.
    """
    clips = Clips.draw(folder / "clips", options.size, options.frames, options.videos)
    with LocalExecutor(VideoWorker, 1) as executor:
        run_all(executor, clips.tasks(folder / "peace", options.track)[:1])
    out = folder / "out"
    line = [sys.executable, "-m", f"{__package__.rpartition('.')[0]}.batch.cli", str(clips.folder / "*.mp4")]
    line += ["-o", str(out), "--first-mask", str(clips.folder / "first.png"), *options.track]
    line += ["--workers", str(options.workers[-1]), "--tries", "100"]
    began = time.perf_counter()
    process = subprocess.Popen(line, start_new_session=True)
    kills = sum(1 for _ in _killing(process, options.every))
    if process.returncode:
        raise OutputError(f"{out}: the batch ended with status {process.returncode}")
    lost = check_soak(out, folder / "peace/0000", clips)
    spent = time.perf_counter() - began
    print(
        f"{clips.count} videos of {clips.frames} frames in {spent:.0f} s; {kills} workers killed, {lost} tries lost; "
        f"each video done once, masks equal"
    )
    return 0


def check_soak(out: Path, peace: Path, clips: Clips) -> int:
    """Check the results of a soak; return how many tries were lost.

    Args:
        out: results of the batch.
        peace: result of one of its videos, which are all the same, made in peace.
        clips: the videos.

    Raises:
        OutputError: something was lost, done twice, or has other masks.
    """
    with (out / "tries.csv").open(newline="", encoding="utf-8") as file:
        tries = list(csv.DictReader(file))
    done = sorted(each["name"] for each in tries if each["outcome"] == "done")
    if done != [f"{index:04d}" for index in range(clips.count)]:
        raise OutputError(f"{out}: {clips.count} videos, but {len(done)} results of {len(set(done))} of them")
    expected = [path.read_bytes() for path in sorted((peace / "masks").glob("*.png"))]
    for name in done:
        if [path.read_bytes() for path in sorted((out / name / "masks").glob("*.png"))] != expected:
            raise OutputError(f"{out / name}: other masks than those made in peace")
    return sum(each["outcome"] == "lost" for each in tries)


def _killing(process: subprocess.Popen[bytes], every_s: float) -> Iterator[int]:
    """Kill one of a process's children now and then until it ends; yield the number of each."""
    chance = random.Random(0)
    while True:
        try:
            process.wait(every_s)
            return
        except subprocess.TimeoutExpired:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if children:
                victim = int(chance.choice(children))
                os.kill(victim, signal.SIGKILL)
                yield victim


def _number(ended: Try, key: str) -> float:
    return float(ended.event.reply[key])


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the processor time that processes have taken so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS


def _busy_s() -> float:
    """Return the time that all cores were busy so far."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS


def _memory_mb(pid: int) -> float:
    """Return the memory of a process, without what it shares with files."""
    status: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return int(status["RssAnon"].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure vos-batch on this machine (Linux).")
    parser.add_argument("what", choices=("throughput", "soak"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes; the soak's: last")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=48, help="of each video")
    parser.add_argument("--size", type=_size, default=(480, 854), metavar="HxW")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two killed workers")
    parser.add_argument("--tracker", default="persam")
    parser.add_argument("--save", default="masks,csv")
    parser.add_argument("--folder", type=Path, help="keep clips and results here (default: a temporary folder)")
    options = parser.parse_args(arguments)
    options.track = ["--tracker", options.tracker, "--save", options.save]
    action = {"throughput": throughput, "soak": soak}[options.what]

    def measure() -> int:
        if options.folder is not None:
            return action(options, options.folder)
        with tempfile.TemporaryDirectory() as folder:
            return action(options, Path(folder))

    return exit_status("batch", measure, True, "nothing was measured")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
