"""The table of outputs: one record each, from which the command, the opener and the result folder learn of it.

A new output is one module with an opener, and one record here. Nothing heavy is imported, so that ``vos-track --help``
stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """One output of ``--save``.

    Attributes:
        name: as given to ``--save``.
        module: module in :mod:`vos.writers` that holds the opener.
        opener: function of that module, ``opener(out, *, fps, first_frame, object_ids)``, which returns a writer.
        help: what it is, in a few words.
        files: names of the files that it writes into the result folder.
        folder: folder in the result folder that gets one PNG per frame, or None.
        soft_edges: whether it needs the objects' soft edges, so that a resumable run has to keep them.
        by_default: whether it is written when ``--save`` is not given.
    """

    name: str
    module: str
    opener: str
    help: str
    files: tuple[str, ...] = ()
    folder: str | None = None
    soft_edges: bool = False
    by_default: bool = False


_RECORDS = (
    Output("masks", "masks", "open_masks", "an indexed PNG per frame", folder="masks", by_default=True),
    Output(
        "overlay",
        "overlay",
        "open_overlay",
        "a video of the objects, tinted and numbered",
        files=("overlay.mp4",),
        by_default=True,
    ),
    Output("csv", "table", "open_table", "boxes, areas and confidences", files=("objects.csv",), by_default=True),
    Output("cutout", "matte", "open_cutout", "a transparent PNG per frame", folder="cutout", soft_edges=True),
    Output(
        "matte",
        "matte",
        "open_matte",
        "a transparent ProRes video, and one on green",
        files=("matte.mov", "green.mp4"),
        soft_edges=True,
    ),
    Output("matte-webm", "matte", "open_matte_webm", "a transparent VP9 video", files=("matte.webm",), soft_edges=True),
    Output("npz", "npz", "open_npz", "label maps and a table for numpy", files=("masks.npz",)),
    Output("coco", "coco", "open_coco", "RLE in the layout of YouTube-VIS", files=("coco.json",)),
)

OUTPUTS = {record.name: record for record in _RECORDS}
"""The outputs by name, in the order in which they are listed to the user."""

DEFAULTS = tuple(name for name, output in OUTPUTS.items() if output.by_default)
"""Names of the outputs that are written when none is chosen."""

DEBUG_FOLDER = "debug"
"""Folder of the pictures of ``--debug``, which is not an output of ``--save``."""

FILES = tuple(file for output in OUTPUTS.values() for file in output.files)
"""Names of all files that outputs write into the result folder."""

FOLDERS = (*(output.folder for output in OUTPUTS.values() if output.folder is not None), DEBUG_FOLDER)
"""Names of all folders with one PNG per frame that a run writes into the result folder."""


def need_soft_edges(names: Iterable[str]) -> bool:
    """Tell whether any of the named outputs needs the objects' soft edges; unknown names do not."""
    return any(name in OUTPUTS and OUTPUTS[name].soft_edges for name in names)


def help_text() -> str:
    """Return the outputs with what each is, for the help of ``--save``."""
    return ", ".join(f"{output.name} ({output.help})" for output in OUTPUTS.values())
