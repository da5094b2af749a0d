"""The seams: what a segmenter, prior encoder, tracker, reader and writer must offer.

Each kind is found through an entry-point group (:mod:`vos.plugins`); a new one is one file and
one line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .geometry import Geometry, Region
from .method.guidance import Guidance
from .structures import FirstMask, Frame, ImageEmbedding, Masks, PatchFeatures, Prompts, Result, Tracked


@runtime_checkable
class Segmenter(Protocol):
    """A promptable segmentation model: encode once, decode often.

    Attributes:
        name: as given to ``--model``.
        device: where it runs.
        dtype: how precisely, unless parts of it need more.
        files: weight files in use, for ``run.json``.
        wants_prior_maps: whether ``decode`` uses :attr:`Prompts.prior_maps`.
        wants_last_mask: whether it was trained to take the last frame's logits as mask prompt.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    files: tuple[str, ...]
    wants_prior_maps: bool
    wants_last_mask: bool

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        """Geometry for frames of (H, W), or for a region of them."""
        ...

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        """Encode a frame, (H, W, 3) uint8, or a region of it."""
        ...

    def match_features(self, embedding: ImageEmbedding) -> Tensor:
        """What the prior ``same`` compares, (1, C, h, w), not yet normalised."""
        ...

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        """Decode N objects as one batch."""
        ...


class PriorEncoder(Protocol):
    """Features for the location prior."""

    name: str
    files: tuple[str, ...]

    def features(self, context: FrameContext) -> PatchFeatures:
        """Patch features of ``context.region``; from ``context.embedding`` or ``context.frame.rgb``."""
        ...


class FrameContext:
    """What a tracker may ask of one frame: each encoding is made on first use, at most once.

    Attributes:
        frame: the frame itself.
        region: the part of it that is encoded; None for all, see :meth:`look_at`.
    """

    def __init__(self, frame: Frame, segmenter: Segmenter, encoder: PriorEncoder, seconds: Counter):
        self.frame = frame
        self.segmenter = segmenter
        self.encoder = encoder
        self.seconds = seconds
        self.region: Region | None = None

    def look_at(self, region: Region | None) -> None:
        """Encode this part of the frame alone, enlarged to the input's size; before any encoding."""
        if "embedding" in vars(self) or "features" in vars(self):
            raise RuntimeError("look_at() must come before embedding and features are asked for")
        self.region = region

    @property
    def device(self) -> torch.device:
        """Where models are to run; asking for it loads none."""
        return self.segmenter.device

    @property
    def dtype(self) -> torch.dtype:
        """How precisely they are to run; asking for it loads none."""
        return self.segmenter.dtype

    @cached_property
    def embedding(self) -> ImageEmbedding:
        """The segmenter's image embedding."""
        began = time.perf_counter()
        embedding = self.segmenter.embed(self.frame.rgb, self.region)
        self.seconds["encode"] += time.perf_counter() - began
        return embedding

    @cached_property
    def features(self) -> PatchFeatures:
        """The prior encoder's patch features."""
        if self.encoder.name == "same":
            _ = self.embedding  # its time counts as encoding
        began = time.perf_counter()
        features = self.encoder.features(self)
        self.seconds["prior"] += time.perf_counter() - began
        return features

    @property
    def raw_features(self) -> Tensor:
        """The segmenter's features as the prior ``same`` compares them, before normalisation."""
        return self.segmenter.match_features(self.embedding)


class Tracker(Protocol):
    """Follows N objects, N at least 1. Built by ``Class(options)``, see :mod:`vos.plugins`.

    One with weights of its own has an option ``weights``, which ``--tracker NAME:WEIGHTS`` sets, loads
    them in ``start`` and lists them in ``files``. The engine calls ``start`` once, then for each frame ``step`` and ``observe``. ``add``,
    ``correct`` and ``remove`` may be left out: such a tracker cannot change its objects in
    mid-video; so may ``state`` and ``restore``: its runs cannot be resumed; ``close`` may be left out
    by one that holds nothing outside of Python's memory.
    """

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        """Take the objects on their first frame."""
        ...

    def step(self, context: FrameContext) -> Tracked:
        """Follow the objects into the next frame; one row per object, in their order."""
        ...

    def observe(self, context: FrameContext, result: Result) -> None:
        """See the merged result of the frame; update what is remembered."""
        ...

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        """Follow more objects from the last frame on; their rows come after those there are.

        ``context`` is of that frame, not yet encoded.
        """
        ...

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        """Take some objects anew from their true masks on the last frame.

        Args:
            context: of that frame, not yet encoded.
            rows: of the objects, one for each of the mask's, in its order.
            first_mask: their masks.
        """
        ...

    def remove(self, rows: list[int]) -> None:
        """Forget some objects; the rows of the others close up."""
        ...

    def state(self) -> dict:
        """All that later frames depend on; called between frames, now and then.

        Dictionaries, lists, numbers, texts, None, tensors and arrays, see :mod:`vos.state_file`. The
        tensors are written to disk while the next frames are followed: what is changed in place
        is handed out as a copy.
        """
        ...

    def restore(self, context: FrameContext, state: dict) -> None:
        """Take a state up, instead of ``start``.

        Args:
            context: of the frame last followed then, not yet encoded.
            state: from :meth:`state` of the same class and options; its tensors are on the CPU.
        """
        ...

    def close(self) -> None:
        """Release files, processes and the like; called once, also after an error."""
        ...


class PointTracker(Protocol):
    """Follows points; made by ``Class.load(name, device)``, ``name`` as given to ``--points``.

    Points are independent of each other; their arrangement as (N, P) is the caller's. Every answer
    comes with its own frame: a network that wants a window of frames pads it (latency 0), so
    that a live stream is followed as it comes.
    """

    def start(self, frame: Frame, points: Tensor) -> None:
        """Take points (N, P, 2) xy in frame pixels; also called again, to begin anew."""
        ...

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        """Points (N, P, 2) in the next frame, and (N, P) bool: whether each is visible there."""
        ...

    def replace(self, which: Tensor, points: Tensor) -> None:
        """Put some points elsewhere on the last frame.

        Args:
            which: (N, P) bool.
            points: (N, P, 2); only the rows of ``which`` are read.
        """
        ...

    def state(self) -> dict:
        """All that later frames depend on, as ``Tracker.state``; it and ``restore`` may be left out."""
        ...

    def restore(self, frame: Frame, state: dict) -> None:
        """Take a state up, instead of ``start``; ``frame`` is the one last followed then."""
        ...


class Reader(Protocol):
    """An iterator of frames; also a context manager.

    Attributes:
        fps: frames per second as the source states it, or None.
        size: (H, W) of the upright frames.
        length: number of frames as the source states it, or None.
    """

    fps: float | None
    size: tuple[int, int]
    length: int | None

    def __iter__(self) -> Iterator[Frame]:
        """Frames in presentation order.

        Raises:
            TruncatedVideoError: the source broke off after some frames.
        """
        ...

    def close(self) -> None:
        """Release the source."""
        ...


class Writer(Protocol):
    """Receives results in order, on the writer thread.

    Writes under temporary names; a finished file appears under its own name only when whole. One whose
    attribute ``file_per_frame`` is true is not handed the frames before those that a resumed run
    goes on with; every other gets all frames again.
    """

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish the files; also called after an error or Ctrl-C, to leave them valid."""
        ...
