"""The network of PIPS (Harley et al., *Particle Video Revisited*, 2022).

It takes eight frames at a time. It makes features of stride 4 or 8, correlates the feature of each point with its
surroundings at four scales, and lets an MLP-mixer update the point's eight positions and features several times. Its
attributes have the names of the published checkpoint's keys.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW_FRAMES = 8
"""Frames that the network sees at once."""

FEATURES = 128
"""Channels of the feature maps."""

LEVELS = 4
"""Scales at which features are correlated, each half the size of the one before."""

RADIUS = 3
"""Cells around a point, on each side, with which its feature is correlated."""

_SINES = 64
"""Sines and cosines that encode each coordinate of the motion."""

_WIDTH = 512
"""Channels of the mixer."""

_DEPTH = 12
"""Blocks of the mixer."""


class _Residual(nn.Module):
    """Two convolutions with instance norms and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.downsample: nn.Module | None = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        if self.downsample is not None:
            x = F.instance_norm(self.downsample(x))
        return F.relu(x + y)


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Make two residual blocks, the first of which changes the channels and the resolution."""
    return nn.Sequential(_Residual(inputs, outputs, stride), _Residual(outputs, outputs, 1))


class _Encoder(nn.Module):
    """Features (B, 128, H / stride, W / stride) of pixels (B, 3, H, W) in [-1, 1]."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        widths = (64, 96, 128, 128)
        self.layer1 = _layer(64, widths[0], 1)
        self.layer2 = _layer(widths[0], widths[1], 2)
        self.layer3 = _layer(widths[1], widths[2], 2)
        self.layer4 = _layer(widths[2], widths[3], 2)
        self.conv2 = nn.Conv2d(sum(widths), 2 * FEATURES, 3, 1, 1)
        self.conv3 = nn.Conv2d(2 * FEATURES, FEATURES, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        size = pixels.shape[-2] // self.stride, pixels.shape[-1] // self.stride
        x = F.relu(F.instance_norm(self.conv1(pixels)))
        scales = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            scales.append(F.interpolate(x, size, mode="bilinear", align_corners=True))
        return self.conv3(F.relu(F.instance_norm(self.conv2(torch.cat(scales, dim=1)))))


class _PreNorm(nn.Module):
    """``x + fn(norm(x))``."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class _Mean(nn.Module):
    """Mean over the frames."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


class _Mixer(nn.Module):
    """Predicts the change of a point's positions and features in 8 frames."""

    def __init__(self) -> None:
        super().__init__()
        inputs = LEVELS * (2 * RADIUS + 1) ** 2 + FEATURES + 3 * _SINES + 3
        blocks = [
            nn.Sequential(
                _PreNorm(_mlp(lambda a, b: nn.Conv1d(a, b, 1), WINDOW_FRAMES)),
                _PreNorm(_mlp(nn.Linear, _WIDTH)),
            )
            for _ in range(_DEPTH)
        ]
        last = nn.Linear(_WIDTH, WINDOW_FRAMES * (FEATURES + 2))
        self.to_delta = nn.Sequential(nn.Linear(inputs, _WIDTH), *blocks, nn.LayerNorm(_WIDTH), _Mean(), last)

    def forward(self, features: Tensor, correlation: Tensor, motion: Tensor) -> Tensor:
        """Return the changes (M, 8, 2 + 128); all arguments are (M, 8, channels)."""
        x = torch.cat([features, correlation, _sines(motion)], dim=2)
        return self.to_delta(x).unflatten(1, (WINDOW_FRAMES, FEATURES + 2))


def _mlp(layer: Callable[[int, int], nn.Module], width: int) -> nn.Sequential:
    """Make two layers; the dropouts only keep the checkpoint's numbering."""
    return nn.Sequential(layer(width, 4 * width), nn.GELU(), nn.Dropout(0), layer(4 * width, width), nn.Dropout(0))


class Pips(nn.Module):
    """The whole network.

    Args:
        stride: pixels per cell of the feature maps; 4 for the released weights.
    """

    def __init__(self, stride: int = 4):
        super().__init__()
        self.stride = stride
        self.fnet = _Encoder(stride)
        self.delta_block = _Mixer()
        self.norm = nn.GroupNorm(1, FEATURES)
        self.ffeat_updater = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(FEATURES, 1))

    def encode(self, rgb: Tensor) -> Tensor:
        """Encode frames (B, 3, H, W), 0 to 255, as feature maps (B, 128, h, w); H and W are multiples of 8."""
        return self.fnet(2 * (rgb / 255) - 1)

    def sample(self, feature_map: Tensor, points: Tensor) -> Tensor:
        """Sample features (M, 128) of a map (1, 128, h, w) at points (M, 2) in pixels."""
        return _sample(feature_map, (points / self.stride)[None, None], "border")[0, :, 0].T

    def forward(self, maps: Tensor, points: Tensor, features: Tensor, iterations: int = 6) -> tuple[Tensor, Tensor]:
        """Follow points through one window.

        Args:
            maps: feature maps of the 8 frames, (8, 128, h, w).
            points: in the first frame, (M, 2) xy pixels.
            features: of the points, (M, 128), see :meth:`sample`.
            iterations: number of updates.

        Returns:
            Positions after each update (iterations, 8, M, 2) in pixels, and visibility logits (8, M).
        """
        began = points / self.stride
        places = began.expand(WINDOW_FRAMES, -1, -1)
        features = features.expand(WINDOW_FRAMES, -1, -1)
        pyramid = [maps]
        for _ in range(LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        times = torch.linspace(0, WINDOW_FRAMES, WINDOW_FRAMES, device=maps.device)[:, None, None].expand(
            -1, len(points), 1
        )
        after = []
        for _ in range(iterations):
            correlation = _correlate(pyramid, features, places)
            motion = torch.cat([places - places[:1], times], dim=2)
            delta = self.delta_block(*(each.transpose(0, 1) for each in (features, correlation, motion)))
            change = self.norm(delta[..., 2:].flatten(0, 1)).unflatten(0, delta.shape[:2])
            features = features + self.ffeat_updater(change).transpose(0, 1)
            places = torch.cat([began[None], (places + delta[..., :2].transpose(0, 1))[1:]])
            after.append(places * self.stride)
        return torch.stack(after), self.vis_predictor(features)[..., 0]


def _correlate(pyramid: list[Tensor], features: Tensor, places: Tensor) -> Tensor:
    """Correlate the points' features with their surroundings, (8, M, levels * 49).

    Args:
        pyramid: maps (8, 128, h, w), each half the size of the one before.
        features: (8, M, 128).
        places: (8, M, 2) in cells of the first level.
    """
    reach = torch.arange(-RADIUS, RADIUS + 1, device=places.device, dtype=places.dtype)
    # As published, the outer index of the surroundings moves x.
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), dim=-1)
    frames, count = places.shape[:2]
    found = []
    for level, maps in enumerate(pyramid):
        product = torch.einsum("smc,schw->smhw", features, maps) / FEATURES**0.5
        at = (places / 2**level)[:, :, None, None] + offsets
        found.append(_sample(product.flatten(0, 1)[:, None], at.flatten(0, 1), "zeros").view(frames, count, -1))
    return torch.cat(found, dim=2)


def _sample(maps: Tensor, places: Tensor, padding: str) -> Tensor:
    """Sample maps (B, C, h, w) bilinearly at cells (B, a, b, 2) xy: (B, C, a, b)."""
    height, width = maps.shape[-2:]
    grid = places * places.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)]) - 1
    return F.grid_sample(maps, grid, padding_mode=padding, align_corners=True)


def _sines(motion: Tensor) -> Tensor:
    """Encode each of three coordinates (M, 8, 3) as 32 sines and 32 cosines; append the coordinates."""
    frequency = torch.arange(0, _SINES, 2, device=motion.device) * (1000.0 / _SINES)
    angle = motion[..., None] * frequency
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(2)
    return torch.cat([waves, motion], dim=2)
