"""What the parts hand to each other.

Shape letters: H, W frame pixels; h, w patch grid; N objects; P points; M masks per object
(3 scales or 1); C channels; K prior maps. Sizes are (H, W), points (x, y), boxes
(x0, y0, x1, y1). Boxes are *inclusive*: x1, y1 is the last pixel inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .geometry import Geometry
from .windows import Windows, cut, cut_patches

MAX_OBJECT_ID = 255
"""Object ids are 1 to 255: the values an indexed PNG can hold beside the background."""


@dataclass(frozen=True)
class Frame:
    """One upright video frame.

    Attributes:
        index: position in the sequence of delivered frames, from 0.
        time_s: presentation time in seconds from the start of the video.
        rgb: (H, W, 3) uint8.
    """

    index: int
    time_s: float
    rgb: np.ndarray

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise ValueError(f"rgb must be (H, W, 3) uint8, not {self.rgb.shape} {self.rgb.dtype}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def __repr__(self) -> str:
        height, width = self.size
        return f"Frame(index={self.index}, time_s={self.time_s:.3f}, {width} x {height})"


@dataclass(frozen=True)
class FirstMask:
    """The objects to follow, as given on one frame.

    Attributes:
        labels: (H, W) uint8, 0 background, else the object id.
        object_ids: ascending ids present in ``labels``; never empty.
    """

    labels: np.ndarray
    object_ids: tuple[int, ...]

    def masks(self) -> np.ndarray:
        """One mask per object, (N, H, W) bool, in the order of ``object_ids``."""
        return self.labels[None] == np.asarray(self.object_ids, dtype=np.uint8)[:, None, None]


@dataclass(frozen=True)
class ImageEmbedding:
    """Output of a segmenter's encoder.

    Attributes:
        values: (1, C, h, w) float; of windows, (N, C, h', w').
        geometry: how its grid, the whole of it, maps to the frame.
        fine: finer levels that only the segmenter's own decoder reads, patch by patch: (1, h * w, …).
        windows: which part of the grid ``values`` and ``fine`` show of each of N objects; None: all of it.
    """

    values: Tensor
    geometry: Geometry
    fine: tuple[Tensor, ...] = ()
    windows: Windows | None = None

    def within(self, windows: Windows | None) -> ImageEmbedding:
        """What it shows in windows."""
        fine = tuple(cut_patches(level, windows) for level in self.fine)
        return ImageEmbedding(cut(self.values, windows), self.geometry, fine, windows)


@dataclass(frozen=True)
class PatchFeatures:
    """L2-normalised features of a prior encoder.

    Attributes:
        values: (1, C, h, w) float; of windows, (N, C, h', w').
        geometry: how its grid, the whole of it, maps to the frame.
        windows: which part of the grid ``values`` show of each of N objects; None: all of it.
    """

    values: Tensor
    geometry: Geometry
    windows: Windows | None = None

    def within(self, windows: Windows | None) -> PatchFeatures:
        """What they show in windows."""
        return PatchFeatures(cut(self.values, windows), self.geometry, windows)

    def inside(self) -> Tensor:
        """Which patches have their centre on the frame rather than on padding, (1 or N, h, w) bool."""
        inside = self.geometry.inside().to(self.values.device)
        return cut(inside[None, None], self.windows)[:, 0]

    def cells_to_frame(self, cells: Tensor) -> Tensor:
        """Centres of patches (N, P, 2) xy in frame pixels."""
        if self.windows is not None:
            cells = cells + self.windows.starts(cells.device)[:, None]
        return self.geometry.cells_to_frame(cells)


@dataclass(frozen=True)
class Prompts:
    """Prompts for N objects, in frame pixels.

    Attributes:
        points: (N, P, 2) float xy.
        point_labels: (N, P) int: 1 positive, 0 negative, -1 padding.
        boxes: (N, 4) float, or None.
        mask_logits: (N, 1, 4h, 4w) float low-res logits of an earlier decoding, or None.
        prior_maps: (N, K, h, w) float, or None; only for segmenters with ``wants_prior_maps``: those of
            :func:`vos.method.matching.matching_maps`, then how clearly each patch is on the object's side rather than on
            that of its surroundings, by the first frame and by all frames.
    """

    points: Tensor
    point_labels: Tensor
    boxes: Tensor | None = None
    mask_logits: Tensor | None = None
    prior_maps: Tensor | None = None


@dataclass(frozen=True)
class Masks:
    """Output of a mask decoder for N objects.

    Attributes:
        low_res_logits: (N, M, 4h, 4w) float, positive inside.
        scores: (N, M) float, predicted IoU.
    """

    low_res_logits: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Explanation:
    """What a tracker's decision was made of, for pictures of it; tensors as they were used.

    Attributes:
        confidence: S of eq. 6, (N, h, w) in [-1, 1], on ``prior_geometry``; -1 where an object was not looked for.
        prior_geometry: of the prior encoder's grid.
        prompts: of the first decoding.
        masks: what it gave, for all of the segmenter's input.
        weights: scale weights of eq. 11, (N, 3), or None.
    """

    confidence: Tensor
    prior_geometry: Geometry
    prompts: Prompts
    masks: Masks
    weights: Tensor | None = None


@dataclass(frozen=True)
class Tracked:
    """What a tracker says of one frame, before objects are merged.

    Attributes:
        logits: (N, a, b) float, positive inside, one row per object id.
        scores: (N,) float, confidence in [0, 1].
        geometry: how ``logits`` map to the frame; None if they are at frame size already.
        explanation: for ``--debug``; None if the tracker has none to give.
    """

    logits: Tensor
    scores: Tensor
    geometry: Geometry | None = None
    explanation: Explanation | None = field(default=None, repr=False)

    def full_size(self) -> Tensor:
        """Logits at frame size, (N, H, W) float."""
        return self.logits if self.geometry is None else self.geometry.upsample(self.logits)


@dataclass(frozen=True)
class Result:
    """The objects of one frame after merging.

    Attributes:
        frame: the frame itself.
        object_ids: the first mask's own numbers; row i of every array is ``object_ids[i]``.
        labels: (H, W) uint8, 0 background, else the object id.
        boxes: (N, 4) int32, inclusive; all -1 for an object that is absent.
        areas: (N,) int64 pixels; 0 for an object that is absent.
        scores: (N,) float32, the tracker's confidence in [0, 1].
        tracked: the logits before merging; None for the first frame, whose mask was given.
        opacity: soft edges of all objects together, (H, W) uint8, of a result read back from disk.
    """

    frame: Frame
    object_ids: tuple[int, ...]
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    tracked: Tracked | None = field(default=None, repr=False)
    opacity: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def logits(self) -> np.ndarray:
        """Logits of each object at frame size, (N, H, W) float32, up-sampled on first use.

        For the first frame, whose mask was given: plus or minus infinity.
        """
        if self.tracked is None:
            inside = self.labels[None] == np.asarray(self.object_ids)[:, None, None]
            return np.where(inside, np.float32(np.inf), np.float32(-np.inf))
        with torch.inference_mode():
            return self.tracked.full_size().float().cpu().numpy()

    def to_supervision(self):
        """The objects that are present as ``supervision.Detections``.

        Boxes are ``supervision``'s, whose right and lower edges lie behind the last pixel; ``tracker_id``
        is the object's number, ``class_id`` 0.

        Raises:
            InputError: the package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise InputError("to_supervision() needs the package supervision: pip install supervision") from error
        present = self.areas > 0
        ids = np.asarray(self.object_ids, dtype=int)[present]
        return supervision.Detections(
            xyxy=(self.boxes[present] + np.array([0, 0, 1, 1])).astype(np.float32).reshape(-1, 4),
            mask=self.labels[None] == ids[:, None, None],
            confidence=self.scores[present],
            class_id=np.zeros(len(ids), dtype=int),
            tracker_id=ids,
        )

    def __repr__(self) -> str:
        present = [i for i, area in zip(self.object_ids, self.areas, strict=True) if area]
        return f"Result({self.frame!r}, present={present} of {list(self.object_ids)})"


def first_mask_from_array(labels: np.ndarray) -> FirstMask:
    """Check an array of labels; numbers are taken as they are, 255 included.

    Args:
        labels: (H, W) bool for one object (number 1), or integers: 0 background, 1 to 255 objects.

    Raises:
        InputError: wrong shape or type, numbers out of range, or no object.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.size == 0:
        raise InputError(f"first mask: the shape must be (H, W), not {labels.shape}")
    if labels.dtype != np.bool_ and not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"first mask: the type must be bool or integer, not {labels.dtype}")
    values = np.unique(labels)
    check_object_count("first mask", int(np.count_nonzero(values)))
    if values[0] < 0 or values[-1] > MAX_OBJECT_ID:
        wrong = values[0] if values[0] < 0 else values[-1]
        raise InputError(f"first mask: object ids are 1 to {MAX_OBJECT_ID}, not {wrong}")
    if values[-1] == 0:
        raise InputError("first mask: it is empty, every pixel is background")
    checked = labels.astype(np.uint8)
    return FirstMask(checked, object_ids_of(checked))


@dataclass(frozen=True)
class Hint:
    """Where one object is.

    Attributes:
        box: x0, y0, x1, y1 in frame pixels, inclusive; None: points alone.
        points: x, y and whether the object is there.
        mask: (H, W) bool, a mask of it that is about right and that the points correct.
    """

    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, bool], ...] = ()
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)


def alpha(result: Result) -> np.ndarray:
    """Opacity of all objects together, (H, W) uint8; soft at the edges where the tracker gave logits.

    What the labels say is never contradicted: pixels of an object are at least half opaque, others
    at most.
    """
    if result.opacity is not None:
        return result.opacity
    inside = result.labels > 0
    if result.tracked is None or not len(result.object_ids):
        return inside.astype(np.uint8) * np.uint8(255)
    largest = result.logits.max(axis=0)
    soft = 255 / (1 + np.exp(-np.clip(largest, -20, 20)))
    soft[soft < 4] = 0  # a haze that the eye does not see and that a key would
    soft[soft > 251] = 255
    return np.where(inside, np.maximum(soft, 128), np.minimum(soft, 127)).astype(np.uint8)


def object_ids_of(labels: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in np.flatnonzero(value_counts(labels)) if value)


def value_counts(values: np.ndarray) -> np.ndarray:
    """How often each number occurs, (largest + 1,) int64; in blocks, as each is widened to int64."""
    flat, size = values.ravel(), int(values.max()) + 1
    blocks = (flat[start : start + 2**20] for start in range(0, len(flat), 2**20))
    return sum(np.bincount(block, minlength=size) for block in blocks)


def check_object_count(name: str, count: int) -> None:
    if count > MAX_OBJECT_ID:
        raise InputError(f"{name}: {count} objects, but at most {MAX_OBJECT_ID} can be followed")
