"""Brings the labels of a mask to the size of the video, where it has another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import InputError, parameter
from ..structures import object_ids_of
from .limits import size_text

Resize = bool | Literal["crop", "pad", "stretch"]
"""What to do with a mask of another size: refuse it, scale it, or make it fit in one of three ways."""

_TOLERANCE = 0.01
"""Most that two aspect ratios differ, as a share, that count as equal."""


def fit_labels(name: str | Path, labels: np.ndarray, frame_size: tuple[int, int], resize: Resize) -> np.ndarray:
    """Bring labels to the size of the frame, nearest neighbour.

    Args:
        name: of the mask, for messages.
        labels: (h, w) uint8.
        frame_size: (H, W) of the video.
        resize: False: refuse another size. True: scale, if the aspect ratios agree within 1 %. ``crop``: scale evenly
            until the mask covers the frame, and cut off evenly what stands out. ``pad``: scale evenly until the mask
            fits into the frame, and add background evenly around it. ``stretch``: scale each side on its own.

    Returns:
        (H, W) uint8.

    Raises:
        InputError: the size is refused, the mask lies on its side, an object vanishes, or ``resize`` is none of these.
    """
    if resize and resize not in (True, "crop", "pad", "stretch"):
        raise InputError(f"{parameter('resize_mask', resize)}: must be False, True, crop, pad or stretch")
    size = labels.shape[0], labels.shape[1]
    if size == frame_size:
        return labels
    _check_size(name, size, frame_size, resize)
    scales = [frame / own for frame, own in zip(frame_size, size, strict=True)]
    if resize in ("crop", "pad"):
        scale = max(scales) if resize == "crop" else min(scales)
        fitted = _centred(_scaled(labels, (round(size[0] * scale), round(size[1] * scale))), frame_size)
    else:
        fitted = _scaled(labels, frame_size)
    lost = sorted(set(object_ids_of(labels)) - set(object_ids_of(fitted)))
    if lost:
        raise InputError(f"{name}: objects {lost} vanish when the mask is resized to {size_text(frame_size)}")
    return fitted


def _check_size(name: str | Path, size: tuple[int, int], frame_size: tuple[int, int], resize: Resize) -> None:
    """Refuse a mask of another size (h, w), unless ``resize`` allows it.

    Raises:
        InputError: it is refused; says what would help.
    """
    differs = f"{name}: {size_text(size)}, but the video is {size_text(frame_size)}"
    agrees = _same_aspect(size, frame_size)
    if not agrees and _same_aspect((size[1], size[0]), frame_size):
        raise InputError(
            f"{differs}: it lies on its side; turn the mask by 90 degrees (a video that states a rotation is turned"
            " upright by its metadata)"
        )
    if not resize:
        advice = parameter("resize_mask", True if agrees else "crop") + ("" if agrees else ", pad or stretch")
        raise InputError(f"{differs}; pass {advice}")
    if resize is True and not agrees:
        raise InputError(
            f"{differs}, which is another shape; say how it is to fit: {parameter('resize_mask', 'crop')},"
            f" {parameter('resize_mask', 'pad')} or {parameter('resize_mask', 'stretch')}"
        )


def _same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    one, two = size[0] * other[1], size[1] * other[0]
    return abs(one - two) <= _TOLERANCE * max(one, two)


def _scaled(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale labels to (H, W), nearest neighbour."""
    height, width = (max(1, side) for side in size)
    return np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def _centred(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut or extend labels to (H, W) evenly on both sides; an odd line or column goes at the lower or right edge."""
    result = np.zeros(size, labels.dtype)
    inside, source = [], []
    for own, frame in zip(labels.shape, size, strict=True):
        count = min(own, frame)
        inside.append(slice((frame - count) // 2, (frame - count) // 2 + count))
        source.append(slice((own - count) // 2, (own - count) // 2 + count))
    result[tuple(inside)] = labels[tuple(source)]
    return result
