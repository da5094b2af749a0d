"""What ``vos-track`` is given beside the video and its masks: a set of labels, names of objects, and the sound."""

from __future__ import annotations

import os
from pathlib import Path

from ..pipeline import check_frames
from ..readers.label_sets import LabelSet, frame_names_of, read_label_set
from ..readers.source import SourceReader
from ..writers.outputs import Extras
from .options import Options


def read_given_labels(options: Options, reader: SourceReader) -> LabelSet | None:
    """Read the true masks of ``--masks``; None if it is not given.

    ``options.name`` gets the names that the labels have, so that the record of the run has them.

    Raises:
        InputError: the labels cannot be read, or are of a frame beyond the end.
    """
    if options.masks is None:
        return None
    labels = read_label_set(
        options.masks,
        reader.size,
        frame_names=frame_names_of(options.video, options.start, options.stride, options.max_pixels),
        start=options.start,
        stride=options.stride,
        resize=options.resize_mask,
        max_pixels=options.max_pixels,
    )
    check_frames("masks", labels.masks, reader)
    options.name = sorted({**labels.names, **dict(options.name or ())}.items()) or None
    return labels


def extras_of(options: Options) -> Extras:
    """Return what outputs may show beside frames and objects."""
    sound = Path(options.video) if options.audio and os.path.isfile(options.video) else None
    return Extras(dict(options.name or ()), sound, options.start, options.stride)
