"""Moves each mask along with the pixels around it: a tracker without any model."""

import numpy as np
import torch
from vos.structures import Tracked


class Shift:
    def __init__(self, options=None):
        pass

    def start(self, context, first_mask):
        self.grey = context.frame.rgb.mean(axis=2)
        self.masks = list(first_mask.masks())  # one (H, W) bool for each object

    def step(self, context):
        last, self.grey = self.grey, context.frame.rgb.mean(axis=2)
        self.masks = [np.roll(mask, motion(last, self.grey, mask), axis=(0, 1)) for mask in self.masks]
        logits = torch.tensor(np.stack(self.masks)) * 2.0 - 1.0  # positive inside
        return Tracked(logits, scores=torch.ones(len(logits)))

    def observe(self, context, result):
        pass

    def add(self, context, first_mask):
        self.masks += list(first_mask.masks())

    def correct(self, context, rows, first_mask):
        for row, mask in zip(rows, first_mask.masks()):
            self.masks[row] = mask

    def remove(self, rows):
        self.masks = [mask for row, mask in enumerate(self.masks) if row not in rows]


def motion(last, grey, mask):
    """Rows and columns by which the object's surroundings moved, by phase correlation."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return 0, 0
    view = np.s_[max(ys.min() - 16, 0) : ys.max() + 17, max(xs.min() - 16, 0) : xs.max() + 17]
    cross = np.fft.fft2(grey[view]) * np.fft.fft2(last[view]).conj()
    peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-6)).real
    found = np.unravel_index(peak.argmax(), peak.shape)
    return tuple(int(s - n if s > n // 2 else s) for s, n in zip(found, peak.shape))
