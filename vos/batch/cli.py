"""The entry point of ``vos-batch``, and one batch from its manifest to its tables."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..command.status import exit_status, say, sigterm_as_ctrl_c
from .arguments import BatchOptions, parse_batch

if TYPE_CHECKING:  # import torch, which --help does not wait for
    from .drive import Executor
    from .manifest import Row
    from .progress import BatchProgress
    from .scheduler import Try


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    options = parse_batch(sys.argv[1:] if arguments is None else arguments)
    return exit_status(
        "vos-batch", lambda: run(options), options.traceback, "what is finished is valid; the same command goes on"
    )


def run(options: BatchOptions) -> int:
    """Track the videos of a manifest; return the exit status.

    Raises:
        VosError: a row, an option or the output cannot be used.
        KeyboardInterrupt: it was stopped; the tables tell what is done.
    """
    from ..folder_lock import FolderLock
    from .manifest import read_rows
    from .results import Tables, finished
    from .storage import Storage

    index, count = options.shard
    rows = read_rows(options.manifest, options.shared)[index - 1 :: count]
    storage = Storage.open(options.output, options.scratch)
    with FolderLock(storage.folder / ".batch" / f"{index}-of-{count}", "vos-batch"):
        records = finished(rows, storage)
        tables = Tables(storage, options.shard)
        batch = Batch(rows, records, storage, tables, options)
        try:
            with sigterm_as_ctrl_c():
                batch.run()
        finally:
            failed = tables.write(rows, finished(rows, storage))
    if failed:
        return say(f"vos-batch: {failed} of {len(rows)} videos failed; see {tables.path('failed')}", 1)
    return 0


class Batch:
    """The videos of a batch that are not finished yet, and those who track them.

    Args:
        rows: all videos.
        records: records of those that are finished.
        storage: where results go.
        tables: told of each try.
        options: of the command.
    """

    def __init__(
        self, rows: Sequence[Row], records: dict[str, Any], storage: Any, tables: Any, options: BatchOptions
    ) -> None:
        self._rows = [row for row in rows if row.name not in records]
        self._storage = storage
        self._tables = tables
        self._options = options
        if len(self._rows) < len(rows) and not options.quiet:
            say(f"vos-batch: {len(rows) - len(self._rows)} of {len(rows)} videos are finished already", 0)

    def run(self) -> None:
        """Track them.

        Raises:
            VosError: workers cannot be started, or a table cannot be written.
        """
        from .drive import drive
        from .lengths import lengths
        from .progress import BatchProgress
        from .scheduler import Scheduler, Task
        from .worker import video_request

        if not self._rows:
            return
        costs = lengths(self._rows)
        tasks = [
            Task(row.name, video_request(self._storage.place(row.name), row.arguments), cost)
            for row, cost in zip(self._rows, costs, strict=True)
        ]
        scheduler = Scheduler(tasks, self._options.tries)
        progress = BatchProgress(costs, sys.stderr, quiet=self._options.quiet)
        try:
            with contextlib.closing(self._executor()) as executor:
                drive(
                    scheduler,
                    executor,
                    lambda ended: self._tried(ended, progress),
                    lambda: progress.show(len(scheduler.running)),
                    self._options.video_timeout,
                )
        finally:
            progress.close()

    def _executor(self) -> Executor:
        from .worker import VideoWorker

        if self._options.ray is not None:
            from .ray_actors import RayExecutor

            return RayExecutor(VideoWorker, self._options.ray, self._options.workers)
        import torch

        from .local import LocalExecutor, cores

        gpus = torch.cuda.device_count()
        count = self._options.workers or gpus or cores()
        return LocalExecutor(VideoWorker, min(count, len(self._rows)), gpus)

    def _tried(self, ended: Try, progress: BatchProgress) -> None:
        """Note a try that has ended, and tell what there is to tell."""
        name, event = ended.task.name, ended.event
        self._tables.tried(ended)
        for line in event.reply.get("lines", ()):
            progress.say(f"vos-batch: {name}: {line}")
        if event.outcome != "done":
            then = f"given up after {ended.number} tries" if ended.last else "it is tried again"
            progress.say(f"vos-batch: {name}: {event.error}; {then}")
        if ended.last:
            progress.ended(ended.task.cost, event.reply.get("frames", 0), event.outcome != "done")


if __name__ == "__main__":
    sys.exit(main())
