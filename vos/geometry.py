"""Conversions between frame pixels, the input of a network and its patch grid.

A region of the frame (all of it, or what is around the objects) is resized, then padded at the right and bottom up to
the input size. The patch grid divides the input by the stride. Segmenters and encoders make a
:class:`Geometry`; everything else only calls its methods. No other file multiplies by a scale or
adds an origin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .boxes import tight_boxes
from .regions import Region

OUTSIDE_LOGIT = -20.0
"""Logit of frame pixels that the network's input did not show."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of red, green and blue over ImageNet, by which SAM, DINOv2 and ``lite`` normalise their input."""

PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of red, green and blue over ImageNet, as :data:`PIXEL_MEAN`."""

Map = TypeVar("Map", Tensor, np.ndarray)
"""An array or a tensor: functions that only slice it take both."""


@dataclass(frozen=True)
class Geometry:
    """Converts between a region of frames of one size and the input of one network.

    Attributes:
        frame_size: (H, W) of the frame.
        region: part of the frame that the input shows.
        resized_size: (H, W) of the region inside the input.
        input_size: (H, W) of the padded input.
        stride: input pixels per cell of the patch grid.
        via_input: up-sample through the input's resolution, as SAM does; otherwise directly.
    """

    frame_size: tuple[int, int]
    region: Region
    resized_size: tuple[int, int]
    input_size: tuple[int, int]
    stride: int
    via_input: bool = True

    @classmethod
    def longest_side(
        cls,
        frame_size: tuple[int, int],
        side: int,
        stride: int,
        *,
        region: Region | None = None,
        pad_to: int | None = None,
    ) -> Geometry:
        """Resize the long side to ``side``; pad to a square, or to multiples of ``pad_to``.

        A region has the shape of the frame; with ``pad_to`` one of its :func:`vos.regions.shapes`, whose input has as
        many pixels as the frame's, or a few less. So the input has three sizes at most for the whole video.
        """
        height, width = frame_size
        scale = side / max(height, width)
        resized = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
        region = region or Region(0, 0, width, height)
        if pad_to is None:
            return cls(frame_size, region, resized, (side, side), stride)
        high, wide = (math.ceil(length / pad_to) * pad_to for length in resized)
        square = max(pad_to, math.isqrt(high * wide) // pad_to * pad_to)
        resized, padded = (
            (resized, (high, wide)),
            ((square, square), (square, square)),
            (resized[::-1], (wide, high)),
        )[region.shape_in(frame_size)]
        return cls(frame_size, region, resized, padded, stride, via_input=False)

    @classmethod
    def whole_patches(
        cls, frame_size: tuple[int, int], side: int, patch: int, *, region: Region | None = None
    ) -> Geometry:
        """Resize the long side to about ``side``, both sides rounded to whole patches; pad nothing."""
        height, width = frame_size
        scale = side / max(height, width)
        resized = max(1, round(height * scale / patch)) * patch, max(1, round(width * scale / patch)) * patch
        region = region or Region(0, 0, width, height)
        return cls(frame_size, region, resized, resized, patch, via_input=False)

    @classmethod
    def stretched(
        cls, frame_size: tuple[int, int], side: int, stride: int, *, region: Region | None = None
    ) -> Geometry:
        """Resize the frame or a region of it to a square, whatever its shape; pad nothing."""
        region = region or Region(0, 0, frame_size[1], frame_size[0])
        return cls(frame_size, region, (side, side), (side, side), stride)

    @classmethod
    def short_side(cls, frame_size: tuple[int, int], most: int, least: int) -> Geometry:
        """Resize the whole frame only as far as its short side is longer than ``most`` or shorter than ``least``."""
        height, width = frame_size
        short = min(height, width)
        scale = min(max(short, least), most) / short
        resized = round(height * scale), round(width * scale)
        region = Region(0, 0, width, height)
        return cls(frame_size, region, resized, resized, stride=1, via_input=False)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Geometry:
        """Restore a geometry from its ``dataclasses.asdict``, whose tuples JSON may have turned into lists."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in state.items()
        }
        return cls(**{**plain, "region": Region(**state["region"])})

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the patch grid."""
        return self.input_size[0] // self.stride, self.input_size[1] // self.stride

    @property
    def _scale(self) -> tuple[float, float]:
        """Input pixels per frame pixel, (x, y)."""
        return (
            self.resized_size[1] / self.region.width,
            self.resized_size[0] / self.region.height,
        )

    @property
    def magnification(self) -> float:
        """Input pixels per frame pixel, along the side where they are more."""
        return max(self._scale)

    def crop(self, maps: Map) -> Map:
        """Cut the region out of maps at frame size: (..., H, W) to (..., region height, region width)."""
        region = self.region
        return maps[..., region.top : region.top + region.height, region.left : region.left + region.width]

    def to_input(self, points: Tensor) -> Tensor:
        """Convert points (..., 2) xy from frame pixels to input pixels."""
        return (points - points.new_tensor([self.region.left, self.region.top])) * points.new_tensor(self._scale)

    def boxes_to_input(self, boxes: Tensor) -> Tensor:
        """Convert boxes (N, 4) from frame pixels to input pixels."""
        return self.to_input(boxes.unflatten(1, (2, 2))).flatten(1)

    def cells_to_frame(self, cells: Tensor) -> Tensor:
        """Compute the centres of grid cells (..., 2) xy in frame pixels, kept inside the region."""
        centres = (cells + 0.5) * self.stride - 0.5
        points = (centres + 0.5) / centres.new_tensor(self._scale) - 0.5
        limit = points.new_tensor([self.region.width - 1.0, self.region.height - 1.0])
        return points.clamp(torch.zeros_like(limit), limit) + limit.new_tensor([self.region.left, self.region.top])

    def cells_of(self, points: Tensor) -> Tensor:
        """Find the grid cells (..., 2) xy long of frame points (..., 2) xy; a point outside gets the nearest."""
        height, width = self.grid
        limit = points.new_tensor([width - 1, height - 1])
        return (self.to_input(points) / self.stride).floor().clamp(torch.zeros_like(limit), limit).long()

    def inside(self) -> Tensor:
        """Mark the grid cells whose centre lies on the region rather than on padding, (h, w) bool.

        Of a region so narrow that it ends before the first centre, the first cells count.
        """
        height, width = self.grid
        down = (torch.arange(height) + 0.5) * self.stride < self.resized_size[0]
        across = (torch.arange(width) + 0.5) * self.stride < self.resized_size[1]
        down[0] = across[0] = True
        return down[:, None] & across[None, :]

    def resize(self, rgb: np.ndarray) -> np.ndarray:
        """Resize the frame's region, (H, W, 3) uint8 to (h', w', 3) uint8, bilinear and antialiased.

        Pillow does it, as in the published code: torch's own antialiased resize differs from it by
        one level in half a percent of the pixels, which moves SAM's logits by 0.01.
        """
        region = self.region
        rgb = rgb[region.top : region.top + region.height, region.left : region.left + region.width]
        if self.resized_size == rgb.shape[:2]:
            return rgb
        height, width = self.resized_size
        return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))

    def resize_quickly(self, rgb: np.ndarray) -> Tensor:
        """Resize the region as :meth:`resize` does, (H, W, 3) uint8 to (h', w', 3) uint8, by torch.

        It takes a quarter of the time. A pixel in a thousand differs by one level.
        """
        image = torch.tensor(self.crop(rgb.transpose(2, 0, 1)))[None]  # a copy, as arrays that cannot be written exist
        resized = F.interpolate(image, self.resized_size, mode="bilinear", antialias=True, align_corners=False)
        return resized[0].permute(1, 2, 0)

    def pad(self, image: Tensor) -> Tensor:
        """Pad an image (..., h', w') with zeros at the right and bottom up to the input size."""
        height, width = self.input_size
        return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))

    def coverage(self, masks: Tensor) -> Tensor:
        """Compute the share of each grid cell inside the masks: (N, H, W) bool to (N, h, w) float in [0, 1]."""
        resized = self._resize_masks(masks)
        return F.avg_pool2d(self.pad(resized), self.stride)[:, 0]

    def normalised_coverage(self, masks: Tensor, value: int) -> Tensor:
        """Find foreground cells as the published code does: (N, H, W) bool to (N, h, w) of 0 and 1.

        The mask is drawn with ``value`` and goes through the image's resize, normalisation (first
        channel) and padding. Cells that are then above 0 count.
        """
        drawn = [self.resize_mask(mask.cpu().numpy().astype(np.uint8) * np.uint8(value)) for mask in masks]
        pixels = torch.tensor(np.stack(drawn), device=masks.device, dtype=torch.float32)
        padded = self.pad((pixels - PIXEL_MEAN[0]) / PIXEL_STD[0])
        grid = F.interpolate(padded[:, None], self.grid, mode="bilinear", align_corners=False)[:, 0]
        return (grid > 0).float()

    def resize_mask(self, mask: np.ndarray) -> np.ndarray:
        """Resize a drawn mask like a frame, (H, W) uint8 to (h', w') uint8."""
        height, width = self.resized_size
        return np.asarray(Image.fromarray(self.crop(mask)).resize((width, height), Image.Resampling.BILINEAR))

    def mask_logits(self, masks: Tensor, size: tuple[int, int], scale: float) -> Tensor:
        """Turn masks into low-res logits of plus or minus ``scale``: (N, H, W) bool to (N, 1, *size)."""
        resized = self._resize_masks(masks)
        return (F.adaptive_avg_pool2d(self.pad(resized), size) * 2 - 1) * scale

    def input_masks(self, masks: Tensor) -> Tensor:
        """Resize masks to the input's size, (N, H, W) bool to (N, S, S) bool.

        Pixels that are at least half covered count; of an object too small for that, those that it
        covers most. An empty mask stays empty.
        """
        covered = self.pad(self._resize_masks(masks))[:, 0]
        least = covered.amax(dim=(1, 2), keepdim=True).clamp(max=0.5)
        return (covered >= least) & (covered > 0)

    def _resize_masks(self, masks: Tensor) -> Tensor:
        """Resize the region of masks (N, H, W) bool to its size in the input, (N, 1, h', w') float."""
        region = self.crop(masks)[:, None].float()
        return F.interpolate(region, self.resized_size, mode="bilinear", antialias=True, align_corners=False)

    def pixels_per_value(self, finer: int) -> float:
        """Compute the frame pixels per value of a map that has ``finer`` values along the side of a patch."""
        across, down = self._scale
        return (self.stride / finer) ** 2 / (across * down)

    def upsample(self, maps: Tensor) -> Tensor:
        """Bring logits that cover the input, at any resolution, to frame size: (N, a, b) to (N, H, W).

        Outside the region they are :data:`OUTSIDE_LOGIT`.
        """
        region, (height, width) = self.region, self.frame_size
        shown = self.upsample_region(maps)
        if shown.shape[1:] == self.frame_size:
            return shown
        right, bottom = width - region.left - region.width, height - region.top - region.height
        return F.pad(shown, (region.left, right, region.top, bottom), value=OUTSIDE_LOGIT)

    def upsample_region(self, maps: Tensor) -> Tensor:
        """Bring maps (N, a, b) that cover the input to the region's size in the frame."""
        crop = self._crop_of(maps)
        if crop:
            maps = maps[..., : crop[0], : crop[1]]
        else:
            maps = _interpolate(maps, self.input_size)
            maps = maps[..., : self.resized_size[0], : self.resized_size[1]]
        return _interpolate(maps, (self.region.height, self.region.width))

    def positive_parts(self, maps: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Compute :meth:`upsample` of each map, but only where it can be positive.

        Args:
            maps: logits that cover the input, (N, a, b).

        Yields:
            For each map a rectangle of the frame (its lines and columns) and the logits there.
        """
        crop = self._crop_of(maps)
        if crop is None:
            for logits in self.upsample(maps):
                yield slice(None), slice(None), logits
            return
        maps = maps[:, : crop[0], : crop[1]]
        region = self.region
        for logits, (left, top, right, bottom) in zip(maps, tight_boxes(maps > 0).int().tolist(), strict=True):
            down = _Stretch(top, bottom, crop[0], region.height, maps.device)
            across = _Stretch(left, right, crop[1], region.width, maps.device)
            shown = torch.lerp(logits[:, across.low], logits[:, across.high], across.share)
            shown = torch.lerp(shown[down.low], shown[down.high], down.share[:, None])
            yield down.within(region.top), across.within(region.left), shown

    def _crop_of(self, maps: Tensor) -> tuple[int, int] | None:
        """Size of the part of maps (..., a, b) that is not padding; None unless it is whole and up-sampled directly."""
        stride = self.input_size[0] / maps.shape[-2]
        cropped = [length / stride for length in self.resized_size]
        if self.via_input or not all(length.is_integer() for length in cropped):
            return None
        return int(cropped[0]), int(cropped[1])

    def resample(self, maps: Tensor, source: Geometry, outside: float | None = None) -> Tensor:
        """Move maps that cover the input of another geometry onto the input of this one.

        Args:
            maps: (N, K, a, b) at the resolution of the source's grid, or a multiple of it.
            source: geometry of the maps, for frames of the same size.
            outside: value where the source showed nothing; None repeats its border.

        Returns:
            (N, K, a', b') with as many values per grid cell as ``maps`` has.
        """
        if source == self:
            return maps
        finer = maps.shape[-2] // source.grid[0]
        down = torch.arange(self.grid[0] * finer, device=maps.device, dtype=maps.dtype)
        across = torch.arange(self.grid[1] * finer, device=maps.device, dtype=maps.dtype)
        cells = torch.stack(torch.meshgrid(down, across, indexing="ij")[::-1], dim=-1)
        corner = maps.new_tensor([self.region.left, self.region.top])
        frame = (cells + 0.5) * (self.stride / finer) / maps.new_tensor(self._scale) + corner
        there = source.to_input(frame) / maps.new_tensor(source.input_size[::-1]) * 2 - 1
        if outside is None:
            edge = maps.new_tensor([s / i for s, i in zip(source.resized_size, source.input_size, strict=True)][::-1])
            there = there.clamp(-torch.ones_like(edge), edge * 2 - 1)
        shift = 0.0 if outside is None else outside
        sampled = F.grid_sample(
            maps - shift,
            there.expand(len(maps), -1, -1, -1),
            mode="bilinear",
            padding_mode="border" if outside is None else "zeros",
            align_corners=False,
        )
        return sampled + shift


class _Stretch:
    """Linear interpolation along one side, as ``F.interpolate`` does it, only where some of the values take part.

    Args:
        first: index of the first value that takes part.
        last: index of the last.
        values: how many values there are.
        results: how many results all of them would give.
        device: where the maps are.

    Attributes:
        low: indices of the first of the two values that each result is made of.
        high: indices of the second.
        share: weight of the second, in [0, 1].
    """

    def __init__(self, first: int, last: int, values: int, results: int, device: torch.device) -> None:
        step = values / results
        self._start = max(0, math.ceil((first - 0.5) / step - 0.5))
        self._stop = min(results, math.floor((last + 1.5) / step - 0.5) + 1)
        places = ((torch.arange(self._start, self._stop, device=device) + 0.5) * step - 0.5).clamp_min(0)
        self.low = places.long()
        self.high = (self.low + 1).clamp_max(values - 1)
        self.share = places - self.low

    def within(self, origin: int) -> slice:
        """Lines or columns of the frame that the results are, for a region that starts at ``origin``."""
        return slice(origin + self._start, origin + self._stop)


def _interpolate(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
