"""Image encoders in the ways that a GPU can run them, for :mod:`vos.benchmarks.gpu`.

An encoder runs plain, compiled or as a CUDA graph. :class:`AheadSam` and :class:`AheadDinov2` encode several frames as
one batch before a session asks for them; everything else of a session is as it always is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders.dinov2 import Dinov2Encoder
from ..geometry import Geometry
from ..interfaces import FrameContext
from ..regions import Region
from ..segmenters.sam import GuidedSam, SamSegmenter
from ..structures import Frame, ImageEmbedding, PatchFeatures

Encode = Callable[[Tensor], Tensor]
"""Encodes normalised pixels (B, 3, H, W) as features with the batch first."""

PLAIN, GRAPH, COMPILED, COMPILED_GRAPH = MODES = ("plain", "graph", "compiled", "compiled graph")
"""Ways to run an encoder: as the session does, as a CUDA graph, through ``torch.compile``, and both."""

MOST_ERROR = 0.02
"""Difference between a graph's features and the encoder's own, relative to their norm: bfloat16 rounds by 0.004."""


class AheadSam(SamSegmenter):
    """SAM that may encode frames before they are asked for. See :class:`~vos.interfaces.Segmenter`.

    Attributes:
        run: encodes the input of :meth:`encode_ahead`; at first as :meth:`encode`.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.run: Encode = self.encode
        self._ready: dict[int, ImageEmbedding] = {}

    @property
    def network(self) -> nn.Module:
        """The image encoder."""
        assert isinstance(self.model, GuidedSam)
        return self.model.vision_encoder

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, S, S) as image embeddings (B, C, h, w)."""
        return self.model.encode(pixels)

    def batch(self, frames: Sequence[Frame]) -> Tensor:
        """Make the input (B, 3, S, S) of frames of one size."""
        geometry = self.geometry(frames[0].size)
        return torch.cat([self.pixels(frame.rgb, geometry) for frame in frames])

    def encode_ahead(self, frames: Sequence[Frame]) -> None:
        """Encode frames of one size as a batch; what was encoded before and not asked for is dropped."""
        geometry = self.geometry(frames[0].size)
        values = self.run(self.batch(frames)).float().split(1)
        self._ready = {
            id(frame.rgb): ImageEmbedding(each, geometry) for frame, each in zip(frames, values, strict=True)
        }

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        return self._ready.pop(id(rgb), None) or super().embed(rgb, region)


class AheadDinov2(Dinov2Encoder):
    """DINOv2 that may encode frames before they are asked for. See :class:`~vos.interfaces.PriorEncoder`.

    Attributes:
        run: encodes the input of :meth:`encode_ahead`; at first as :meth:`encode`.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.run: Encode = self.encode
        self._ready: dict[int, PatchFeatures] = {}

    @property
    def network(self) -> nn.Module:
        """The image encoder."""
        network: nn.Module = self.model
        return network

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (B, 3, H, W) as the tokens of patches (B, h * w, C)."""
        return self.patch_tokens(pixels, (pixels.shape[2] // self.patch, pixels.shape[3] // self.patch))

    def batch(self, frames: Sequence[Frame]) -> Tensor:
        """Make the input (B, 3, H, W) of frames of one size."""
        geometry = self._whole(frames[0])
        images = np.stack([geometry.resize(frame.rgb) for frame in frames])
        pixels = (torch.tensor(images, device=self.device) - self._mean) / self._std
        return pixels.permute(0, 3, 1, 2).to(self.dtype)

    def encode_ahead(self, frames: Sequence[Frame]) -> None:
        """Encode frames of one size as a batch; what was encoded before and not asked for is dropped."""
        geometry = self._whole(frames[0])
        tokens = F.normalize(self.run(self.batch(frames)).float(), dim=2)
        values = tokens.transpose(1, 2).unflatten(2, geometry.grid).split(1)
        self._ready = {id(frame.rgb): PatchFeatures(each, geometry) for frame, each in zip(frames, values, strict=True)}

    def features(self, context: FrameContext) -> PatchFeatures:
        return self._ready.pop(id(context.frame.rgb), None) or super().features(context)

    def _whole(self, frame: Frame) -> Geometry:
        """Make the geometry of the input for a whole frame, as :meth:`geometry` does for one that is looked at."""
        side = self.patches * self.patch if self.long_side is None else self.long_side
        return Geometry.whole_patches(frame.size, side, self.patch)


Ahead = AheadSam | AheadDinov2
"""An encoder that may encode frames before they are asked for."""


def run_in(mode: str, ahead: Ahead, frames: Sequence[Frame]) -> Tensor:
    """Let an encoder run in a way of :data:`MODES`; its blocks are compiled already where they are to be.

    Args:
        mode: the way.
        ahead: the encoder, whose attribute ``run`` is set.
        frames: as many as it will encode together, and of their size.

    Returns:
        Their input, (B, 3, H, W).

    Raises:
        RuntimeError: a CUDA graph is asked for, and there is no CUDA device or the encoder does what a graph cannot.
    """
    pixels, encode = ahead.batch(frames), ahead.encode

    def at_home(pixels: Tensor) -> Tensor:
        """Encode; tensors that the library makes in mid-network are made on the device, not copied to it."""
        with pixels.device:
            return encode(pixels)

    if mode in (GRAPH, COMPILED_GRAPH):
        if pixels.device.type != "cuda":
            raise RuntimeError("a CUDA graph needs a CUDA device")
        ahead.run = Graph(at_home, pixels)
        check(ahead.run, at_home, pixels.flip(-1))
    else:
        ahead.run = encode if mode == PLAIN else at_home
    return pixels


def check(run: Encode, encode: Encode, pixels: Tensor) -> None:
    """Check that an encoder gives what another one does, so that nothing wrong is timed.

    Raises:
        RuntimeError: features differ by more than :data:`MOST_ERROR`.
    """
    expected = encode(pixels).float()
    error = float((run(pixels).float() - expected).norm() / expected.norm())
    if not error <= MOST_ERROR:
        raise RuntimeError(f"the graph's features differ from the encoder's by {error:.1%}")


def compile_blocks(network: nn.Module, backend: str | Callable[..., object]) -> None:
    """Compile each block of an encoder by itself, in place, when it first runs.

    Blocks of one kind share their code: two are compiled for SAM, not the 32 of ViT-H.

    Args:
        network: its longest list of modules is that of the blocks.
        backend: of ``torch.compile``.
    """
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    for block in max(lists, key=len):
        block.compile(backend=backend, dynamic=False)


class Graph:
    """An encoder recorded as a CUDA graph for inputs of one shape.

    Args:
        encode: the encoder.
        pixels: an input of that shape, on a CUDA device.

    Raises:
        RuntimeError: the encoder does what a graph cannot.
    """

    def __init__(self, encode: Encode, pixels: Tensor) -> None:
        self._pixels = pixels.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # what libraries set up and compile on first use must not be recorded
                encode(self._pixels)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._features = encode(self._pixels)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode pixels of the recorded shape."""
        self._pixels.copy_(pixels)
        self._graph.replay()
        return self._features.clone()  # as the next replay writes over it
