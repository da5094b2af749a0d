"""Workers on a Ray cluster: an actor for each GPU or core, which keeps its models loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import InputError, VosError, parameter
from .scheduler import Event
from .serve import Worker, answer, make_worker, name_of

_STARTS = 3
"""Actors in a row that may end before they are ready."""


class Seat:
    """What an actor is: a worker in the folder from which the batch was started, on one thread.

    Args:
        kind: name of the worker's class, see :func:`vos.batch.serve.name_of`.
        folder: where relative paths begin; every machine sees it under this name.
        threads: threads of torch; 0: as many as it takes by itself.
    """

    def __init__(self, kind: str, folder: str, threads: int) -> None:
        import torch

        with suppress(FileNotFoundError):  # then only absolute paths can be used there
            os.chdir(folder)
        if threads:
            torch.set_num_threads(threads)
        self._worker: Worker = make_worker(kind)

    def ready(self) -> dict[str, object]:
        """Tell that it can be given tasks."""
        return {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Do a task, see :func:`vos.batch.serve.answer`."""
        return answer(self._worker, request)


class RayExecutor:
    """Ray actors; see :class:`vos.batch.drive.Executor`.

    An actor that is lost, perhaps with its node, is replaced by a new one, which Ray starts where there is room.

    Args:
        kind: class of the workers.
        address: of the cluster; empty: the one that this machine is part of, or a new one on this machine.
        count: number of actors; None: one for each GPU of the cluster, or for each core if it has none.

    Raises:
        InputError: ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, kind: type[Worker], address: str = "", count: int | None = None) -> None:
        self._ray = _import_ray()
        self._kind = name_of(kind)
        self._mine = not self._ray.is_initialized()
        if self._mine:
            self._connect(address)
        resources = self._ray.cluster_resources()
        self._gpus = int(resources.get("GPU", 0))
        self._started = self._ended_early = 0
        self._actors: dict[str, Any] = {}
        self._waiting: dict[Any, str] = {}
        self._ready: set[str] = set()
        for _ in range(count or self._gpus or int(resources.get("CPU", 1))):
            self._start()

    @property
    def workers(self) -> Sequence[str]:
        return sorted(self._ready, key=int)

    def give(self, worker: str, request: Mapping[str, object]) -> None:
        self._waiting[self._actors[worker].answer.remote(dict(request))] = worker

    def wait(self, timeout_s: float) -> list[Event]:
        waiting = list(self._waiting)
        ended, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout_s)
        more, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [event for each in dict.fromkeys([*ended, *more]) for event in self._event(each)]

    def stop(self, worker: str, why: str) -> list[Event]:
        self._waiting = {reference: each for reference, each in self._waiting.items() if each != worker}
        self._replace(worker)
        return [Event(worker, "failed", {}, why)]

    def close(self) -> None:
        for actor in self._actors.values():
            with suppress(Exception):  # its node may be gone
                self._ray.kill(actor)
        self._actors.clear()
        if self._mine:
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        """Connect to a cluster, or start one on this machine if there is none and no address.

        Raises:
            InputError: there is none at the address.
        """
        try:
            self._ray.init(
                address=address or None,
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{parameter('ray', address or None)}: no Ray cluster can be used ({reason})") from error

    def _start(self) -> None:
        self._started += 1
        name = str(self._started)
        options = {"num_gpus": 1} if self._gpus else {"num_cpus": 1}
        actor = self._ray.remote(max_restarts=0, **options)(Seat)
        self._actors[name] = actor.remote(self._kind, os.getcwd(), 0 if self._gpus else 1)
        self._waiting[self._actors[name].ready.remote()] = name

    def _event(self, reference: Any) -> list[Event]:
        """Take what came from an actor: that it is ready, an answer, or its loss."""
        worker = self._waiting.pop(reference)
        was_ready = worker in self._ready
        try:
            told = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[-300:]
            self._ended_early += not was_ready
            if self._ended_early >= _STARTS:
                raise VosError(f"Ray actors end before they begin ({reason}); is vos-track on every node?") from error
            self._replace(worker)
            return [Event(worker, "lost", {}, f"the Ray actor was lost ({reason})")] if was_ready else []
        if not told:
            self._ready.add(worker)
            self._ended_early = 0
            return []
        if told["broken"]:
            self._replace(worker)
        reply = {**told["reply"], **{key: told[key] for key in ("lines", "where", "seconds")}}
        return [Event(worker, told["outcome"], reply, told["error"])]

    def _replace(self, worker: str) -> None:
        with suppress(Exception):  # it may have ended already
            self._ray.kill(self._actors[worker])
        del self._actors[worker]
        self._ready.discard(worker)
        self._start()


def _import_ray() -> Any:
    """Import ray.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"{parameter('ray')}: needs ray: pip install 'vos-track[ray]' ({error})") from error
    return ray
