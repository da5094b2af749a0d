"""The exception family: every message says what was wrong, in which file, and what to do."""

from __future__ import annotations


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
