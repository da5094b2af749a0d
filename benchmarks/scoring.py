"""DAVIS scores: region J, boundary F, and their mean, recall and decay.

The definitions are those of the official evaluation (Perazzi et al. 2016, Pont-Tuset et al. 2017):
objects are scored one by one, the first and the last frame are left out, and pixels marked void in
the truth are ignored. ``docs/scoring.md`` says how other sets are scored. Used by all benchmarks that
measure quality.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..errors import InputError
from .annotations import Predictions, Truth, check_objects
from .mask_folder import natural, present_in

_log = logging.getLogger(__name__)

BOUNDARY_TOLERANCE = 0.008
"""Largest distance between two boundaries that match, as a share of the frame's diagonal."""

DECAY_BINS = 4
"""Parts of a sequence; the decay compares the first with the last."""

SHOWN = 3
"""Number of files that a message names."""


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

    Every annotated frame is scored, but the first, whose mask was given, and, if all frames are annotated, the last.
    An object that appears later is scored from the frame after that on.

    Args:
        truth: its annotations.
        frames: names of all frames of the sequence, in their order; None: those that are annotated.

    Attributes:
        names: names of the scored frames.
        sparse: whether some frames are not annotated.
        joining: ids of the objects that appear later.
        unscored: ids of the objects that appear too late to be scored.

    Raises:
        InputError: there is no frame to score, or no annotation holds an object.
    """

    def __init__(self, truth: Truth, frames: Sequence[str] | None = None) -> None:
        self.truth = truth
        frames = list(truth.paths) if frames is None else frames
        annotated = [name for name in frames if name in truth.paths]
        self.sparse = len(annotated) < len(frames)
        self.names = annotated[1:] if self.sparse else annotated[1:-1]
        if not self.names:
            left_out = "the first" if self.sparse else "the first and the last frame"
            raise InputError(f"{truth.folder}: {len(annotated)} annotations to score; {left_out} are left out")
        position = {name: index for index, name in enumerate(frames)}
        self._objects = {
            object_id: [name for name in self.names if position[name] > position[first]]
            for object_id, first in truth.introductions.items()
            if first in position
        }
        self.joining = [object_id for object_id, names in self._objects.items() if 0 < len(names) < len(self.names)]
        self.unscored = [object_id for object_id, names in self._objects.items() if not names]
        if len(self.unscored) == len(self._objects):
            raise InputError(f"{truth.folder}: no frame to score; every object appears in the last that is annotated")
        self._scores: dict[str, dict[int, tuple[float, float]]] = {}  # by frame and object: J and F

    def add(self, name: str, predicted: np.ndarray, source: object = "the result") -> None:
        """Score a frame; ignore it if it is none of those that are scored.

        Args:
            name: name of the frame.
            predicted: labels (H, W) uint8.
            source: origin of the labels, for error messages.

        Raises:
            InputError: the size differs from the truth's, or the truth lacks a predicted object.
        """
        if name not in self.names:
            return
        labels, void = self.truth.read(name)
        if predicted.shape != labels.shape:
            raise InputError(f"{source}: the mask is {predicted.shape} but the annotation {labels.shape} (H, W)")
        if self.truth.year == 2016:
            predicted = predicted > 0
        check_objects(self.truth, present_in(predicted.astype(np.uint8)), source)
        self._scores[name] = {
            object_id: scored(predicted == object_id, labels == object_id, void)
            for object_id, names in self._objects.items()
            if name in names
        }

    def scores(self) -> list[ObjectScore]:
        """Collect the scores of each object of the truth, once all frames are added."""
        found = []
        for object_id, names in self._objects.items():
            if names:
                by_frame = np.array([self._scores[name][object_id] for name in names])  # (T, 2)
                found.append(
                    ObjectScore(self.truth.folder.name, object_id, tuple(names), by_frame[:, 0], by_frame[:, 1])
                )
        return found


def scored(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None) -> tuple[float, float]:
    """Compute J and F of two masks, see :func:`region` and :func:`boundary`."""
    return region(predicted, truth, void), boundary(predicted, truth, void)


def score_sequence(
    truth: Path | Truth, results: Path | Predictions, year: int = 2017, frames: Sequence[str] | None = None
) -> list[ObjectScore]:
    """Score the saved masks of one sequence, see :class:`SequenceScorer`.

    Args:
        truth: its annotations, or their folder.
        results: its result masks, or their folder; those of frames that are not scored are not read.
        year: 2016 or 2017, if ``truth`` is a folder.
        frames: names of all frames of the sequence; None: those that are annotated, or have results between them.

    Raises:
        InputError: a mask is missing or unreadable, or does not fit the truth.
    """
    truth = Truth(truth, year) if isinstance(truth, Path) else truth
    predictions = Predictions(results, truth) if isinstance(results, Path) else results
    frames = frames_of(truth, predictions) if frames is None else frames
    scorer = SequenceScorer(truth, frames)
    for name in scorer.names:
        scorer.add(name, predictions.read(name), predictions.paths.get(name))
    tell(scorer, frames, predictions)
    return scorer.scores()


def tell(scorer: SequenceScorer, frames: Sequence[str], predictions: Predictions) -> None:
    """Log what is unusual about a sequence that was scored.

    Args:
        scorer: scored it.
        frames: names of all frames of the sequence.
        predictions: its results.
    """
    extra = [path.name for name, path in predictions.paths.items() if name not in set(frames)]
    if extra:
        shown = ", ".join(extra[:SHOWN]) + (", ..." if len(extra) > SHOWN else "")
        _log.warning(
            "%s: %d masks of no frame of the sequence are not scored: %s", predictions.folder, len(extra), shown
        )
    if scorer.sparse:
        _log.warning(
            "%s: %d of %d frames are annotated and scored, but for the first",
            scorer.truth.folder,
            len(scorer.truth.paths),
            len(frames),
        )
    if scorer.joining:
        ids = ", ".join(map(str, scorer.joining))
        _log.warning(
            "%s: objects that appear later are scored from the frame after that on: %s", scorer.truth.folder, ids
        )
    if scorer.unscored:
        ids = ", ".join(map(str, scorer.unscored))
        _log.warning("%s: objects that appear too late to be scored: %s", scorer.truth.folder, ids)


def frames_of(truth: Truth, predictions: Predictions) -> list[str]:
    """Names of a sequence's frames as far as its masks tell: the annotated ones, and those with results in between."""
    annotated = list(truth.paths)
    first, last = natural(annotated[0]), natural(annotated[-1])
    between = [name for name in predictions.paths if first < natural(name) < last]
    return sorted({*annotated, *between}, key=natural)


def scores_by_sequence(scores: Iterable[ObjectScore]) -> Mapping[str, list[ObjectScore]]:
    """Group scores by sequence, in their order."""
    grouped: dict[str, list[ObjectScore]] = {}
    for score in scores:
        grouped.setdefault(score.sequence, []).append(score)
    return grouped
