"""Turns the outcome of a command into its exit status and one line on standard error; all commands use it."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import VosError

_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""A parameter as :func:`vos.errors.parameter` writes it."""

_FLAGS = {
    "video": "VIDEO",
    "references": "--reference",
    "hints": "--box or --point",
    "masks_at": "--mask-at",
    "audio": "--no-audio",
}
"""Parameters whose option has another name."""


def flag_of(name: str) -> str:
    """Return the option of the command line that sets a parameter: ``--resize-mask`` for ``resize_mask``."""
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def with_flags(message: str) -> str:
    """Turn the parameters that a message of the library names into flags of the command line.

    ```resize_mask=True``` becomes ``--resize-mask``, ```reader=pyav``` becomes ``--reader pyav``. Everything else
    stays as it is.
    """

    def flag(found: re.Match[str]) -> str:
        name = flag_of(found[1])
        return name if found[2] in (None, "True") else f"{name} {found[2]}"

    return _PARAMETER.sub(flag, message)


def exit_status(program: str, action: Callable[[], int], show_traceback: bool, after_stop: str) -> int:
    """Run the action of a command and return the exit status.

    Args:
        program: name of the command, which begins every line.
        action: does the work; returns its own status.
        show_traceback: show where an error came from.
        after_stop: what remains after Ctrl-C or a closed pipe.

    Returns:
        The action's own status; 2 after a mistake of the user, told in one line; 130 after Ctrl-C.
    """
    try:
        with _warnings_as_lines(program):
            status = action()
        sys.stdout.flush()
        return status
    except VosError as error:
        if show_traceback:
            traceback.print_exc()
        return say(f"{program}: {with_flags(str(error))}", 2)
    except BrokenPipeError:  # the reader of the standard output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would fail once more when it ends
        return say(f"{program}: the standard output was closed; {after_stop}", 2)
    except KeyboardInterrupt:
        return say(f"{program}: stopped; {after_stop}", 130)


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print what the package logs as warnings on standard error inside the block, like errors."""
    handler = _Lines(program)
    logger = logging.getLogger(__name__.partition(".")[0])
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Prints each record as one line that begins with the command's name."""

    def __init__(self, program: str) -> None:
        super().__init__(logging.WARNING)
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        say(f"{self._program}: {with_flags(record.getMessage())}", 0)


def say(text: str, status: int) -> int:
    """Print one line on standard error, unprintable characters escaped, and return ``status``.

    A terminal that was closed, or a full disk behind it, is ignored.
    """
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    with suppress(OSError, ValueError):
        print(shown, file=sys.stderr, flush=True)
    return status


@contextmanager
def sigterm_as_ctrl_c(wanted: bool = True) -> Iterator[None]:
    """Let SIGTERM, by which clusters and services end a job, act as Ctrl-C inside the block, if ``wanted``."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
