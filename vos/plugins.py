"""Trackers, point trackers, segmenters and prior encoders by name, through entry points.

Names are listed without importing anything; only the one asked for is loaded.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from .errors import PluginError


def names(group: str) -> list[str]:
    """Names installed in an entry-point group such as ``vos.trackers``, ascending."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, name: str) -> type:
    """The class registered as ``name``.

    Raises:
        PluginError: unknown, offered by two packages, or its import fails.
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
        return entry.load()
    except Exception as error:
        raise PluginError(f"{name}: this {kind} of {_package(entry)} fails to load: {error}") from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
