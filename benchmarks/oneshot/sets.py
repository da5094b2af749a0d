"""The one-shot sets by name. A new one is a module with a class that is an ``EpisodeSet``, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .coco import Coco
from .episodes import EpisodeSet
from .fss import Fss
from .lvis import Lvis
from .paco_part import PacoPart
from .pascal_part import PascalPart

SETS: dict[str, Callable[[Path], EpisodeSet]] = {
    "fss": Fss,
    "lvis": Lvis,
    "coco": Coco,
    "pascal-part": PascalPart,
    "paco-part": PacoPart,
}
"""Openers, which take the folder that holds the sets' own folders."""
