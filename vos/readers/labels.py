"""Reads the labels of one mask file: the one reader of first masks, later masks, and the truth and results of scoring.

``docs/masks.md`` has the table of what a mask may be. A mask is read as a person sees it, or refused in one line.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import InputError
from ..palette import davis_palette
from ..structures import MAX_OBJECT_ID, check_object_count, object_ids_of, value_counts
from .limits import MAX_PIXELS, check_pixels, open_image

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_VOID = 255
"""Index of pixels that belong to nothing, as in DAVIS 2017 and PASCAL VOC."""

_EDGE_SHARE = 0.8
"""Least share of a value's pixels with both a darker and a lighter neighbour that makes the value an edge."""

_ACCEPTED = (
    "a mask is an indexed PNG (one index per object), a grey PNG with two values or small numbers,"
    " or a colour PNG with DAVIS palette colours or a single colour on black"
)
"""End of the messages on files that are not accepted."""

Kind = Literal["numbers", "one object", "colours"]
"""How a file was read: its values are the objects' numbers; it shows one object; its colours were numbered."""


@dataclass(frozen=True)
class Labels:
    """The labels of one mask file.

    Attributes:
        values: (H, W) uint8, or uint16 where numbers are above 255; 0 is background.
        object_ids: ascending numbers present in ``values``; empty if all is background.
        void: (H, W) bool, pixels that are not decided on and are 0 in ``values``; None if there are none.
        notes: lines to tell about how the file was read.
        kind: how the file was read. Files of one sequence may differ: of numbers 2 and 5 in grey, a frame with
            object 2 alone has two values, which are one object.
    """

    values: np.ndarray
    object_ids: tuple[int, ...]
    void: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    kind: Kind = "numbers"


def read_labels(
    path: Path | str, *, threshold: int | None = None, max_pixels: int = MAX_PIXELS, like: Labels | None = None
) -> Labels:
    """Read the labels of one file.

    Args:
        path: a PNG file, or a JPEG file in black and white.
        threshold: 1 to 255; pixels at or above it are one object, whatever the file shows.
        max_pixels: larger files are refused before they are decoded.
        like: labels of another file of the same sequence. A file that could be read in two ways is read in the
            same way as that one, and its colours have the same numbers.

    Raises:
        InputError: the file cannot be read or understood.
    """
    path = Path(path)
    size, bit_depth = _read_header(path)
    check_pixels(path, size, max_pixels)
    mode, values = _decode(path, max_pixels)
    if mode == "P":
        return _from_numbers(path, values, void=True)
    if mode in ("RGB", "RGBA", "LA"):
        return _from_channels(path, values)
    if mode == "1":
        return _from_grey(path, values.astype(np.uint8))
    if bit_depth in (2, 4):  # the decoder stretches these to 0..255
        values //= 255 // (2**bit_depth - 1)
    return _from_grey(path, values)


def _read_header(path: Path) -> tuple[tuple[int, int], int]:
    """Check that a file is a PNG image, and read its size (H, W) and its bits per channel.

    Raises:
        InputError: it is not, or cannot be read.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: not a file")
        with path.open("rb") as stream:
            head = stream.read(26)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error})") from error
    if head.startswith(b"\xff\xd8\xff"):
        raise InputError(f"{path}: a JPEG image; its compression changes the values, masks must be lossless PNG")
    if not head:
        raise InputError(f"{path}: the file is empty")
    if not head.startswith(_PNG_SIGNATURE):
        raise InputError(f"{path}: not a PNG image")
    if len(head) < 26 or head[12:16] != b"IHDR":
        raise InputError(f"{path}: the PNG image is damaged or cut short")
    width, height, bit_depth, _ = struct.unpack(">IIBB", head[16:26])
    return (height, width), bit_depth


def _decode(path: Path, max_pixels: int) -> tuple[str, np.ndarray]:
    """Decode a PNG image to Pillow's mode and the pixels in that mode."""
    try:
        with open_image(path, ("PNG",), max_pixels) as image:
            return image.mode, np.array(image)
    except OSError as error:
        raise InputError(f"{path}: the PNG image is damaged or cut short ({error})") from error


def _from_numbers(path: Path, values: np.ndarray, *, void: bool) -> Labels:
    """Take values, (H, W) unsigned, as object numbers: labels, (H, W) uint8.

    Args:
        path: of the file, for messages.
        values: of the pixels.
        void: whether 255 beside other objects is void.
    """
    _check_hard_edges(path, values)
    present = [int(value) for value in np.flatnonzero(value_counts(values)) if value]
    if present == [_VOID]:
        return _one_object(values == _VOID)
    is_void = values == _VOID
    if void and _VOID in present:
        values = np.where(values == _VOID, 0, values).astype(np.uint8)
        return Labels(values, object_ids_of(values), void=is_void)
    check_object_count(str(path), len(present))
    if present and present[-1] > MAX_OBJECT_ID:
        raise InputError(
            f"{path}: a 16-bit image with values up to {present[-1]}, but object ids are 1 to"
            f" {MAX_OBJECT_ID}; save it as an indexed PNG"
        )
    return Labels(values.astype(np.uint8), tuple(present))


def _one_object(inside: np.ndarray) -> Labels:
    """Make labels of one object, number 1, from (H, W) bool."""
    return Labels(inside.astype(np.uint8), (1,) if inside.any() else (), kind="one object")


def _from_grey(path: Path, values: np.ndarray) -> Labels:
    """Convert grey values, (H, W) unsigned, to labels: two values are one object, more are object numbers."""
    low, high = values.min(), values.max()
    if low != high and np.all((values == low) | (values == high)):
        return _one_object(values == high)
    return _from_numbers(path, values, void=False)


def _from_channels(path: Path, values: np.ndarray) -> Labels:
    """Convert colour or grey, perhaps with alpha, (H, W, 2 to 4) uint8, to labels."""
    alpha = None
    if values.shape[2] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1]
        if alpha.min() == 255:
            alpha = None
    if alpha is not None:
        if np.all(values == values[0, 0]):
            _check_hard_edges(path, alpha)
            if np.count_nonzero(value_counts(alpha)) > 2:
                raise InputError(f"{path}: the transparency has more than two values; {_ACCEPTED}")
            return _one_object(alpha > alpha.min())
        if np.any((alpha > 0) & (alpha < 255)):
            raise InputError(f"{path}: it is partly transparent; {_ACCEPTED}")
        values = np.where(alpha[..., None] > 0, values, np.uint8(0))
    if np.all(values == values[..., :1]):
        return _from_grey(path, values[..., 0])
    return _from_colours(path, values)


def _from_colours(path: Path, rgb: np.ndarray) -> Labels:
    """Convert colours, (H, W, 3) uint8, to labels by the DAVIS palette, or from one colour on black."""
    colours = np.zeros(0, np.uint32)
    blocks = [rgb[start : start + 256] for start in range(0, len(rgb), 256)]  # packing takes several times their memory
    for block in blocks:
        colours = np.union1d(colours, _pack(block))
        if len(colours) > MAX_OBJECT_ID + 1:
            raise InputError(f"{path}: more than {MAX_OBJECT_ID + 1} colours, a photograph or soft edges; {_ACCEPTED}")
    palette = {int(colour): index for index, colour in reversed(list(enumerate(_pack(davis_palette()))))}
    unknown = [int(colour) for colour in colours if int(colour) not in palette]
    if not unknown:
        lut = np.array([palette[int(colour)] for colour in colours], dtype=np.uint8)
        labels = [lut[np.searchsorted(colours, _pack(block))] for block in blocks]
        return _from_numbers(path, np.concatenate(labels), void=True)
    if len(colours) == 2 and colours[0] == 0:
        return _one_object(rgb.max(axis=2) > 0)
    raise InputError(f"{path}: the colour #{unknown[0]:06x} is not in the DAVIS palette; {_ACCEPTED}")


def _pack(rgb: np.ndarray) -> np.ndarray:
    """Pack colours (..., 3) uint8 to (...) uint32, 0xRRGGBB."""
    channels = rgb.astype(np.uint32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def _check_hard_edges(path: Path, values: np.ndarray) -> None:
    """Refuse soft edges: each of their values in between would become an object.

    A value counts as an edge if nearly all of its pixels lie between a darker and a lighter neighbour.

    Raises:
        InputError: too many of the values are edges.
    """
    counts = value_counts(values)
    present = np.flatnonzero(counts)
    present = present[present > 0]
    if len(present) < 2:
        return
    between = (_neighbourhood(values, np.minimum) < values) & (_neighbourhood(values, np.maximum) > values)
    edges = np.bincount(values[between], minlength=len(counts))[present] >= _EDGE_SHARE * counts[present]
    fewest = 1 if present[-1] >= 128 else 3  # small values are more likely the numbers of objects
    if np.count_nonzero(edges) >= max(fewest, len(present) / 4):
        raise InputError(
            f"{path}: {len(present)} grey values with soft edges between them; threshold the mask to"
            " black and white, or save it as an indexed PNG without anti-aliasing"
        )


def _neighbourhood(values: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Find the smallest or largest value of each pixel and its eight neighbours, (H, W).

    Args:
        values: (H, W).
        extreme: ``np.minimum`` or ``np.maximum``.
    """
    vertical = values.copy()
    extreme(vertical[1:], values[:-1], out=vertical[1:])
    extreme(vertical[:-1], values[1:], out=vertical[:-1])
    result = vertical.copy()
    extreme(result[:, 1:], vertical[:, :-1], out=result[:, 1:])
    extreme(result[:, :-1], vertical[:, 1:], out=result[:, :-1])
    return result
