"""Brings pictures, masks, boxes and points that callers hand over to one form, and tells what is wrong with any other.

One rule says what is inside a mask, see :func:`bool_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from .errors import InputError

INSIDE = 0.5
"""Value of a soft mask from which on a pixel is inside."""


def array_of(values: object) -> np.ndarray:
    """Take the values of an array, a tensor, a Pillow image or nested lists.

    Raises:
        InputError: it is nothing of these.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"an array is wanted, not a {type(values).__name__}: {error}") from error


def bool_mask(mask: object, name: str = "mask") -> np.ndarray:
    """Tell which pixels are inside a mask.

    Args:
        mask: (H, W), an array, a tensor or a Pillow image. Bool: as it is. Integers: what is above 0 is inside. Floats
            in [0, 1], a soft mask: what is 0.5 or more is inside.
        name: of the mask, for messages.

    Returns:
        (H, W) bool, an array of its own.

    Raises:
        InputError: its shape or type is another one, or a float lies outside of [0, 1].
    """
    values = array_of(mask)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "biuf":
        told = f"{values.shape} {values.dtype}" if values.ndim else f"of type {type(mask).__name__}"
        raise InputError(f"{name}: must be (H, W) of bool, integers or floats in [0, 1], not {told}")
    if values.dtype.kind == "f":
        return inside_of_soft(values, name)
    return values > 0


def inside_of_soft(mask: np.ndarray, name: str) -> np.ndarray:
    """Cut a soft mask at :data:`INSIDE`, (H, W) float to (H, W) bool.

    Raises:
        InputError: a value lies outside of [0, 1].
    """
    if not (mask.min() >= 0 and mask.max() <= 1):  # also false for NaN
        raise InputError(
            f"{name}: {mask.dtype} values must be in [0, 1], a soft matte; give objects' numbers as integers"
        )
    return mask >= INSIDE


def checked_rgb(rgb: object, name: str) -> np.ndarray:
    """Return a picture, (H, W, 3) uint8.

    It is the array that was given, or a copy where that counts backwards along an axis, as ``bgr[..., ::-1]`` does:
    torch takes no such array.

    Args:
        rgb: the picture.
        name: of the picture, for messages.

    Raises:
        InputError: it is no such array; says how to make it one.
    """
    if isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size:
        return rgb if min(rgb.strides) >= 0 else np.ascontiguousarray(rgb)
    if not isinstance(rgb, np.ndarray):
        told, advice = f"of type {type(rgb).__name__}", _array_from(rgb)
    else:
        told, advice = f"{rgb.shape} {rgb.dtype}", _conversion(rgb)
    raise InputError(f"{name} must be an array (H, W, 3) uint8, not {told}{advice}")


def _array_from(picture: object) -> str:
    """Say how to make an array of a picture; nothing where that is not known."""
    if isinstance(picture, Tensor):
        return "; give rgb.cpu().numpy()"
    return '; give np.array(image.convert("RGB"))' if hasattr(picture, "convert") else ""


def _conversion(rgb: np.ndarray) -> str:
    """Say how to bring an array to (H, W, 3) uint8; nothing where that is not known."""
    if rgb.ndim == 3 and rgb.shape[0] == 3 and rgb.shape[2] != 3:
        return "; put the channels last by rgb.transpose(1, 2, 0)"
    if rgb.ndim == 3 and rgb.shape[2] == 4:
        return "; leave out the opacity by rgb[..., :3]"
    if rgb.ndim == 2:
        return "; make three channels of grey by np.dstack([rgb] * 3)"
    if rgb.dtype.kind == "f":
        return "; make bytes of values in [0, 1] by (rgb * 255).round().astype(np.uint8)"
    return ""


def numbers_of(values: object, count: int, wanted: str) -> tuple[float, ...]:
    """Take so many numbers of a sequence, an array or a tensor.

    Args:
        values: the numbers.
        count: how many they are.
        wanted: what they should be, for the message.

    Raises:
        InputError: it is something else.
    """
    taken = array_of(values)
    if taken.shape != (count,) or taken.dtype.kind not in "biuf":
        raise InputError(f"{wanted}, not {values!r}")
    return tuple(taken.tolist())


def points_of(points: object) -> tuple[tuple[float, float, bool], ...]:
    """Take points (x, y, inside) of a sequence, an array or a tensor.

    Raises:
        InputError: it is something else.
    """
    wanted = "hint: points are a list of (x, y, inside), such as [(120, 80, True)]"
    if not isinstance(points, Iterable):
        raise InputError(f"{wanted}, not {points!r}")
    taken = []
    for each in points:
        x, y, inside = numbers_of(each, 3, wanted)
        if inside not in (0, 1):
            raise InputError(f"{wanted}, not {each!r}")
        taken.append((x, y, bool(inside)))
    return tuple(taken)


def value_counts(values: np.ndarray) -> np.ndarray:
    """Count how often each number occurs, (largest + 1,) int64.

    It goes block by block, because ``bincount`` widens what it counts to int64.
    """
    flat, size = values.ravel(), int(values.max()) + 1
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(flat), 2**20):
        counts += np.bincount(flat[start : start + 2**20], minlength=size)
    return counts
