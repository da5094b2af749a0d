"""The options of ``vos-track``."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from ..readers.limits import MAX_PIXELS
from ..version import __version__

SAVES = "masks,overlay,csv"

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
      the same, set right where it went wrong
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(
        prog="vos-track",
        description="Follow every object of a first mask through a video.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument(
        "video", metavar="VIDEO",
        help="a video file, a folder of numbered images, a camera's number, an address, or - for standard input",
    )  # fmt: skip
    line.add_argument(
        "--first-mask", metavar="MASK", action="append",
        help="PNG of the objects in the first frame: every non-zero value is an object; repeat for one file per object",
    )  # fmt: skip
    line.add_argument(
        "--box", metavar="X0,Y0,X1,Y1", dest="hints", action=_HintAction, type=_box,
        help="instead of a mask: a box around an object; each further one is another object",
    )  # fmt: skip
    line.add_argument(
        "--point", metavar="X,Y[:0]", dest="hints", action=_HintAction, type=_point,
        help="instead of a mask, or beside a box: a point inside the object, or with :0 outside of it",
    )  # fmt: skip
    line.add_argument(
        "--object", dest="hints", action=_HintAction, nargs=0, help="the points and the box after it are another object's",
    )  # fmt: skip
    line.add_argument(
        "--mask-at", metavar="FRAME=PNG", action="append", default=[], type=_mask_at,
        help="true mask of a later frame, numbered as in masks/: corrects its objects, new ones join; repeatable",
    )  # fmt: skip
    line.add_argument(
        "-o", "--output", metavar="OUT", type=Path,
        help="result folder (default: <video stem>-vos), or - for an MPEG-TS overlay on standard output",
    )  # fmt: skip
    line.add_argument(
        "--live", action="store_true", help="of a stream: drop frames rather than fall behind, and open it again if it breaks",
    )  # fmt: skip
    line.add_argument("--raw", metavar="WxH[@FPS]", help="standard input is bare rgb24 pixels (default: 25 per second)")
    line.add_argument("--show", action="store_true", help="a window (needs opencv-python); files only with -o")
    add_model_options(line)
    line.add_argument(
        "--points", default="none", help="propagate the prompts' points: none, lk, pips:FILE, cotracker (default: none)"
    )
    line.add_argument(
        "--save", metavar="WHAT", help=f"masks, overlay, csv, cutout, matte, matte-webm, npz, coco (default: {SAVES})"
    )
    line.add_argument(
        "--debug", metavar="K", type=_positive, nargs="?", const=1,
        help="pictures of every frame, or every K-th: confidence map, prompts, masks of the three scales",
    )  # fmt: skip
    line.add_argument("--resize-mask", action="store_true", help="allow a mask of another size than the video")
    line.add_argument("--start", type=_count, default=0, metavar="F", help="frame that the mask belongs to")
    line.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    line.add_argument("--stride", type=_positive, default=1, metavar="K", help="take every K-th frame")
    line.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest frame or mask that is read (default: %(default)s pixels)",
    )
    line.add_argument("--reader", choices=("pyav", "decord"), default="pyav")
    line.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    line.add_argument(
        "--resume", action="store_true",
        help="go on where a run with the same command line was stopped; from the beginning if there is none",
    )  # fmt: skip
    line.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    line.add_argument("--quiet", action="store_true", help="no progress")
    line.add_argument("--traceback", action="store_true", help="show where an error came from")
    line.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return line


def add_model_options(line: argparse.ArgumentParser) -> None:
    """What follows the objects, and where it runs."""
    line.add_argument(
        "--tracker", default="persam-f",
        help="persam, persam-f, sam2, sam2:WEIGHTS, edgetam, cutie:FILE, or another one installed (default: %(default)s)",
    )  # fmt: skip
    line.add_argument("--model", default="lite", help="lite, sam-vit-b, sam-vit-l, sam-vit-h, a folder or a .pth file")
    line.add_argument("--prior", default="same", help="same, dinov2-small|base|large|giant, or a folder")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


class _HintAction(argparse.Action):
    """Notes --box, --point and --object in the order in which they are given."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        hints = list(getattr(namespace, self.dest) or [])
        hints.append((option_string.lstrip("-"), values or None))
        setattr(namespace, self.dest, hints)


def hints_of(given: Sequence[tuple[str, tuple | None]]) -> list:
    """Boxes and points as one hint per object; a second box begins another object, as --object does."""
    from ..structures import Hint

    objects: list[dict] = [{"box": None, "points": ()}]
    for kind, value in given:
        last = objects[-1]
        if (kind == "object" and (last["box"] or last["points"])) or (kind == "box" and last["box"]):
            objects.append(last := {"box": None, "points": ()})
        if kind == "box":
            last["box"] = value
        elif kind == "point":
            last["points"] += (value,)
    return [Hint(**each) for each in objects]


def _box(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    try:
        box = tuple(float(part) for part in parts)
    except ValueError:
        box = ()
    if len(box) != 4 or not all(math.isfinite(edge) for edge in box):
        raise argparse.ArgumentTypeError(f"{text!r}: give X0,Y0,X1,Y1 in pixels, such as 120,80,340,290")
    return box


def _point(text: str) -> tuple[float, float, bool]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)(?::([01]))?", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give X,Y in pixels, such as 200,150, or 200,150:0 for a point outside"
        )
    return float(match[1]), float(match[2]), match[3] != "0"


def _mask_at(text: str) -> tuple[int, str]:
    frame, equals, path = text.partition("=")
    if not (equals and path and frame.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: give FRAME=PNG, such as 120=corrected.png")
    return int(frame), path


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
