"""HDR video (PQ of ST 2084, or HLG; BT.2020) to 8-bit SDR in BT.709.

PQ and HLG become light in nits (HLG for a display of 1000 nits, BT.2100). The brightest of R, G and
B is mapped from the video's peak to 203 nits, the white of SDR, by the curve of BT.2390 (its
"EETF"): up to about 90 nits nothing changes, highlights are rolled off and keep their hue. The
primaries then turn from BT.2020 to BT.709, colours outside of it clip, and gamma is that of BT.1886.
The peak is what the mastering display is stated to have, else 1000 nits.

All of it is one table of 33 x 33 x 33 colours, which FFmpeg's ``lut3d`` interpolates.
"""

from __future__ import annotations

import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

PQ, HLG = 16, 18
HDR_TRANSFERS = (PQ, HLG)
"""FFmpeg's numbers of the transfer characteristics that are tone-mapped."""

WHITE = 203.0
"""Nits of SDR's white, BT.2408."""

DEFAULT_PEAK = 1000.0
"""Nits, where the video does not state its own."""

_NODES = 33
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # ST 2084
_HLG_A = 0.17883277
_HLG_B = 1 - 4 * _HLG_A
_HLG_C = 0.5 - _HLG_A * np.log(4 * _HLG_A)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020's primaries
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


class ToneMap:
    """Maps the frames of one video; the table is made for the first one."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple | None = None

    def apply(self, frame: VideoFrame, mastering: bytes | None) -> VideoFrame:
        """The frame in SDR, planar RGB.

        Args:
            frame: with PQ or HLG transfer.
            mastering: FFmpeg's ``AVMasteringDisplayMetadata`` of it, or None.
        """
        rgb = frame.reformat(format="gbrp16le", dst_color_range="JPEG")
        peak = mastering_peak(mastering) if frame.color_trc == PQ else DEFAULT_PEAK
        kind = (frame.width, frame.height, frame.color_trc, peak)
        if kind != self._kind:
            self._graph, self._kind = _graph(rgb, colour_table(frame.color_trc, peak)), kind
        self._graph.vpush(rgb)
        return self._graph.vpull()


def mastering_peak(mastering: bytes | None) -> float:
    """Stated peak of the mastering display in nits, or the default; never below SDR's white."""
    if mastering is None or len(mastering) < 88:
        return DEFAULT_PEAK
    numerator, denominator, _, has_luminance = struct.unpack_from("=iiii", mastering, 72)
    if not has_luminance or denominator <= 0 or numerator <= 0:
        return DEFAULT_PEAK
    return float(np.clip(numerator / denominator, WHITE, 10_000))


def colour_table(transfer: int, peak: float) -> np.ndarray:
    """What each HDR colour becomes: (33, 33, 33, 3) float in [0, 1], indexed by R, G, B."""
    steps = np.linspace(0, 1, _NODES)
    signal = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    nits = pq_to_nits(signal) if transfer == PQ else _hlg_to_nits(signal)
    brightest = nits.max(axis=-1, keepdims=True)
    nits = nits * _rolled_off(brightest, peak) / np.maximum(brightest, 1e-9)
    return np.clip(nits / WHITE @ _TO_BT709.T, 0, 1) ** (1 / 2.4)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """ST 2084's EOTF."""
    power = np.power(signal, 1 / _M2)
    return 10_000 * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """Its inverse."""
    power = np.power(np.clip(nits, 0, 10_000) / 10_000, _M1)
    return np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)


def _hlg_to_nits(signal: np.ndarray) -> np.ndarray:
    """HLG's EOTF for a peak of 1000 nits, whose system gamma is 1.2."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    return 1000 * scene * np.maximum(scene @ _LUMINANCE, 1e-9)[..., None] ** 0.2


def _rolled_off(nits: np.ndarray, peak: float) -> np.ndarray:
    """BT.2390's EETF: 0 to ``peak`` nits onto 0 to ``WHITE``."""
    top = nits_to_pq(np.array(peak))
    value, white = np.minimum(nits_to_pq(nits) / top, 1), nits_to_pq(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    t = np.clip((value - knee) / max(1 - knee, 1e-9), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return pq_to_nits(np.where(value < knee, value, spline) * top)


def _graph(frame: VideoFrame, table: np.ndarray) -> Graph:
    """FFmpeg's ``lut3d`` with a table; it takes tables from files only."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    with tempfile.TemporaryDirectory(prefix="vos-track-") as folder:
        cube = Path(folder) / "tonemap.cube"
        with cube.open("w", encoding="ascii") as file:
            file.write(f"LUT_3D_SIZE {_NODES}\n")
            np.savetxt(file, table.transpose(2, 1, 0, 3).reshape(-1, 3), fmt="%.5f")  # red runs fastest
        lut = graph.add("lut3d", file=str(cube), interp="tetrahedral")
    graph.link_nodes(source, lut, graph.add("buffersink")).configure()
    return graph
