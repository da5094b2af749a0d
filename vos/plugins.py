"""Finds trackers, point trackers, segmenters and prior encoders by name, through entry points.

Names are listed without importing anything; only the plugin that is asked for is loaded. The engine
loads models and trackers by it, PerSAM its point tracker; the command lists the names in its help.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import PluginError


def names(group: str) -> list[str]:
    """List the names installed in an entry-point group such as ``vos.trackers``, in ascending order."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, name: str) -> type[Any]:
    """Load the class that is registered as ``name``; the group says which protocol it should follow.

    Args:
        group: entry-point group, such as ``vos.trackers``, see :mod:`vos.interfaces`.
        name: name of the plugin.

    Raises:
        PluginError: no package offers the name, several do, or its import fails.
    """
    found = {entry.value: entry for entry in entry_points(group=group) if entry.name == name}
    kind = group.removeprefix("vos.").rstrip("s").replace("_", " ")
    if not found:
        raise PluginError(f"{name}: no such {kind}; installed are: {', '.join(names(group)) or 'none'}")
    if len(found) > 1:
        packages = ", ".join(sorted(map(_package, found.values())))
        raise PluginError(f"{name}: several packages offer this {kind}: {packages}; remove one")
    entry = next(iter(found.values()))
    try:
        loaded: type[Any] = entry.load()
    except (Exception, SystemExit) as error:  # a module that leaves the program must not end the caller
        raise PluginError(f"{name}: this {kind} of {_package(entry)} fails to load: {error}") from error
    return loaded


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
