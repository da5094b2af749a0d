"""The one place that knows how frame pixels, the network's input and its patch grid relate.

A frame is resized, then padded at the right and bottom up to the input size; the patch grid
divides the input by the stride. No other file multiplies by a scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """Maps between one frame size and one network's input.

    Attributes:
        frame_size: (H, W) of the frame.
        resized_size: (H, W) of the frame inside the input.
        input_size: (H, W) of the padded input.
        stride: input pixels per cell of the patch grid.
        via_input: up-sample through the input's resolution, as SAM does; otherwise directly.
    """

    frame_size: tuple[int, int]
    resized_size: tuple[int, int]
    input_size: tuple[int, int]
    stride: int
    via_input: bool = True

    @classmethod
    def longest_side(
        cls, frame_size: tuple[int, int], side: int, stride: int, *, pad_to: int | None = None
    ) -> Geometry:
        """Long side resized to ``side``; padded to a square, or to multiples of ``pad_to``."""
        height, width = frame_size
        scale = side / max(height, width)
        resized = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        if pad_to is None:
            return cls(frame_size, resized, (side, side), stride)
        padded = tuple(math.ceil(length / pad_to) * pad_to for length in resized)
        return cls(frame_size, resized, padded, stride, via_input=False)

    @classmethod
    def whole_patches(cls, frame_size: tuple[int, int], side: int, patch: int) -> Geometry:
        """Long side near ``side``, both sides rounded to whole patches, nothing padded."""
        scale = side / max(frame_size)
        resized = tuple(max(1, round(length * scale / patch)) * patch for length in frame_size)
        return cls(frame_size, resized, resized, patch, via_input=False)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the patch grid."""
        return self.input_size[0] // self.stride, self.input_size[1] // self.stride

    @property
    def _scale(self) -> tuple[float, float]:
        """Input pixels per frame pixel, (x, y)."""
        return (
            self.resized_size[1] / self.frame_size[1],
            self.resized_size[0] / self.frame_size[0],
        )

    def to_input(self, points: Tensor) -> Tensor:
        """Frame pixels to input pixels; ``points`` (..., 2) xy."""
        return points * points.new_tensor(self._scale)

    def boxes_to_input(self, boxes: Tensor) -> Tensor:
        """Frame pixels to input pixels; ``boxes`` (N, 4)."""
        return self.to_input(boxes.unflatten(1, (2, 2))).flatten(1)

    def cells_to_frame(self, cells: Tensor) -> Tensor:
        """Centres of grid cells (..., 2) xy in frame pixels, kept inside the frame."""
        centres = (cells + 0.5) * self.stride - 0.5
        points = (centres + 0.5) / centres.new_tensor(self._scale) - 0.5
        height, width = self.frame_size
        return points.clamp(points.new_zeros(2), points.new_tensor([width - 1.0, height - 1.0]))

    def inside(self) -> Tensor:
        """Which cells of the grid have their centre on the frame rather than on padding, (h, w) bool."""
        height, width = self.grid
        rows = (torch.arange(height) + 0.5) * self.stride < self.resized_size[0]
        columns = (torch.arange(width) + 0.5) * self.stride < self.resized_size[1]
        return rows[:, None] & columns[None, :]

    def resize(self, rgb: np.ndarray) -> np.ndarray:
        """Resize a frame, (H, W, 3) uint8 to (h', w', 3) uint8, bilinear and antialiased.

        By Pillow, as published: torch's own antialiased resize differs from it by one level in
        half a percent of the pixels, which moves SAM's logits by 0.01.
        """
        if self.resized_size == self.frame_size:
            return rgb
        height, width = self.resized_size
        return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))

    def pad(self, image: Tensor) -> Tensor:
        """Zero padding at the right and bottom up to the input size; ``image`` (..., h', w')."""
        height, width = self.input_size
        return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))

    def coverage(self, masks: Tensor) -> Tensor:
        """Share of each grid cell inside the masks: (N, H, W) bool to (N, h, w) float in [0, 1]."""
        resized = F.interpolate(
            masks[:, None].float(), self.resized_size, mode="bilinear", antialias=True, align_corners=False
        )
        return F.avg_pool2d(self.pad(resized), self.stride)[:, 0]

    def normalised_coverage(self, masks: Tensor, value: int) -> Tensor:
        """Foreground cells as the published code finds them: (N, H, W) bool to (N, h, w) of 0 and 1.

        The mask, drawn with ``value``, goes through the image's resize, normalisation (first
        channel) and padding; cells that are then above 0 count.
        """
        mean, deviation = 123.675, 58.395
        drawn = [self.resize_mask(mask.cpu().numpy().astype(np.uint8) * np.uint8(value)) for mask in masks]
        pixels = torch.tensor(np.stack(drawn), device=masks.device, dtype=torch.float32)
        padded = self.pad((pixels - mean) / deviation)
        grid = F.interpolate(padded[:, None], self.grid, mode="bilinear", align_corners=False)[:, 0]
        return (grid > 0).float()

    def resize_mask(self, mask: np.ndarray) -> np.ndarray:
        """Resize a drawn mask like a frame, (H, W) uint8 to (h', w') uint8."""
        height, width = self.resized_size
        return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))

    def mask_logits(self, masks: Tensor, size: tuple[int, int], scale: float) -> Tensor:
        """Masks as low-res logits of plus or minus ``scale``: (N, H, W) bool to (N, 1, *size)."""
        resized = F.interpolate(
            masks[:, None].float(), self.resized_size, mode="bilinear", antialias=True, align_corners=False
        )
        return (F.adaptive_avg_pool2d(self.pad(resized), size) * 2 - 1) * scale

    def upsample(self, maps: Tensor) -> Tensor:
        """Maps that cover the input, at any resolution, to frame size: (N, a, b) to (N, H, W)."""
        stride = self.input_size[0] / maps.shape[-2]
        cropped = tuple(length / stride for length in self.resized_size)
        if not self.via_input and all(length.is_integer() for length in cropped):
            maps = maps[..., : int(cropped[0]), : int(cropped[1])]
        else:
            maps = _interpolate(maps, self.input_size)
            maps = maps[..., : self.resized_size[0], : self.resized_size[1]]
        return _interpolate(maps, self.frame_size)

    def resample(self, maps: Tensor, source: Geometry) -> Tensor:
        """Maps (N, K, a, b) on the grid of ``source`` to this geometry's grid, (N, K, h, w)."""
        if source == self:
            return maps
        height, width = self.grid
        rows = torch.arange(height, device=maps.device, dtype=maps.dtype)
        columns = torch.arange(width, device=maps.device, dtype=maps.dtype)
        cells = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        share = (cells + 0.5) * self.stride / maps.new_tensor(self.resized_size[::-1])
        extent = maps.new_tensor([s / i for s, i in zip(source.resized_size, source.input_size, strict=True)][::-1])
        where = (share.clamp(0, 1) * extent * 2 - 1).expand(len(maps), -1, -1, -1)
        return F.grid_sample(maps, where, mode="bilinear", padding_mode="border", align_corners=False)


def _interpolate(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
