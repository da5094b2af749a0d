"""Writes ``cvat.xml``, "CVAT for video 1.1", and ``cvat-images.xml``, "CVAT for images 1.1", for upload to CVAT.

Masks are kept to the pixel, as runs of pixels outside and inside by turns, row by row in the object's box. Frames are
numbered as in the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ..files import atomic_path, output_errors
from ..structures import Frame, Result
from .label_names import Classes, class_name
from .outputs import NO_EXTRAS, Extras
from .spool import Spool, frame_stem

Layout = Literal["video", "images"]
"""Which of CVAT's two layouts is written."""


class CvatWriter:
    """Writes a mask for each object that a frame shows; its label is the object's name, its group the object's number.

    As CVAT has no tracks of masks and takes the first mask of a track alone, the layout for video has a track for each
    mask, which ends on the next frame. CVAT's own export does the same.

    Args:
        path: of the file.
        layout: which of the two layouts.
        object_ids: the first objects.
        extras: names of objects, and which frames of the video these are.

    Raises:
        OutputError: there is no room for a temporary file.
    """

    def __init__(self, path: Path, layout: Layout, object_ids: Sequence[int], extras: Extras) -> None:
        self._path = path
        self._layout = layout
        self._extras = extras
        self._classes = Classes(object_ids, extras.names)
        self._spool = Spool(path)
        self._tracks = self._frames = 0
        self._size = (0, 0)
        self._closed = False

    def write(self, result: Result) -> None:
        """Note the masks of one frame.

        Raises:
            OutputError: they cannot be written.
        """
        self._frames += 1
        self._size = result.frame.size
        masks = []
        for row, object_id in enumerate(result.object_ids):
            self._classes.number(object_id)
            if result.areas[row]:
                masks.append((object_id, _mask(result.labels == object_id, result.boxes[row].tolist())))
        if self._layout == "video":
            for object_id, mask in masks:
                self._spool.add(self._track(self._number(result.frame.index), object_id, mask))
        else:
            self._spool.add(self._image(result.frame, masks))

    def close(self) -> None:
        """Assemble the file; without any frame there is none.

        Raises:
            OutputError: it cannot be written; no file is left.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._frames:
                with (
                    output_errors(self._path),
                    atomic_path(self._path) as partial,
                    partial.open("w", encoding="utf-8", errors="backslashreplace") as file,
                ):
                    self._write_xml(file)
        finally:
            self._spool.close()

    def _number(self, index: int) -> int:
        """Return the number of a frame in the video, by which CVAT knows it, also in a task of some frames alone."""
        return self._extras.start + index * self._extras.stride

    def _track(self, frame: int, object_id: int, mask: str) -> str:
        """Return a track with one mask, and with its end where a next frame may be."""
        label = quoteattr(class_name(object_id, self._extras.names))
        begin = f'<track id="{self._tracks}" label={label} group_id="{object_id}" source="file">'
        shapes = [
            f'<mask frame="{frame + later}" keyframe="1" outside="{later}" occluded="0" {mask} z_order="0"></mask>'
            for later in (0, 1)
        ]
        self._tracks += 1
        return begin + "".join(shapes) + "</track>"

    def _image(self, frame: Frame, masks: Sequence[tuple[int, str]]) -> str:
        """Return a picture with its masks."""
        height, width = frame.size
        number = self._number(frame.index)
        name = quoteattr(frame_stem(replace(frame, index=number)) + (frame.suffix or ".jpg"))
        shapes = [
            f'<mask label={quoteattr(class_name(object_id, self._extras.names))} group_id="{object_id}" source="file"'
            f' occluded="0" {mask} z_order="0"></mask>'
            for object_id, mask in masks
        ]
        begin = f'<image id="{number}" name={name} width="{width}" height="{height}">'
        return begin + "".join(shapes) + "</image>"

    def _write_xml(self, file: IO[str]) -> None:
        """Write the whole document line by line, so that no more than one frame is in memory."""
        mode = "interpolation" if self._layout == "video" else "annotation"
        labels = "".join(
            f"<label><name>{escape(name)}</name><type>mask</type><attributes></attributes></label>"
            for name in self._classes.names()
        )
        first, last = self._number(0), self._number(self._frames - 1)
        step = f"<frame_filter>step={self._extras.stride}</frame_filter>" if self._extras.stride > 1 else ""
        height, width = self._size
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>')
        file.write(f"<name>vos-track</name><size>{self._frames}</size><mode>{mode}</mode><overlap>0</overlap>")
        file.write(f"<start_frame>{first}</start_frame><stop_frame>{last}</stop_frame>{step}<labels>{labels}</labels>")
        file.write(f"<original_size><width>{width}</width><height>{height}</height></original_size></task></meta>\n")
        for line in self._spool.lines():
            file.write(line + "\n")
        file.write("</annotations>\n")


def _mask(inside: np.ndarray, box: Sequence[int]) -> str:
    """Return the attributes of a mask (H, W) bool with its box, inclusive."""
    x0, y0, x1, y1 = box
    runs = ", ".join(map(str, run_lengths(inside[y0 : y1 + 1, x0 : x1 + 1])))
    return f'rle="{runs}" left="{x0}" top="{y0}" width="{x1 - x0 + 1}" height="{y1 - y0 + 1}"'


def run_lengths(inside: np.ndarray) -> list[int]:
    """Return the lengths of the runs of a mask (H, W) bool, row by row; the first is outside, perhaps of length 0."""
    flat = inside.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = [0, *changes.tolist(), len(flat)]
    lengths = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else lengths


def open_cvat(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> CvatWriter:
    """Open the writer of ``out/cvat.xml``.

    Raises:
        OutputError: there is no room for a temporary file.
    """
    return CvatWriter(out / "cvat.xml", "video", object_ids, extras)


def open_cvat_images(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> CvatWriter:
    """Open the writer of ``out/cvat-images.xml``.

    Raises:
        OutputError: there is no room for a temporary file.
    """
    return CvatWriter(out / "cvat-images.xml", "images", object_ids, extras)
