"""Video object segmentation: follow every object of a first mask through a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Session", "open_session", "track"]

if TYPE_CHECKING:
    from .engine import Session
    from .pipeline import open_session, track


def __getattr__(name: str):
    """Load torch on first use, so that ``vos-track --help`` is quick."""
    if name == "Session":
        from .engine import Session

        return Session
    if name in ("open_session", "track"):
        from . import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'vos' has no attribute {name!r}")
