"""The streaming engine: one frame in, one result out, nothing kept but what the tracker needs."""

from __future__ import annotations

import time
from collections import Counter
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .first_mask import first_mask_from_array
from .geometry import Region
from .interfaces import PriorEncoder, Segmenter, Tracker
from .merge import describe, merge
from .structures import FirstMask, Frame, ImageEmbedding, PatchFeatures, Result


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


class Session:
    """Follows the objects of a first mask through frames pushed one at a time.

    Args:
        tracker: follows the objects; a fresh one for each session.
        segmenter: encodes and decodes.
        encoder: makes the features of the location prior.

    Attributes:
        seconds: time spent by stage (``encode``, ``prior``, ``track``, ``merge``).
    """

    def __init__(self, tracker: Tracker, segmenter: Segmenter, encoder: PriorEncoder):
        self.tracker = tracker
        self.segmenter = segmenter
        self.encoder = encoder
        self.seconds: Counter[str] = Counter()
        self._first: FirstMask | None = None
        self._size: tuple[int, int] | None = None

    @torch.inference_mode()
    def start(self, frame: Frame, first_mask: FirstMask | np.ndarray) -> Result:
        """Take the objects on their first frame; the result is the given mask.

        Args:
            frame: the frame.
            first_mask: the objects, or their labels (H, W) of bool or integer.

        Raises:
            InputError: the mask has another size than the frame, or no object.
        """
        if isinstance(first_mask, np.ndarray):
            first_mask = first_mask_from_array(first_mask)
        if first_mask.labels.shape != frame.size:
            raise InputError(f"the first mask is {first_mask.labels.shape} but the frame is {frame.size} (H, W)")
        self._first, self._size = first_mask, frame.size
        context = FrameContext(frame, self.segmenter, self.encoder, self.seconds)
        self.tracker.start(context, first_mask)
        scores = np.ones(len(first_mask.object_ids), dtype=np.float32)
        return describe(frame, first_mask.object_ids, first_mask.labels, scores)

    @torch.inference_mode()
    def step(self, frame: Frame) -> Result:
        """Follow the objects into the next frame.

        Raises:
            InputError: ``start`` was not called, or the frame has another size.
        """
        if self._first is None:
            raise InputError("no objects yet: call start(frame, first_mask) before step(frame)")
        if frame.size != self._size:
            raise InputError(f"frame {frame.index} is {frame.size} but the first was {self._size} (H, W)")
        context = FrameContext(frame, self.segmenter, self.encoder, self.seconds)
        began, encoded = time.perf_counter(), self._encoding_seconds()
        tracked = self.tracker.step(context)
        middle = time.perf_counter()
        self.seconds["track"] += middle - began - (self._encoding_seconds() - encoded)
        result = merge(frame, self._first.object_ids, tracked)
        self.seconds["merge"] += time.perf_counter() - middle
        self.tracker.observe(context, result)
        return result

    def _encoding_seconds(self) -> float:
        return self.seconds["encode"] + self.seconds["prior"]
