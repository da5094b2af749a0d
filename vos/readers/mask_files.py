"""Decodes mask files, PNG and JPEG, to the values that they store: indices, grey values or colours, and opacity."""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .limits import check_pixels, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_JPEG_SIGNATURE = b"\xff\xd8\xff"

_ORIENTATION = 0x0112
"""EXIF's number of the tag that says how to turn an image."""


@dataclass(frozen=True)
class MaskPicture:
    """The pixels of a mask file, upright.

    Attributes:
        values: (H, W) uint8 indices, or (H, W) uint8 or uint16 grey values, or (H, W, 3) uint8 RGB.
        palette: (256, 3) uint8 RGB of the indices; None: the values are no indices.
        alpha: (H, W) uint8, 255 opaque; None: the file has no transparency.
        is_jpeg: whether the file is a JPEG file.
    """

    values: np.ndarray
    palette: np.ndarray | None
    alpha: np.ndarray | None
    is_jpeg: bool


def open_mask(path: Path, max_pixels: int) -> MaskPicture:
    """Read a mask file.

    Args:
        path: the file, whose content decides, not its name.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        InputError: the file is neither PNG nor JPEG, or cannot be read.
    """
    head = _read_head(path)
    if head.startswith(_JPEG_SIGNATURE):
        return _decode(path, "JPEG", 8, max_pixels)
    if not head:
        raise InputError(f"{path}: the file is empty")
    if not head.startswith(_PNG_SIGNATURE):
        raise InputError(f"{path}: not a PNG image; save the mask as an indexed or grey PNG")
    if len(head) < 26 or head[12:16] != b"IHDR":
        raise InputError(f"{path}: the PNG image is damaged or cut short")
    width, height, bit_depth, _ = struct.unpack(">IIBB", head[16:26])
    check_pixels(path, (height, width), max_pixels)
    return _decode(path, "PNG", bit_depth, max_pixels)


def _read_head(path: Path) -> bytes:
    """Read the first 26 bytes of a file.

    Raises:
        InputError: it does not exist, or cannot be read.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: not a file")
        with path.open("rb") as stream:
            return stream.read(26)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error})") from error


def _decode(path: Path, kind: str, bit_depth: int, max_pixels: int) -> MaskPicture:
    try:
        with open_image(path, (kind,), max_pixels) as image, warnings.catch_warnings(action="ignore"):
            picture = _pixels(_upright(image), bit_depth, kind == "JPEG")
    except OSError as error:
        raise InputError(f"{path}: the {kind} image is damaged or cut short ({error})") from error
    coarse = bit_depth == 16 and picture.values.dtype == np.uint8 and picture.palette is None
    if coarse and picture.values.max() < 16:
        raise InputError(
            f"{path}: colours of 16 bits, of which 8 are read, and these are nearly black; save it as a 16-bit grey or"
            " an indexed PNG"
        )
    return picture


def _upright(image: Image) -> Image:
    """Turn an image as its EXIF data say."""
    from PIL import ImageOps

    image.load()
    turn = 1
    with suppress(Exception):  # odd EXIF data say nothing
        turn = image.getexif().get(_ORIENTATION, 1)
    return ImageOps.exif_transpose(image) if turn in range(2, 9) else image


def _pixels(image: Image, bit_depth: int, is_jpeg: bool) -> MaskPicture:
    """Take an image apart into values, palette and opacity."""
    if image.mode not in ("1", "L", "I;16", "P", "LA", "RGB", "RGBA"):
        image = image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image
    transparent = image.info.get("transparency")
    if image.mode == "P":
        palette = np.zeros((256, 3), np.uint8)
        given = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
        palette[: len(given)] = given
        indices = np.array(image)
        return MaskPicture(indices, palette, _alpha_of_indices(indices, transparent), is_jpeg)
    values = np.array(image)
    if values.dtype == np.bool_:  # 1 bit is black and white, not the numbers 0 and 1
        values = values * np.uint8(255)
    elif values.dtype == np.int32:  # 16 bits, as older decoders deliver them
        values = values.clip(0, 65535).astype(np.uint16)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        colour = values[..., 0] if values.shape[2] == 2 else values[..., :3]
        return MaskPicture(np.ascontiguousarray(colour), None, np.ascontiguousarray(values[..., -1]), is_jpeg)
    if image.mode == "L" and bit_depth in (2, 4):  # the decoder stretches these to 0..255
        values //= 255 // (2**bit_depth - 1)
    alpha = None
    if isinstance(transparent, int | tuple):
        same = values == np.asarray(transparent)
        alpha = np.where(same if values.ndim == 2 else same.all(axis=2), np.uint8(0), np.uint8(255))
    return MaskPicture(values, None, alpha, is_jpeg)


def _alpha_of_indices(indices: np.ndarray, transparent: object) -> np.ndarray | None:
    """Look up the opacity of indices, (H, W) uint8; None if all are opaque."""
    table = np.full(256, 255, np.uint8)
    if isinstance(transparent, int):
        table[transparent & 255] = 0
    elif isinstance(transparent, bytes):
        given = np.frombuffer(transparent[:256], np.uint8)
        table[: len(given)] = given
    alpha = table[indices]
    return None if alpha.min() == 255 else alpha
