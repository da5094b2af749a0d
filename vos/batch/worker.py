"""Tracks one video after another by the code of ``vos-track``, with models that stay loaded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import plugins
from ..command.run import track
from ..command.saved import read_json
from ..errors import OutputError
from ..files import output_errors
from ..weights.model_cache import ModelCache
from .arguments import read_options
from .storage import RECORD, Place, as_request, from_request, upload


class VideoWorker:
    """Tracks videos; a :class:`vos.batch.serve.Worker`."""

    def __init__(self) -> None:
        self._models = ModelCache()

    def run(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Track the video of a request of :func:`video_request`; go on where a run before it was stopped.

        Returns:
            ``frames`` of the result, and ``tracking_s``, the seconds from the first frame to the last.

        Raises:
            VosError: it cannot be tracked, or its result cannot be written.
        """
        place, arguments = from_request(request["place"]), list(request["arguments"])
        if _can_resume(arguments):
            self._track([*arguments, "--resume"], place.folder)
        else:
            self._track_anew(arguments, place.folder)
        record = _finished(place.folder)
        upload(place)
        return {"frames": record["frames"], "tracking_s": record["seconds"]["total"]}

    def _track(self, arguments: list[str], folder: Path) -> None:
        track(read_options([*arguments, f"--output={folder}", "--quiet"]), self._models)

    def _track_anew(self, arguments: list[str], folder: Path) -> None:
        """Track with a tracker that cannot be saved: a result appears when it is whole, and a stop loses it."""
        partial = folder.with_name(f".{folder.name}.partial")
        with output_errors(partial):
            shutil.rmtree(partial, ignore_errors=True)
        self._track(arguments, partial)
        with output_errors(folder):
            partial.rename(folder)


def video_request(place: Place, arguments: tuple[str, ...]) -> dict[str, object]:
    """Return the request to track a video.

    Args:
        place: where its result goes.
        arguments: command line of ``vos-track`` without the result folder.
    """
    return {"place": as_request(place), "arguments": list(arguments)}


def _can_resume(arguments: list[str]) -> bool:
    """Tell whether the tracker of a command line can be saved."""
    kind = plugins.load("vos.trackers", read_options(arguments).tracker.partition(":")[0])
    return hasattr(kind, "state") and hasattr(kind, "restore")


def _finished(folder: Path) -> dict[str, Any]:
    """Return the record of a finished run.

    Raises:
        OutputError: there is none.
    """
    record = read_json(folder / RECORD)
    if record is None or record.get("outcome") != "finished":
        raise OutputError(f"{folder}: holds no finished run; remove it")
    return record
