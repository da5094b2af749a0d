"""Video object segmentation: follow every object of a first mask through a video.

:func:`track` takes a whole video, :func:`open_session` frames one by one. The other public names are the
data that goes in and comes out. Modules such as :mod:`vos.errors` and :mod:`vos.structures` are there without an import
of their own. docs/architecture.md is the map of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

__all__ = [
    "FirstMask",
    "Found",
    "Frame",
    "Hint",
    "Reference",
    "Result",
    "Session",
    "VosError",
    "Words",
    "__version__",
    "find",
    "open_session",
    "track",
]

if TYPE_CHECKING:
    from .engine.session import Session
    from .engine.text import Words
    from .errors import VosError
    from .finder import Found, find
    from .pipeline import open_session
    from .references import Reference
    from .structures import FirstMask, Frame, Hint, Result
    from .tracking import track

_HOMES = {
    "FirstMask": "structures",
    "Found": "finder",
    "Frame": "structures",
    "Hint": "structures",
    "Reference": "references",
    "Result": "structures",
    "Session": "engine.session",
    "VosError": "errors",
    "Words": "engine.text",
    "find": "finder",
    "open_session": "pipeline",
    "track": "tracking",
}
"""Module of each public name, imported when the name is first used."""


def __getattr__(name: str) -> object:
    """Import a public name or a module on first use, so that ``vos-track --help`` does not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    module = f"{__name__}.{name}"
    try:
        if not name.startswith("_"):
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, but something that it imports is not
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
