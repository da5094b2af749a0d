"""What similarity says that an object is there, for each model: the numbers beside this file, in ``presence.json``.

``python -m vos.benchmarks.presence`` measures them. Trackers that take references use them, see
:class:`vos.references.Sighting`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

FILE = Path(__file__).parent / "presence.json"
"""The numbers by name of the model, of the part of it before the first dash, or ``*`` for all others."""


@dataclass(frozen=True)
class Calibration:
    """Turns similarity into presence, which is 0.5 where the object is as likely there as not.

    Attributes:
        middle: similarity of presence 0.5.
        slope: steepness there; presence is ``sigmoid(slope * (similarity - middle))``.
    """

    middle: float
    slope: float

    def presence(self, similarity: Tensor) -> Tensor:
        """Return the presence for similarities of any shape, in [0, 1]."""
        return (self.slope * (similarity - self.middle)).sigmoid()


def calibration_of(segmenter: str, encoder: str) -> Calibration:
    """Look up the numbers of a model.

    Args:
        segmenter: its name.
        encoder: name of the prior encoder, whose features are compared unless it is ``same``.
    """
    name = segmenter if encoder == "same" else encoder
    known = _numbers()
    for each in (name, name.partition(":")[0], name.partition("-")[0]):
        if each in known:
            return Calibration(**known[each])
    return Calibration(**known["*"])


@cache
def _numbers() -> dict[str, dict[str, float]]:
    numbers: dict[str, dict[str, float]] = json.loads(FILE.read_text(encoding="utf-8"))
    return numbers
