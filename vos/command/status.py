"""From a command's outcome to its exit status and the one line that tells of it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from ..errors import VosError

_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")  # as vos.errors.parameter writes it


def with_flags(message: str) -> str:
    """Turn the parameters that a message of the library names into flags of the command line.

    ```resize_mask=True``` becomes ``--resize-mask``, ```reader=pyav``` becomes ``--reader pyav``.
    """

    def flag(found: re.Match[str]) -> str:
        name = "--" + found[1].replace("_", "-")
        return name if found[2] in (None, "True") else f"{name} {found[2]}"

    return _PARAMETER.sub(flag, message)


def exit_status(program: str, action: Callable[[], int], show_traceback: bool, after_stop: str) -> int:
    """Run a command's action: its own status, 2 and one line on a user's mistake, 130 on Ctrl-C."""
    try:
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


def say(text: str, status: int) -> int:
    """Print one line, whatever is in the names in it; a closed terminal is no reason to fail."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    with suppress(OSError, ValueError):
        print(shown, file=sys.stderr, flush=True)
    return status
