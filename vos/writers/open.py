"""Opens the outputs of a run by name; the command, the page and the benchmarks use it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from ..files import make_folder
from ..io_interfaces import Writer
from ..structures import Frame
from .outputs import NO_EXTRAS, OUTPUTS, Extras, Output
from .thread import close_all


class Opener(Protocol):
    """The function of an output's module that makes its writer; see :func:`open_writers` for the arguments."""

    def __call__(
        self,
        out: Path,
        *,
        fps: float | None,
        first_frame: Frame,
        object_ids: Sequence[int],
        extras: Extras = NO_EXTRAS,
    ) -> Writer:
        """Make the writer.

        Raises:
            InputError: a package is missing.
            OutputError: a file or folder cannot be made.
        """
        ...


def open_writers(
    names: Sequence[str],
    out: Path,
    *,
    fps: float | None,
    first_frame: Frame,
    object_ids: Sequence[int],
    extras: Extras = NO_EXTRAS,
) -> list[Writer]:
    """Open the named outputs in a folder, which is made if need be.

    Args:
        names: names in :data:`vos.writers.outputs.OUTPUTS`; a repeated one is opened once.
        out: the folder to write to.
        fps: frames per second of the video, None if not known.
        first_frame: gives the frame size.
        object_ids: ids of the objects, 1 to 255.
        extras: names, sound, and which frames of the video these are.

    Raises:
        InputError: a name is unknown, or an output needs a package that is not installed.
        OutputError: the folder or a file cannot be written.
    """
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown:
        raise InputError(f"output {', '.join(unknown)} is unknown; choose among {', '.join(OUTPUTS)}")
    out = Path(out)
    make_folder(out)
    writers: list[Writer] = []
    try:
        for name in dict.fromkeys(names):
            opener = load_opener(OUTPUTS[name])
            writers.append(opener(out, fps=fps, first_frame=first_frame, object_ids=object_ids, extras=extras))
    except BaseException:
        close_all(writers)
        raise
    return writers


def load_opener(output: Output) -> Opener:
    """Import an output's module and return its opener."""
    opener: Opener = getattr(importlib.import_module(f".{output.module}", __package__), output.opener)
    return opener
