"""What PerSAM knows of one frame: the decoder's answer, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...method import matching
from ...structures import Explanation
from .looks import Group, View
from .referred import Referred


@dataclass(frozen=True)
class Decoded:
    """The decoder's answer for N objects in one frame.

    Attributes:
        logits: of the chosen masks, for all of the segmenter's input, (N, 4h, 4w).
        scores: of the chosen masks, (N,).
        match: how well each patch matches what the objects look like, (N, h, w); None without prior maps.
        explanation: what led to that answer.
    """

    logits: Tensor
    scores: Tensor
    match: Tensor | None
    explanation: Explanation


@dataclass(frozen=True)
class Observation:
    """What one frame adds to the memory of N objects.

    Attributes:
        memory: for the matching maps.
        moments: for the discriminant, (N, C + 1, C + 1).
    """

    memory: matching.Memory
    moments: Tensor


@dataclass(frozen=True)
class Pending:
    """A frame between ``step``, which segments it, and ``observe``, which remembers it.

    Attributes:
        view: the whole of the encoded region.
        groups: the objects, and the windows in which each was looked for.
        logits: of the chosen masks, (N, 4h, 4w).
        doubts: see :class:`.Objects`, (N,) long.
        referred: objects that have references, with what they look like in this frame; None: there are none.
    """

    view: View
    groups: list[Group]
    logits: Tensor
    doubts: Tensor
    referred: Referred | None
