"""The loop between the scheduler and the workers, and what an executor of workers offers."""

from __future__ import annotations

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

    def close(self) -> None:
        """End all workers; those that are busy finish the frame at hand, and leave what a later run needs."""
        ...


def drive(
    scheduler: Scheduler,
    executor: Executor,
    tried: Callable[[Try], None],
    looked: Callable[[], None] = lambda: None,
) -> None:
    """Have workers do all tasks of a scheduler.

    Args:
        scheduler: has the tasks.
        executor: has the workers; is not closed.
        tried: told of each try that has ended.
        looked: called each time the loop looks up.

    Raises:
        VosError: workers cannot be started.
    """
    while not scheduler.is_finished:
        workers = executor.workers
        for worker in workers:
            if worker not in scheduler.running:
                task = scheduler.next_for(worker, workers)
                if task is not None:
                    executor.give(worker, task.request)
        for event in executor.wait(WAIT_S):
            tried(scheduler.take(event))
        looked()
