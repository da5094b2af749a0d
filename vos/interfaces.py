"""The contract: protocols that segmenters, prior encoders and trackers follow; :mod:`vos.io_interfaces` has others.

A class needs no base class, only the methods and attributes. Segmenters, prior encoders, trackers and
point trackers are found through entry points (:mod:`vos.plugins`), so that a new one is one file and
one line; a new writer is one file and one record of :mod:`vos.writers`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .geometry import Geometry
from .method.guidance import Guidance
from .regions import Region
from .state_file import State
from .structures import FirstMask, Frame, ImageEmbedding, Masks, PatchFeatures, Prompts, Result, Tracked


class Seconds(dict[str, float]):
    """Seconds spent by stage; a stage that has not run counts 0."""

    def __missing__(self, stage: str) -> float:
        return 0.0


@runtime_checkable
class Segmenter(Protocol):
    """A promptable segmentation model that encodes a frame once and decodes it often.

    Entry-point group: ``vos.segmenters``.

    Attributes:
        name: the name that it was loaded by.
        device: the device that it runs on.
        dtype: the precision that it runs in, unless parts of it need more.
        wants_prior_maps: whether ``decode`` uses :attr:`vos.structures.Prompts.prior_maps`.
        wants_last_mask: whether it was trained to take the last frame's logits as mask prompt.
        light: may be left out: on a CPU it encodes a frame about as fast as a tracker follows it, so that more threads
            inside its operators gain less than the two at once.
        any_shape: may be left out: regions may have each of :func:`vos.regions.shapes`, not that of the frame alone.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    wants_prior_maps: bool
    wants_last_mask: bool

    @property
    def files(self) -> tuple[str, ...]:
        """Weight files in use, for ``run.json``."""
        ...

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> Segmenter:
        """Load the model.

        Args:
            name: as given to :func:`vos.open_session`; an own argument may follow a colon.
            device: the device to run on.
            dtype: the precision to run in.

        Raises:
            WeightsError: the weights are missing or do not fit.
        """
        ...

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        """Make the geometry for frames of (H, W), or for a region of them."""
        ...

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        """Encode a frame, (H, W, 3) uint8, or a region of it."""
        ...

    def match_features(self, embedding: ImageEmbedding) -> Tensor:
        """Give the features that the prior ``same`` compares, (1, C, h, w), not yet normalised."""
        ...

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        """Decode the masks of N objects as one batch.

        Args:
            embedding: from :meth:`embed`.
            prompts: of the N objects.
            guidance: steers the mask decoder, for models that can be steered; None: nothing does.
            multimask: give three masks for each object instead of one, where the model can.
        """
        ...


class PriorEncoder(Protocol):
    """A model that makes the features of the location prior.

    Entry-point group: ``vos.prior_encoders``.

    Attributes:
        name: the name that it was loaded by.
        long_side: may be left out: pixels of the input's long side, which ``prior_size`` sets.
    """

    name: str

    @property
    def files(self) -> tuple[str, ...]:
        """Weight files in use, for ``run.json``."""
        ...

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> PriorEncoder:
        """Load the model; as :meth:`Segmenter.load`."""
        ...

    def features(self, context: FrameContext) -> PatchFeatures:
        """Encode ``context.region``, from ``context.embedding`` or ``context.frame.rgb``."""
        ...


class FrameContext:
    """Gives a tracker one frame and its encodings; each is made on first use, at most once.

    Args:
        frame: the frame.
        segmenter: makes the image embedding.
        encoder: makes the patch features.
        seconds: time spent, to which that of the encodings is added as ``encode`` and ``prior``.

    Attributes:
        region: part of the frame that is encoded, see :meth:`look_at`; None: all of it.
    """

    def __init__(self, frame: Frame, segmenter: Segmenter, encoder: PriorEncoder, seconds: Seconds) -> None:
        self.frame = frame
        self.segmenter = segmenter
        self.encoder = encoder
        self.seconds = seconds
        self.region: Region | None = None

    def look_at(self, region: Region | None) -> None:
        """Choose the part of the frame to encode, enlarged to the input's size; None: all of it.

        Raises:
            RuntimeError: an encoding was asked for before.
        """
        if "embedding" in vars(self) or "features" in vars(self):
            raise RuntimeError("look_at() must come before embedding and features are asked for")
        self.region = region

    def at(self, region: Region | None) -> FrameContext:
        """Return a context of the same frame that looks at a region; this one, if it does or may still do so."""
        if region != self.region and ("embedding" in vars(self) or "features" in vars(self)):
            return self.afresh(region)
        self.region = region
        return self

    def afresh(self, region: Region | None = None, mirrored: bool = False) -> FrameContext:
        """Return a context of the same frame in which nothing is encoded yet.

        Args:
            region: part of the frame to encode; None: all of it.
            mirrored: turn the frame over, left to right, and the region with it.
        """
        frame = self.frame
        if mirrored:
            frame = replace(frame, rgb=np.ascontiguousarray(frame.rgb[:, ::-1]))
            region = region and replace(region, left=frame.size[1] - region.left - region.width)
        fresh = FrameContext(frame, self.segmenter, self.encoder, self.seconds)
        fresh.look_at(region)
        return fresh

    @property
    def device(self) -> torch.device:
        """Device that models run on; asking for it loads no weights."""
        return self.segmenter.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision that models run in; asking for it loads no weights."""
        return self.segmenter.dtype

    @cached_property
    def embedding(self) -> ImageEmbedding:
        """Image embedding of the region, by the segmenter."""
        began = time.perf_counter()
        embedding = self.segmenter.embed(self.frame.rgb, self.region)
        self.seconds["encode"] += time.perf_counter() - began
        return embedding

    @cached_property
    def features(self) -> PatchFeatures:
        """Patch features of the region, by the prior encoder."""
        if self.encoder.name == "same":
            _ = self.embedding  # so that its time counts as encoding
        began = time.perf_counter()
        features = self.encoder.features(self)
        self.seconds["prior"] += time.perf_counter() - began
        return features

    @torch.inference_mode()
    def encode(self) -> None:
        """Make the encodings now."""
        _ = self.embedding, self.features

    @property
    def raw_features(self) -> Tensor:
        """The segmenter's features as the prior ``same`` compares them, before normalisation."""
        return self.segmenter.match_features(self.embedding)


@runtime_checkable
class Tracker(Protocol):
    """Follows N objects, N at least 1. Entry-point group: ``vos.trackers``.

    The engine builds it by ``Class()`` or, with an attribute ``Options``, by ``Class(options)``. It calls
    ``start`` on the first frame of a video, then for each frame ``step`` and ``observe``; another ``start`` forgets all
    that was followed before. A tracker with weights of its own has an
    option ``weights``, which is what follows a colon in its name. It loads them in ``start`` and lists the
    files in an attribute ``files``.

    More methods are optional: those of :class:`EditableTracker`, :class:`ForgetfulTracker`,
    :class:`ForesightedTracker`, :class:`ResumableTracker` and :class:`ClosableTracker`.
    """

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        """Take the objects on their first frame."""
        ...

    def step(self, context: FrameContext) -> Tracked:
        """Follow the objects into the next frame; one row per object, in their order."""
        ...

    def observe(self, context: FrameContext, result: Result) -> None:
        """Take note of the merged result of the frame, and update what is remembered."""
        ...


@runtime_checkable
class EditableTracker(Tracker, Protocol):
    """A tracker whose objects can change in mid-video.

    A tracker may have some of the three methods only: :func:`can_edit` asks for each by itself.
    """

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        """Follow more objects from the last frame on.

        Args:
            context: of the last frame, not yet encoded.
            first_mask: masks of the new objects, whose rows come after those there are.
        """
        ...

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        """Take some objects anew from their true masks on the last frame.

        Args:
            context: of the last frame, not yet encoded.
            rows: rows of the objects, in the order of the masks.
            first_mask: masks of the objects.
        """
        ...

    def remove(self, rows: list[int]) -> None:
        """Forget some objects; the rows of the others close up."""
        ...


Edit = Literal["add", "correct", "remove"]
"""A method of :class:`EditableTracker`."""


def can_edit(tracker: Tracker, edit: Edit) -> TypeGuard[EditableTracker]:
    """Check whether a tracker has one method of :class:`EditableTracker`; it may lack the others."""
    return callable(getattr(tracker, edit, None))


@runtime_checkable
class ForgetfulTracker(Tracker, Protocol):
    """A tracker that can find an object again by itself after it was told that the object is gone."""

    def forget(self, context: FrameContext, rows: list[int]) -> None:
        """Let some objects be absent, with empty masks, until there is clear evidence of them.

        What was learnt of them since their masks were last given is dropped; they keep their rows. The arguments
        are as in :meth:`EditableTracker.correct`; these objects are not on the frame, whatever was seen there.
        """
        ...


@runtime_checkable
class ForesightedTracker(Tracker, Protocol):
    """A tracker that knows early what it will look at, so that a frame is encoded while the one before is followed."""

    def region_ahead(self, context: FrameContext) -> Region | None:
        """Choose the region that ``step`` will most likely look at in the frame after the context's; None: all of it.

        It is called before ``step``, and must not change what ``step`` returns. ``step`` may look elsewhere.
        """
        ...


@runtime_checkable
class ResumableTracker(Tracker, Protocol):
    """A tracker whose state can be saved, so that a run can be resumed."""

    def state(self) -> State:
        """Give all that later frames depend on.

        It is called between frames, now and then. The tensors are written to disk while the next frames
        are followed, so a tensor that is changed in place must be given as a copy.

        Raises:
            PluginError: a part of the tracker cannot be saved.
        """
        ...

    def restore(self, context: FrameContext, state: State) -> None:
        """Go on from a state; called instead of ``start``.

        Args:
            context: of the frame that was followed last, not yet encoded.
            state: from :meth:`state` of the same class and options; its tensors are on the CPU.
        """
        ...


@runtime_checkable
class ClosableTracker(Tracker, Protocol):
    """A tracker that holds more than Python's memory, such as files or processes."""

    def close(self) -> None:
        """Release what is held; called once, also after an error."""
        ...


class PointTracker(Protocol):
    """Follows points. Entry-point group: ``vos.point_trackers``.

    Points are independent of each other; their arrangement as (N, P) is the caller's. Every answer comes
    with its own frame, so that a live stream is followed as it comes: a network that needs a window of
    frames pads it.
    """

    @classmethod
    def load(cls, name: str, device: torch.device) -> PointTracker:
        """Load the point tracker.

        Args:
            name: as given to :func:`vos.open_session`; an own argument may follow a colon.
            device: the device to run on.

        Raises:
            WeightsError: the weights are missing or do not fit.
        """
        ...

    def start(self, frame: Frame, points: Tensor) -> None:
        """Take points (N, P, 2) xy in frame pixels; called again to begin anew."""
        ...

    def step(self, frame: Frame) -> tuple[Tensor, Tensor]:
        """Follow the points into the next frame.

        Returns:
            Points (N, P, 2) xy, and whether each is visible (N, P) bool.
        """
        ...

    def replace(self, which: Tensor, points: Tensor) -> None:
        """Put some points elsewhere on the last frame.

        Args:
            which: (N, P) bool.
            points: (N, P, 2) xy; only those of ``which`` are read.
        """
        ...

    def state(self) -> State:
        """Give all that later frames depend on, as :meth:`ResumableTracker.state`; may be left out."""
        ...

    def restore(self, frame: Frame, state: State) -> None:
        """Go on from a state, called instead of ``start`` with the frame followed last; may be left out."""
        ...
