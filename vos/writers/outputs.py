"""The table of outputs: one record each, from which the command, the opener and the result folder learn of it.

A new output is one module with an opener, and one record here. Nothing heavy is imported, so that ``vos-track --help``
stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Extras:
    """What a run knows beside its frames and objects; each output takes of it what it can show.

    Attributes:
        names: names of objects by id; an object without one goes by its number.
        sound: file whose sound is copied into the videos; None: they are silent.
        start: index in the video of the first frame of the run.
        stride: frames of the video from one frame of the run to the next.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    sound: Path | None = None
    start: int = 0
    stride: int = 1


NO_EXTRAS = Extras()
"""Neither names nor sound, of a run over all frames."""


@dataclass(frozen=True)
class Output:
    """One output of ``--save``.

    In paths, ``#`` stands for the number of an object, and ``*`` for the name of a frame or its index in five digits.

    Attributes:
        name: as given to ``--save``.
        module: module in :mod:`vos.writers` that holds the opener.
        opener: function of that module, ``opener(out, *, fps, first_frame, object_ids, extras)``, which returns a
            writer.
        help: what it is, in a few words.
        files: paths in the result folder of the files that it writes once.
        per_frame: paths in the result folder of the files that it writes for each frame.
        soft_edges: whether it needs the objects' soft edges, so that a resumable run has to keep them.
        pixels: whether it shows the frames themselves, so that a conversion needs the video.
        by_default: whether it is written when ``--save`` is not given.
    """

    name: str
    module: str
    opener: str
    help: str
    files: tuple[str, ...] = ()
    per_frame: tuple[str, ...] = ()
    soft_edges: bool = False
    pixels: bool = False
    by_default: bool = False


_RECORDS = (
    Output("masks", "masks", "open_masks", "an indexed PNG per frame", per_frame=("masks/*.png",), by_default=True),
    Output(
        "overlay",
        "overlay",
        "open_overlay",
        "a video of the objects, tinted and numbered",
        files=("overlay.mp4",),
        pixels=True,
        by_default=True,
    ),
    Output("csv", "table", "open_table", "boxes, areas and confidences", files=("objects.csv",), by_default=True),
    Output(
        "cutout",
        "matte",
        "open_cutout",
        "a transparent PNG per frame",
        per_frame=("cutout/*.png",),
        soft_edges=True,
        pixels=True,
    ),
    Output(
        "matte",
        "matte",
        "open_matte",
        "a transparent ProRes video, and one on green",
        files=("matte.mov", "green.mp4"),
        soft_edges=True,
        pixels=True,
    ),
    Output(
        "matte-webm",
        "matte",
        "open_matte_webm",
        "a transparent VP9 video",
        files=("matte.webm",),
        soft_edges=True,
        pixels=True,
    ),
    Output("npz", "npz", "open_npz", "label maps and a table for numpy", files=("masks.npz",)),
    Output("coco", "coco", "open_coco", "RLE in the layout of YouTube-VIS", files=("coco.json",)),
    Output(
        "mask-video",
        "mask_video",
        "open_mask_video",
        "all masks as black and white video, H.264 and lossless",
        files=("mask.mp4", "mask.mkv"),
    ),
    Output(
        "mask-videos",
        "mask_video",
        "open_object_videos",
        "the same for each object",
        files=("mask-#.mp4", "mask-#.mkv"),
    ),
    Output("binary", "binary", "open_binary", "a black and white PNG per object", per_frame=("binary/#/*.png",)),
    Output("exr", "exr", "open_exr", "OpenEXR with a soft channel per object", per_frame=("exr/*.exr",)),
    Output(
        "yolo",
        "yolo",
        "open_yolo",
        "pictures and outlines to train YOLO",
        files=("yolo/data.yaml",),
        per_frame=("yolo/images/train/*.jpg", "yolo/labels/train/*.txt"),
        pixels=True,
    ),
    Output("cvat", "cvat", "open_cvat", "masks for a video in CVAT", files=("cvat.xml",)),
    Output("cvat-images", "cvat", "open_cvat_images", "masks for pictures in CVAT", files=("cvat-images.xml",)),
    Output(
        "coco-images",
        "coco_images",
        "open_coco_images",
        "COCO instances with pictures",
        files=("coco-images/annotations/instances_default.json",),
        per_frame=("coco-images/images/*.jpg",),
        pixels=True,
    ),
    Output(
        "labelme",
        "labelme",
        "open_labelme",
        "pictures and polygons for LabelMe",
        per_frame=("labelme/*.json", "labelme/*.jpg"),
        pixels=True,
    ),
)

OUTPUTS = {record.name: record for record in _RECORDS}
"""The outputs by name, in the order in which they are listed to the user."""

DEFAULTS = tuple(name for name, output in OUTPUTS.items() if output.by_default)
"""Names of the outputs that are written when none is chosen."""

DEBUG_FOLDER = "debug"
"""Folder of the pictures of ``--debug``, which is not an output of ``--save``."""

FILES = tuple(file for output in OUTPUTS.values() for file in output.files)
"""Paths of all files that outputs write once, as in :attr:`Output.files`."""

PER_FRAME = (*(path for output in OUTPUTS.values() for path in output.per_frame), f"{DEBUG_FOLDER}/*.png")
"""Paths of all files that a run writes for each frame, as in :attr:`Output.per_frame`."""


def need_soft_edges(names: Iterable[str]) -> bool:
    """Tell whether any of the named outputs needs the objects' soft edges; unknown names do not."""
    return any(name in OUTPUTS and OUTPUTS[name].soft_edges for name in names)


def help_text() -> str:
    """Return the outputs with what each is, for the help of ``--save``."""
    return ", ".join(f"{output.name} ({output.help})" for output in OUTPUTS.values())
