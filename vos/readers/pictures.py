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

Tags = TiffImagePlugin.ImageFileDirectory_v2

_BITS, _PHOTOMETRIC, _TURN, _PLANAR, _PREDICTOR = 258, 262, 274, 284, 317
_TILE_WIDTH, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 322, 338, 339
"""TIFF tags."""

_PNG_COLOURS = {2: "rgb48le", 4: "rgba64le", 6: "rgba64le"}
"""Colour types of PNG with several channels, and the pixels of 16 bits that FFmpeg makes of them."""

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
"""Values of the TIFF tag for the kind of number."""

_INVERTED, _GREY, _RGB, _CMYK, _LAB = 0, 1, 2, 5, 8
"""Values of the TIFF tag for the colours."""

_NO_OPACITY, _MULTIPLIED, _OPACITY = 0, 1, 2
"""Values of the TIFF tag for a further channel: none, one that the colours are multiplied by already, plain opacity."""

_TIFF_COLOURS = {
    (_GREY, (16,) * 2, _UNSIGNED): "rgba64le",
    (_RGB, (16,) * 3, _UNSIGNED): "rgb48le",
    (_RGB, (16,) * 4, _UNSIGNED): "rgba64le",
    (_CMYK, (16,) * 4, _UNSIGNED): "rgba64le",
    (_RGB, (32,) * 3, _FLOAT): "rgbf32le",
}
"""Colours, bits and kind of number of TIFFs with several wide channels, and the pixels that FFmpeg makes of them."""

_BIG = (b"+\0", b"\0+")
"""Numbers of a BigTIFF, 43 in either order of bytes, with which TIFFs go on after their first two bytes."""


@dataclass(frozen=True)
class Picture:
    """A picture as its file holds it, upright.

    Attributes:
        values: (H, W, 3) uint8, or of other types (H, W) or (H, W, 3): uint16, uint32, int8, int16, int32 or
            float32.
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
        OSError: it is damaged, has none of the formats, or is a TIFF of a kind that is not decoded.
    """
    try:
        with open_image(path, FORMATS, max_pixels) as file, warnings.catch_warnings(action="ignore"):  # of odd EXIF
            several = file.format in _SEQUENCES and bool(getattr(file, "is_animated", False))
            return Picture(*(_wide(file, path, max_pixels) or _upright(file)), several)
    except UnidentifiedImageError as error:
        with warnings.catch_warnings(action="ignore"):  # of odd tags
            return _unknown_to_pillow(path, max_pixels, error)


def picture_of(image: Image.Image) -> Picture:
    """Take the pixels of a Pillow image, turned as its EXIF data says."""
    with warnings.catch_warnings(action="ignore"):  # of odd EXIF
        return Picture(*_upright(image))


def _upright(file: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode with Pillow: values and opacity."""
    raw = _number_type(file)  # before the file is decoded, which closes it
    inverted = getattr(file, "tag_v2", {}).get(_PHOTOMETRIC) == _INVERTED
    image = ImageOps.exif_transpose(file)
    if raw is not None:
        values = np.asarray(image)
        values = values.astype(raw, copy=False) if raw.itemsize == 2 else values.view(raw)
        return (~values if inverted and raw == np.uint16 else values), None
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3]
    return np.array(image.convert("RGB")), None


def _number_type(image: Image.Image) -> np.dtype | None:
    """Type of the values of a picture of one channel with more than 8 bits, or signed; None: it has neither.

    Raises:
        OSError: Pillow would decode it wrongly.
    """
    if image.mode.startswith("I;16"):
        return np.dtype(np.uint16)
    tags = getattr(image, "tag_v2", None)
    if image.mode == "L" and tags is not None and _kind(tags) == _SIGNED:
        return np.dtype(np.int8)
    if image.mode not in ("I", "F"):
        return None
    if tags is None:
        return np.dtype(np.uint16 if image.format == "PNG" else np.float32 if image.mode == "F" else np.int32)
    if tags.prefix == b"MM" and any(tile[0] == "libtiff" for tile in getattr(image, "tile", ())):
        raise OSError("its numbers are compressed in big-endian order; save it in little-endian order")
    kind = "f" if image.mode == "F" else "i" if _kind(tags) == _SIGNED else "u"
    return np.dtype(f"{kind}{_bits(tags)[0] // 8}")


def _wide(file: Image.Image, path: Path, max_pixels: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Decode a picture of several 16-bit channels, which Pillow would reduce; None: Pillow serves.

    Raises:
        OSError: it is damaged, or a TIFF that FFmpeg would decode wrongly.
    """
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        return _wide_tiff(path, file.tag_v2, max_pixels)
    if file.format != "PNG":
        return None
    with path.open("rb") as stream:
        header = stream.read(26)
    pixels = _PNG_COLOURS.get(header[25]) if header[24:25] == b"\x10" else None
    if pixels is None:
        return None
    return _with_opacity(_decoded(path, "png_pipe", pixels, file.getexif().get(_TURN, 1), max_pixels))


def _wide_tiff(path: Path, tags: Tags, max_pixels: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Decode a TIFF of several 16-bit or float channels: values and opacity; None: it has others.

    CMYK becomes RGB as Pillow makes it of 8 bits. Colours multiplied by their opacity are those on black.

    Raises:
        OSError: it is damaged, or FFmpeg would decode it wrongly.
    """
    pixels = _TIFF_COLOURS.get((int(tags.get(_PHOTOMETRIC, 0)), _bits(tags), _kind(tags)))
    if pixels is None:
        return None
    odd = tags.prefix == b"MM" or tags.get(_PLANAR) == 2 or tags.get(_PREDICTOR, 1) != 1
    if _TILE_WIDTH in tags or (odd and _kind(tags) == _FLOAT) or _is_big(path):
        raise _not_read(path, tags)
    values = _decoded(path, "tiff_pipe", pixels, int(tags.get(_TURN, 1)), max_pixels)
    if tags[_PHOTOMETRIC] == _CMYK and values[..., 3].min() < 65535:  # else FFmpeg has converted it, and it is opaque
        left = 65535 - values.astype(np.uint32)
        return (left[..., :3] * left[..., 3:] // 65535).astype(np.uint16), None
    if tags.get(_EXTRA_SAMPLES, (_OPACITY,))[0] in (_NO_OPACITY, _MULTIPLIED):
        return values[..., :3], None
    return _with_opacity(values)


def _unknown_to_pillow(path: Path, max_pixels: int, error: OSError) -> Picture:
    """Decode a TIFF of float RGB, or of 16-bit grey with opacity.

    Raises:
        OSError: it is something else, or damaged.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            tags = Tags(start + stream.read(8) if start[2:4] in _BIG else start)
            stream.seek(tags.next)
            tags.load(stream)
        width, height = int(tags[256]), int(tags[257])
    except Exception as unreadable:  # it is no TIFF, or a damaged one
        raise OSError("its format is not known") from unreadable
    check_pixels(path, (height, width), max_pixels)
    try:
        decoded = _wide_tiff(path, tags, max_pixels)
        if decoded is None:
            raise _not_read(path, tags) from error
    except OSError:
        raise
    except Exception as damaged:  # PyAV raises half a dozen types
        raise OSError(str(damaged)) from damaged
    return Picture(*decoded)


def _bits(tags: Tags) -> tuple[int, ...]:
    """Bits of the channels of a TIFF."""
    return tuple(tags.get(_BITS, (1,)))


def _kind(tags: Tags) -> int:
    """Kind of the numbers of a TIFF."""
    return int(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0])


def _is_big(path: Path) -> bool:
    """Tell whether a TIFF has offsets of 64 bits."""
    with path.open("rb") as stream:
        return stream.read(4)[2:] in _BIG


def _not_read(path: Path, tags: Tags) -> OSError:
    """Make the error for a TIFF that neither Pillow nor FFmpeg decodes rightly."""
    bits, numbers = _bits(tags), {_SIGNED: "signed numbers", _FLOAT: "floats"}.get(_kind(tags), "numbers")
    marks = {
        "big-endian": tags.prefix == b"MM",
        "in tiles": _TILE_WIDTH in tags,
        "in planes": tags.get(_PLANAR) == 2,
        "with a predictor": tags.get(_PREDICTOR, 1) != 1,
        "with 0 as white": tags.get(_PHOTOMETRIC) == _INVERTED,
        "in CIELab": tags.get(_PHOTOMETRIC) == _LAB,
    }
    told = "".join(f", {mark}" for mark, holds in marks.items() if holds)
    return OSError(
        f"{'BigTIFF' if _is_big(path) else 'TIFF'} of {len(bits)} channel{'s' * (len(bits) > 1)}, {numbers} of "
        f"{bits[0]} bits{told}, is not decoded; save it as PNG of 8 or 16 bits"
    )


def _decoded(path: Path, demuxer: str, pixels: str, turn: int, max_pixels: int) -> np.ndarray:
    """Decode with FFmpeg: values (H, W, 3 or 4) uint16 or float32, upright.

    Args:
        path: the file.
        demuxer: FFmpeg's name of it.
        pixels: FFmpeg's pixel format to decode to.
        turn: orientation as EXIF numbers it.
        max_pixels: FFmpeg refuses larger pictures, whatever the header said.

    Raises:
        OSError: it is damaged.
    """
    with av.open(f"file:{path}", format=demuxer, metadata_errors="replace") as container:
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
    return np.ascontiguousarray(values)


def _with_opacity(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Part (H, W, 3 or 4) values into colours and opacity, (H, W) uint8."""
    return values[..., :3], (values[..., 3] >> 8).astype(np.uint8) if values.shape[2] == 4 else None
