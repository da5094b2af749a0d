"""Writes ``exr/00000.exr`` and so on: an OpenEXR picture per frame with a channel for each object; needs OpenEXR."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError, parameter
from ..files import atomic_path, cannot_write, make_folder, output_errors
from ..structures import Frame, Result
from .label_names import channel_name
from .outputs import NO_EXTRAS, Extras
from .spool import frame_stem

_HAZE = 4 / 255
"""Opacity that is taken for none, and so much less than 1 for all; the eye does not see it, but a key would."""


class ExrWriter:
    """Writes the opacity of each object, 0 to 1 in half precision, soft at edges where the tracker gave logits.

    The channel of an object is the alpha of a layer of its name: ``dog.A``, or ``object1.A``. The attribute
    ``vos_objects`` of a file holds the layers by object id as JSON.

    Args:
        folder: where the pictures go; made if need be.
        names: names of objects by id.

    Raises:
        InputError: OpenEXR is not installed.
        OutputError: the folder cannot be made.
    """

    file_per_frame = True

    def __init__(self, folder: Path, names: Mapping[int, str]) -> None:
        try:
            import OpenEXR
        except ImportError as error:
            raise InputError(f"{parameter('save', 'exr')} needs OpenEXR: pip install OpenEXR") from error
        self._openexr = OpenEXR
        self._folder = folder
        self._names = names
        make_folder(folder)

    def write(self, result: Result) -> None:
        """Write one frame.

        Raises:
            OutputError: the file cannot be written; no file is left.
        """
        layers = {object_id: channel_name(object_id, self._names) for object_id in result.object_ids}
        channels = {f"{layers[each]}.A": share for each, share in zip(layers, opacities(result), strict=True)}
        header = {
            "compression": self._openexr.ZIP_COMPRESSION,
            "type": self._openexr.scanlineimage,
            "vos_objects": json.dumps(layers),
        }
        path = self._folder / f"{frame_stem(result.frame)}.exr"
        with output_errors(path), atomic_path(path) as partial:
            try:
                file = self._openexr.File(header, channels or {"empty.A": np.zeros(result.frame.size, np.float16)})
                file.write(str(partial))
            except RuntimeError as error:
                raise cannot_write(path, error) from error

    def close(self) -> None:
        """Do nothing: no file is open between frames."""


def opacities(result: Result) -> np.ndarray:
    """Compute the opacity of each object, (N, H, W) float16 in [0, 1]; where objects meet, their sum is at most 1.

    An object is at least half opaque in its own pixels before the sum is brought to 1.
    """
    shares = np.zeros((len(result.object_ids), *result.frame.size), np.float16)
    total = np.zeros(result.frame.size, np.float32)
    for row, object_id in enumerate(result.object_ids):
        inside = result.labels == object_id
        share = inside.astype(np.float32) if result.tracked is None else _soft(result, row, inside)
        shares[row] = share
        total += share
    over = total > 1
    if over.any():
        shares[:, over] = shares[:, over] / total[over]
    return shares


def _soft(result: Result, row: int, inside: np.ndarray) -> np.ndarray:
    """Return the opacity of one object by its logits, (H, W) float32."""
    tracked = result.tracked
    assert tracked is not None
    logits = tracked.logits[row : row + 1]
    with torch.inference_mode():
        full = logits if tracked.geometry is None else tracked.geometry.upsample(logits)
        share = full[0].float().sigmoid().cpu().numpy()
    share = np.where(share < _HAZE, 0, np.where(share > 1 - _HAZE, 1, share))
    soft: np.ndarray = np.where(inside, np.maximum(share, 0.5), share).astype(np.float32)
    return soft


def open_exr(
    out: Path, *, fps: float | None, first_frame: Frame, object_ids: Sequence[int], extras: Extras = NO_EXTRAS
) -> ExrWriter:
    """Open the writer of ``out/exr``.

    Raises:
        InputError: OpenEXR is not installed.
        OutputError: the folder cannot be made.
    """
    return ExrWriter(out / "exr", extras.names)
