"""What a batch has to show: which videos are finished already, and its tables.

``tries.csv`` has a line for each try, written when it ends; ``report.csv`` has a line for each video and ``failed.csv``
one for each that failed for good. Both are written when the batch ends. A part of a manifest has its own, such as
``report.3-of-64.csv``.
"""

from __future__ import annotations

import csv
import io
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..command.option_groups import SAVES
from ..command.same_run import check_same, identify_run, parse_identity
from ..errors import InputError
from ..files import atomic_path, output_errors
from .manifest import Row
from .scheduler import Try
from .storage import Storage

TRIES = ("time", "name", "try", "outcome", "worker", "frames", "seconds", "error")
REPORT = ("name", "status", "frames", "seconds", "frames_per_second", "tries", "error", "row", "video")
FAILED = ("name", "tries", "error", "row", "video", "command")


def finished(rows: Sequence[Row], storage: Storage) -> dict[str, dict[str, Any]]:
    """Return the records of the videos that are finished already, by name.

    Raises:
        InputError: a result is that of a run with other options.
        OutputError: the results cannot be reached.
    """
    records = storage.records(row.name for row in rows)
    done = {name: record for name, record in records.items() if record.get("outcome") == "finished"}
    for row in rows:
        if row.name in done:
            _check_same(row, storage, done[row.name])
    return done


def _check_same(row: Row, storage: Storage, record: Mapping[str, Any]) -> None:
    """Check that a finished result is that of its row; its inputs are not looked at.

    Raises:
        InputError: its options were others.
    """
    place = f"{storage.address or storage.folder}/{row.name}"
    options = vars(row.options) | {"save": SAVES if row.options.save is None else row.options.save}
    now = identify_run(options, (), torch.device("cpu"))
    before = parse_identity({**record, "made_by": now["made_by"], "inputs": {}})
    try:
        if before is None:
            raise InputError(f"{place}: its {list(record)[:1]} is no record of a run;")
        check_same(Path(place), before, now)
    except InputError as error:
        reason = str(error).partition(";")[0]
        raise InputError(f"{row.origin}: {reason}; remove that folder, or give the row another name") from error


class Tables:
    """The tables of one batch, or of one part of it.

    Args:
        storage: where they go.
        part: I and N of the I-th of N parts.

    Raises:
        OutputError: they cannot be written.
    """

    def __init__(self, storage: Storage, part: tuple[int, int] = (1, 1)) -> None:
        self._storage = storage
        self._suffix = "" if part[1] == 1 else f".{part[0]}-of-{part[1]}"
        self._last: dict[str, Try] = {}
        self._tries = self.path("tries")
        self._counts = self._count()

    def path(self, name: str) -> Path:
        """Return the path of a table."""
        return self._storage.folder / f"{name}{self._suffix}.csv"

    def tried(self, ended: Try) -> None:
        """Write the line of a try that has ended.

        Raises:
            OutputError: it cannot be written.
        """
        name, event = ended.task.name, ended.event
        self._counts[name] = self._counts.get(name, 0) + 1
        self._last[name] = ended
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "name": name,
            "try": ended.number,
            "outcome": event.outcome,
            "worker": event.reply.get("where", event.worker),
            "frames": event.reply.get("frames"),
            "seconds": _decimals(event.reply.get("seconds")),
            "error": event.error,
        }
        with output_errors(self._tries), self._tries.open("ab") as file:
            file.write(_as_text(TRIES, [line], header=not file.tell()))

    def write(self, rows: Sequence[Row], records: Mapping[str, Mapping[str, Any]]) -> int:
        """Write the report and the list of those that failed, if any; return how many these are.

        Args:
            rows: all videos.
            records: records of those that are finished.

        Raises:
            OutputError: they cannot be written.
        """
        lines = [self._line(row, records.get(row.name)) for row in rows]
        self._save("report", _as_text(REPORT, lines))
        failed = [line for line in lines if line["status"] == "failed"]
        if failed:
            self._save("failed", _as_text(FAILED, failed))
        else:
            with output_errors(self.path("failed")):
                self.path("failed").unlink(missing_ok=True)
        if self._tries.exists():
            self._storage.publish(self._tries)
        return len(failed)

    def _line(self, row: Row, record: Mapping[str, Any] | None) -> dict[str, object]:
        ended = self._last.get(row.name)
        line: dict[str, object] = {
            "name": row.name,
            "status": "left",
            "tries": self._counts.get(row.name),
            "row": row.origin,
            "video": row.video,
        }
        if record is not None:
            seconds = float(record["seconds"]["total"])
            frames = int(record["frames"])
            return line | {
                "status": "done",
                "frames": frames,
                "seconds": _decimals(seconds),
                "frames_per_second": _decimals(record.get("frames_per_second")),
            }
        if ended is not None and ended.last:
            place = self._storage.place(row.name)
            line |= {"status": "failed", "error": ended.event.error}
            line["command"] = shlex.join(["vos-track", *row.arguments, "-o", str(place.folder), "--resume"])
        return line

    def _save(self, name: str, content: bytes) -> None:
        path = self.path(name)
        with output_errors(path), atomic_path(path) as partial:
            partial.write_bytes(content)
        self._storage.publish(path)

    def _count(self) -> dict[str, int]:
        """Count the tries of earlier runs; a line that a crash has torn is ended first."""
        counts: dict[str, int] = {}
        if not self._tries.exists():
            return counts
        with output_errors(self._tries):
            content = self._tries.read_bytes()
            if content and not content.endswith(b"\n"):
                with self._tries.open("ab") as file:
                    file.write(b"\n")
        for each in csv.DictReader(io.StringIO(content.decode("utf-8", "replace"))):
            counts[each["name"]] = counts.get(each["name"], 0) + 1
        return counts


def _as_text(columns: Sequence[str], lines: Iterable[Mapping[str, object]], header: bool = True) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _decimals(value: object) -> str | None:
    return f"{value:.3f}" if isinstance(value, int | float) else None
