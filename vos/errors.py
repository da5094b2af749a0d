"""The exception family: every message says what was wrong, in which file, and what to do."""

from __future__ import annotations


def parameter(name: str, value: object = None) -> str:
    """Name a parameter of the Python interface in a message; the command shows its flag instead.

    Args:
        name: as :func:`vos.track` or :func:`vos.open_session` has it, such as ``resize_mask``.
        value: what to pass; None: the name alone.

    Returns:
        ```resize_mask=True```, which :func:`vos.command.status.with_flags` turns into ``--resize-mask``.
    """
    return f"`{name}`" if value is None else f"`{name}={value}`"


class VosError(Exception):
    """Base of all errors that a user can mend; the command line prints its message and exits 2."""


class InputError(VosError, ValueError):
    """A video, mask or option cannot be used."""


class TruncatedVideoError(InputError):
    """A video broke off in the middle; the frames before that were delivered.

    Attributes:
        frames: number of frames that were decoded.
    """

    def __init__(self, message: str, frames: int):
        super().__init__(message)
        self.frames = frames


class WeightsError(VosError):
    """Weights are missing, unreadable or do not fit the model."""


class PluginError(VosError):
    """A plugin is unknown, fails to load, or breaks its contract."""


class OutputError(VosError):
    """A result cannot be written."""


class ViewerGone(OutputError):
    """Whoever watched has seen enough: the pipe is closed, or the window. The run ends well."""
