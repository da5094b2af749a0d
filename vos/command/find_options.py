"""The options of ``vos-find``: their types, and the parser."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..readers.limits import MAX_PIXELS
from ..version import __version__
from .option_groups import add_model_options, add_reference_option
from .option_values import Parser, positive, threshold

SAVES = ("masks", "overlay", "csv", "coco", "dreambooth")
"""What ``--save`` can name."""

DEFAULT_SAVES = "masks,overlay,csv"

_EPILOG = """examples:
  vos-find photos/ --reference mug.jpg=mug.png -o found
      where the mug is in each picture of a folder; the result is in found/
  vos-find *.jpg --reference mug.jpg@120,80,340,290 --top 10
      a box instead of a mask; the ten pictures that most surely show it, in found/top/
  vos-find street.jpg --reference lamp.jpg=lamp.png --many
      all lamps, each with a number of its own
  vos-find photos/ --reference a.jpg=a.png --reference b.jpg=b.png
      two pictures of one object; write a.jpg=a.png#1 and b.jpg=b.png#2 for two objects

A picture that cannot be read is told in one line, and the rest goes on.

exit status: 0 done, 2 something is wrong with the input, 130 stopped by Ctrl-C;
what was finished before stays valid, and --resume goes on from there.
"""


class FindOptions(argparse.Namespace):
    """The options of ``vos-find`` with their types."""

    images: list[str]
    reference: list[str]
    many: bool
    top: int | None
    presence: float | None
    threshold: int | None
    max_pixels: int
    tracker: str
    model: str
    prior: str
    device: str
    output: Path
    save: str
    overwrite: bool
    resume: bool
    quiet: bool
    traceback: bool


def build_parser() -> Parser:
    """Build the parser of the command line; parse into :class:`FindOptions`."""
    parser = Parser(
        prog="vos-find",
        usage="%(prog)s IMAGES... --reference PHOTO=MASK [-o OUT] [options]",
        description="Find the objects that reference pictures show in other pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("input")
    group.add_argument("images", metavar="IMAGES", nargs="+", help="picture files of any sizes, folders, or globs")
    add_reference_option(group, required=True)
    group.add_argument(
        "--threshold",
        metavar="T",
        type=threshold,
        help="pixels of a mask that are at least as bright are the object, 1 to 255; else the mask itself tells",
    )
    group.add_argument("--many", action="store_true", help="find several instances of each object")
    group.add_argument(
        "--presence",
        metavar="P",
        type=_share,
        help="how sure it must be that an object is there, 0 to 1 (default: 0.5); 0 always shows the best candidate",
    )
    group.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest picture or mask that is read (default: %(default)s pixels)",
    )
    add_model_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", metavar="OUT", type=Path, default=Path("found"), help="default: %(default)s")
    group.add_argument(
        "--save",
        metavar="WHAT",
        default=DEFAULT_SAVES,
        help="what to write, separated by commas: masks (an indexed PNG per picture), overlay (a picture of the "
        "objects, tinted and numbered), csv (found.csv), coco (coco.json, needs pycocotools), dreambooth (pictures and "
        "masks to train from) (default: %(default)s)",
    )
    group.add_argument(
        "--top", metavar="K", type=positive, help="sort found.csv by confidence, and write the best K overlays to top/"
    )
    group.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    group = parser.add_argument_group("run")
    group.add_argument("--resume", action="store_true", help="go on where a run with the same command line was stopped")
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--traceback", action="store_true", help="show where an error came from")
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(tracker="persam")
    return parser


def _share(text: str) -> float:
    """Read a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be 0 to 1")
    return value
