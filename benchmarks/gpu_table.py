"""The cells of :mod:`vos.benchmarks.gpu`, before and after they are measured, and the lines of its table."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .gpu_encoders import COMPILED, COMPILED_GRAPH, PLAIN

INPUT, ENCODER, STEPS, AGREEMENT = KINDS = ("input", "encoder", "steps", "agreement")
"""What is measured: making an encoder's input; an encoder alone; whole steps; masks in bfloat16 against float32."""

LONGEST_REMARK = 120
"""Characters of an error that the table shows."""

HEAD = (
    "what",
    "model",
    "prior",
    "objects",
    "batch",
    "encoders",
    "ms a frame",
    "frames/s",
    "encoder's share",
    "same pixels",
    "memory, MB",
    "remark",
)
"""Columns of the table."""


@dataclass(frozen=True)
class Cell:
    """One line of the table, before it is measured.

    Attributes:
        kind: one of :data:`KINDS`.
        model: a segmenter; of an encoder alone, also a prior encoder.
        prior: prior encoder of the steps.
        objects: number of objects.
        batch: frames that are encoded together.
        mode: way to run the encoders, one of :data:`~vos.benchmarks.gpu_encoders.MODES`.
    """

    kind: str
    model: str
    prior: str = ""
    objects: int = 0
    batch: int = 1
    mode: str = PLAIN

    @property
    def compiled(self) -> bool:
        """Whether the encoders are compiled."""
        return self.mode in (COMPILED, COMPILED_GRAPH)


@dataclass(frozen=True)
class Measured:
    """What was measured of a cell; None: not measured, or it does not apply.

    Attributes:
        ms: milliseconds a frame, the median.
        encoder_share: milliseconds of the segmenter's image encoder alone, as a share of those.
        agreement: share of the pixels in a mask of either precision to which both give the same object.
        memory_mb: most memory that tensors took on the device, weights included, in MB.
        remark: why nothing was measured; empty otherwise.
    """

    ms: float | None = None
    encoder_share: float | None = None
    agreement: float | None = None
    memory_mb: float | None = None
    remark: str = ""


def texts(cell: Cell, measured: Measured) -> tuple[str, ...]:
    """Put a line of the table into words, one for each of :data:`HEAD`."""
    ms, share, same, memory = measured.ms, measured.encoder_share, measured.agreement, measured.memory_mb
    return (
        cell.kind,
        cell.model,
        cell.prior,
        str(cell.objects or ""),
        str(cell.batch),
        cell.mode,
        "" if ms is None else f"{ms:.2f}",
        "" if ms is None else f"{1e3 / ms:.2f}",
        "" if share is None else f"{share:.1%}",
        "" if same is None else f"{same:.4f}",
        "" if memory is None else f"{memory:.0f}",
        measured.remark,
    )


def row(words: Sequence[str]) -> str:
    """Join the words of a line of the table."""
    return f"| {' | '.join(words)} |"


def record(cell: Cell, measured: Measured) -> dict[str, object]:
    """Return a line of the table by the names of its attributes, for JSON."""
    frames_per_s = None if measured.ms is None else 1e3 / measured.ms
    return asdict(cell) | {"frames_per_s": frames_per_s} | asdict(measured)


def in_one_line(error: Exception) -> str:
    """Put an error, and where it was raised, into one line that a Markdown table can hold."""
    line = " ".join(f"{type(error).__name__}: {error}".replace("|", "/").split())
    [*_, last] = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(last.filename).name}:{last.lineno})"
    return (line if len(line) <= LONGEST_REMARK else f"{line[: LONGEST_REMARK - 1]}…") + place
