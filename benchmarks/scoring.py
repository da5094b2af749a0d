"""DAVIS scores: region J, boundary F, and their mean, recall and decay.

The definitions are those of the official evaluation (Perazzi et al. 2016, Pont-Tuset et al. 2017):
objects are scored one by one, the first and the last frame are left out, pixels marked void in the
truth count for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError

VOID = 255
"""Label of pixels that DAVIS 2017 leaves open; in DAVIS 2016 it is the object."""

BOUNDARY_TOLERANCE = 0.008
"""How far a boundary may be off, as a share of the frame's diagonal."""

DECAY_BINS = 4


@dataclass(frozen=True)
class Statistics:
    """Of one measure over the scored frames: mean, share of frames above 0.5, first quarter less last."""

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: np.ndarray) -> Statistics:
        """Statistics of per-frame values (T,)."""
        edges = np.round(np.linspace(1, len(values), DECAY_BINS + 1) + 1e-10).astype(int) - 1
        quarters = [values[low : high + 1] for low, high in zip(edges, edges[1:], strict=False)]
        decay = quarters[0].mean() - quarters[-1].mean()
        return cls(float(values.mean()), float((values > 0.5).mean()), float(decay))


@dataclass(frozen=True)
class ObjectScore:
    """One object of one sequence.

    Attributes:
        sequence: its name.
        object_id: the object's number in the truth.
        frames: names of the scored frames.
        region: J of each, (T,) float.
        boundary: F of each, (T,) float.
    """

    sequence: str
    object_id: int
    frames: tuple[str, ...]
    region: np.ndarray
    boundary: np.ndarray

    @property
    def name(self) -> str:
        """As the official tables name it."""
        return f"{self.sequence}_{self.object_id}"

    @cached_property
    def j(self) -> Statistics:
        """Statistics of the region measure."""
        return Statistics.of(self.region)

    @cached_property
    def f(self) -> Statistics:
        """Statistics of the boundary measure."""
        return Statistics.of(self.boundary)


def global_scores(scores: Iterable[ObjectScore]) -> dict[str, float]:
    """Means over all objects, under the official column names."""
    scores = list(scores)
    columns = {
        f"{letter.upper()}-{field.title()}": float(
            np.mean([getattr(getattr(score, letter), field) for score in scores])
        )
        for letter in "jf"
        for field in ("mean", "recall", "decay")
    }
    return {"J&F-Mean": (columns["J-Mean"] + columns["F-Mean"]) / 2} | columns


def region(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """J: intersection over union of two masks (H, W) bool; 1 when both are empty."""
    if void is not None:
        predicted, truth = predicted & ~void, truth & ~void
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def boundary(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """F: harmonic mean of precision and recall of the boundaries of two masks (H, W) bool."""
    if void is not None:
        predicted, truth = predicted & ~void, truth & ~void
    radius = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    ours, theirs = _edges(predicted), _edges(truth)
    counts = np.count_nonzero(ours), np.count_nonzero(theirs)
    if not all(counts):
        return 1.0 if not any(counts) else 0.0
    window = _window(ours | theirs, radius)
    ours, theirs = ours[window], theirs[window]
    precision = np.count_nonzero(ours & dilate(theirs, radius)) / counts[0]
    recall = np.count_nonzero(theirs & dilate(ours, radius)) / counts[1]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _edges(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower-right neighbour, (H, W) bool."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The part of the frame that holds all of a mask, with a margin."""
    spans = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(max(0, places[0] - margin), places[-1] + margin + 1))
    return spans[0], spans[1]


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilation of a mask (H, W) bool by a disc of so many pixels, one run for each of its rows."""
    height, width = mask.shape
    sums = np.pad(np.cumsum(mask, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    columns = np.arange(width)
    result = np.zeros_like(mask)
    for half in sorted({math.isqrt(radius**2 - dy**2) for dy in range(radius + 1)}):
        run = sums[:, np.minimum(columns + half + 1, width)] > sums[:, np.maximum(columns - half, 0)]
        for dy in (dy for dy in range(-radius, radius + 1) if math.isqrt(radius**2 - dy**2) == half):
            if abs(dy) < height:
                result[max(0, dy) : height + min(0, dy)] |= run[max(0, -dy) : height + min(0, -dy)]
    return result


class SequenceScorer:
    """Scores one sequence as its results come.

    Args:
        truth: folder of annotations.
        year: 2016, every non-zero pixel of the truth is the object, or 2017, indexed with void.
        max_frames: score as if the sequence ended there.

    Raises:
        InputError: there are fewer than three annotations, or none holds an object.
    """

    def __init__(self, truth: Path, year: int, max_frames: int | None = None):
        self.truth = truth
        self.year = year
        self.paths = sorted(truth.glob("*.png"))[:max_frames]
        if len(self.paths) < 3:
            raise InputError(
                f"{truth}: {len(self.paths)} annotations to score; the first and the last frame are left out"
            )
        self.objects = _objects(self.paths, year)
        self._rows: dict[int, list[tuple[float, float]]] = {}

    def add(self, index: int, predicted: np.ndarray, source: object = "the result") -> None:
        """Score a frame; the first and the last are passed over.

        Args:
            index: of the frame in the sequence.
            predicted: labels (H, W) uint8.
            source: where they come from, for the message.

        Raises:
            InputError: another size than the truth, or an object that the truth has not.
        """
        if not 0 < index < len(self.paths) - 1:
            return
        labels, void = _read_truth(self.paths[index], self.year)
        if predicted.shape != labels.shape:
            raise InputError(f"{source}: the mask is {predicted.shape} but the annotation {labels.shape} (H, W)")
        if self.year == 2016:
            predicted = predicted > 0
        extra = sorted(set(np.unique(predicted).tolist()) - {0, *self.objects})
        if extra:
            raise InputError(f"{source}: object {extra[0]} is not in {self.truth}, which has {self.objects}")
        pairs = [(predicted == object_id, labels == object_id) for object_id in self.objects]
        self._rows[index] = [(region(ours, theirs, void), boundary(ours, theirs, void)) for ours, theirs in pairs]

    def scores(self) -> list[ObjectScore]:
        """One score for each object of the truth."""
        values = np.array([self._rows[index] for index in range(1, len(self.paths) - 1)])  # (T, N, 2)
        frames = tuple(path.stem for path in self.paths[1:-1])
        return [
            ObjectScore(self.truth.name, object_id, frames, values[:, row, 0], values[:, row, 1])
            for row, object_id in enumerate(self.objects)
        ]


def score_sequence(truth: Path, results: Path, year: int) -> list[ObjectScore]:
    """Score the masks of one sequence, see :class:`SequenceScorer`.

    Args:
        truth: folder of annotations.
        results: folder of indexed masks under the same names; the first and the last are not read.
        year: 2016 or 2017.

    Raises:
        InputError: a mask is missing or unreadable, or does not fit the truth.
    """
    scorer = SequenceScorer(truth, year)
    for index, path in enumerate(scorer.paths[1:-1], start=1):
        mask = results / path.name
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask; every frame of the sequence needs one")
        scorer.add(index, _read(mask), mask)
    return scorer.scores()


def _objects(paths: list[Path], year: int) -> list[int]:
    """Numbers of the objects that a sequence's annotations hold, from 1 without gaps."""
    if year == 2016:
        return [1]
    largest = max(int(_read_truth(path, year)[0].max()) for path in paths)
    if not largest:
        raise InputError(f"{paths[0].parent}: no annotation holds an object")
    return list(range(1, largest + 1))


def _read_truth(path: Path, year: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels (H, W) uint8 and void pixels (H, W) bool, or None where there is none."""
    labels = _read(path)
    if year == 2016:
        return (labels > 0).astype(np.uint8), None
    void = labels == VOID
    return (np.where(void, 0, labels), void) if void.any() else (labels, None)


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable image") from error
    if labels.ndim == 3:
        labels = labels.max(axis=2)
    return labels.astype(np.uint8)


def scores_by_sequence(scores: Iterable[ObjectScore]) -> Mapping[str, list[ObjectScore]]:
    """The same, grouped by sequence in their order."""
    grouped: dict[str, list[ObjectScore]] = {}
    for score in scores:
        grouped.setdefault(score.sequence, []).append(score)
    return grouped
