"""Reads back a run that was stopped: its results so far, and the state from which the session goes on.

The journal finds these in ``OUT/.resume``, where :mod:`.frame_log` wrote them.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from ..engine.merge import result_of_labels
from ..engine.session import Session
from ..errors import InputError, OutputError
from ..files import frame_png
from ..readers.limits import open_image
from ..state_file import from_bytes
from ..structures import Frame, Result


class FrameEntry(TypedDict):
    """What is noted of one frame; stored as a line of JSON."""

    frame: int
    """Index of the frame."""

    name: NotRequired[str | None]
    """Name of the frame, if it has one."""

    ids: Sequence[int]
    """Object ids."""

    scores: Sequence[float]
    """One for each object."""

    crc: int
    """CRC-32 of the labels."""


@dataclass(frozen=True)
class Saved:
    """A run as it was after one of its frames; replays the results up to there.

    Attributes:
        frame: index of that frame.
        state: state of the session there.
        entries: what was noted of each frame up to it.
        masks: folder of the label maps.
        named: whether they are named by the frames' own names, as those of the result are.
        opacity: folder of the mattes' soft edges; None without mattes.
    """

    frame: int
    state: Mapping[str, object]
    entries: Sequence[FrameEntry]
    masks: Path
    named: bool
    opacity: Path | None

    def take_up(self, frame: Frame, session: Session) -> Result:
        """Return the result that a frame had; at the last one, restore the session.

        Raises:
            OutputError: the frame's mask has changed since it was written.
        """
        entry = self.entries[frame.index]
        path = frame_png(self.masks, frame.index, frame.name if self.named else None)
        labels = _read_png(path, frame)
        if zlib.crc32(labels.data) != entry["crc"]:
            raise _changed(path)
        result = result_of_labels(frame, tuple(entry["ids"]), labels, np.array(entry["scores"], np.float32))
        if self.opacity is not None:
            result = replace(result, opacity=_read_png(frame_png(self.opacity, frame.index), frame))
        if frame.index == self.frame:
            session.restore(frame, self.state)
        return result


def read_json(path: Path) -> dict[str, object] | None:
    """Return the object of a JSON file; None if there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_entries(path: Path) -> list[FrameEntry]:
    """Return the entries of a log up to the first gap; the last line may be torn."""
    entries: list[FrameEntry] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for text in path.read_bytes().splitlines():
            entry = json.loads(text)
            if entry["frame"] != len(entries) or not entry.keys() >= {"ids", "scores", "crc"}:
                break
            entries.append(entry)
    return entries


def state_path(folder: Path, frame: int, content: bytes) -> Path:
    """Return the path of a saved state, which holds its frame and the CRC-32 of its content."""
    return folder / f"{frame:08d}-{zlib.crc32(content):08x}.safetensors"


def state_files(folder: Path) -> list[tuple[int, Path]]:
    """Return the saved states in a folder with their frames, the newest last."""
    paths = (path for path in folder.glob("*.safetensors") if re.match(r"\d{8}-", path.name))
    return sorted((int(path.name[:8]), path) for path in paths)


def read_state(path: Path) -> Mapping[str, object] | None:
    """Return a saved state; None if it is damaged."""
    try:
        content = path.read_bytes()
        return from_bytes(content) if path.stem.endswith(f"-{zlib.crc32(content):08x}") else None
    except (OSError, InputError):
        return None


def _read_png(path: Path, frame: Frame) -> np.ndarray:
    """Return the pixels (H, W) uint8 that were written for a frame.

    Raises:
        OutputError: the file is missing or damaged, or has another size.
    """
    try:
        with open_image(path, ("PNG",), frame.size[0] * frame.size[1]) as image:
            if image.size == frame.size[::-1] and image.mode in ("P", "L"):
                return np.array(image)
    except Exception as error:  # the decoder raises half a dozen types for damaged files
        raise _changed(path) from error
    raise _changed(path)


def _changed(path: Path) -> OutputError:
    return OutputError(f"{path}: missing, or changed since it was written; begin anew with --overwrite")
