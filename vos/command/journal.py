"""Runs that go on where they were stopped: what is kept for that in ``OUT/.resume`` until a run is finished.

``run.json`` says what the run is, ``frames.jsonl`` has one line for each frame that all writers have
taken, and the newest two states of the session are ``<frame>-<CRC-32>.safetensors``. Label maps are
read back from ``masks/``; where these are not among the outputs, and for the soft edges of mattes,
PNGs are kept beside.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from .same_run import check_same, describe_run
from .saved import Saved, read_json, read_rows, read_state

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from ..engine.device import pick_device
from ..engine.session import Session
from ..errors import InputError, OutputError, PluginError, VosError
from ..files import atomic_path, output_errors, save_png
from ..interfaces import Tracker, Writer
from ..state_file import to_bytes
from ..structures import Result, alpha
from ..writers.masks import MaskWriter
from ..writers.outputs import need_soft_edges

_log = logging.getLogger(__name__)

FOLDER = ".resume"

EVERY_S = 5.0
"""Seconds between saved states, ..."""

SHARE = 0.01
"""... or more, so that saving takes at most this share of a run."""


class Journal:
    """What makes a run one that can be resumed: notes what its writers have taken, saves the session now and then.

    Nothing is written before :meth:`behind`.

    Args:
        out: result folder.
        run: from :func:`describe_run`; None: the run cannot be resumed, and nothing is kept.
        saves: names of the outputs.

    Attributes:
        saved: what the run goes on from, after :meth:`take_up`; None: it begins.
    """

    def __init__(self, out: Path, run: dict | None, saves: Sequence[str]) -> None:
        self.out = out
        self.run = run
        self.saved: Saved | None = None
        self._folder = out / FOLDER
        self._idle = run is None
        self._own_masks = "masks" not in saves
        self._soft = need_soft_edges(saves)
        self._state: tuple[int, dict] | None = None
        self._lock: IO[bytes] | None = None

    @classmethod
    def open(cls, out: Path, tracker: Tracker, options: Mapping[str, object], saves: Sequence[str]) -> Journal:
        """For a run of the command.

        Raises:
            InputError: it is to be resumed, but of a source that cannot be read again.
            PluginError: likewise, by a tracker that cannot.
        """
        problem: VosError | None = None
        if not os.path.exists(options["video"]):
            problem = InputError(f"{options['video']}: is no file or folder, so that --resume cannot read it again")
        elif not (hasattr(tracker, "state") and hasattr(tracker, "restore")):
            problem = PluginError(f"{options['tracker']}: this tracker cannot be saved, so leave --resume out")
        if problem is not None and options["resume"]:
            raise problem
        models = (str(options[name]) for name in ("tracker", "model", "prior", "points"))
        files = [options["video"], *(options["first_mask"] or ()), *(path for _, path in options["mask_at"])]
        files += [name.partition(":")[2] or name for name in models]
        run = None if problem else describe_run(options, files, pick_device(str(options["device"])))
        return cls(out, run, saves)

    def hold(self) -> None:
        """Keep other runs out of a folder that holds one, until this process ends, however it ends.

        Raises:
            OutputError: another one is writing there.
        """
        path = self._folder / "lock"
        if fcntl is None or not self._folder.is_dir() or (self._lock and path.exists()):
            return
        with output_errors(path):
            self._lock = path.open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.out}: another vos-track is writing there; wait for it, or stop it") from error
        except OSError:  # a file system without locks
            return

    def finished(self) -> bool:
        """Whether the folder holds the finished result of this very run.

        Raises:
            InputError: it holds that of a run with other options or inputs.
        """
        record = read_json(self.out / "run.json")
        if record is None or record.get("outcome") != "finished" or not record.get("inputs"):
            return False
        check_same(self.out, {**record, "made_by": self.run["made_by"]}, self.run)
        self.remove()
        return True

    def take_up(self) -> Saved | None:
        """Go on from the newest state that is whole; None: there is none, the run begins anew.

        Raises:
            InputError: the run there had other options or inputs.
        """
        before = read_json(self._folder / "run.json")
        if before is None:
            return None
        check_same(self.out, before, self.run)
        rows = read_rows(self._folder / "frames.jsonl")
        masks = (self._folder if self._own_masks else self.out) / "masks"
        for path in self._states()[::-1]:
            frame, state = int(path.name[:8]), read_state(path)
            if state is not None and frame < len(rows):
                opacity = self._folder / "opacity" if self._soft else None
                self.saved = Saved(frame, state, rows[: frame + 1], masks, opacity)
                return self.saved
            _log.warning("%s: damaged, so it is not used", path)
        return None

    def behind(self, writers: list[Writer]) -> list[Writer]:
        """The writers of a run with the journal as the last, which opens it.

        Raises:
            OutputError: the journal cannot be written.
        """
        if self._idle:
            return writers
        first = self.saved.frame + 1 if self.saved else 0
        with output_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            self.hold()
            for path in self._states():
                if int(path.name[:8]) >= first:
                    path.unlink()
            _write(self._folder / "run.json", json.dumps(self.run).encode())
            rows = "".join(json.dumps(row) + "\n" for row in (self.saved.rows if self.saved else ()))
            _write(self._folder / "frames.jsonl", rows.encode())
            self._rows = (self._folder / "frames.jsonl").open("ab", buffering=0)
            if self._soft:
                (self._folder / "opacity").mkdir(exist_ok=True)
        self._masks = MaskWriter(self._folder / "masks") if self._own_masks else None
        self._due_s = time.monotonic() + EVERY_S
        per_frame = [*(w for w in writers if getattr(w, "file_per_frame", False)), self]
        return [*(w for w in writers if w not in per_frame), *(NewFrames(w, first) for w in per_frame)]

    def offer(self, session: Session, result: Result) -> None:
        """Before the result is handed to the writers: keep the session's state with it, when that is due."""
        known = self.saved is not None and result.frame.index <= self.saved.frame
        if self._idle or known or time.monotonic() < self._due_s:
            return
        try:
            self._state = result.frame.index, session.state()
            self._due_s = math.inf
        except PluginError as error:  # of a part of the tracker that cannot be saved
            self._give_up(error)

    def write(self, result: Result) -> None:
        """Note one frame; the run goes on without where that fails."""
        if self._idle:
            return
        index = result.frame.index
        row = {
            "frame": index,
            "ids": result.object_ids,
            "scores": result.scores.tolist(),
            "crc": zlib.crc32(np.ascontiguousarray(result.labels)),
        }
        try:
            if self._masks:
                self._masks.write(result)
            if self._soft:
                save_png(Image.fromarray(alpha(result)), self._folder / f"opacity/{index:05d}.png")
            line = json.dumps(row).encode() + b"\n"
            if self._rows.write(line) != len(line):
                raise OSError("the disk is full")
            if self._state is not None and self._state[0] == index:
                self._save(*self._state)
        except Exception as error:  # a plugin's state may hold anything
            self._give_up(error)

    def close(self) -> None:
        """Close the table; :meth:`remove` is for a run that is finished."""
        self._rows.close()

    def remove(self) -> None:
        """The run is finished: nothing of the journal is left.

        Raises:
            OutputError: it cannot be removed.
        """
        with output_errors(self._folder):
            if self.run and self._folder.is_dir():
                shutil.rmtree(self._folder)

    def _states(self) -> list[Path]:
        """Files with states, by frame."""
        return sorted(path for path in self._folder.glob("*.safetensors") if re.match(r"\d{8}-", path.name))

    def _save(self, frame: int, state: dict) -> None:
        began = time.monotonic()
        content = to_bytes(state)
        earlier = self._states()
        _write(self._folder / f"{frame:08d}-{zlib.crc32(content):08x}.safetensors", content)
        for path in earlier[:-1]:
            path.unlink()
        self._state = None
        now = time.monotonic()
        self._due_s = now + max(EVERY_S, (now - began) / SHARE)

    def _give_up(self, error: Exception) -> None:
        self._idle = True
        _log.warning("this run goes on, but could not be resumed: %s", error)


class NewFrames:
    """A writer that has the frames before ``first`` already."""

    def __init__(self, writer: Writer, first: int) -> None:
        self._writer, self._first = writer, first

    def write(self, result: Result) -> None:
        if result.frame.index >= self._first:
            self._writer.write(result)

    def close(self) -> None:
        self._writer.close()


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)
