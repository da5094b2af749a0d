"""Decides which worker does which task next, and what becomes of tasks that fail; knows no processes and no clock."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["done", "failed", "lost"]
"""How a try ended: with a result, with an error that the worker told, or with the end of the worker itself."""


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        name: its own name.
        request: what the worker is told; as JSON holds it.
        cost: how long it takes, in any unit; infinite if unknown, so that it comes first.
    """

    name: str
    request: Mapping[str, object]
    cost: float = math.inf


@dataclass(frozen=True)
class Event:
    """What an executor tells of a worker that had a task.

    Attributes:
        worker: its name.
        outcome: how the try ended.
        reply: result of the task; empty unless it is done.
        error: why not, in one line.
    """

    worker: str
    outcome: Outcome
    reply: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Try:
    """One try of a task that has ended.

    Attributes:
        task: the task.
        number: 1 for its first try.
        event: how it ended.
        last: whether nothing more is to be done for the task: it is done, or was tried as often as it may be.
    """

    task: Task
    number: int
    event: Event
    last: bool


class Scheduler:
    """Gives out tasks, the longest first, and gives those that failed to another worker.

    Args:
        tasks: what is to be done; each name once.
        tries: how often a task may be tried.

    Attributes:
        running: tasks under way by worker.
    """

    def __init__(self, tasks: Iterable[Task], tries: int = 3) -> None:
        self._waiting = sorted(tasks, key=lambda task: -task.cost)  # stable: equal ones in the order of the manifest
        self._tries = tries
        self._tried: dict[str, int] = {}
        self._failed_by: dict[str, set[str]] = {}
        self.running: dict[str, Task] = {}

    @property
    def is_finished(self) -> bool:
        """Whether every task is done, or has failed for good."""
        return not self._waiting and not self.running

    @property
    def waiting(self) -> int:
        """Number of tasks that nobody has."""
        return len(self._waiting)

    def next_for(self, worker: str, workers: Collection[str]) -> Task | None:
        """Give an idle worker its next task, which is under way from now on.

        A task is not given to a worker that has failed it while there is another one that has not.

        Args:
            worker: name of the idle worker.
            workers: names of all workers, this one too.

        Returns:
            The task; None: there is none for this worker now.
        """
        for index, task in enumerate(self._waiting):
            failed_by = self._failed_by.get(task.name, set())
            if worker not in failed_by or failed_by.issuperset(workers):
                self.running[worker] = self._waiting.pop(index)
                self._tried[task.name] = self._tried.get(task.name, 0) + 1
                return task
        return None

    def take(self, event: Event) -> Try:
        """Take note of how a try ended; a task that is not done waits again, unless it was tried often enough."""
        task = self.running.pop(event.worker)
        number = self._tried[task.name]
        last = event.outcome == "done" or number >= self._tries
        if not last:
            self._failed_by.setdefault(task.name, set()).add(event.worker)
            ahead = sum(each.cost >= task.cost for each in self._waiting)
            self._waiting.insert(ahead, task)
        return Try(task, number, event, last)
