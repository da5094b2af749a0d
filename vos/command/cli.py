"""The entry point of ``vos-track``: from arguments to an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .options import Options, check_options, parse_options
from .status import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    return exit_status("vos-track", lambda: run(options), options.traceback, "the finished frames are valid")


def run(options: Options) -> int:
    """Track one video; return the exit status.

    Raises:
        VosError: an option, the input or the output cannot be used.
    """
    check_options(options)
    from .run import track  # imports torch, which --help does not wait for

    return track(options)


if __name__ == "__main__":
    sys.exit(main())
