"""Computes how long a large batch takes, by the scheduler of ``vos-batch`` and figures that were measured elsewhere.

    python -m vos.benchmarks.batch_plan --hours 1000 --workers 64 --frames-per-s 30

The lengths of the videos are drawn; a worker that is lost is replaced, and its video goes on from its last saved state.
Nothing is tracked.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..batch.scheduler import Event, Scheduler, Task

STATE_S = 5.0
"""Seconds of tracking that are lost with a worker at most: the time between two saved states."""


@dataclass(frozen=True)
class Outcome:
    """What a batch came to.

    Attributes:
        wall_s: from the first worker's start to the last video's end.
        busy_s: time that all workers together spent on frames.
        lost: workers that were lost.
    """

    wall_s: float
    busy_s: float
    lost: int


def draw_lengths(hours: float, mean_min: float, spread: float, seed: int) -> list[float]:
    """Draw lengths of videos in seconds, log-normal, until they make so many hours.

    Args:
        hours: of all together.
        mean_min: mean length in minutes.
        spread: standard deviation of the logarithm; 1: one in six is 2.7 times as long as the median, or longer.
        seed: of the random numbers.
    """
    chance = random.Random(seed)
    lengths: list[float] = []
    while sum(lengths) < hours * 3600:
        lengths.append(mean_min * 60 * chance.lognormvariate(-(spread**2) / 2, spread))
    return lengths


def simulate(
    seconds: Sequence[float],
    workers: int,
    *,
    start_s: float,
    overhead_s: float,
    loss_h: float | None = None,
    longest_first: bool = True,
    seed: int = 0,
) -> Outcome:
    """Play a batch through the scheduler.

    Args:
        seconds: tracking time of each video.
        workers: number of workers.
        start_s: from the start of a worker to its first frame.
        overhead_s: of each video beside its frames.
        loss_h: mean hours after which a worker is lost; None: never.
        longest_first: whether the lengths are known to the scheduler.
        seed: of the losses.
    """
    chance = random.Random(seed)
    left = {str(index): each for index, each in enumerate(seconds)}
    tasks = [Task(name, {}, cost if longest_first else 0.0) for name, cost in left.items()]
    scheduler = Scheduler(tasks, tries=1000)
    names = {f"w{index}" for index in range(workers)}
    free = [(start_s, name) for name in sorted(names)]
    ends: list[tuple[float, str, str, float]] = []
    now, lost = 0.0, 0
    while not scheduler.is_finished:
        while free and (not ends or free[0][0] <= ends[0][0]):
            began, worker = heapq.heappop(free)
            task = scheduler.next_for(worker, names)
            if task is None:
                continue
            end = began + overhead_s + left[task.name]
            gone = began + chance.expovariate(1 / (loss_h * 3600)) if loss_h else end
            heapq.heappush(ends, (min(end, gone), worker, task.name, began))
        now, worker, name, began = heapq.heappop(ends)
        if now < began + overhead_s + left[name]:
            lost += 1
            left[name] -= max(0.0, now - began - overhead_s - STATE_S)
            scheduler.take(Event(worker, "lost"))
            names.discard(worker)
            names.add(f"n{lost}")
            heapq.heappush(free, (now + start_s, f"n{lost}"))
        else:
            scheduler.take(Event(worker, "done"))
            heapq.heappush(free, (now, worker))
    return Outcome(now, sum(seconds), lost)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; return the exit status."""
    parser = argparse.ArgumentParser(description="Compute how long a large batch takes.")
    parser.add_argument("--hours", type=float, default=1000.0, help="of video")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--frames-per-s", type=float, required=True, help="that one worker tracks")
    parser.add_argument("--fps", type=float, default=24.0, help="frames in a second of video")
    parser.add_argument("--mean-min", type=float, default=5.0, help="mean length of a video in minutes")
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of the logarithm of the length")
    parser.add_argument("--start-s", type=float, default=30.0, help="from the start of a worker to its first frame")
    parser.add_argument("--overhead-s", type=float, default=0.1, help="of each video beside its frames")
    parser.add_argument("--loss-h", type=float, default=200.0, help="mean hours after which a worker is lost")
    parser.add_argument("--mbit", type=float, default=5.0, help="of a second of video")
    parser.add_argument("--price", type=float, default=0.0, help="of one worker for one hour")
    options = parser.parse_args(arguments)
    lengths = draw_lengths(options.hours, options.mean_min, options.spread, seed=0)
    seconds = [each * options.fps / options.frames_per_s for each in lengths]
    ideal = sum(seconds) / options.workers
    print(
        f"{len(lengths)} videos, {sum(lengths) / 3600:.0f} h, the longest {max(lengths) / 60:.0f} min; "
        f"{sum(lengths) * options.fps / 1e6:.1f} million frames"
    )
    for words, longest_first, loss_h in (
        ("long ones first", True, None),
        ("in any order", False, None),
        (f"long ones first, a worker lost after {options.loss_h:g} h", True, options.loss_h),
    ):
        outcome = simulate(
            seconds,
            options.workers,
            start_s=options.start_s,
            overhead_s=options.overhead_s,
            loss_h=loss_h,
            longest_first=longest_first,
        )
        bought = options.workers * outcome.wall_s / 3600
        more = f"{100 * (outcome.wall_s / ideal - 1):.1f} % more than frames alone ({outcome.lost} lost)"
        price = f", {bought * options.price:.0f} to pay" if options.price else ""
        print(f"{words}: {outcome.wall_s / 3600:.2f} h, {more}; {bought:.0f} worker hours{price}")
    read = sum(lengths) * options.mbit / 8
    print(f"read: {read / 1e6:.2f} TB, {8 * read / ideal:.0f} Mbit/s for all workers together")
    return 0


if __name__ == "__main__":
    sys.exit(main())
