"""The network of PIPS (Harley et al., *Particle Video Revisited*, 2022).

Eight frames at a time: features of stride 4 or 8, correlation of each point's feature with its
surroundings at four scales, and an MLP-mixer that updates the point's eight positions and
features some times over. Attribute names are the published checkpoint's keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 8
"""Frames that the network sees at once."""

FEATURES = 128
LEVELS = 4
RADIUS = 3
_SINES = 64
_WIDTH = 512
_DEPTH = 12


class _Residual(nn.Module):
    """Two convolutions with instance norms and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        if self.downsample is not None:
            x = F.instance_norm(self.downsample(x))
        return F.relu(x + y)


class _Encoder(nn.Module):
    """Features (B, 128, H / stride, W / stride) of pixels (B, 3, H, W) in [-1, 1]."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3)
        widths = (64, 64, 96, 128, 128)
        for index in range(1, 5):
            inputs, outputs = widths[index - 1], widths[index]
            first = _Residual(inputs, outputs, 1 if index == 1 else 2)
            setattr(self, f"layer{index}", nn.Sequential(first, _Residual(outputs, outputs, 1)))
        self.conv2 = nn.Conv2d(sum(widths[1:]), 2 * FEATURES, 3, 1, 1)
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
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


class _Mixer(nn.Module):
    """From what is known of a point in 8 frames to the change of its positions and features."""

    def __init__(self) -> None:
        super().__init__()
        inputs = LEVELS * (2 * RADIUS + 1) ** 2 + FEATURES + 3 * _SINES + 3
        blocks = [
            nn.Sequential(
                _PreNorm(_mlp(lambda a, b: nn.Conv1d(a, b, 1), WINDOW)),
                _PreNorm(_mlp(nn.Linear, _WIDTH)),
            )
            for _ in range(_DEPTH)
        ]
        last = nn.Linear(_WIDTH, WINDOW * (FEATURES + 2))
        self.to_delta = nn.Sequential(nn.Linear(inputs, _WIDTH), *blocks, nn.LayerNorm(_WIDTH), _Mean(), last)

    def forward(self, features: Tensor, correlation: Tensor, motion: Tensor) -> Tensor:
        """All (M, 8, channels); returns (M, 8, 2 + 128)."""
        x = torch.cat([features, correlation, _sines(motion)], dim=2)
        return self.to_delta(x).unflatten(1, (WINDOW, FEATURES + 2))


def _mlp(layer, width: int) -> nn.Sequential:
    """Two layers; the dropouts only keep the checkpoint's numbering."""
    return nn.Sequential(layer(width, 4 * width), nn.GELU(), nn.Dropout(0), layer(4 * width, width), nn.Dropout(0))


class Pips(nn.Module):
    """The whole network.

    Args:
        stride: pixels per cell of the feature maps; the released weights are for 4.
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
        """Feature maps (B, 128, h, w) of frames (B, 3, H, W), 0 to 255; sides are multiples of 8."""
        return self.fnet(2 * (rgb / 255) - 1)

    def sample(self, feature_map: Tensor, points: Tensor) -> Tensor:
        """Features (M, 128) of a map (1, 128, h, w) at points (M, 2) in pixels."""
        return _sample(feature_map, (points / self.stride)[None, None], "border")[0, :, 0].T

    def forward(self, maps: Tensor, points: Tensor, features: Tensor, iterations: int = 6) -> tuple[Tensor, Tensor]:
        """Follow points through one window.

        Args:
            maps: feature maps of the 8 frames, (8, 128, h, w).
            points: where they are in the first, (M, 2) xy pixels.
            features: what they look like, (M, 128), see :meth:`sample`.
            iterations: updates.

        Returns:
            Positions after each update (iterations, 8, M, 2) in pixels, and visibility logits (8, M).
        """
        began = points / self.stride
        places = began.expand(WINDOW, -1, -1)
        features = features.expand(WINDOW, -1, -1)
        pyramid = [maps]
        for _ in range(LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        times = torch.linspace(0, WINDOW, WINDOW, device=maps.device)[:, None, None].expand(-1, len(points), 1)
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
    """Products of the points' features with their surroundings, (8, M, levels * 49).

    Args:
        pyramid: maps (8, 128, h, w), each half the size of the one before.
        features: (8, M, 128). places: (8, M, 2) in cells of the first level.
    """
    reach = torch.arange(-RADIUS, RADIUS + 1, device=places.device, dtype=places.dtype)
    # The published window is transposed: the outer index moves x.
    window = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), dim=-1)
    frames, count = places.shape[:2]
    found = []
    for level, maps in enumerate(pyramid):
        product = torch.einsum("smc,schw->smhw", features, maps) / FEATURES**0.5
        at = (places / 2**level)[:, :, None, None] + window
        found.append(_sample(product.flatten(0, 1)[:, None], at.flatten(0, 1), "zeros").view(frames, count, -1))
    return torch.cat(found, dim=2)


def _sample(maps: Tensor, places: Tensor, padding: str) -> Tensor:
    """Bilinear values (B, C, a, b) of maps (B, C, h, w) at cells (B, a, b, 2) xy."""
    height, width = maps.shape[-2:]
    grid = places * places.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)]) - 1
    return F.grid_sample(maps, grid, padding_mode=padding, align_corners=True)


def _sines(motion: Tensor) -> Tensor:
    """Each of three coordinates (M, 8, 3) as 32 sines and 32 cosines, before the coordinates."""
    frequency = torch.arange(0, _SINES, 2, device=motion.device) * (1000.0 / _SINES)
    angle = motion[..., None] * frequency
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(2)
    return torch.cat([waves, motion], dim=2)
