"""Training clips for ``lite``: short, augmented, with objects pasted across sequences.

Used by ``train_lite.py``. A clip is a reference frame with its labels, and a few later frames. It
depends on (seed, step, position) alone, so that a run can be resumed, repeated and shared among
processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from lite_pictures import Pictures
from lite_warps import Sequence, bent, beside, blend, colour, fit, warp_all, warps
from torch.utils.data import Dataset

CANVASES = ((288, 512), (384, 384), (512, 288))
"""Sizes (H, W) of a clip's frames, all of about the same area."""

SMALL_CANVASES = ((224, 384), (288, 288), (384, 224))
"""Sizes of the early steps."""

CANVAS_ODDS = (0.7, 0.15, 0.15)
"""Odds of each size."""


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
        picture: odds, where pictures are given, that a clip is made of one: it moves and bends as a whole.
        cut_out: odds that the object is cut out of a picture and moves through another scene.
        elsewhere: odds that a cut-out is shown in its own picture first, and then in the other scene, where it has
            to be found.
        interrupt: odds that one frame in between shows another scene.
        bend: spread of how far a picture bends from frame to frame, as a share of its long side.
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
    picture: float = 0.3
    cut_out: float = 0.3
    elsewhere: float = 0.4
    interrupt: float = 0.06
    bend: float = 0.006


class Clips(Dataset):
    """Clips by step: frames (B, T, H, W, 3) uint8, labels (B, T, H, W) uint8, and jumps (B,) bool.

    A clip jumps if its second frame shows the object somewhere else, so that its place in the first says nothing.

    Args:
        sequences: sequences to draw from.
        steps: number of steps.
        positions: positions of the B clips within a step's batch.
        seed: seed of all draws.
        options: odds and ranges of the augmentation.
        early: number of first steps with small canvases.
        pictures: photographs that clips are made of, too; None: there are none.
    """

    def __init__(
        self,
        sequences: list[Sequence],
        steps: int,
        positions: range,
        seed: int,
        options: ClipOptions,
        early: int = 0,
        pictures: Pictures | None = None,
    ) -> None:
        self.sequences = sequences
        self.steps = steps
        self.positions = positions
        self.seed = seed
        self.options = options
        self.early = early
        self.pictures = pictures

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cv2.setNumThreads(1)
        canvases = SMALL_CANVASES if step < self.early else CANVASES
        canvas = canvases[np.random.default_rng((self.seed, step)).choice(len(canvases), p=CANVAS_ODDS)]
        clips = [self._clip(np.random.default_rng((self.seed, step, position)), canvas) for position in self.positions]
        frames, labels, jumps = zip(*clips, strict=True)
        return np.stack(frames), np.stack(labels), np.array(jumps)

    def _clip(self, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, bool]:
        """Make a clip of a sequence, or of pictures."""
        if self.pictures is None:
            return *self._clip_of_sequence(rng, canvas), False
        draw, jumps = rng.random(), False
        if draw < self.options.picture:
            frames, labels = self._clip_of_picture(rng, canvas)
        elif draw < self.options.picture + self.options.cut_out:
            frames, labels, jumps = self._clip_of_cut_out(rng, canvas)
        else:
            frames, labels = self._clip_of_sequence(rng, canvas)
        if rng.random() < self.options.interrupt:
            when = int(rng.integers(2, len(frames)))
            frames[when], labels[when] = self._scene(rng, canvas, 1)[0], 0
        return frames, labels, jumps

    def _clip_of_picture(self, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Move and bend a picture as a whole, with one or two of its instances."""
        picture = self.pictures.draw(rng)
        source = Sequence("picture", picture.rgb[None], picture.mask[None])
        count = self.options.later_frames + 1
        zoom = self.options.zoom
        if rng.random() < self.options.close:
            zoom = self._close(rng, picture.mask, canvas)
        views = warps(rng, picture.mask, canvas, zoom, count, drift=0.03)
        frames, own = warp_all(source, [0] * count, views, canvas)
        _, other = warp_all(Sequence("other", picture.rgb[None], picture.other[None]), [0] * count, views, canvas)
        frames, (own, other) = bent(rng, frames, [own, other], self.options.bend)
        labels = own.astype(np.uint8)
        labels[other & ~own] = 2
        if not other.any() and rng.random() < self.options.paste:
            self._paste(rng, self._other(rng, source), frames, labels)
        return colour(rng, frames), labels

    def _clip_of_cut_out(
        self, rng: np.random.Generator, canvas: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Move an object that is cut out of a picture through another scene; perhaps show its own picture first."""
        picture = self.pictures.draw(rng)
        source = Sequence("picture", picture.rgb[None], picture.mask[None])
        frames = self._scene(rng, canvas, self.options.later_frames + 1)
        labels = np.zeros(frames.shape[:3], dtype=np.uint8)
        share = np.exp(rng.uniform(np.log(0.005), np.log(0.4)))
        self._place(rng, source, frames, labels, share, object_id=1)
        jumps = rng.random() < self.options.elsewhere
        if rng.random() < self.options.paste:
            self._paste(rng, self._other(rng, source), frames, labels, may_join=not jumps)
        frames = colour(rng, frames, mild=jumps)
        if not jumps:
            return frames, labels, False
        zoom = self._close(rng, picture.mask, canvas)
        shown, mask = warp_all(source, [0], warps(rng, picture.mask, canvas, zoom, 1), canvas)
        frames[0], labels[0] = colour(rng, shown, mild=True)[0], mask[0]
        return frames, labels, True

    def _scene(self, rng: np.random.Generator, canvas: tuple[int, int], count: int) -> np.ndarray:
        """Move through a picture or a frame of a sequence, (T, H, W, 3) uint8."""
        if rng.random() < 0.7:
            rgb = self.pictures.draw(rng).rgb
        else:
            sequence = self.sequences[int(rng.integers(len(self.sequences)))]
            rgb = sequence.frames[int(rng.integers(len(sequence.frames)))]
        nothing = np.zeros(rgb.shape[:2], dtype=np.uint8)
        views = warps(rng, nothing, canvas, (1.2, 2.2), count, drift=0.02)
        return warp_all(Sequence("scene", rgb[None], nothing[None]), [0] * count, views, canvas)[0]

    def _clip_of_sequence(self, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Show a few frames of a sequence."""
        options = self.options
        own = int(rng.integers(len(self.sequences)))
        sequence = self.sequences[own]
        steps = self._steps(rng, sequence)
        zoom = options.zoom
        if rng.random() < options.close:
            zoom = self._close(rng, sequence.masks[steps[0]], canvas)
        views = warps(rng, sequence.masks[steps[0]], canvas, zoom, len(steps))
        frames, masks = warp_all(sequence, steps, views, canvas)
        labels = masks.astype(np.uint8)
        if rng.random() < options.paste:
            self._paste(rng, self._other(rng, sequence), frames, labels)
        frames = colour(rng, frames)
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
        scale = float(np.clip(rng.uniform(*self.options.filled) * room / fit(mask.shape), *self.options.close_zoom))
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
        if self.pictures is not None and rng.random() < 0.6:
            picture = self.pictures.draw(rng)
            return Sequence("picture", picture.rgb[None], picture.mask[None])
        other = self.sequences[int(rng.integers(len(self.sequences)))]
        return other if draw < 1 - options.paste_scenery else self._scenery(rng, other)

    def _scenery(self, rng: np.random.Generator, sequence: Sequence) -> Sequence:
        """Draw a piece of scenery: one frame, masked by the mirrored mask of some sequence's object."""
        frame = sequence.frames[int(rng.integers(len(sequence.frames)))]
        shapes = self.sequences[int(rng.integers(len(self.sequences)))].masks
        shape = cv2.resize(shapes[int(rng.integers(len(shapes)))], frame.shape[1::-1])
        shape = cv2.flip(shape, int(rng.integers(-1, 2)))
        return Sequence(f"scenery of {sequence.name}", frame[None], shape[None])

    def _paste(
        self,
        rng: np.random.Generator,
        source: Sequence,
        frames: np.ndarray,
        labels: np.ndarray,
        may_join: bool = True,
    ) -> None:
        """Paste the moving object of ``source`` into a clip, in place.

        It goes in front of label 1 or behind it, and becomes label 2 or, if it ``may_join``, a part of label 1.
        """
        canvas = labels.shape[1:]
        steps = self._steps(rng, source)
        area = max(float((source.masks[steps[0]] > 0).mean()) * source.masks[0].size, 1.0)
        share = np.exp(rng.uniform(np.log(0.02), np.log(0.2))) * canvas[0] * canvas[1]
        zoom = float(np.clip(np.sqrt(share / area), 0.25, 2.5)) / fit(source.masks[0].shape)
        joined = rng.random() < self.options.paste_joined and may_join
        along = beside(rng, labels) if joined else None
        views = warps(rng, source.masks[steps[0]], canvas, (zoom, zoom), len(steps), drift=0.04, along=along)
        pasted, masks = warp_all(source, steps, views, canvas)
        if rng.random() < self.options.paste_coloured:
            pasted = colour(rng, pasted)
        behind = rng.random() < self.options.paste_behind
        blend(frames, labels, pasted, masks, 1 if joined else 2, behind)

    def _place(
        self,
        rng: np.random.Generator,
        source: Sequence,
        frames: np.ndarray,
        labels: np.ndarray,
        share: float,
        object_id: int,
    ) -> None:
        """Paste the object of ``source``, which bends, into a clip, in place; it covers that share of the canvas."""
        canvas = labels.shape[1:]
        area = max(float((source.masks[0] > 0).sum()), 1.0)
        zoom = float(np.clip(np.sqrt(share * canvas[0] * canvas[1] / area), 0.15, 3)) / fit(source.masks[0].shape)
        count = len(frames)
        views = warps(rng, source.masks[0], canvas, (zoom, zoom), count, drift=0.03)
        pasted, masks = warp_all(source, [0] * count, views, canvas)
        pasted, (masks,) = bent(rng, pasted, [masks], 2 * self.options.bend)
        blend(frames, labels, pasted, masks, object_id, behind=False)
