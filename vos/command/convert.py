"""The command ``vos-convert``: writes further outputs of a result folder, through the same writers as ``vos-track``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, OutputError, VosError
from ..readers.limits import MAX_PIXELS
from ..version import __version__
from ..writers.outputs import OUTPUTS, Extras, help_text
from .option_values import Parser, name, positive
from .status import exit_status, say

if TYPE_CHECKING:
    from ..structures import Result
    from ..writers.thread import WriterThread
    from .convert_source import ResultFolder

_SOURCES = ("masks", "csv")
"""Outputs from which a result folder is read, so that they are not written into it again."""

_EPILOG = """examples:
  vos-convert dog-vos --to yolo,coco-images
      what labelling tools and trainers read, into the same folder
  vos-convert dog-vos --to mask-video,exr -o comp --name 1=dog
      for a compositor, into another folder

Edges are hard, except those of mattes where the result has cutout/: masks/ keeps no soft ones.
"""


class ConvertOptions(argparse.Namespace):
    """The options of ``vos-convert`` with their types."""

    result: Path
    to: str
    output: Path | None
    video_file: Path | None
    name: list[tuple[int, str]] | None
    audio: bool
    max_pixels: int
    overwrite: bool
    quiet: bool
    traceback: bool


def build_parser() -> Parser:
    """Build the parser of the command line; parse into :class:`ConvertOptions`."""
    parser = Parser(
        prog="vos-convert",
        usage="%(prog)s RESULT --to WHAT [options]",
        description="Write further outputs of a result that is there already.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("result", metavar="RESULT", type=Path, help="a folder that vos-track wrote, with masks/")
    add("--to", metavar="WHAT", required=True, help=f"what to write, separated by commas: {help_text()}")
    add("-o", "--output", metavar="OUT", type=Path, help="folder to write to (default: RESULT)")
    add("--video-file", metavar="VIDEO", type=Path, help="where the video is now (default: where it was)")
    add(
        "--name",
        metavar="ID=NAME",
        action="append",
        type=name,
        help="name of an object (default: those that the run was given); repeatable",
    )
    add("--no-audio", dest="audio", action="store_false", help="leave the sound out of videos")
    add("--max-pixels", type=positive, default=MAX_PIXELS, metavar="N", help="largest frame or mask that is read")
    add("--overwrite", action="store_true", help="replace outputs that are there")
    add("--quiet", action="store_true", help="no progress")
    add("--traceback", action="store_true", help="show where an error came from")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    options = build_parser().parse(sys.argv[1:] if arguments is None else arguments, ConvertOptions())
    return exit_status("vos-convert", lambda: convert(options), options.traceback, "the finished files are valid")


def convert(options: ConvertOptions) -> int:
    """Write the outputs; return the exit status.

    Raises:
        VosError: an option, the result folder or the video cannot be used, or an output cannot be written.
    """
    from .convert_source import ResultFolder

    names = chosen_outputs(options)
    source = ResultFolder(options.result, options.video_file, options.max_pixels)
    out = options.output or options.result
    with ExitStack() as stack:
        _prepare(options, out, names, stack)
        soft = [each for each in names if OUTPUTS[each].soft_edges or each == "exr"]
        if soft and (not source.has_edges() or "exr" in soft):
            say(f"vos-convert: {', '.join(soft)}: with hard edges, as masks/ keeps no soft ones", 0)
        _write(options, source, out, names, stack)
    return 0


def chosen_outputs(options: ConvertOptions) -> list[str]:
    """Return the names of the outputs that ``--to`` lists.

    Raises:
        InputError: a name is unknown, there is none, or one is what the result is read from.
    """
    names = [each.strip() for each in options.to.split(",") if each.strip()]
    unknown = sorted(set(names) - set(OUTPUTS))
    if unknown or not names:
        raise InputError(f"--to {unknown[0] if unknown else options.to!r}: choose from {', '.join(OUTPUTS)}")
    into_itself = options.output is None or options.output.resolve() == options.result.resolve()
    read = [each for each in names if each in _SOURCES]
    if read and into_itself:
        raise InputError(f"--to {read[0]}: {options.result} is read from it; give another folder by -o")
    return list(dict.fromkeys(names))


def _prepare(options: ConvertOptions, out: Path, names: Sequence[str], stack: ExitStack) -> None:
    """Lock the folder until the command ends, and remove what was there of the outputs if that was said.

    Raises:
        OutputError: another command writes there, something of the outputs is there already, or it cannot be written.
    """
    from ..folder_lock import FolderLock
    from .result_folder import refuse_links, written

    refuse_links(out)
    stack.enter_context(FolderLock(out, "vos-convert"))
    there = written(out, [OUTPUTS[each] for each in names], options.result)
    if there and not options.overwrite:
        raise OutputError(f"{there[0]}: already there; pass --overwrite, or -o another folder")
    for path in there:
        path.unlink(missing_ok=True)


def _write(options: ConvertOptions, source: ResultFolder, out: Path, names: Sequence[str], stack: ExitStack) -> None:
    """Hand the results to the writers.

    Raises:
        VosError: the result or the video cannot be read, or an output cannot be written; what was finished is valid.
    """
    from .progress import Progress

    pixels = any(OUTPUTS[each].pixels for each in names)
    video = source.video()
    reader = None
    with suppress(*(() if pixels else (VosError,))):  # the frames themselves are not needed then
        reader = stack.enter_context(source.open_video(video))
    sound = video if options.audio and video is not None and video.is_file() else None
    extras = Extras({**source.names, **dict(options.name or ())}, sound, source.start, source.stride)
    fps = source.rate_of(reader)
    writers: WriterThread | None = None
    with Progress(source.count, sys.stderr, quiet=options.quiet) as progress:
        for done, result in enumerate(source.results(reader if pixels else None), start=1):
            if writers is None:
                writers = stack.enter_context(_open(names, out, fps, result, extras))
            writers.write(result)
            progress.update(done)
        if writers is not None:
            writers.close()


def _open(names: Sequence[str], out: Path, fps: float | None, first: Result, extras: Extras) -> WriterThread:
    from ..writers.open import open_writers
    from ..writers.thread import WriterThread

    return WriterThread(
        open_writers(names, out, fps=fps, first_frame=first.frame, object_ids=first.object_ids, extras=extras)
    )


if __name__ == "__main__":
    sys.exit(main())
