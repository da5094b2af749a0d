"""The entry point of ``vos-find``, which finds the objects of references in single pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import InputError
from .find_options import SAVES, FindOptions, build_parser
from .status import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    options = build_parser().parse(sys.argv[1:] if arguments is None else arguments, FindOptions())
    return exit_status("vos-find", lambda: run(options), options.traceback, "the finished pictures are valid")


def run(options: FindOptions) -> int:
    """Find the objects in all pictures; return the exit status.

    Raises:
        VosError: an option, the input or the output cannot be used.
    """
    saves = list(dict.fromkeys(name.strip() for name in options.save.split(",") if name.strip()))
    unknown = sorted(set(saves) - set(SAVES))
    if unknown:
        raise InputError(f"--save {unknown[0]}: choose from {', '.join(SAVES)}")
    if options.resume and options.overwrite:
        raise InputError("--resume goes on with what --overwrite would remove; give one of them")
    from .find_run import FindRun  # imports torch, which --help does not wait for

    return FindRun(options, saves).run()


if __name__ == "__main__":
    sys.exit(main())
