"""Moves, bends, colours and blends the frames of training clips for ``lite``.

Used by ``lite_clips.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vos.benchmarks.dataset import Davis

SWAPPED = 0.3
"""Odds that red, green and blue are permuted."""


@dataclass(frozen=True)
class Sequence:
    """A whole sequence in memory.

    Attributes:
        name: name of the sequence.
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) uint8 of 0 and 255, as OpenCV warps them.
    """

    name: str
    frames: np.ndarray
    masks: np.ndarray


def load_sequences(davis: Path, names: list[str]) -> list[Sequence]:
    """Read whole sequences from a tree of DAVIS.

    Raises:
        InputError: a sequence is missing or unreadable.
    """
    sequences = []
    for name in names:
        sequence = Davis(davis, 2016).read(name)
        sequences.append(Sequence(name, sequence.frames, sequence.masks.astype(np.uint8) * np.uint8(255)))
    return sequences


def bent(
    rng: np.random.Generator, frames: np.ndarray, masks: list[np.ndarray], amount: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Bend a clip like a sheet of rubber, a little more in each frame; the first frame stays as it is.

    Args:
        rng: draws the bends.
        frames: (T, H, W, 3) uint8.
        masks: each (T, H, W) bool, bent with them.
        amount: spread of the displacement from frame to frame, as a share of the long side.
    """
    height, width = frames.shape[1:3]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    shift = np.zeros((4, 5, 2), dtype=np.float32)
    for index in range(1, len(frames)):
        shift += rng.normal(0, amount * max(height, width), shift.shape).astype(np.float32)
        places = grid + cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC)
        frames[index] = cv2.remap(frames[index], places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for mask in masks:
            mask[index] = cv2.remap(mask[index].astype(np.uint8), places, None, cv2.INTER_NEAREST) > 0
    return frames, masks


def blend(
    frames: np.ndarray, labels: np.ndarray, pasted: np.ndarray, masks: np.ndarray, object_id: int, behind: bool
) -> None:
    """Put a moving object (T, H, W, 3) with masks (T, H, W) into a clip, in place, before or behind the labelled."""
    for frame, label, new, mask in zip(frames, labels, pasted, masks, strict=True):
        visible = mask & (label == 0) if behind else mask
        alpha = cv2.GaussianBlur(visible.astype(np.float32), (3, 3), 0)[..., None]
        frame[:] = (frame * (1 - alpha) + new * alpha).astype(np.uint8)
        label[visible] = object_id


def beside(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray | None:
    """Draw a place near label 1 that moves with it: (T, 2) xy, or None if some frame has no label 1."""
    spots = [np.argwhere(label)[:, ::-1] for label in labels]
    if not all(len(spot) for spot in spots):
        return None
    return np.stack([spot.mean(axis=0) for spot in spots]) + rng.normal(0, 1.2, 2) * spots[0].std(axis=0)


def fit(size: tuple[int, ...]) -> float:
    """Scale that fits the long side of (H, W) to 512 pixels."""
    return 512 / max(size)


def warps(
    rng: np.random.Generator,
    mask: np.ndarray,
    canvas: tuple[int, ...],
    zoom: tuple[float, float],
    count: int,
    drift: float = 0.015,
    along: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Draw an affine map (2, 3) for each frame: a common view of the object, and a random walk of the camera.

    Args:
        rng: draws the view and the walk.
        mask: the object in the first frame, (H, W) uint8.
        canvas: size (H, W) to map to.
        zoom: range of the scale.
        count: number of frames.
        drift: spread of the camera's velocity, as a share of the canvas.
        along: path (T, 2) xy that the object follows instead of the random walk.
    """
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    centre = np.array([xs.mean(), ys.mean()]) if len(ys) else np.array([width / 2, height / 2])
    scale = np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))) * fit((height, width))
    angle = rng.normal(0, 6)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    goal = rng.uniform(0.25, 0.75, 2) * canvas[::-1]
    velocity = rng.normal(0, drift, 2) * max(canvas)
    views = []
    for time in range(count):
        goal = goal if along is None else along[time]
        turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2] @ np.diag([flip, 1.0])
        views.append(np.hstack([turn, (goal - turn @ centre)[:, None]]))
        goal = goal + velocity + rng.normal(0, 0.008, 2) * max(canvas)
        scale *= np.exp(rng.normal(0, 0.015))
        angle += rng.normal(0, 0.8)
    return views


def warp_all(
    sequence: Sequence, steps: list[int], views: list[np.ndarray], canvas: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Warp frames of a sequence: (T, H, W, 3) uint8, and their masks (T, H, W) bool."""
    size = canvas[::-1]
    frames = [
        cv2.warpAffine(sequence.frames[step], warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for step, warp in zip(steps, views, strict=True)
    ]
    masks = [
        cv2.warpAffine(sequence.masks[step], warp, size, flags=cv2.INTER_LINEAR) > 127
        for step, warp in zip(steps, views, strict=True)
    ]
    return np.stack(frames), np.stack(masks)


def colour(rng: np.random.Generator, frames: np.ndarray, mild: bool = False) -> np.ndarray:
    """Augment the colours of a clip (T, H, W, 3): the same for all frames, but for a little flicker.

    Args:
        rng: draws the colours.
        frames: the clip.
        mild: do not permute red, green and blue.
    """
    if not mild and rng.random() < SWAPPED:
        frames = frames[..., rng.permutation(3)]
    tint = rng.normal(0, 8, 3).astype(np.float32)
    gain, shift = np.exp(rng.normal(0, 0.15)), rng.normal(0, 12)
    saturation = float(np.clip(rng.normal(1, 0.3), 0.0, 1.8))
    blur = float(rng.uniform(0.4, 1.6)) if rng.random() < 0.2 else 0.0
    coloured = np.empty_like(frames)
    for index, frame in enumerate(frames):
        flicker = np.float32(gain * np.exp(rng.normal(0, 0.03)))
        pixels = (frame.astype(np.float32) - 128) * flicker + np.float32(128 + shift) + tint
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + (pixels - grey) * np.float32(saturation)
        if blur:
            pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
        coloured[index] = np.clip(pixels, 0, 255).astype(np.uint8)
    return coloured
