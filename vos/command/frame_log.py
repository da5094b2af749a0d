"""Writes the journal of a run while it is under way: one entry a frame, and now and then a state of the session."""

from __future__ import annotations

import json
import logging
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..engine.session import Session
from ..errors import PluginError
from ..files import atomic_path, frame_png, save_png
from ..io_interfaces import Writer
from ..state_file import to_bytes
from ..structures import Result, alpha
from ..writers.masks import MaskWriter
from .saved import FrameEntry, state_files, state_path

_log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Least seconds between two saved states."""

SHARE = 0.01
"""Largest share of the run's time that saving states may take; they are saved less often if it would take more."""


class FrameLog:
    """Writer that notes each frame which the writers before it have taken, and saves the session's states.

    :meth:`write` and :meth:`close` run on the writer thread, :meth:`snapshot` on the main thread. Once anything
    fails, nothing more is noted and the run goes on.

    Args:
        folder: ``OUT/.resume``, which exists.
        entries: entries of the frames that are known already.
        own_masks: keep the label maps too, in ``masks/``.
        soft_edges: keep the objects' soft edges too, in ``opacity/``.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, entries: Sequence[FrameEntry], *, own_masks: bool, soft_edges: bool) -> None:
        self._folder = folder
        table = folder / "frames.jsonl"
        write_whole(table, b"".join(_as_line(entry) for entry in entries))
        self._table = table.open("ab", buffering=0)
        self._opacity = folder / "opacity" if soft_edges else None
        if self._opacity is not None:
            self._opacity.mkdir(exist_ok=True)
        self._masks = MaskWriter(folder / "masks", numbered=True) if own_masks else None
        self._state: tuple[int, Mapping[str, object]] | None = None
        self._due_s = time.monotonic() + EVERY_S
        self._failed = False

    def snapshot(self, session: Session, result: Result) -> None:
        """Keep the session's state after a frame, if one is due, until the writers have taken that frame."""
        if self._failed or time.monotonic() < self._due_s:
            return
        try:
            self._state = result.frame.index, session.state()
            self._due_s = math.inf
        except PluginError as error:  # of a part of the tracker that cannot be saved
            self._give_up(error)

    def write(self, result: Result) -> None:
        """Note one frame, and save the state that was kept for it."""
        if self._failed:
            return
        try:
            self._note(result)
            if self._state is not None and self._state[0] == result.frame.index:
                self._save(*self._state)
        except Exception as error:  # a plugin's state may hold anything
            self._give_up(error)

    def close(self) -> None:
        """Close the table of frames."""
        self._table.close()

    def _note(self, result: Result) -> None:
        index = result.frame.index
        if self._masks is not None:
            self._masks.write(result)
        if self._opacity is not None:
            save_png(Image.fromarray(alpha(result)), frame_png(self._opacity, index))
        line = _as_line(
            {
                "frame": index,
                "name": result.frame.name,
                "ids": result.object_ids,
                "scores": result.scores.tolist(),
                "crc": zlib.crc32(np.ascontiguousarray(result.labels).data),
            }
        )
        if self._table.write(line) != len(line):
            raise OSError("the disk is full")

    def _save(self, frame: int, state: Mapping[str, object]) -> None:
        """Save a state; of the earlier ones only the newest stays."""
        began = time.monotonic()
        content = to_bytes(state)
        earlier = state_files(self._folder)
        write_whole(state_path(self._folder, frame, content), content)
        for _, path in earlier[:-1]:
            path.unlink()
        self._state = None
        now = time.monotonic()
        self._due_s = now + max(EVERY_S, (now - began) / SHARE)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        _log.warning("this run goes on, but could not be resumed: %s", error)


class NewFrames:
    """Writer that hands only the frames from ``first`` on to another one, which has those before."""

    def __init__(self, writer: Writer, first: int) -> None:
        self._writer, self._first = writer, first

    def write(self, result: Result) -> None:
        """Hand over the result unless its frame is known."""
        if result.frame.index >= self._first:
            self._writer.write(result)

    def close(self) -> None:
        """Close the other writer."""
        self._writer.close()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def _as_line(entry: FrameEntry) -> bytes:
    return json.dumps(entry).encode() + b"\n"
