"""The command line of ``vos-batch``: its own options, and those of ``vos-track`` that hold for every video."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..command.option_values import Parser, positive
from ..command.options import Options, build_parser, parse_options
from ..errors import InputError
from ..version import __version__

REFUSED = {
    "--output": "the batch has one result folder",
    "--resume": "a batch always goes on",
    "--overwrite": "remove the video's result folder instead",
    "--live": "a stream has no end",
    "--raw": "a batch has no standard input",
    "--show": "a batch has no window",
    "--traceback": "it is for the whole batch",
    "--quiet": "it is for the whole batch",
    "--version": "it is no option of a video",
    "--help": "it is no option of a video",
}
"""Options of ``vos-track`` that a video of a batch cannot have, with the reason."""

EPILOG = """a manifest is one of:
  videos.csv     a header and a row for each video; the columns are video, name, and any
                 option of vos-track without its dashes, such as first-mask, box or tracker;
                 the column options takes several, as on the command line
  videos.jsonl   the same, a JSON object a line
  "clips/*.mp4"  a pattern in quotes, or the videos themselves

Options of vos-track given here are for every video; in them {name} is its name.

examples:
  vos-batch videos.csv -o results
  vos-batch "clips/*.mp4" -o results --first-mask "masks/{name}.png" --tracker persam
  vos-batch videos.csv -o results --shard 3/64       # the third of 64 jobs, such as a Slurm array
  vos-batch videos.csv -o s3://bucket/results --ray  # on the Ray cluster that this machine is part of

exit status: 0 all videos are done, 1 some have failed (see failed.csv), 2 the manifest or an option
cannot be used, 130 stopped by Ctrl-C. The same command goes on, and tries what failed again.
"""


class BatchOptions(argparse.Namespace):
    """The options of ``vos-batch`` itself with their types.

    Attributes:
        output: folder or address of the results.
        shared: options of ``vos-track`` for every video, as on its command line.
    """

    manifest: list[str]
    output: str
    workers: int | None
    tries: int
    video_timeout: int | None
    shard: tuple[int, int]
    ray: str | None
    scratch: Path | None
    quiet: bool
    traceback: bool
    shared: list[str]


def parse_batch(arguments: Sequence[str]) -> BatchOptions:
    """Parse the arguments of the command line; leave with status 2 and one line if there is a mistake."""
    parser = Parser(
        prog="vos-batch",
        usage="%(prog)s MANIFEST -o OUT [options] [options of vos-track]",
        description="Follow objects through many videos.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_options(parser)
    try:
        own, shared = split(arguments)
    except InputError as error:
        parser.error(str(error))
    return parser.parse(own, BatchOptions(shared=shared))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", nargs="+", help="a table, a pattern or videos, see below")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="folder of the results, one for each video, or an address that fsspec knows, such as s3://bucket/folder",
    )
    parser.add_argument(
        "--workers", metavar="N", type=positive, help="processes or Ray actors (default: one for each GPU, else core)"
    )
    parser.add_argument(
        "--tries", metavar="N", type=positive, default=3, help="how often a video is tried (default: %(default)s)"
    )
    parser.add_argument(
        "--video-timeout",
        metavar="SECONDS",
        type=positive,
        help="end a try that takes longer; the next one goes on where it was (default: no limit)",
    )
    parser.add_argument(
        "--shard", metavar="I/N", type=shard, default=(1, 1), help="do the I-th of N parts of the manifest only"
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="use the Ray cluster at an address, or without one the cluster at hand (needs ray)",
    )
    parser.add_argument(
        "--scratch", metavar="DIR", type=Path, help="where results for an address are made (default: a temporary one)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")


def shard(text: str) -> tuple[int, int]:
    """Read ``I/N``."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: give I/N with I from 1 to N, such as 3/64")
    return int(index), int(count)


@functools.cache
def flags() -> dict[str, argparse.Action]:
    """Return the options of ``vos-track`` by their long names."""
    actions = build_parser()._actions
    return {flag: action for action in actions for flag in action.option_strings if flag.startswith("--")}


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a command line into options of the batch and options of ``vos-track`` for every video.

    Returns:
        The arguments of the batch; those of ``vos-track``, each in one piece: ``--tracker=persam``.

    Raises:
        InputError: an option cannot be one of every video.
    """
    mine = {"--output", "--quiet", "--traceback", "--version", "--help"}
    theirs = {flag: action for flag, action in flags().items() if flag not in mine}
    own: list[str] = []
    shared: list[str] = []
    waiting = iter(arguments)
    rest: list[str] = []
    while (text := rest.pop() if rest else next(waiting, None)) is not None:
        flag, equals, _ = text.partition("=")
        if text == "--":
            own += [text, *waiting]
        elif flag not in theirs:
            own.append(text)
        elif flag in REFUSED:
            raise InputError(f"{flag}: is not for vos-batch: {REFUSED[flag]}")
        elif equals:
            shared.append(text)
        else:
            shared += _with_value(flag, theirs[flag], waiting, rest)
    return own, shared


def _with_value(flag: str, action: argparse.Action, waiting: Iterator[str], rest: list[str]) -> list[str]:
    """Take an option's value from the arguments that follow; one that is not its value goes to ``rest``."""
    if action.nargs == 0:
        return [flag]
    value = next(waiting, None)
    if value is None:
        return [flag]  # the parser of the row tells that there is none
    if action.nargs == "?" and not _accepts(action, value):
        rest.append(value)
        return [flag]
    return [f"{flag}={value}"]


def _accepts(action: argparse.Action, value: str) -> bool:
    """Tell whether a text can be the value of an option that needs none."""
    if not callable(action.type):
        return not value.startswith("-")
    with contextlib.suppress(ValueError, TypeError, argparse.ArgumentTypeError):
        action.type(value)
        return True
    return False


def read_options(arguments: Sequence[str]) -> Options:
    """Parse arguments of ``vos-track``.

    Raises:
        InputError: they cannot be used.
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return parse_options(arguments)
    except SystemExit as error:
        message = told.getvalue().strip().removeprefix("vos-track: ").removesuffix("; see --help")
        raise InputError(message or "cannot be used") from error
