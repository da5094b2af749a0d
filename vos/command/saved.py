"""Reads back a run that was stopped: its results so far, and the state that it goes on from."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..engine.merge import result_of_labels
from ..engine.session import Session
from ..errors import InputError, OutputError
from ..readers.limits import open_image
from ..state_file import from_bytes
from ..structures import Frame, Result


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
        result = result_of_labels(frame, tuple(row["ids"]), labels, np.array(row["scores"], np.float32))
        if self.opacity is not None:
            result = replace(result, opacity=_read_png(self.opacity, frame))
        if frame.index == self.frame:
            session.restore(frame, self.state)
        return result


def read_json(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_rows(path: Path) -> list[dict]:
    """The whole rows of the table, without a gap; the last may be torn."""
    rows = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            if row["frame"] != len(rows) or not row.keys() >= {"ids", "scores", "crc"}:
                break
            rows.append(row)
    return rows


def read_state(path: Path) -> dict | None:
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
