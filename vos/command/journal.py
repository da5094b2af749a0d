"""Runs that go on where they were stopped: what is kept for that in ``OUT/.resume`` until a run is finished.

``run.json`` says what the run is, ``frames.jsonl`` has one line for each frame that all writers have
taken, and the newest two states of the session are ``<frame>-<CRC-32>.safetensors``. Label maps are
read back from ``masks/``; where these are not among the outputs, and for the soft edges of mattes,
PNGs are kept beside.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from .. import __version__
from ..engine.device import pick_device
from ..engine.merge import describe
from ..engine.session import Session
from ..errors import InputError, OutputError, PluginError, VosError
from ..interfaces import Tracker, Writer
from ..readers.limits import open_image
from ..state_file import from_bytes, to_bytes
from ..structures import Frame, Result
from ..writers.masks import MaskWriter
from ..writers.matte import alpha
from ..writers.thread import atomic_path, output_errors, save_png

_log = logging.getLogger(__name__)

FOLDER = ".resume"

EVERY_S = 5.0
"""Seconds between saved states, ..."""

SHARE = 0.01
"""... or more, so that saving takes at most this share of a run."""

_FREE = ("output", "overwrite", "resume", "quiet", "traceback", "max_pixels")
"""Options that may differ when a run goes on."""

_BLOCK, _BLOCKS = 1 << 16, 64  # what is read of a file to know it again
_SOFT = {"matte", "matte-webm", "cutout"}


def describe_run(options: Mapping[str, object], files: Iterable[str | Path], device: torch.device) -> dict:
    """What must be the same for a run to go on: options, input files and what computes.

    Args:
        options: of the command line.
        files: inputs; those that are no files or folders are left out.
        device: where the models run.
    """
    chosen = {name: value for name, value in options.items() if name not in _FREE}
    return {
        "made_by": f"vos-track {__version__}, torch {torch.__version__}, {device}",
        "options": json.loads(json.dumps(chosen, default=str)),
        "inputs": {str(file): fingerprint(Path(file)) for file in files if os.path.exists(file)},
    }


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size and 64 blocks spread over it; of a folder: of all names and sizes, and 64 files.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        files = [path]
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        for file in files:
            name = file.name.encode("utf-8", "surrogateescape") if path.is_dir() else b""
            digest.update(name + b" %d\n" % file.stat().st_size)
        for file in files[:: max(1, math.ceil(len(files) / _BLOCKS))]:
            _add_blocks(digest, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _add_blocks(digest, file: Path) -> None:
    size = file.stat().st_size
    step = max(_BLOCK, size // _BLOCKS)
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            digest.update(stream.read(_BLOCK))
        stream.seek(max(0, size - _BLOCK))
        digest.update(stream.read())


@dataclass(frozen=True)
class Saved:
    """A run as it was after one of its frames.

    Attributes:
        frame: index of that frame.
        state: of the session there.
        rows: what is known of each frame up to it.
        masks: folder of the label maps.
        opacity: folder of the mattes' soft edges; None without mattes.
    """

    frame: int
    state: dict
    rows: Sequence[dict]
    masks: Path
    opacity: Path | None

    def take_up(self, frame: Frame, session: Session) -> Result:
        """The result that a frame had; at the last of them the session goes on.

        Raises:
            OutputError: its mask is no longer as it was written.
        """
        row = self.rows[frame.index]
        labels = _read_png(self.masks, frame)
        if zlib.crc32(labels) != row["crc"]:
            raise _changed(self.masks, frame)
        result = describe(frame, tuple(row["ids"]), labels, np.array(row["scores"], np.float32))
        if self.opacity is not None:
            result = replace(result, opacity=_read_png(self.opacity, frame))
        if frame.index == self.frame:
            session.restore(frame, self.state)
        return result


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
        self._soft = bool(_SOFT & set(saves))
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
        record = _read_json(self.out / "run.json")
        if record is None or record.get("outcome") != "finished" or not record.get("inputs"):
            return False
        _check_same(self.out, {**record, "made_by": self.run["made_by"]}, self.run)
        self.remove()
        return True

    def take_up(self) -> Saved | None:
        """Go on from the newest state that is whole; None: there is none, the run begins anew.

        Raises:
            InputError: the run there had other options or inputs.
        """
        before = _read_json(self._folder / "run.json")
        if before is None:
            return None
        _check_same(self.out, before, self.run)
        rows = _read_rows(self._folder / "frames.jsonl")
        masks = (self._folder if self._own_masks else self.out) / "masks"
        for path in self._states()[::-1]:
            frame, state = int(path.name[:8]), _read_state(path)
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


def _check_same(out: Path, before: Mapping, now: Mapping) -> None:
    """Raises InputError with what differs first."""
    advice = "; give the same command line, or begin anew with --overwrite"
    for name in sorted((before["options"].keys() | now["options"].keys()) - set(_FREE)):
        old, new = before["options"].get(name), now["options"].get(name)
        if old != new:
            shown = (
                "VIDEO" if name == "video" else "--box or --point" if name == "hints" else f"--{name.replace('_', '-')}"
            )
            raise InputError(f"{out}: its run was begun with {shown} {_shown(old)}, not {_shown(new)}{advice}")
    for file, digest in before["inputs"].items():
        if now["inputs"].get(file) != digest:
            raise InputError(f"{file}: has changed since the run in {out} was begun; begin anew with --overwrite")
    if before["made_by"] != now["made_by"]:
        raise InputError(
            f"{out}: its run was begun by {before['made_by']}, not {now['made_by']}; begin anew with --overwrite"
        )


def _shown(value: object) -> str:
    if value is None or value == []:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)


def _read_json(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_rows(path: Path) -> list[dict]:
    """The whole rows of the table, without a gap; the last may be torn."""
    rows = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            if row["frame"] != len(rows) or not row.keys() >= {"ids", "scores", "crc"}:
                break
            rows.append(row)
    return rows


def _read_state(path: Path) -> dict | None:
    try:
        content = path.read_bytes()
        return from_bytes(content) if path.stem.endswith(f"-{zlib.crc32(content):08x}") else None
    except (OSError, InputError):
        return None


def _read_png(folder: Path, frame: Frame) -> np.ndarray:
    """(H, W) uint8 as it was written for a frame."""
    try:
        path = folder / f"{frame.index:05d}.png"
        with open_image(path, ("PNG",), frame.size[0] * frame.size[1]) as image:
            if image.size == frame.size[::-1] and image.mode in ("P", "L"):
                return np.array(image)
    except Exception as error:  # the decoder raises half a dozen types for damaged files
        raise _changed(folder, frame) from error
    raise _changed(folder, frame)


def _changed(folder: Path, frame: Frame) -> OutputError:
    path = folder / f"{frame.index:05d}.png"
    return OutputError(f"{path}: missing, or changed since it was written; begin anew with --overwrite")


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)
