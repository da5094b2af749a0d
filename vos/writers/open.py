"""Opens writers by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import output_errors
from ..interfaces import Writer
from ..structures import Frame
from .thread import _close_all

WRITERS = {
    "masks": (".masks", "open_writer"),
    "overlay": (".overlay", "open_writer"),
    "csv": (".table", "open_writer"),
    "cutout": (".matte", "open_cutout"),
    "matte": (".matte", "open_matte"),
    "matte-webm": (".matte", "open_matte_webm"),
    "npz": (".npz", "open_npz"),
    "coco": (".coco", "open_coco"),
}
"""Names, their modules and functions ``open(out, *, fps, first_frame, object_ids)``."""


FILES = ("overlay.mp4", "objects.csv", "matte.mov", "matte.webm", "green.mp4", "masks.npz", "coco.json")


FOLDERS = ("masks", "cutout", "debug")
"""What they write, the folders with one PNG per frame."""


def open_writers(
    names: Sequence[str], out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int]
) -> list[Writer]:
    """Open the named writers in a folder, which is made if need be.

    Args:
        names: among ``WRITERS``.
        out: the folder to write to.
        fps: frames per second of the video, None if not known.
        first_frame: tells the frame size and the first time.
        object_ids: ids of the objects, 1 to 255.

    Raises:
        InputError: a name is unknown.
        OutputError: the folder or a file cannot be written.
    """
    unknown = [name for name in names if name not in WRITERS]
    if unknown:
        raise InputError(f"output {', '.join(unknown)} is unknown; choose among {', '.join(WRITERS)}")
    out = Path(out)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    writers: list[Writer] = []
    try:
        for name in dict.fromkeys(names):
            module, function = WRITERS[name]
            opened = getattr(importlib.import_module(module, __package__), function)
            writers.append(opened(out, fps=fps, first_frame=first_frame, object_ids=object_ids))
    except BaseException:
        _close_all(writers)
        raise
    return writers
