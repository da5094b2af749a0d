"""The options of ``vos-track``: the parser, their types, and the checks that need nothing else.

``vos-annotate`` shares the options of the models.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from ..errors import InputError
from ..readers.limits import MAX_PIXELS
from ..version import __version__
from ..writers.outputs import DEFAULTS, help_text
from .coordinates import Box, Point, parse_box, parse_point, protect_values

if TYPE_CHECKING:  # imports torch
    from ..readers.mask_size import Resize
    from ..structures import Hint

GivenHint = tuple[Literal["box"], Box] | tuple[Literal["point"], Point] | tuple[Literal["object"], None]
"""One ``--box``, ``--point`` or ``--object`` with its value."""

_RESIZES: tuple[Literal["crop", "pad", "stretch"], ...] = ("crop", "pad", "stretch")
"""Values of ``--resize-mask``; without one, the mask is scaled."""

SAVES = ",".join(DEFAULTS)
"""Outputs that are written without ``--save``."""

EPILOG = """examples:
  vos-track dog.mp4 --first-mask dog.png
      follow the object of dog.png; the result is in dog-vos/
  vos-track dance.mp4 --first-mask a.png --first-mask b.png -o out --save masks,overlay
      two objects, one file each
  vos-track frames/ --first-mask 00000.png --tracker persam
      a folder of numbered images; the training-free tracker
  vos-track dog.mp4 --box 120,80,340,290
      no mask yet: the model makes it from a box (or --point X,Y)
  vos-track dog.mp4 --first-mask dog.png --mask-at 120=dog-120.png
      the same, corrected from frame 120 on
  vos-track dog.mp4 --first-mask dog.png --gone 200:1
      the dog is not on frame 200, whatever is tracked there
  vos-track dog.mp4 --first-mask dog.png --resume
      the same command again, after it was stopped or killed: it goes on from there
  vos-track dog.mp4 --first-mask dog.png --model sam-vit-h --prior dinov2-large
      the paper's models, where their weights can be had

  vos-track 0 --live --box 200,100,440,380 --show
      a camera, in a window; or rtsp://, rtmp://, http://, tcp:// and udp:// addresses
  ffmpeg -i dog.mp4 -f mpegts - | vos-track - --first-mask dog.png -o - | ffplay -
      from standard input, MPEG-TS to standard output

--live drops frames rather than fall behind, and opens a stream again that breaks, after
1, 2, 4, 8, 16, 30, 30 and 30 seconds; an address that is silent for 10 seconds is broken.

exit status: 0 done, 2 something is wrong with the input, 130 stopped by Ctrl-C;
whatever was finished before stays valid. With --live, Ctrl-C and SIGTERM are the way
to end: 0; a stream that does not come back: 2. A closed pipe or window: 0.
"""


class Options(argparse.Namespace):
    """The options of ``vos-track`` with their types; the help texts below say what each means.

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
    mask_at: list[tuple[int, str]]
    gone: list[tuple[int, list[int]]] | None
    resize_mask: Resize
    threshold: int | None
    tracker: str
    model: str
    prior: str
    points: str
    device: str
    dtype: str
    output: Path | None
    save: str | None
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
    if not options.first_mask and not options.hints:
        raise InputError("give the objects of the first frame: --first-mask PNG, --box X0,Y0,X1,Y1 or --point X,Y")
    if options.resume and options.overwrite:
        raise InputError("--resume goes on with what --overwrite would remove; give one of them")


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with status 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the arguments of the command line; leave with status 2 and one line if there is a mistake."""
    parser = build_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings]
    return parser.parse_args(protect_values(_with_resize(arguments), flags), namespace=Options())


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line; parse into :class:`Options`."""
    parser = _Parser(
        prog="vos-track",
        usage="%(prog)s VIDEO (--first-mask MASK | --box X0,Y0,X1,Y1 | --point X,Y) [options]",
        description="Follow every object of a first mask through a video.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input_options(parser)
    _add_object_options(parser)
    models = add_model_options(parser)
    models.add_argument(
        "--points", default="none", help="propagate the prompts' points: none, lk, pips:FILE, cotracker (default: none)"
    )
    models.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="precision of the models (default: auto)",
    )
    _add_output_options(parser)
    _add_run_options(parser)
    return parser


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "video",
        metavar="VIDEO",
        help="a video file, a folder of numbered images, a camera's number, an address, or - for standard input",
    )
    group.add_argument("--start", type=_count, default=0, metavar="F", help="frame that the mask belongs to")
    group.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    group.add_argument("--stride", type=_positive, default=1, metavar="K", help="take every K-th frame")
    group.add_argument(
        "--live",
        action="store_true",
        help="of a stream: drop frames rather than fall behind, and open it again if it breaks",
    )
    group.add_argument(
        "--raw", metavar="WxH[@FPS]", help="standard input is bare rgb24 pixels (default: 25 per second)"
    )
    group.add_argument(
        "--reader", choices=("pyav", "decord"), default="pyav", help="reader of video files (default: pyav)"
    )
    group.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest frame or mask that is read (default: %(default)s pixels)",
    )


def _add_object_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("objects")
    group.add_argument(
        "--first-mask",
        metavar="MASK",
        action="append",
        help="PNG of the objects in the first frame, see docs/masks.md; repeat for one file per object",
    )
    _add_hint_options(group)
    group.add_argument(
        "--mask-at",
        metavar="FRAME=PNG",
        action="append",
        default=[],
        type=_mask_at,
        help="true mask of a later frame, numbered as in masks/: corrects its objects, new ones join; repeatable",
    )
    group.add_argument(
        "--gone",
        metavar="FRAME:ID[,ID]",
        action="append",
        type=_gone,
        help="objects that a frame (as in masks/) does not show: absent until found or shown again; repeatable",
    )
    _add_mask_options(group)


def _add_mask_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resize-mask",
        metavar="HOW",
        nargs="?",
        type=_resize,
        const=True,
        default=False,
        help="scale a mask of another size than the video; if its shape is another, too: crop, pad or stretch",
    )
    group.add_argument(
        "--threshold",
        metavar="T",
        type=_threshold,
        help="pixels of a mask that are at least as bright are one object, 1 to 255; else the mask itself tells",
    )


def _add_hint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        dest="hints",
        action=_HintAction,
        type=parse_box,
        help="instead of a mask: a box around an object; each further one is another object",
    )
    group.add_argument(
        "--point",
        metavar="X,Y[:0]",
        dest="hints",
        action=_HintAction,
        type=parse_point,
        help="instead of a mask, or beside a box: a point inside the object, or with :0 outside of it",
    )
    group.add_argument(
        "--object",
        dest="hints",
        action=_HintAction,
        nargs=0,
        help="the points and the box after it are another object's",
    )


def add_model_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that choose the tracker, its models and the device; return their group."""
    group = parser.add_argument_group("models")
    group.add_argument(
        "--tracker",
        default="persam-f",
        help="persam, persam-f, sam2, sam2:WEIGHTS, edgetam, cutie:FILE, or another one installed "
        "(default: %(default)s)",
    )
    group.add_argument("--model", default="lite", help="lite, sam-vit-b, sam-vit-l, sam-vit-h, a folder or a .pth file")
    group.add_argument("--prior", default="same", help="same, dinov2-small|base|large|giant, or a folder")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    return group


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="result folder (default: <video stem>-vos), or - for an MPEG-TS overlay on standard output",
    )
    group.add_argument(
        "--save", metavar="WHAT", help=f"what to write, separated by commas: {help_text()} (default: {SAVES})"
    )
    group.add_argument("--show", action="store_true", help="a window (needs opencv-python); files only with -o")
    group.add_argument(
        "--debug",
        metavar="K",
        type=_positive,
        nargs="?",
        const=1,
        help="pictures of every frame, or every K-th: confidence map, prompts, masks of the three scales",
    )
    group.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on where a run with the same command line was stopped; from the beginning if there is none",
    )
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--traceback", action="store_true", help="show where an error came from")
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}")


class _HintAction(argparse.Action):
    """Notes --box, --point and --object in the order in which they are given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        hints = list(getattr(namespace, self.dest) or [])
        hints.append(((option_string or "").lstrip("-"), values or None))
        setattr(namespace, self.dest, hints)


def hints_of(given: Sequence[GivenHint]) -> list[Hint]:
    """Return one hint per object; a second box begins another object, as ``--object`` does."""
    from ..structures import Hint

    objects = [Hint()]
    for one in given:
        begun = objects[-1]
        if (one[0] == "object" and (begun.box or begun.points)) or (one[0] == "box" and begun.box):
            begun = Hint()
            objects.append(begun)
        if one[0] == "box":
            objects[-1] = replace(begun, box=one[1])
        elif one[0] == "point":
            objects[-1] = replace(begun, points=(*begun.points, one[1]))
    return objects


def _mask_at(text: str) -> tuple[int, str]:
    frame, equals, path = text.partition("=")
    if not (equals and path and frame.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: give FRAME=PNG, such as 120=corrected.png")
    return int(frame), path


def _with_resize(arguments: Sequence[str]) -> list[str]:
    """Give ``--resize-mask`` the value that it stands for where none follows, so that it takes no other argument."""
    following = [*arguments[1:], ""] if arguments else []
    return [
        f"{each}=scale" if each == "--resize-mask" and after not in _RESIZES else each
        for each, after in zip(arguments, following, strict=True)
    ]


def _resize(text: str) -> Resize:
    if text == "scale":
        return True
    for each in _RESIZES:
        if text == each:
            return each
    raise argparse.ArgumentTypeError(f"{text!r}: give nothing, crop, pad or stretch")


def _threshold(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 255:
        raise argparse.ArgumentTypeError("must be 1 to 255")
    return value


def _gone(text: str) -> tuple[int, list[int]]:
    frame, _, ids = text.partition(":")
    numbers = [each.strip() for each in ids.split(",")]
    if not all(each.isascii() and each.isdecimal() for each in (frame.strip(), *numbers)):
        raise argparse.ArgumentTypeError(f"{text!r}: give FRAME:ID or FRAME:ID,ID, such as 120:2")
    return int(frame), [int(each) for each in numbers]


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
