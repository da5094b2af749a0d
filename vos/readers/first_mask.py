"""Reads the first mask, the objects to follow, from one or more PNG files.

These are accepted:

- Indexed PNG: every index but 0 is an object and keeps its number. Index 255 beside other objects is the
  *void* of DAVIS 2017 and PASCAL VOC, and is ignored. Indices 0 and 255 alone are one object, number 1.
- Grey PNG, 1 to 16 bits: two values are one object, number 1, and the darker value is the background.
  Otherwise every value but 0 is an object and keeps its number, 255 included.
- Colour PNG: colours of the DAVIS palette are objects, numbered as in the palette. One other colour on black
  is one object, number 1. Three equal channels count as grey.
- Transparency: ignored where all pixels are opaque. On a single colour, the two values of alpha are the mask.
  Otherwise fully transparent pixels are background.
- Several files: one object each; file i, counted from 0, has number i + 1. Where they overlap, the later
  file wins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, parameter
from ..palette import davis_palette
from ..structures import MAX_OBJECT_ID, FirstMask, check_object_count, object_ids_of, value_counts
from .limits import MAX_PIXELS, check_pixels, open_image, size_text

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


def load_first_mask(
    paths: Sequence[Path | str],
    frame_size: tuple[int, int],
    *,
    resize: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> FirstMask:
    """Read the objects to follow from PNG files; the module's docstring says which are accepted.

    Args:
        paths: one file with all objects, or several files of one object each.
        frame_size: (H, W) of the video.
        resize: scale a mask of another size to the frame's, nearest neighbour.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        InputError: a file cannot be read or understood, has another size, or has no object.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise InputError("no first mask was given")
    if len(files) > MAX_OBJECT_ID:
        raise InputError(f"{len(files)} first masks were given; at most {MAX_OBJECT_ID} objects can be followed")
    height, width = frame_size
    read = [_read_labels(file, (height, width), resize, max_pixels) for file in files]
    labels = read[0] if len(files) == 1 else _combined(files, read)
    return FirstMask(labels, object_ids_of(labels))


def _resized(path: Path, labels: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Scale labels to frame size (H, W), nearest neighbour.

    Raises:
        InputError: an object vanishes.
    """
    height, width = frame_size
    resized = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    lost = sorted(set(object_ids_of(labels)) - set(object_ids_of(resized)))
    if lost:
        raise InputError(f"{path}: objects {lost} vanish when the mask is resized to {size_text(frame_size)}")
    return resized


def _combined(files: list[Path], masks: list[np.ndarray]) -> np.ndarray:
    """Merge masks of one object each into one array of labels; later files win.

    Raises:
        InputError: a file holds several objects, or its object is wholly covered.
    """
    combined = np.zeros_like(masks[0])
    for number, (file, mask) in enumerate(zip(files, masks, strict=True), start=1):
        ids = object_ids_of(mask)
        if len(ids) > 1:
            raise InputError(f"{file}: {len(ids)} objects; of several first masks each must hold one object")
        combined[mask > 0] = number
    present = object_ids_of(combined)
    for number, file in enumerate(files, start=1):
        if number not in present:
            raise InputError(f"{file}: its object is wholly covered by the first masks after it")
    return combined


def _read_labels(path: Path, frame_size: tuple[int, int], resize: bool, max_pixels: int) -> np.ndarray:
    """Read one file to labels at frame size, (H, W) uint8, with at least one object."""
    size, bit_depth = _read_header(path)
    check_pixels(path, size, max_pixels)
    if size != frame_size and not resize:
        raise InputError(
            f"{path}: {size_text(size)}, but the video is {size_text(frame_size)}; "
            f"pass {parameter('resize_mask', True)}"
        )
    mode, values = _decode(path, max_pixels)
    if mode == "P":
        labels = _from_numbers(path, values, void=True)
    elif mode in ("RGB", "RGBA", "LA"):
        labels = _from_channels(path, values)
    elif mode == "1":
        labels = _from_grey(path, values.astype(np.uint8))
    else:
        if bit_depth in (2, 4):  # the decoder stretches these to 0..255
            values //= 255 // (2**bit_depth - 1)
        labels = _from_grey(path, values)
    if not labels.any():
        raise InputError(f"{path}: the mask is empty, every pixel is background")
    return labels if size == frame_size else _resized(path, labels, frame_size)


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


def _from_numbers(path: Path, values: np.ndarray, *, void: bool) -> np.ndarray:
    """Take values, (H, W) unsigned, as object numbers: labels, (H, W) uint8.

    Args:
        path: of the file, for messages.
        values: of the pixels.
        void: whether 255 beside other objects is void.
    """
    _check_hard_edges(path, values)
    present = [int(value) for value in np.flatnonzero(value_counts(values)) if value]
    if present == [_VOID]:
        return (values == _VOID).astype(np.uint8)
    if void and _VOID in present:
        return np.where(values == _VOID, 0, values).astype(np.uint8)
    check_object_count(str(path), len(present))
    if present and present[-1] > MAX_OBJECT_ID:
        raise InputError(
            f"{path}: a 16-bit image with values up to {present[-1]}, but object ids are 1 to"
            f" {MAX_OBJECT_ID}; save it as an indexed PNG"
        )
    return values.astype(np.uint8)


def _from_grey(path: Path, values: np.ndarray) -> np.ndarray:
    """Convert grey values, (H, W) unsigned, to labels: two values are one object, more are object numbers."""
    low, high = values.min(), values.max()
    if low != high and np.all((values == low) | (values == high)):
        return (values == high).astype(np.uint8)
    return _from_numbers(path, values, void=False)


def _from_channels(path: Path, values: np.ndarray) -> np.ndarray:
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
            return (alpha > alpha.min()).astype(np.uint8)
        if np.any((alpha > 0) & (alpha < 255)):
            raise InputError(f"{path}: it is partly transparent; {_ACCEPTED}")
        values = np.where(alpha[..., None] > 0, values, np.uint8(0))
    if np.all(values == values[..., :1]):
        return _from_grey(path, values[..., 0])
    return _from_colours(path, values)


def _from_colours(path: Path, rgb: np.ndarray) -> np.ndarray:
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
        return (rgb.max(axis=2) > 0).astype(np.uint8)
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
