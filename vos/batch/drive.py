"""The loop between the scheduler and the workers, and what an executor of workers offers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from .scheduler import Event, Scheduler, Try

WAIT_S = 0.5
"""Seconds after which the loop looks up although nothing has happened."""


class Executor(Protocol):
    """Workers that do one task at a time each. One that ends, or that an error may have left unusable, is replaced."""

    @property
    def workers(self) -> Sequence[str]:
        """Names of the workers that can be given tasks, busy ones too; a worker that replaces another has a new one."""
        ...

    def give(self, worker: str, request: Mapping[str, object]) -> None:
        """Give an idle worker a task."""
        ...

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait until something happens; tell of the tasks that ended, none if it was something else.

        Raises:
            VosError: workers cannot be started.
        """
        ...

    def stop(self, worker: str, why: str) -> list[Event]:
        """End a busy worker at once, and replace it; tell that its task has failed, and why."""
        ...

    def close(self) -> None:
        """End all workers; those that are busy finish the frame at hand, and leave what a later run needs."""
        ...


def drive(
    scheduler: Scheduler,
    executor: Executor,
    tried: Callable[[Try], None],
    looked: Callable[[], None] = lambda: None,
    limit_s: float | None = None,
) -> None:
    """Have workers do all tasks of a scheduler.

    Args:
        scheduler: has the tasks.
        executor: has the workers; is not closed.
        tried: told of each try that has ended.
        looked: called each time the loop looks up.
        limit_s: seconds that a try may take; a worker that takes longer is ended, and the try has failed.

    Raises:
        VosError: workers cannot be started.
    """
    given_s: dict[str, float] = {}
    while not scheduler.is_finished:
        workers = executor.workers
        for worker in workers:
            if worker not in scheduler.running:
                task = scheduler.next_for(worker, workers)
                if task is not None:
                    executor.give(worker, task.request)
                    given_s[worker] = time.monotonic()
        events = executor.wait(WAIT_S)
        if limit_s is not None:
            ended = {event.worker for event in events}
            for worker in [each for each in scheduler.running if each not in ended]:
                if time.monotonic() - given_s[worker] > limit_s:
                    events += executor.stop(worker, f"took longer than --video-timeout {limit_s:g} s")
        for event in events:
            tried(scheduler.take(event))
        looked()
