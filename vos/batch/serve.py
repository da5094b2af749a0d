"""What runs inside of a worker: takes requests, answers each, and never ends by an error of a task.

As a program, ``python -m vos.batch.serve MODULE:CLASS`` is a local worker process: requests come on standard input
and answers go to standard output, a line of JSON each. The end of standard input ends it: if it is busy, as by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Protocol, TextIO

from ..command.status import with_flags
from ..errors import VosError


class Worker(Protocol):
    """Does tasks, one after the other, and keeps its models loaded in between."""

    def run(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Do a task.

        Args:
            request: as JSON holds it.

        Returns:
            The result, as JSON holds it.

        Raises:
            VosError: the task cannot be done.
        """
        ...


def name_of(kind: type[Worker]) -> str:
    """Return the name from which :func:`make_worker` makes the class again in another process."""
    module = kind.__module__
    if module == "__main__":  # of python -m
        module = getattr(sys.modules[module].__spec__, "name", module)
    return f"{module}:{kind.__qualname__}"


def make_worker(name: str) -> Worker:
    """Make a worker of the class with a name of :func:`name_of`."""
    module, _, kind = name.partition(":")
    worker: Worker = getattr(import_module(module), kind)()
    return worker


def answer(worker: Worker, request: Mapping[str, Any]) -> dict[str, object]:
    """Have a worker do a task; return what became of it.

    Returns:
        ``outcome``: ``done`` or ``failed``; ``reply``: the result; ``error``: why not, in one line; ``broken``:
        whether the error may have left the worker unusable; ``lines``: what it had to say; ``where``: host and
        process; ``seconds``: how long it took.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    told: dict[str, object] = {"outcome": "failed", "reply": {}, "error": "", "broken": False}
    began_s = time.perf_counter()
    with _lines() as lines:
        try:
            told |= {"outcome": "done", "reply": worker.run(request)}
        except VosError as error:
            told["error"] = with_flags(str(error))
        except Exception as error:
            told |= {"error": f"{type(error).__name__}: {' '.join(str(error).split())}", "broken": True}
    where = f"{socket.gethostname()}:{os.getpid()}"
    return {**told, "lines": lines, "where": where, "seconds": time.perf_counter() - began_s}


@contextlib.contextmanager
def _lines() -> Iterator[list[str]]:
    """Collect what is printed on standard error inside the block, and what the package logs as warnings."""
    lines: list[str] = []
    printed = io.StringIO()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(with_flags(record.getMessage()))  # type: ignore[method-assign]
    logger = logging.getLogger(__name__.partition(".")[0])
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stderr(printed):
            yield lines
    finally:
        logger.removeHandler(handler)
        lines += [line.removeprefix("vos-track: ") for line in printed.getvalue().splitlines() if line.strip()]


def serve(make: Callable[[], Worker], requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more.

    Args:
        make: makes the worker; what it imports is loaded before the first request.
        requests: a line of JSON each; its end interrupts the task at hand.
        answers: a line of JSON each; the first one is empty and says that the worker is ready.
    """
    waiting: queue.Queue[str | None] = queue.Queue()
    busy = threading.Event()

    def read() -> None:
        for line in requests:
            waiting.put(line)
        waiting.put(None)
        if busy.is_set():
            interrupt()

    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        worker = make()
        _print({}, answers)
        threading.Thread(target=read, daemon=True).start()
        while (line := waiting.get()) is not None:
            busy.set()
            told = answer(worker, json.loads(line))
            busy.clear()
            _print(told, answers)


def interrupt() -> None:
    """Interrupt the main thread as Ctrl-C does."""
    if os.name == "nt":
        signal.raise_signal(signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


def _print(content: Mapping[str, object], stream: TextIO) -> None:
    stream.write(json.dumps(content, default=str) + "\n")
    stream.flush()


def main() -> int:
    """Serve the worker class that the command line names."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a library prints is no answer
    serve(lambda: make_worker(sys.argv[1]), requests, answers)
    os._exit(0)  # a thread that still reads, or a library's own, is not waited for


if __name__ == "__main__":
    main()
