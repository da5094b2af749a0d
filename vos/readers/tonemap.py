"""Maps HDR video (PQ of ST 2084, or HLG; BT.2020) to 8-bit SDR in BT.709; used by :mod:`.pixels`.

1. PQ or HLG is turned into light in nits; HLG for a display of 1000 nits (BT.2100).
2. The brightest of R, G and B is mapped from the video's peak to 203 nits, the white of SDR, by the curve of
   BT.2390 (its "EETF"). Nothing changes up to about 90 nits; highlights are rolled off and keep their hue.
   The peak is that of the mastering display, if the video states it, else 1000 nits.
3. The primaries are converted from BT.2020 to BT.709, and colours outside of BT.709 are clipped.
4. The gamma of BT.1886 is applied.

All steps together are one table of 33 x 33 x 33 colours, which FFmpeg's ``lut3d`` interpolates.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from .filters import filter_graph

PQ, HLG = 16, 18
"""FFmpeg's numbers of the two transfer characteristics."""

HDR_TRANSFERS = (PQ, HLG)
"""Transfer characteristics that are tone-mapped."""

WHITE = 203.0
"""White of SDR in nits, BT.2408."""

DEFAULT_PEAK = 1000.0
"""Peak in nits of a video that does not state its own."""

_NODES = 33
"""Steps of each channel in the colour table."""

_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
"""Constants of PQ, ST 2084."""

_HLG_A = 0.17883277
_HLG_B = 1 - 4 * _HLG_A
_HLG_C = 0.5 - _HLG_A * np.log(4 * _HLG_A)
"""Constants a, b and c of HLG, BT.2100."""

_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
"""Luminance of BT.2020's primaries R, G and B."""

_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Matrix from linear RGB in BT.2020 to BT.709."""


class ToneMap:
    """Maps the frames of one video; the table is made for the first, and anew where size or peak changes."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple[int, int, int, float] | None = None

    def apply(self, frame: VideoFrame, mastering: bytes | None) -> VideoFrame:
        """Map a frame to SDR, planar RGB of 16 bits.

        Args:
            frame: with PQ or HLG transfer.
            mastering: its side data ``AVMasteringDisplayMetadata``, as FFmpeg has it, or None.
        """
        rgb = frame.reformat(format="gbrp16le", dst_color_range="JPEG")
        peak = mastering_peak(mastering) if frame.color_trc == PQ else DEFAULT_PEAK
        kind = (frame.width, frame.height, frame.color_trc, peak)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = _graph(rgb, colour_table(frame.color_trc, peak)), kind
        self._graph.vpush(rgb)
        return self._graph.vpull()


def mastering_peak(mastering: bytes | None) -> float:
    """Read the peak of the mastering display in nits; the default if none is stated, never below SDR's white."""
    if mastering is None or len(mastering) < 88:
        return DEFAULT_PEAK
    numerator, denominator, _, has_luminance = struct.unpack_from("=iiii", mastering, 72)
    if not has_luminance or denominator <= 0 or numerator <= 0:
        return DEFAULT_PEAK
    return float(np.clip(numerator / denominator, WHITE, 10_000))


def colour_table(transfer: int, peak: float) -> np.ndarray:
    """Compute the table of SDR colours, (33, 33, 33, 3) float in [0, 1], indexed by HDR's R, G and B.

    Args:
        transfer: ``PQ`` or ``HLG``.
        peak: of the video, in nits.
    """
    steps = np.linspace(0, 1, _NODES)
    signal = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    nits = pq_to_nits(signal) if transfer == PQ else _hlg_to_nits(signal)
    brightest = nits.max(axis=-1, keepdims=True)
    nits = nits * _rolled_off(brightest, peak) / np.maximum(brightest, 1e-9)
    return np.clip(nits / WHITE @ _TO_BT709.T, 0, 1) ** (1 / 2.4)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """Apply the EOTF of ST 2084: signal in [0, 1] to light in nits."""
    power = np.power(signal, 1 / _M2)
    return 10_000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """Invert :func:`pq_to_nits`."""
    power = np.power(np.clip(nits, 0, 10_000) / 10_000, _M1)
    return np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)


def _hlg_to_nits(signal: np.ndarray) -> np.ndarray:
    """Apply HLG's EOTF for a peak of 1000 nits, at which the system gamma is 1.2."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    return 1000 * scene * np.maximum(scene @ _LUMINANCE, 1e-9)[..., None] ** 0.2


def _rolled_off(nits: np.ndarray, peak: float) -> np.ndarray:
    """Apply BT.2390's EETF: map 0 to ``peak`` nits onto 0 to ``WHITE``."""
    top = nits_to_pq(np.array(peak))
    value, white = np.minimum(nits_to_pq(nits) / top, 1), nits_to_pq(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    t = np.clip((value - knee) / max(1 - knee, 1e-9), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return pq_to_nits(np.where(value < knee, value, spline) * top)


def _graph(frame: VideoFrame, table: np.ndarray) -> Graph:
    """Set up FFmpeg's ``lut3d`` with a table, which it accepts as a file only."""
    with tempfile.TemporaryDirectory(prefix="vos-track-") as folder:
        cube = Path(folder) / "tonemap.cube"
        with cube.open("w", encoding="ascii") as file:
            file.write(f"LUT_3D_SIZE {_NODES}\n")
            np.savetxt(file, table.transpose(2, 1, 0, 3).reshape(-1, 3), fmt="%.5f")  # red runs fastest
        return filter_graph(frame, "lut3d", file=str(cube), interp="tetrahedral")
