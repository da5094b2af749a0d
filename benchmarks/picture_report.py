"""``report.html`` of the benchmarks on single pictures: tables, and the worst pictures of each object or class."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import atomic_path, output_errors
from .report import STYLE, figure, painted, table

WORST = 3
"""Number of pictures shown of each object or class."""


@dataclass
class Worst:
    """The worst pictures of an object or class so far.

    Attributes:
        most: number of them.
    """

    most: int = WORST
    _figures: list[tuple[float, int, str]] = field(default_factory=list)
    _seen: int = 0

    def add(self, name: str, rgb: np.ndarray, truth: np.ndarray, predicted: np.ndarray, iou: float) -> None:
        """Keep a picture if it is among the worst.

        Args:
            name: of the picture.
            rgb: (H, W, 3) uint8.
            truth: (H, W) bool.
            predicted: (H, W) bool.
            iou: the smaller, the worse.
        """
        self._seen += 1
        if len(self._figures) == self.most and -iou <= self._figures[0][0]:
            return
        pair = [painted(Image.fromarray(rgb), mask.astype(np.uint8)) for mask in (truth, predicted)]
        shown = figure(np.hstack(pair), f"{name}, IoU {iou:.2f}: truth, prediction")
        keep = heapq.heappush if len(self._figures) < self.most else heapq.heappushpop
        keep(self._figures, (-iou, -self._seen, shown))

    def html(self) -> str:
        """The pictures, the worst first."""
        return "".join(shown for _, _, shown in sorted(self._figures, reverse=True))


def write_picture_report(
    path: Path,
    title: str,
    note: str,
    tables: Sequence[Sequence[Mapping[str, object]]],
    worst: Mapping[str, Worst],
) -> None:
    """Write the report.

    Args:
        path: the file.
        title: title of the page.
        note: a sentence on how was measured.
        tables: records of each table; the columns are the keys of the first.
        worst: pictures to show, by the heading above them.

    Raises:
        OutputError: it cannot be written.
    """
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1><p>{escape(note)}",
        *(
            table(list(records[0]), [[_cell(value) for value in record.values()] for record in records])
            for records in tables
        ),
    ]
    for name, pictures in worst.items():
        parts += [f"<h2>{escape(name)}</h2>", pictures.html()]
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
