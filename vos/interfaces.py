"""The seams: what a segmenter, prior encoder, tracker, reader and writer must offer.

Each kind is found through an entry-point group (:mod:`vos.plugins`); a new one is one file and
one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, device, dtype

from .geometry import Geometry, Region
from .structures import FirstMask, Frame, ImageEmbedding, Masks, PatchFeatures, Prompts, Result, Tracked

if TYPE_CHECKING:
    from .engine.session import FrameContext
    from .method.guidance import Guidance


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
    device: device
    dtype: dtype
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
