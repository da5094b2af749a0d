"""Brings pictures of any depth to 8 bits, all of a run in one way that their first picture decides.

Used by the readers of image folders and of pictures handed over in Python. Videos of more than 8 bits are
reduced by :mod:`.pixels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError

_BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Depths that whole numbers are taken to have: the smallest that holds the first picture's largest value."""

_SIGNED_BIT_DEPTHS = (15, 31)
"""Depths of the largest signed numbers of 16 and 32 bits."""

_LEAST_SHARE = 1 / 4
"""Share of a bit depth below which the span of the first picture's values counts as little."""

_LEAST_UNIT_SHARE = 1 / 16
"""Share of 0 to 1 below which the span of floats counts as little."""

_ROWS = 64
"""Lines of pixels that are scaled at once, so that the floats in between stay small."""


@dataclass(frozen=True)
class Depth:
    """How the values of all pictures of a run become 0 to 255.

    Attributes:
        dtype: type of the values.
        low: value that becomes 0, as does all below it.
        high: value that becomes 255, as does all above it.
        full: whether this is the whole range of the type, so that pictures of 8 bits fit in as they are.
    """

    dtype: np.dtype
    low: float
    high: float
    full: bool

    def to_8_bits(self, values: np.ndarray) -> np.ndarray:
        """Scale values of any shape (H, ...) to uint8; what is no number becomes 0."""
        if values.dtype == np.uint16:
            return self._table[values]
        scaled = np.empty(values.shape, np.uint8)
        for start in range(0, len(values), _ROWS):
            scaled[start : start + _ROWS] = self._scaled(values[start : start + _ROWS])
        return scaled

    def clipped_share(self, values: np.ndarray) -> float:
        """Share of the values that lie above the range."""
        return float(np.count_nonzero(values > self.high)) / max(1, values.size)

    def describe(self) -> str:
        """Say what is done, for a line to the user."""
        return f"{_name(self.dtype)}, of which {self.low:g} to {self.high:g} become 0 to 255"

    @cached_property
    def _table(self) -> np.ndarray:
        """Results of all 16-bit values, (65536,) uint8."""
        return self._scaled(np.arange(1 << 16))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        numbers = np.nan_to_num(values.astype(np.float64), nan=self.low, posinf=self.high, neginf=self.low)
        numbers = np.clip(numbers, self.low, self.high) - self.low
        steps = self.high + 1
        depths = _BIT_DEPTHS + _SIGNED_BIT_DEPTHS
        if self.low == 0 and self.dtype.kind != "f" and steps in [2.0**bits for bits in depths]:
            return np.floor(numbers * 256 / steps).astype(np.uint8)  # the upper 8 bits
        return np.floor(numbers * 255 / (self.high - self.low) + 0.5).astype(np.uint8)


def depth_of(values: np.ndarray) -> Depth | None:
    """Decide from a run's first picture how all its pictures are brought to 8 bits; None: they have 8 bits.

    Whole numbers are taken to fill the smallest usual bit depth that holds them. Floats from 0 to 1 are taken to
    fill that range. Where the picture uses little of it, its own range from lowest to highest value is used.

    Args:
        values: (H, W) or (H, W, 3), unsigned, signed or float.
    """
    if values.dtype == np.uint8:
        return None
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if values.dtype.kind == "f" and (high <= 1 or (known != np.floor(known)).any()):
        unit = low >= 0 and high <= 1 and (high - low >= _LEAST_UNIT_SHARE or high == low)
        return Depth(values.dtype, 0.0, 1.0, full=True) if unit else _own_range(values.dtype, low, high)
    bits = 8 * values.dtype.itemsize - (values.dtype.kind == "i")
    if low >= 0 and values.dtype.kind != "f" and _is_widened(known, bits):
        return Depth(values.dtype, 0.0, 2.0**bits - 1, full=True)
    depths = sorted({*_BIT_DEPTHS, min(bits, _BIT_DEPTHS[-1])})
    depth = next((each for each in depths if each <= bits and high < 2**each), None)
    if low < 0 or depth is None:
        return _own_range(values.dtype, low, high)
    top = 2.0**depth - 1
    if high > low and high - low < _LEAST_SHARE * top:
        return _own_range(values.dtype, low, high)
    if high == 0:  # a black picture tells nothing
        depth, top = bits, 2.0**bits - 1
    return Depth(values.dtype, 0.0, top, full=depth == bits)


def eight_bits(values: np.ndarray, depth: Depth | None, name: object) -> np.ndarray:
    """Bring one picture of a run to 8 bits.

    Args:
        values: (H, W) or (H, W, 3).
        depth: that of the run's first picture.
        name: of the picture, for messages.

    Returns:
        The pixels, of the same shape, uint8.

    Raises:
        InputError: its depth does not go with that of the first.
    """
    if depth is not None and values.dtype == depth.dtype:
        return depth.to_8_bits(values)
    if values.dtype == np.uint8 and (depth is None or depth.full):
        return values
    own = depth_of(values)
    if depth is None and own is not None and own.full:
        return own.to_8_bits(values)
    first = "8 bits" if depth is None else depth.describe()
    raise InputError(
        f"{name}: has {_name(values.dtype)}, but the first picture has {first}; bring all pictures to one depth"
    )


def _own_range(dtype: np.dtype, low: float, high: float) -> Depth:
    """Use the range of the first picture; of one value alone, the unit above it."""
    return Depth(dtype, low, high if high > low else low + 1, full=False)


def _is_widened(values: np.ndarray, bits: int) -> bool:
    """Tell whether values are those of 8 bits, shifted or repeated to fill more."""
    if bits <= 8 or not values.any():
        return False
    shifted, repeated = 1 << (bits - 8), (2**bits - 1) // 255
    return not (values % shifted).any() or not (values % repeated).any()


def _name(dtype: np.dtype) -> str:
    kind = {"f": "floats", "i": "signed numbers"}.get(dtype.kind, "numbers")
    return f"{kind} of {8 * dtype.itemsize} bits"
