"""Workers on this machine: processes with one thread each, one for each core or GPU."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import VosError
from .scheduler import Event
from .serve import Worker, name_of

PATIENCE_S = 20.0
"""Seconds that a busy worker has to finish the frame at hand and its files when all is stopped."""

_STARTS = 3
"""Workers in a row that may end by themselves before they are ready."""

_KILLED = 20
"""Workers in a row that may be killed before they are ready: what kills them, such as full memory, may pass."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that libraries read when they are loaded."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalExecutor:
    """Worker processes; see :class:`vos.batch.drive.Executor`.

    A process that ends, however it ends, is replaced by a new one. Use it in a ``with`` statement.

    Args:
        kind: class of the workers.
        count: number of processes.
        gpus: number of GPUs, which the processes share evenly; each sees one of them only. 0: there is none.
    """

    def __init__(self, kind: type[Worker], count: int, gpus: int = 0) -> None:
        self._kind = kind
        self._gpus = gpus
        self._news: queue.Queue[tuple[_Process, dict[str, Any] | None]] = queue.Queue()
        self._started = 0
        self._ended_early: list[bool] = []  # of the last workers that never were ready: whether they were killed
        self._seats: list[_Process] = [self._start(seat) for seat in range(count)]

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def workers(self) -> Sequence[str]:
        return [process.name for process in self._seats if process.ready]

    def give(self, worker: str, request: Mapping[str, object]) -> None:
        [process] = [each for each in self._seats if each.name == worker]
        process.busy = True
        process.send(request)

    def wait(self, timeout_s: float) -> list[Event]:
        events: list[Event] = []
        with suppress(queue.Empty):
            events += self._event(*self._news.get(timeout=timeout_s))
            while True:
                events += self._event(*self._news.get_nowait())
        return events

    def stop(self, worker: str, why: str) -> list[Event]:
        for process in self._seats:
            if process.name == worker and process.busy:
                process.kill()
                self._seats[process.seat] = self._start(process.seat)
                return [Event(worker, "failed", {"where": str(process.pid)}, why)]
        return []

    def close(self) -> None:
        for process in self._seats:
            process.end()
        until_s = time.monotonic() + PATIENCE_S
        for process in self._seats:
            process.leave(until_s)

    def pids(self) -> list[int]:
        """Return the numbers of the processes, for tests that kill some."""
        return [process.pid for process in self._seats]

    def _start(self, seat: int) -> _Process:
        self._started += 1
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = _visible(seat % self._gpus)
        return _Process(str(self._started), seat, self._kind, environment, self._news)

    def _event(self, process: _Process, told: dict[str, Any] | None) -> list[Event]:
        """Take what came from a process: that it is ready, an answer, or None for its end."""
        if self._seats[process.seat] is not process:
            return []
        if told is None:
            return self._replace(process)
        self._ended_early.clear()
        if not told:
            process.ready = True
            return []
        process.busy = False
        if told["broken"]:
            process.kill()
            self._seats[process.seat] = self._start(process.seat)
        reply = {**told["reply"], **{key: told[key] for key in ("lines", "where", "seconds")}}
        return [Event(process.name, told["outcome"], reply, told["error"])]

    def _replace(self, process: _Process) -> list[Event]:
        """Start another process for one that has ended; tell of the task that it had.

        Raises:
            VosError: several have ended before they were ready.
        """
        ended = process.kill()
        if not process.ready:
            self._ended_early.append(process.was_killed)
            if self._ended_early.count(False) >= _STARTS or len(self._ended_early) >= _KILLED:
                raise VosError(f"workers end before they begin ({ended}); try one video with vos-track")
        self._seats[process.seat] = self._start(process.seat)
        return [Event(process.name, "lost", {"where": str(process.pid)}, ended)] if process.busy else []


class _Process:
    """One worker process, and the threads that read what it says.

    Attributes:
        name: name of the worker.
        seat: its place among the others.
        ready: whether it can be given tasks.
        busy: whether it has one.
        pid: number of the process.
    """

    def __init__(
        self,
        name: str,
        seat: int,
        kind: type[Worker],
        environment: Mapping[str, str],
        news: queue.Queue[tuple[_Process, dict[str, Any] | None]],
    ) -> None:
        self.name, self.seat = name, seat
        self.ready = self.busy = False
        self._news = news
        self._last_lines: deque[str] = deque(maxlen=20)
        program = f"{__name__.rpartition('.')[0]}.serve"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", program, name_of(kind)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal is not for the workers
        )
        self.pid = self._process.pid
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._read_errors, self._read)]
        for thread in self._threads:
            thread.start()

    def send(self, request: Mapping[str, object]) -> None:
        """Hand over a request; if the process has just ended, the reading thread tells."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Ask the process to end: at once if it is idle, else after the frame at hand."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def leave(self, until_s: float) -> None:
        """Wait for the end of a process until a moment of the monotonic clock; then kill it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, until_s - time.monotonic()))
        self.kill()

    def kill(self) -> str:
        """Make sure that the process has ended; tell how in one line."""
        self.end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # one that is ending has a status of its own
        self._process.kill()
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:  # it waits for a disk that does not answer
            return "the worker process cannot be ended"
        for thread in self._threads:
            thread.join(1.0)  # a child that it left behind may keep the pipe open
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return f"the worker process ended, {how}" + (f": {self._last_lines[-1]}" if self._last_lines else "")

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended the process."""
        return (self._process.returncode or 0) < 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # a line that was torn when the process was killed
                self._news.put((self, json.loads(line)))
        self._news.put((self, None))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self._last_lines.append(line.strip())


def _visible(index: int) -> str:
    """Return the name of the GPU that is the ``index``-th of those that this process may use."""
    mine = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    return mine[index] if index < len(mine) else str(index)
