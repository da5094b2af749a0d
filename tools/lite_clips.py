"""Training clips for ``lite``: short, augmented, with objects pasted across sequences.

Used by ``train_lite.py``. A clip is a reference frame with its labels, and a few later frames. It
depends on (seed, step, position) alone, so that a run can be resumed, repeated and shared among
processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from vos.benchmarks.dataset import Davis

CANVASES = ((288, 512), (384, 384), (512, 288))
"""Sizes (H, W) of a clip's frames, all of about the same area."""

SMALL_CANVASES = ((224, 384), (288, 288), (384, 224))
"""Sizes of the early steps."""

CANVAS_ODDS = (0.7, 0.15, 0.15)
"""Odds of each size."""

SWAPPED = 0.3
"""Odds that red, green and blue are permuted."""


@dataclass(frozen=True)
class ClipOptions:
    """Odds and ranges of the augmentation.

    Attributes:
        later_frames: number of frames after the reference.
        zoom: range of the scale; 1 fits the frame's long side to 512 pixels.
        close: odds of a close view instead, as the tracker's zoom on the last box makes it.
        filled: range of the share of the canvas' width or height that the object's box fills in a
            close view.
        close_zoom: range of the scale of a close view.
        paste: odds that a second object is pasted in.
        paste_same: odds that a pasted object is the clip's own object at another time, mirrored or not:
            a look-alike.
        paste_scenery: odds that a pasted object is a piece of some sequence's scenery. The network then
            learns to follow any thing, not only the few objects of the set.
        paste_coloured: odds that the pasted object's colours are augmented on their own.
        paste_behind: odds that it is pasted behind the clip's own object.
        paste_joined: odds that it becomes part of the clip's own object and moves with it. The network
            then learns to keep all parts of an object, such as a rider's bicycle or a backpack.
        vanish: odds that the last frame shows another sequence, without any target.
    """

    later_frames: int = 4
    zoom: tuple[float, float] = (0.8, 2.2)
    close: float = 0.6
    filled: tuple[float, float] = (0.4, 0.95)
    close_zoom: tuple[float, float] = (0.7, 3.0)
    paste: float = 0.8
    paste_same: float = 0.35
    paste_scenery: float = 0.35
    paste_coloured: float = 0.5
    paste_behind: float = 0.4
    paste_joined: float = 0.35
    vanish: float = 0.06


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


class Clips(Dataset):
    """Clips by step: frames (B, T, H, W, 3) uint8 and labels (B, T, H, W) uint8.

    Args:
        sequences: sequences to draw from.
        steps: number of steps.
        positions: positions of the B clips within a step's batch.
        seed: seed of all draws.
        options: odds and ranges of the augmentation.
        early: number of first steps with small canvases.
    """

    def __init__(
        self, sequences: list[Sequence], steps: int, positions: range, seed: int, options: ClipOptions, early: int = 0
    ) -> None:
        self.sequences = sequences
        self.steps = steps
        self.positions = positions
        self.seed = seed
        self.options = options
        self.early = early

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        cv2.setNumThreads(1)
        canvases = SMALL_CANVASES if step < self.early else CANVASES
        canvas = canvases[np.random.default_rng((self.seed, step)).choice(len(canvases), p=CANVAS_ODDS)]
        clips = [self._clip(np.random.default_rng((self.seed, step, position)), canvas) for position in self.positions]
        return np.stack([frames for frames, _ in clips]), np.stack([labels for _, labels in clips])

    def _clip(self, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        options = self.options
        own = int(rng.integers(len(self.sequences)))
        sequence = self.sequences[own]
        steps = self._steps(rng, sequence)
        zoom = options.zoom
        if rng.random() < options.close:
            zoom = self._close(rng, sequence.masks[steps[0]], canvas)
        warps = _warps(rng, sequence.masks[steps[0]], canvas, zoom, len(steps))
        frames, masks = _warp_all(sequence, steps, warps, canvas)
        labels = masks.astype(np.uint8)
        if rng.random() < options.paste:
            self._paste(rng, self._other(rng, sequence), frames, labels)
        frames = _colour(rng, frames)
        if rng.random() < options.vanish:
            stranger = self.sequences[(own + 1 + int(rng.integers(len(self.sequences) - 1))) % len(self.sequences)]
            frames[-1] = cv2.resize(stranger.frames[int(rng.integers(len(stranger.frames)))], canvas[::-1])
            labels[-1] = 0
        return frames, labels

    def _close(self, rng: np.random.Generator, mask: np.ndarray, canvas: tuple[int, int]) -> tuple[float, float]:
        """Draw the scale of a close view, as a range of one value; the usual range for an empty mask."""
        ys, xs = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        if not len(ys):
            return self.options.zoom
        room = min(canvas[0] / (ys[-1] - ys[0] + 1), canvas[1] / (xs[-1] - xs[0] + 1))
        scale = float(np.clip(rng.uniform(*self.options.filled) * room / _fit(mask.shape), *self.options.close_zoom))
        return scale, scale

    def _steps(self, rng: np.random.Generator, sequence: Sequence) -> list[int]:
        """Draw the indices of the clip's frames: even gaps of 0 to 4, in either direction."""
        later = self.options.later_frames
        gap = int(rng.choice([0, 1, 2, 3, 4], p=[0.07, 0.4, 0.25, 0.16, 0.12]))
        gap = min(gap, (len(sequence.frames) - 1) // later)
        start = int(rng.integers(len(sequence.frames) - gap * later))
        steps = [start + gap * i for i in range(later + 1)]
        return steps[::-1] if rng.random() < 0.5 else steps

    def _other(self, rng: np.random.Generator, own: Sequence) -> Sequence:
        """Draw the sequence whose object is pasted into a clip of ``own``."""
        draw, options = rng.random(), self.options
        if draw < options.paste_same:
            return own
        other = self.sequences[int(rng.integers(len(self.sequences)))]
        return other if draw < 1 - options.paste_scenery else self._scenery(rng, other)

    def _scenery(self, rng: np.random.Generator, sequence: Sequence) -> Sequence:
        """Draw a piece of scenery: one frame, masked by the mirrored mask of some sequence's object."""
        frame = sequence.frames[int(rng.integers(len(sequence.frames)))]
        shapes = self.sequences[int(rng.integers(len(self.sequences)))].masks
        shape = cv2.resize(shapes[int(rng.integers(len(shapes)))], frame.shape[1::-1])
        shape = cv2.flip(shape, int(rng.integers(-1, 2)))
        return Sequence(f"scenery of {sequence.name}", frame[None], shape[None])

    def _paste(self, rng: np.random.Generator, source: Sequence, frames: np.ndarray, labels: np.ndarray) -> None:
        """Paste the moving object of ``source`` into a clip, in place.

        It goes in front of label 1 or behind it, and becomes label 2 or a part of label 1.
        """
        canvas = labels.shape[1:]
        steps = self._steps(rng, source)
        area = max(float((source.masks[steps[0]] > 0).mean()) * source.masks[0].size, 1.0)
        share = np.exp(rng.uniform(np.log(0.02), np.log(0.2))) * canvas[0] * canvas[1]
        zoom = float(np.clip(np.sqrt(share / area), 0.25, 2.5)) / _fit(source.masks[0].shape)
        joined = rng.random() < self.options.paste_joined
        along = _beside(rng, labels) if joined else None
        warps = _warps(rng, source.masks[steps[0]], canvas, (zoom, zoom), len(steps), drift=0.04, along=along)
        pasted, masks = _warp_all(source, steps, warps, canvas)
        if rng.random() < self.options.paste_coloured:
            pasted = _colour(rng, pasted)
        behind = rng.random() < self.options.paste_behind
        for frame, label, new, mask in zip(frames, labels, pasted, masks, strict=True):
            visible = mask & (label == 0) if behind else mask
            alpha = cv2.GaussianBlur(visible.astype(np.float32), (3, 3), 0)[..., None]
            frame[:] = (frame * (1 - alpha) + new * alpha).astype(np.uint8)
            label[visible] = 1 if joined else 2


def _beside(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray | None:
    """Draw a place near label 1 that moves with it: (T, 2) xy, or None if some frame has no label 1."""
    spots = [np.argwhere(label)[:, ::-1] for label in labels]
    if not all(len(spot) for spot in spots):
        return None
    return np.stack([spot.mean(axis=0) for spot in spots]) + rng.normal(0, 1.2, 2) * spots[0].std(axis=0)


def _fit(size: tuple[int, ...]) -> float:
    """Scale that fits the long side of (H, W) to 512 pixels."""
    return 512 / max(size)


def _warps(
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
    scale = np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1]))) * _fit((height, width))
    angle = rng.normal(0, 6)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    goal = rng.uniform(0.25, 0.75, 2) * canvas[::-1]
    velocity = rng.normal(0, drift, 2) * max(canvas)
    warps = []
    for time in range(count):
        goal = goal if along is None else along[time]
        turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2] @ np.diag([flip, 1.0])
        warps.append(np.hstack([turn, (goal - turn @ centre)[:, None]]))
        goal = goal + velocity + rng.normal(0, 0.008, 2) * max(canvas)
        scale *= np.exp(rng.normal(0, 0.015))
        angle += rng.normal(0, 0.8)
    return warps


def _warp_all(
    sequence: Sequence, steps: list[int], warps: list[np.ndarray], canvas: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Warp frames of a sequence: (T, H, W, 3) uint8, and their masks (T, H, W) bool."""
    size = canvas[::-1]
    frames = [
        cv2.warpAffine(sequence.frames[step], warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for step, warp in zip(steps, warps, strict=True)
    ]
    masks = [
        cv2.warpAffine(sequence.masks[step], warp, size, flags=cv2.INTER_LINEAR) > 127
        for step, warp in zip(steps, warps, strict=True)
    ]
    return np.stack(frames), np.stack(masks)


def _colour(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Augment the colours of a clip (T, H, W, 3): the same for all frames, but for a little flicker."""
    if rng.random() < SWAPPED:
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
