"""Reads the labels of one mask file: the one reader of first masks, later masks, and the truth and results of scoring.

``docs/masks.md`` has the table of what a mask may be. A mask is read as a person sees it, or refused in one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..arrays import value_counts
from ..errors import InputError, parameter
from ..grey_masks import MIDDLE, NEAR_BLACK, NEAR_WHITE, forms_areas, has_soft_edges, meaning_of, to_8_bits
from ..palette import davis_palette
from ..structures import MAX_OBJECT_ID, object_ids_of
from .colours import SAME_COLOUR, flat_colours, number_colours, numbers_note, unpack
from .limits import MAX_PIXELS
from .mask_files import MaskPicture, open_mask

_VOID = 255
"""Index of pixels that belong to nothing, as in DAVIS 2017 and PASCAL VOC."""

WHITES = (_VOID, 65535)
"""Grey values, of 8 and 16 bits, that are white rather than the number of an object."""

_WHITE = 0xFFFFFF
"""The colour white."""

_BACKGROUND = 32
"""Brightest channel of a palette's first colour up to which it is the background."""

_DRAWN_SHARE = 0.6
"""Least share of a cut-out's pixels that show a flat colour to the bit where flat colours were drawn."""

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
        colours: numbers of the colours, 0xRRGGBB, where these were numbered.
        grey: the one grey value beside black, of the file's only object; None: the file shows something else.
        coloured: whether the file was read by its colours, also those of the DAVIS palette.
    """

    values: np.ndarray
    object_ids: tuple[int, ...]
    void: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    kind: Kind = "numbers"
    colours: Mapping[int, int] = field(default_factory=dict)
    grey: int | None = None
    coloured: bool = False


def read_labels(
    path: Path | str, *, threshold: int | None = None, max_pixels: int = MAX_PIXELS, like: Labels | None = None
) -> Labels:
    """Read the labels of one file.

    Args:
        path: a PNG file, or a JPEG file in black and white or with flat colours.
        threshold: 1 to 255; pixels at least as bright are one object, whatever the file shows. In a cut-out, pixels
            that are at least as opaque.
        max_pixels: larger files are refused before they are decoded.
        like: labels of another file of the same sequence. Where that file has numbers, one grey value beside black is
            a number too, unless it is white. Its colours keep their numbers, and where it tells objects apart by
            colour, grey in a colour image is the colour of one, but white only if that file shows it.

    Raises:
        InputError: the file cannot be read or understood.
    """
    path = Path(path)
    if threshold is not None and not 1 <= threshold <= 255:
        raise InputError(f"{parameter('threshold')} {threshold}: must be 1 to 255")
    picture = open_mask(path, max_pixels)
    reading = _Reading(path, picture.is_jpeg, like)
    if threshold is not None:
        return _one_object(_brightness(picture) >= threshold)
    if picture.palette is not None:
        return reading.indexed(picture)
    return reading.shown(picture.values, picture.alpha)


def number_among(path: Path, labels: Labels, known: Sequence[int], are_numbers: bool) -> Labels:
    """Give the only object of a file the number that it has among the objects of other files of the sequence.

    One grey value beside black is that number, unless it is white and no object is called so. All else, such as white
    or a cut-out, is the one object that the others show.

    Args:
        path: of the file, for messages.
        labels: of the file; they are returned as they are if they tell objects apart or show none.
        known: numbers of the objects in the other files; none: they tell no objects apart either.
        are_numbers: whether the other files hold numbers rather than colours.

    Raises:
        InputError: the others show several objects, and nothing says which of them this is.
    """
    if labels.kind != "one object" or not labels.object_ids or not known:
        return labels
    number = labels.grey if are_numbers else None
    if number is None or (number in WHITES and number not in known):
        if len(known) > 1:
            raise InputError(
                f"{path}: one object in a single colour, but the other masks have several; save it with the number or"
                " the colour that the object has there"
            )
        number = known[0]
    values = (labels.values > 0) * np.array(number, np.uint16 if number > MAX_OBJECT_ID else np.uint8)
    return replace(labels, values=values, object_ids=(number,), kind="numbers" if are_numbers else "colours")


def _one_object(inside: np.ndarray, *notes: str) -> Labels:
    """Make labels of one object, number 1, from (H, W) bool."""
    return Labels(inside.astype(np.uint8), (1,) if inside.any() else (), notes=notes, kind="one object")


def _brightness(picture: MaskPicture) -> np.ndarray:
    """Return what a threshold applies to, (H, W) uint8: the opacity of a cut-out, else the brightest channel."""
    if picture.alpha is not None and picture.alpha.min() < picture.alpha.max():
        return picture.alpha
    values = picture.values if picture.palette is None else picture.palette[picture.values]
    return to_8_bits(values if values.ndim == 2 else values.max(axis=2))


def _spread(colours: np.ndarray) -> int:
    """Return the largest difference between the channels of one of the colours (..., 3) uint8."""
    return int((colours.max(axis=-1) - colours.min(axis=-1)).max())


@dataclass(frozen=True)
class _Reading:
    """Turns the pixels of one file into labels.

    Attributes:
        path: of the file, for messages.
        is_jpeg: whether it is a JPEG file, whose numbers cannot be trusted.
        like: labels of another file of the same sequence, if any.
    """

    path: Path
    is_jpeg: bool
    like: Labels | None

    def indexed(self, picture: MaskPicture) -> Labels:
        """Read an indexed image: by its indices, or by the colours that it shows where these cannot be numbers."""
        indices, palette = picture.values, picture.palette
        assert palette is not None
        used = np.flatnonzero(value_counts(indices))
        colours = palette[used]
        if picture.alpha is not None and not np.array_equal(picture.alpha == 0, indices == 0):
            return self.shown(palette[indices], picture.alpha)
        if len(used) > 2 and _spread(colours) <= SAME_COLOUR:
            grey = palette.max(axis=1)[indices]
            if grey.min() <= NEAR_BLACK and grey.max() >= NEAR_WHITE and len(np.unique(colours.max(axis=1))) > 2:
                meaning = meaning_of(grey)
                if meaning != "numbers":
                    return self._black_and_white(grey) if meaning == "one object" else self._unclear(len(used))
        if palette[0].max() > _BACKGROUND and np.any(colours.max(axis=1) <= _BACKGROUND):
            labels = self.shown(palette[indices], picture.alpha)
            note = f"{self.path}: its palette does not begin with the background, so it is read by its colours"
            return replace(labels, notes=(note, *labels.notes))
        is_davis = np.array_equal(colours, davis_palette()[used])
        if not is_davis and len(used) > 2 and (has_soft_edges(indices) or not forms_areas(indices)):
            return self.shown(palette[indices], picture.alpha)
        return self._numbers(indices, void=True)

    def shown(self, values: np.ndarray, alpha: np.ndarray | None) -> Labels:
        """Read grey values (H, W) or colours (H, W, 3), perhaps with opacity (H, W) uint8."""
        if alpha is not None and alpha.max() == 0:
            return _one_object(alpha > 0)
        if alpha is not None and alpha.min() < alpha.max():
            return self._see_through(values, alpha)
        if values.ndim == 2:
            return self._grey(values)
        if np.all(values == values[..., :1]) and not self._is_coloured(values):
            return self._grey(np.ascontiguousarray(values[..., 0]))
        if _spread(values) <= SAME_COLOUR and not self._is_coloured(values):
            grey = values.max(axis=2)
            if len(np.unique(grey)) > 2 and meaning_of(grey) == "one object":
                return self._black_and_white(grey)
        return self._colours(values)

    def _see_through(self, values: np.ndarray, alpha: np.ndarray) -> Labels:
        """Read pixels with opacity: flat colours on a transparent background, or a cut-out, which is its opacity."""
        inside = alpha >= (int(alpha.min()) + int(alpha.max())) / 2
        notes = []
        if np.count_nonzero(value_counts(alpha)) > 2:
            notes.append(f"{self.path}: its transparency is soft, and is cut in the middle; {self._another()}")
        seen = values[inside]
        if np.all(values == values[0, 0]) or not seen.any() or (values.ndim == 2 and np.all(seen == seen[0])):
            return _one_object(inside, *notes)
        opaque = np.where(inside if values.ndim == 2 else inside[..., None], values, values.dtype.type(0))
        if self._is_flat(opaque, inside):
            labels = self.shown(opaque, None)
            return replace(labels, notes=(*notes, *labels.notes))
        return _one_object(inside, f"{self.path}: a cut-out, so its opaque part is one object", *notes[1:])

    @staticmethod
    def _is_flat(values: np.ndarray, inside: np.ndarray) -> bool:
        """Tell whether grey values (H, W) or colours (H, W, 3) are flat where they are opaque, (H, W) bool.

        Of flat colours with soft edges most pixels show one of them; a picture has a few such pixels at most.
        """
        if values.ndim == 3:
            try:
                colours, places, snapped = flat_colours(Path(), values)
            except InputError:
                return False
            if not snapped:
                return True
            shown = unpack(colours)[places]
            same = inside & shown.any(axis=2) & (shown == values).all(axis=2)
            return bool(np.count_nonzero(same) >= _DRAWN_SHARE * np.count_nonzero(inside))
        return int(np.count_nonzero(value_counts(values))) <= 2 or meaning_of(values) == "numbers"

    def _grey(self, values: np.ndarray) -> Labels:
        """Read grey values (H, W): two are one object; more are numbers, or black and white with soft edges."""
        levels = np.flatnonzero(value_counts(values))
        low, high = int(levels[0]), int(levels[-1])
        if len(levels) == 2 and (not self.is_jpeg or (low <= NEAR_BLACK and high >= NEAR_WHITE)):
            is_number = self._has_numbers(high) and low == 0 and not self.is_jpeg
            labels = self._numbers(values, void=False) if is_number else _one_object(values == high)
            return replace(labels, grey=high) if low == 0 and not self.is_jpeg else labels
        meaning = meaning_of(values) if len(levels) > 2 else "numbers"
        if meaning == "one object":
            return self._black_and_white(values)
        if self.is_jpeg and high:
            raise InputError(
                f"{self.path}: a JPEG image that is not black and white; its compression changes the values, so save"
                f" the mask as a lossless PNG, or {self._cut()}"
            )
        return self._unclear(len(levels)) if meaning == "unclear" else self._numbers(values, void=False)

    def _has_numbers(self, value: int) -> bool:
        """Tell whether a grey value beside black is a number, as in another file of the sequence."""
        like = self.like
        return like is not None and like.kind == "numbers" and (value in like.object_ids or value not in WHITES)

    def _is_coloured(self, rgb: np.ndarray) -> bool:
        """Tell whether grey is the colour of an object, as others in the sequence are; white must be known as one."""
        like = self.like
        if like is None or not like.coloured or len(like.object_ids) < 2:
            return False
        return _WHITE in like.colours or rgb.max() < 255

    def _black_and_white(self, values: np.ndarray) -> Labels:
        """Cut grey values (H, W) in the middle."""
        count = np.count_nonzero(value_counts(values))
        note = (
            f"{self.path}: black and white with soft or compressed edges ({count} grey values), so it is one object,"
            f" cut in the middle; {self._another()}"
        )
        return _one_object(to_8_bits(values) >= MIDDLE, note)

    def _unclear(self, count: int) -> Labels:
        raise InputError(
            f"{self.path}: {count} values with soft edges or compression between them, which are no certain objects;"
            f" {self._cut()}, or save it as an indexed PNG without soft edges"
        )

    @staticmethod
    def _cut() -> str:
        return f"cut it into object and background with {parameter('threshold', 128)}"

    @staticmethod
    def _another() -> str:
        return f"{parameter('threshold')} cuts it elsewhere"

    def _numbers(self, values: np.ndarray, *, void: bool) -> Labels:
        """Take values (H, W) as object numbers; with ``void``, 255 beside other objects is void."""
        if np.count_nonzero(value_counts(values)) > 2 and has_soft_edges(values):
            return self._unclear(int(np.count_nonzero(value_counts(values))))
        return self._numbered(values, void=void)

    @staticmethod
    def _numbered(values: np.ndarray, *, void: bool) -> Labels:
        present = object_ids_of(values)
        if present == (_VOID,):
            return _one_object(values == _VOID)
        if void and _VOID in present:
            is_void = values == _VOID
            values = np.where(is_void, 0, values).astype(np.uint8)
            return Labels(values, object_ids_of(values), is_void)
        return Labels(values.astype(np.uint16 if present and present[-1] > 255 else np.uint8), present)

    def _colours(self, rgb: np.ndarray) -> Labels:
        """Number flat colours (H, W, 3) uint8."""
        known = self.like.colours if self.like is not None else None
        colours, places, snapped = flat_colours(self.path, rgb)
        numbers, is_davis = number_colours(self.path, colours, snapped, known)
        values = np.array([numbers[int(colour)] for colour in colours], dtype=np.uint8)[places]
        notes = []
        if snapped:
            notes.append(f"{self.path}: its soft or compressed edges are taken for the nearest of its flat colours")
        if is_davis:
            labels = self._numbered(values, void=True) if snapped else self._numbers(values, void=True)
            return replace(labels, notes=tuple(notes), coloured=True)
        if len(colours) > 2:
            notes.append(numbers_note(self.path, numbers))
        kind: Kind = "colours" if len(colours) > 2 or known else "one object"
        return Labels(values, object_ids_of(values), None, tuple(notes), kind, numbers, coloured=True)
