"""DAVIS scores: region J, boundary F, and their mean, recall and decay.

The definitions are those of the official evaluation (Perazzi et al. 2016, Pont-Tuset et al. 2017):
objects are scored one by one, the first and the last frame are left out, and pixels marked void in
the truth are ignored. Used by all benchmarks that measure quality.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import InputError
from .dataset import read_labels

VOID = 255
"""Label of the pixels that DAVIS 2017 does not decide on; in DAVIS 2016 it marks the object."""

BOUNDARY_TOLERANCE = 0.008
"""Largest distance between two boundaries that match, as a share of the frame's diagonal."""

DECAY_BINS = 4
"""Parts of a sequence; the decay compares the first with the last."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of one measure over the scored frames.

    Attributes:
        mean: mean over the frames.
        recall: share of the frames above 0.5.
        decay: mean of the first quarter minus mean of the last.
    """

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: np.ndarray) -> Statistics:
        """Compute the statistics of per-frame values (T,)."""
        edges = np.round(np.linspace(1, len(values), DECAY_BINS + 1) + 1e-10).astype(int) - 1
        quarters = [values[low : high + 1] for low, high in pairwise(edges)]
        decay = quarters[0].mean() - quarters[-1].mean()
        return cls(float(values.mean()), float((values > 0.5).mean()), float(decay))


@dataclass(frozen=True)
class ObjectScore:
    """Scores of one object in one sequence.

    Attributes:
        sequence: name of the sequence.
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
        """Name in the official tables."""
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
    """Average over all objects, under the official column names."""
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
    """Region measure J: intersection over union of two masks, 1 when both are empty.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels to ignore.
    """
    if void is not None:
        predicted, truth = predicted & ~void, truth & ~void
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else 1.0


def boundary(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> float:
    """Boundary measure F: harmonic mean of precision and recall of the boundary pixels of two masks.

    A boundary pixel is right if the other boundary comes within ``BOUNDARY_TOLERANCE`` of it.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels to ignore.
    """
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
    """Mark the pixels that differ from their right, lower or lower-right neighbour, (H, W) bool."""
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1] |= mask[:-1] ^ mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def _window(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Bounding window of a mask that is not empty, with a margin, within the frame."""
    spans = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(max(0, places[0] - margin), places[-1] + margin + 1))
    return spans[0], spans[1]


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a mask (H, W) bool by a disc, its radius in pixels.

    A distance transform does this in a fraction of the time of ``ndimage.binary_dilation``.
    """
    if not mask.any():  # no pixel to measure the distance to
        return np.zeros_like(mask)
    return ndimage.distance_transform_edt(~mask) <= radius


class SequenceScorer:
    """Scores one sequence frame by frame, as its results come in.

    Args:
        truth: folder of annotations.
        year: 2016: every non-zero pixel of the truth is the object; 2017: indexed, with void.
        max_frames: score as if the sequence ended after so many frames.

    Raises:
        InputError: there are fewer than three annotations, or none holds an object.
    """

    def __init__(self, truth: Path, year: int, max_frames: int | None = None) -> None:
        self.truth = truth
        self.year = year
        self.paths = sorted(truth.glob("*.png"))[:max_frames]
        if len(self.paths) < 3:
            raise InputError(
                f"{truth}: {len(self.paths)} annotations to score; the first and the last frame are left out"
            )
        self.objects = _objects(self.paths, year)
        self._scores: dict[int, list[tuple[float, float]]] = {}  # by frame: J and F of each object

    def add(self, index: int, predicted: np.ndarray, source: object = "the result") -> None:
        """Score a frame; ignore it if it is the first or the last.

        Args:
            index: index of the frame in the sequence.
            predicted: labels (H, W) uint8.
            source: origin of the labels, for error messages.

        Raises:
            InputError: the size differs from the truth's, or the truth lacks a predicted object.
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
        self._scores[index] = [(region(ours, theirs, void), boundary(ours, theirs, void)) for ours, theirs in pairs]

    def scores(self) -> list[ObjectScore]:
        """Collect the scores of each object of the truth, once all frames are added."""
        by_frame = np.array([self._scores[index] for index in range(1, len(self.paths) - 1)])  # (T, N, 2)
        frames = tuple(path.stem for path in self.paths[1:-1])
        return [
            ObjectScore(self.truth.name, object_id, frames, by_frame[:, row, 0], by_frame[:, row, 1])
            for row, object_id in enumerate(self.objects)
        ]


def score_sequence(truth: Path, results: Path, year: int) -> list[ObjectScore]:
    """Score the saved masks of one sequence, see :class:`SequenceScorer`.

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
        scorer.add(index, read_labels(mask), mask)
    return scorer.scores()


def _objects(paths: list[Path], year: int) -> list[int]:
    """Ids of the objects in a sequence's annotations, from 1 without gaps."""
    if year == 2016:
        return [1]
    largest = max(int(_read_truth(path, year)[0].max()) for path in paths)
    if not largest:
        raise InputError(f"{paths[0].parent}: no annotation holds an object")
    return list(range(1, largest + 1))


def _read_truth(path: Path, year: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read labels (H, W) uint8, and void pixels (H, W) bool or None if there are none."""
    labels = read_labels(path)
    if year == 2016:
        return (labels > 0).astype(np.uint8), None
    void = labels == VOID
    return (np.where(void, 0, labels), void) if void.any() else (labels, None)


def scores_by_sequence(scores: Iterable[ObjectScore]) -> Mapping[str, list[ObjectScore]]:
    """Group scores by sequence, in their order."""
    grouped: dict[str, list[ObjectScore]] = {}
    for score in scores:
        grouped.setdefault(score.sequence, []).append(score)
    return grouped
