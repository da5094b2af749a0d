"""The exceptions that the package raises. Every message says what is wrong, in which file, and what to do."""

from __future__ import annotations

from typing import Any


def parameter(name: str, value: object = None) -> str:
    """Write a parameter of the Python interface as messages name it; the command shows its flag instead.

    Args:
        name: as in :func:`vos.track` or :func:`vos.open_session`, such as ``resize_mask``.
        value: the value that is meant; None: the name alone.

    Returns:
        ```resize_mask=True```, which :func:`vos.command.status.with_flags` turns into ``--resize-mask``.
    """
    return f"`{name}`" if value is None else f"`{name}={value}`"


class VosError(Exception):
    """Base of all errors that a user can mend; the command prints its message and exits with status 2."""


class InputError(VosError, ValueError):
    """A video, mask or option cannot be used."""


class TruncatedVideoError(InputError):
    """A video breaks off in the middle; the frames before that were delivered.

    Attributes:
        frames: number of frames that were decoded.
    """

    def __init__(self, message: str, frames: int) -> None:
        super().__init__(message)
        self.frames = frames

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.frames), vars(self)


class WeightsError(VosError):
    """Weights are missing, unreadable or do not fit the model."""


class PluginError(VosError):
    """A plugin is unknown, fails to load, or breaks its contract."""


class OutputError(VosError):
    """A result cannot be written."""


class ViewerGone(OutputError):
    """The viewer of a live output has closed its pipe or window; the command ends the run as a success."""
