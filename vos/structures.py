"""The data that the parts of the package hand to each other, from frame to result.

Shape letters: H, W frame pixels; h, w patch grid; N objects; P points; M masks per object
(3 scales or 1); C channels; K prior maps. Sizes are (H, W), points (x, y), boxes
(x0, y0, x1, y1). Boxes are *inclusive*: x1, y1 is the last pixel inside.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .arrays import array_of, bool_mask, checked_rgb, inside_of_soft, numbers_of, points_of, value_counts
from .errors import InputError
from .geometry import Geometry
from .grey_masks import MIDDLE, NEAR_BLACK, NEAR_WHITE, meaning_of
from .windows import Windows, cut, cut_patches

if TYPE_CHECKING:
    from supervision import Detections

_log = logging.getLogger(__name__)

MAX_OBJECT_ID = 255
"""Largest object id: ids are 1 to 255, the values that an indexed PNG can hold beside the background."""


@dataclass(frozen=True)
class Frame:
    """One upright video frame.

    Attributes:
        index: position in the sequence of delivered frames, from 0.
        time_s: presentation time in seconds from the start of the video.
        rgb: (H, W, 3) uint8; the array that was given, so that a buffer that is filled anew must be copied before.
        name: name of its own file without suffix, by which outputs are named; None: it has no file of its own.
        suffix: suffix of that file, with its dot.

    Raises:
        InputError: ``rgb`` is no such array.
    """

    index: int
    time_s: float
    rgb: np.ndarray
    name: str | None = None
    suffix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rgb", checked_rgb(self.rgb, f"frame {self.index}: rgb"))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def __repr__(self) -> str:
        height, width = self.size
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Frame(index={self.index}, time_s={self.time_s:.3f}, {width} x {height}{name})"


@dataclass(frozen=True)
class FirstMask:
    """The objects to follow, as given on one frame.

    Attributes:
        labels: (H, W) uint8, 0 background, else the object id.
        object_ids: ascending ids present in ``labels``; empty only where references say what the objects are.
    """

    labels: np.ndarray
    object_ids: tuple[int, ...]

    def masks(self) -> np.ndarray:
        """Split the labels into one mask per object, (N, H, W) bool, in the order of ``object_ids``."""
        return self.labels[None] == np.asarray(self.object_ids, dtype=np.uint8)[:, None, None]


@dataclass(frozen=True)
class ImageEmbedding:
    """Output of a segmenter's encoder.

    Attributes:
        values: (1, C, h, w) float; of windows, (N, C, h', w').
        geometry: converts between the whole grid and the frame.
        fine: finer levels that only the segmenter's own decoder reads, patch by patch: (1, h * w, …).
        windows: part of the grid that ``values`` and ``fine`` show of each of N objects; None: all of it.
        coarse: features that tell one thing from another, coarser than ``values``, (1, C', h', w'), or None.
    """

    values: Tensor
    geometry: Geometry
    fine: tuple[Tensor, ...] = ()
    windows: Windows | None = None
    coarse: Tensor | None = None

    def within(self, windows: Windows | None) -> ImageEmbedding:
        """Cut the embedding to windows, without its coarse features; None leaves it whole."""
        if windows is None:
            return self
        fine = tuple(cut_patches(level, windows) for level in self.fine)
        return ImageEmbedding(cut(self.values, windows), self.geometry, fine, windows)


@dataclass(frozen=True)
class PatchFeatures:
    """L2-normalised features of a prior encoder.

    Attributes:
        values: (1, C, h, w) float; of windows, (N, C, h', w').
        geometry: converts between the whole grid and the frame.
        windows: part of the grid that ``values`` show of each of N objects; None: all of it.
    """

    values: Tensor
    geometry: Geometry
    windows: Windows | None = None

    def within(self, windows: Windows | None) -> PatchFeatures:
        """Cut the features to windows; None leaves them whole."""
        return PatchFeatures(cut(self.values, windows), self.geometry, windows)

    def inside(self) -> Tensor:
        """Mark the patches whose centre lies on the frame rather than on padding, (1 or N, h, w) bool."""
        inside = self.geometry.inside().to(self.values.device)
        return cut(inside[None, None], self.windows)[:, 0]

    def places(self) -> Tensor:
        """Compute the centres of all patches in frame pixels, (1 or N, 2, h, w) xy."""
        height, width = self.geometry.grid
        lines, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([columns, lines], dim=-1).to(self.values)
        return cut(self.geometry.cells_to_frame(cells).permute(2, 0, 1)[None], self.windows)

    def cells_to_frame(self, cells: Tensor) -> Tensor:
        """Compute the centres of patches (N, P, 2) xy in frame pixels."""
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
        prior_maps: (N, K, h, w) float from :func:`vos.method.matching.prior_maps`, or None; only for
            segmenters with ``wants_prior_maps``.
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
    """Records what a tracker based its decision on, for the pictures of ``--debug``.

    Attributes:
        confidence: S of eq. 6, (N, h, w) in [-1, 1], on ``prior_geometry``; -1 where an object was not looked for.
        prior_geometry: geometry of the prior encoder's grid.
        prompts: prompts of the first decoding.
        masks: output of the first decoding, for all of the segmenter's input.
        weights: scale weights of eq. 11, (N, 3), or None.
        geometry: of ``masks``; None: that of the tracker's answer.
    """

    confidence: Tensor
    prior_geometry: Geometry
    prompts: Prompts
    masks: Masks
    weights: Tensor | None = None
    geometry: Geometry | None = None


@dataclass(frozen=True)
class Tracked:
    """A tracker's answer for one frame, before objects are merged.

    Attributes:
        logits: (N, a, b) float, positive inside, one row per object id.
        scores: (N,) float, confidence in [0, 1].
        geometry: brings ``logits`` to the frame; None if they are at frame size already.
        explanation: for the debug pictures; None if the tracker has none to give.
    """

    logits: Tensor
    scores: Tensor
    geometry: Geometry | None = None
    explanation: Explanation | None = field(default=None, repr=False)

    def full_size(self) -> Tensor:
        """Bring the logits to frame size, (N, H, W) float."""
        return self.logits if self.geometry is None else self.geometry.upsample(self.logits)


@dataclass(frozen=True)
class Result:
    """The objects of one frame after merging.

    Attributes:
        frame: the frame itself.
        object_ids: the first mask's own numbers; row i of every array is of ``object_ids[i]``.
        labels: (H, W) uint8, 0 background, else the object id.
        boxes: (N, 4) int32, inclusive; all -1 for an object that is absent.
        areas: (N,) int64 pixels; 0 for an object that is absent.
        scores: (N,) float32, the tracker's confidence in [0, 1].
        tracked: the logits before merging; None where masks were given or restored: on the first frame, and after
            :meth:`vos.Session.correct`, ``add_object``, ``gone`` and ``restore``.
        opacity: soft edges of all objects together, (H, W) uint8; only of a result read back from disk.
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

        They are plus or minus infinity for all objects where ``tracked`` is None, as on the first frame.
        """
        if self.tracked is None:
            inside = self.labels[None] == np.asarray(self.object_ids)[:, None, None]
            return np.where(inside, np.float32(np.inf), np.float32(-np.inf))
        with torch.inference_mode():
            return self.tracked.full_size().float().cpu().numpy()

    def to_supervision(self) -> Detections:
        """Convert the objects that are present to ``supervision.Detections``.

        The right and lower edges of the boxes lie one behind the last pixel, as usual there. ``tracker_id``
        is the object's number, ``class_id`` is 0.

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


def first_mask_from_array(labels: object) -> FirstMask:
    """Make a first mask of an array.

    Args:
        labels: (H, W), an array, a tensor or a Pillow image. Bool: one object, number 1. Floats in [0, 1]: a soft
            matte, one object where it is 0.5 or more. Integers: 0 background, 1 to 255 objects, whose numbers are kept;
            but 0 and 255 alone are one object, number 1, and so is black and white with compressed or soft edges, which
            is logged.

    Raises:
        InputError: the shape or type is wrong, a number is out of range, or there is no object.
    """
    labels = array_of(labels)
    if labels.ndim != 2 or labels.size == 0:
        raise InputError(f"first mask: the shape must be (H, W), not {labels.shape}")
    if np.issubdtype(labels.dtype, np.floating):
        labels = inside_of_soft(labels, "first mask")
    if labels.dtype != np.bool_ and not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"first mask: the type must be bool, integer or float, not {labels.dtype}")
    values = np.unique(labels)
    check_object_count("first mask", int(np.count_nonzero(values)))
    if values[0] < 0 or values[-1] > MAX_OBJECT_ID:
        wrong = values[0] if values[0] < 0 else values[-1]
        raise InputError(f"first mask: object ids are 1 to {MAX_OBJECT_ID}, not {wrong}")
    if values[-1] == 0:
        raise InputError("first mask: it is empty, every pixel is background")
    checked = _without_white(labels.astype(np.uint8), values)
    return FirstMask(checked, object_ids_of(checked))


def _without_white(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Turn black and white into one object, number 1; leave numbers of objects as they are.

    Args:
        labels: (H, W) uint8.
        values: the different values among them, ascending.

    Raises:
        InputError: black and white have soft edges that are no certain object.
    """
    if set(values.tolist()) <= {0, 255}:
        return (labels == 255).astype(np.uint8)
    if len(values) < 3 or values[0] > NEAR_BLACK or values[-1] < NEAR_WHITE:
        return labels
    meaning = meaning_of(labels)
    if meaning == "numbers":
        return labels
    if meaning == "unclear":
        raise InputError(
            f"first mask: {len(values)} values with soft edges or compression between them, which are no certain"
            " objects; give it as bool, such as mask >= 128"
        )
    _log.warning(
        "first mask: black and white with soft or compressed edges (%d values), so it is one object, cut in the middle",
        len(values),
    )
    return (labels >= MIDDLE).astype(np.uint8)


@dataclass(frozen=True)
class Hint:
    """Tells where one object is, for a segmenter to make its mask.

    Attributes:
        box: x0, y0, x1, y1 in frame pixels, inclusive; None: there are points alone.
        points: x, y in frame pixels, and True inside the object, False outside.
        mask: (H, W), about right, which the points correct; see :func:`vos.arrays.bool_mask`. None: there is none yet.

    Raises:
        InputError: one of them has another form.
    """

    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, bool], ...] = ()
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.box is not None:
            object.__setattr__(self, "box", numbers_of(self.box, 4, "hint: a box is four numbers, (x0, y0, x1, y1)"))
        object.__setattr__(self, "points", points_of(self.points))
        if self.mask is not None:
            object.__setattr__(self, "mask", bool_mask(self.mask, "hint: its mask"))


def alpha(result: Result) -> np.ndarray:
    """Compute the opacity of all objects together, (H, W) uint8; soft at edges where the tracker gave logits.

    It agrees with the labels: pixels of an object are at least half opaque, others at most.
    """
    if result.opacity is not None:
        return result.opacity
    inside = result.labels > 0
    if result.tracked is None or not len(result.object_ids):
        return inside.astype(np.uint8) * np.uint8(255)
    largest = result.logits.max(axis=0)
    soft = 255 / (1 + np.exp(-np.clip(largest, -20, 20)))
    soft[soft < 4] = 0  # a haze that the eye does not see, but a key would
    soft[soft > 251] = 255
    return np.where(inside, np.maximum(soft, 128), np.minimum(soft, 127)).astype(np.uint8)


def object_ids_of(labels: np.ndarray) -> tuple[int, ...]:
    """List the object ids in labels (H, W) uint8, in ascending order."""
    return tuple(int(value) for value in np.flatnonzero(value_counts(labels)) if value)


def check_object_count(name: str, count: int) -> None:
    """Raise an InputError, which begins with ``name``, for more objects than can be followed."""
    if count > MAX_OBJECT_ID:
        raise InputError(f"{name}: {count} objects, but at most {MAX_OBJECT_ID} can be followed")
