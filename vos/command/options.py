"""The options of ``vos-track``: their types, the parser, and the checks that need nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import InputError
from .option_groups import (
    EPILOG,
    add_input_options,
    add_model_options,
    add_object_options,
    add_output_options,
    add_point_tracker_options,
    add_run_options,
)
from .option_values import GivenHint, Parser, with_resize

if TYPE_CHECKING:  # imports torch
    from ..readers.mask_size import Resize


class Options(argparse.Namespace):
    """The options of ``vos-track`` with their types; the help texts of :mod:`vos.command.option_groups`
    say what each means.

    Attributes:
        save: names of the outputs, separated by commas; None until the default is filled in.
    """

    video: str
    start: int
    max_frames: int | None
    stride: int
    max_pixels: int
    reader: Literal["pyav", "decord"]
    live: bool
    raw: str | None
    first_mask: list[str] | None
    hints: list[GivenHint] | None
    text: list[str] | None
    text_threshold: float | None
    text_model: str | None
    first_frame: int
    mask_at: list[tuple[int, str]]
    reference: list[str] | None
    masks: str | None
    both_ways: bool
    gone: list[tuple[int, list[int]]] | None
    resize_mask: Resize
    threshold: int | None
    tracker: str
    model: str
    prior: str
    threads: int | None
    prior_size: int | None
    points: str
    device: str
    dtype: str
    output: Path | None
    save: str | None
    name: list[tuple[int, str]] | None
    audio: bool
    show: bool
    debug: int | None
    overwrite: bool
    resume: bool
    quiet: bool
    traceback: bool


def check_options(options: Options) -> None:
    """Check that the options go together.

    Raises:
        InputError: they do not, or none says which objects to follow.
    """
    if options.first_mask and options.hints:
        raise InputError("give the objects by --first-mask, or by --box and --point; not both")
    if options.text and (options.first_mask or options.hints):
        raise InputError("give the objects by --text, or by --first-mask, --box and --point; not both")
    others = (options.first_mask, options.hints, options.text, options.mask_at, options.reference)
    if options.masks and any(others):
        raise InputError("--masks: gives the first mask, too; leave out what else says which objects to follow")
    if not any((*others, options.masks)):
        raise InputError(
            "give the objects of the first frame: --first-mask PNG, --box X0,Y0,X1,Y1, --point X,Y or --text WORDS; or "
            "--mask-at FRAME=PNG of any frame; or --reference PHOTO=MASK from elsewhere"
        )
    if options.both_ways and not any((*others[:-1], options.masks)):
        raise InputError(
            "--both-ways begins at a mask of the video, and --reference is looked for in every frame anyway; give a "
            "mask of some frame by --mask-at, or leave --both-ways out"
        )
    if options.resume and options.overwrite:
        raise InputError("--resume goes on with what --overwrite would remove; give one of them")


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the arguments of the command line; leave with status 2 and one line if there is a mistake."""
    return build_parser().parse(with_resize(arguments), Options())


def build_parser() -> Parser:
    """Build the parser of the command line; parse into :class:`Options`."""
    parser = Parser(
        prog="vos-track",
        usage="%(prog)s VIDEO (--first-mask MASK | --mask-at FRAME=MASK | --box X0,Y0,X1,Y1 | --point X,Y |\n"
        "       --text WORDS | --reference PHOTO=MASK) [options]",
        description="Follow every object of a first mask through a video.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input_options(parser)
    add_object_options(parser)
    add_point_tracker_options(add_model_options(parser))
    add_output_options(parser)
    add_run_options(parser)
    return parser
