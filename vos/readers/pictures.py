"""Decodes picture files of any depth, upright; used by the backend for folders and for pictures handed over in Python.

Pillow decodes them, except pictures of several 16-bit or float channels, which it reduces or refuses: those are
decoded by FFmpeg.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from .decoding import size_limit
from .depth import Depth, eight_bits
from .limits import MAX_PIXELS, check_pixels, open_image
from .pixels import on_black

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""Pillow's names of the formats that are decoded."""

_SEQUENCES = ("PNG", "WEBP", "TIFF")
"""Formats of which a file may hold several pictures; a second one in a JPEG is no picture of its own."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""TIFF tags."""

_PNG_COLOURS = {2: "rgb48le", 4: "rgba64le", 6: "rgba64le"}
"""Colour types of PNG with several channels, and the pixels of 16 bits that FFmpeg makes of them."""

_FLOAT, _UNSIGNED = 3, 1
"""Values of the TIFF tag for the kind of number."""


@dataclass(frozen=True)
class Picture:
    """A picture as its file holds it, upright.

    Attributes:
        values: (H, W, 3) uint8, or of more bits (H, W) or (H, W, 3): uint16, int32, uint32 or float32.
        alpha: opacity (H, W) uint8; None: it has none.
        several: whether its file holds further pictures, of which this is the first.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    several: bool = False

    def rgb(self, depth: Depth | None, name: object) -> np.ndarray:
        """Bring it to 8 bits and lay it on black, (H, W, 3) uint8.

        Args:
            depth: that of the run's first picture.
            name: of the picture, for messages.

        Raises:
            InputError: its depth does not go with that of the first.
        """
        values = eight_bits(self.values, depth, name)
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        return values if self.alpha is None else on_black(np.dstack([values, self.alpha]))


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file.

    Raises:
        InputError: it has more than ``max_pixels``; none were decoded.
        OSError: it is damaged, or has none of the formats.
    """
    try:
        with open_image(path, FORMATS, max_pixels) as file, warnings.catch_warnings(action="ignore"):  # of odd EXIF
            several = file.format in _SEQUENCES and bool(getattr(file, "is_animated", False))
            wide = _wide_pixels(file, path)
            if wide is None:
                return Picture(*_upright(file), several)
            turn = file.getexif().get(0x0112, 1)
            return Picture(*_decoded(path, file.format or "", wide, turn, max_pixels), several)
    except UnidentifiedImageError as error:
        return _unknown_to_pillow(path, max_pixels, error)


def picture_of(image: Image.Image) -> Picture:
    """Take the pixels of a Pillow image, turned as its EXIF data says."""
    with warnings.catch_warnings(action="ignore"):  # of odd EXIF
        return Picture(*_upright(image))


def _upright(file: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode with Pillow: values and opacity."""
    raw = _number_type(file)  # before the file is decoded, which closes it
    inverted = getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    image = ImageOps.exif_transpose(file)
    if raw is not None:
        values = np.asarray(image).astype(raw, copy=False) if raw == np.uint16 else np.asarray(image).view(raw)
        return (~values if inverted and raw == np.uint16 else values), None
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3]
    return np.array(image.convert("RGB")), None


def _number_type(image: Image.Image) -> np.dtype | None:
    """Type of the values of a picture of one channel with more than 8 bits; None: it has 8 bits.

    Raises:
        OSError: Pillow would decode it wrongly.
    """
    if image.mode.startswith("I;16"):
        return np.dtype(np.uint16)
    if image.mode not in ("I", "F"):
        return None
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return np.dtype(np.uint16 if image.format == "PNG" else np.float32 if image.mode == "F" else np.int32)
    if tags.prefix == b"MM" and any(tile[0] == "libtiff" for tile in getattr(image, "tile", ())):
        raise OSError("its numbers are compressed in big-endian order; save it in little-endian order")
    unsigned = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED and tags.get(_BITS) == (32,)
    return np.dtype(np.float32 if image.mode == "F" else np.uint32 if unsigned else np.int32)


def _wide_pixels(file: Image.Image, path: Path) -> str | None:
    """FFmpeg's pixels for a picture of several 16-bit channels, which Pillow would reduce; None: Pillow serves."""
    if file.format == "PNG":
        with path.open("rb") as stream:
            header = stream.read(26)
        return _PNG_COLOURS.get(header[25]) if header[24:25] == b"\x10" else None
    bits = tuple(getattr(file, "tag_v2", {}).get(_BITS, ()))
    return {(16, 16): "rgba64le", (16,) * 3: "rgb48le", (16,) * 4: "rgba64le"}.get(bits)


def _unknown_to_pillow(path: Path, max_pixels: int, error: OSError) -> Picture:
    """Decode a TIFF of float RGB, or of 16-bit grey with opacity.

    Raises:
        OSError: it is something else, or damaged.
    """
    plain = OSError("its format is not known")
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as stream:
            tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
            stream.seek(tags.next)
            tags.load(stream)
        bits, kind = tuple(tags.get(_BITS, ())), tuple(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
        width, height = int(tags[256]), int(tags[257])
        turn = int(tags.get(0x0112, 1))
    except Exception as unreadable:  # it is no TIFF, or a damaged one
        raise plain from unreadable
    pixels = {((32,) * 3, _FLOAT): "rgbf32le", ((16,) * 2, _UNSIGNED): "rgba64le"}.get((bits, kind[0]))
    if pixels is None:
        raise plain from error
    check_pixels(path, (height, width), max_pixels)
    try:
        return Picture(*_decoded(path, "TIFF", pixels, turn, max_pixels))
    except OSError:
        raise
    except Exception as damaged:  # PyAV raises half a dozen types
        raise OSError(str(damaged)) from damaged


def _decoded(path: Path, kind: str, pixels: str, turn: int, max_pixels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode with FFmpeg: values (H, W, 3) uint16 or float32, and opacity.

    Args:
        path: the file, a PNG or TIFF.
        kind: which of the two.
        pixels: FFmpeg's pixel format to decode to.
        turn: orientation as EXIF numbers it.
        max_pixels: FFmpeg refuses larger pictures, whatever the header said.

    Raises:
        OSError: it is damaged.
    """
    with av.open(f"file:{path}", format=f"{kind.lower()}_pipe", metadata_errors="replace") as container:
        container.streams.video[0].codec_context.options = size_limit(max_pixels)
        frame = next(container.decode(video=0), None)
        if frame is None:
            raise OSError("it holds no picture")
        if frame.format.name != pixels:
            frame = frame.reformat(format=pixels, threads=1)
        values: np.ndarray = frame.to_ndarray()
    if turn in (2, 3, 7, 8):
        values = values[:, ::-1]
    if turn in (3, 4, 6, 7):
        values = values[::-1]
    if turn in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    values = np.ascontiguousarray(values)
    return values[..., :3], (values[..., 3] >> 8).astype(np.uint8) if values.shape[2] == 4 else None
