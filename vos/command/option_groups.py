"""The options of ``vos-track`` by group, with their help texts; ``vos-annotate`` shares those of the models."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..readers.limits import MAX_PIXELS
from ..version import __version__
from ..writers.outputs import DEFAULTS, help_text
from .coordinates import parse_box, parse_point
from .option_values import HintAction, count, gone, mask_at, name, positive, resize, threshold

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
  vos-track dog.mp4 --mask-at 300=dog-300.png --both-ways
      the dog as frame 300 shows it, followed to the end and to the beginning
  vos-track dog.mp4 --first-mask dog.png --gone 200:1
      the dog is not on frame 200, whatever is tracked there
  vos-track dog.mp4 --reference photo.jpg=mask.png
      follow what a photo shows, from where it is found
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


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is read."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "video",
        metavar="VIDEO",
        help="a video file, a folder of numbered images, a camera's number, an address, or - for standard input",
    )
    group.add_argument(
        "--start", type=count, default=0, metavar="F", help="first frame that is read; it is frame 0 of the result"
    )
    group.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    group.add_argument("--stride", type=positive, default=1, metavar="K", help="take every K-th frame")
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
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest frame or mask that is read (default: %(default)s pixels)",
    )


def add_object_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which objects are followed, and when."""
    group = parser.add_argument_group("objects")
    group.add_argument(
        "--first-mask",
        metavar="MASK",
        action="append",
        help="PNG of the objects in the first frame, see docs/masks.md; repeat for one file per object",
    )
    _add_hint_options(group)
    _add_text_options(group)
    group.add_argument(
        "--first-frame",
        type=count,
        default=0,
        metavar="F",
        help="frame (as in masks/) that --first-mask, --box and --point show (default: 0)",
    )
    group.add_argument(
        "--mask-at",
        metavar="FRAME=PNG",
        action="append",
        default=[],
        type=mask_at,
        help="true mask of any frame, numbered as in masks/: corrects its objects, new ones join; repeatable",
    )
    group.add_argument(
        "--masks",
        metavar="LABELS",
        help="instead of a mask: true masks of some frames, from a folder of PNGs or of YOLO labels, or a file of COCO "
        "or CVAT; the other frames are filled in",
    )
    group.add_argument(
        "--both-ways",
        action="store_true",
        help="follow the objects backwards, too; what lies between two masks is joined from both ways",
    )
    add_reference_option(group)
    group.add_argument(
        "--gone",
        metavar="FRAME:ID[,ID]",
        action="append",
        type=gone,
        help="objects that a frame (as in masks/) does not show: absent until found or shown again; repeatable",
    )
    _add_mask_options(group)


def add_reference_option(group: argparse._ArgumentGroup, required: bool = False) -> None:
    """Add the option that shows objects by pictures from elsewhere; ``vos-find`` has it too."""
    group.add_argument(
        "--reference",
        metavar="PHOTO=MASK",
        action="append",
        required=required,
        help="a picture with the mask of an object, or PHOTO@X0,Y0,X1,Y1 with a box: it is looked for, and found "
        "again; #N at the end says which object it is; repeatable",
    )


def _add_mask_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resize-mask",
        metavar="HOW",
        nargs="?",
        type=resize,
        const=True,
        default=False,
        help="scale a mask of another size than the video; if its shape is another, too: crop, pad or stretch",
    )
    group.add_argument(
        "--threshold",
        metavar="T",
        type=threshold,
        help="pixels of a mask that are at least as bright are one object, 1 to 255; else the mask itself tells",
    )


def _add_text_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--text",
        metavar="WORDS",
        action="append",
        help="instead of a mask: name the objects, such as 'the brown dog'; each that is found is followed; repeatable",
    )
    group.add_argument(
        "--text-threshold", metavar="T", type=float, help="least score of an object of --text, 0 to 1 (default: 0.35)"
    )
    group.add_argument(
        "--text-model",
        metavar="NAME",
        help="detector for --text: hub name or folder of Grounding DINO (default: IDEA-Research/grounding-dino-tiny)",
    )


def _add_hint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        dest="hints",
        action=HintAction,
        type=parse_box,
        help="instead of a mask: a box around an object; each further one is another object",
    )
    group.add_argument(
        "--point",
        metavar="X,Y[:0]",
        dest="hints",
        action=HintAction,
        type=parse_point,
        help="instead of a mask, or beside a box: a point inside the object, or with :0 outside of it",
    )
    group.add_argument(
        "--object",
        dest="hints",
        action=HintAction,
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
    group.add_argument(
        "--model",
        default="lite",
        metavar="NAME",
        help="lite, sam-vit-h, sam-hq-vit-h, sam2-large, another one installed (an unknown name lists them), a hub "
        "name, a folder or a .pth file",
    )
    group.add_argument(
        "--prior",
        default="same",
        metavar="NAME",
        help="same, dinov2-large, another one installed (an unknown name lists them), a hub name, or a folder",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    return group


def add_point_tracker_options(group: argparse._ArgumentGroup) -> None:
    """Add to the options of the models those that ``vos-track`` alone has."""
    group.add_argument(
        "--threads",
        metavar="N",
        type=positive,
        help="threads that compute on a CPU: with two or more a frame is encoded while the one before is followed "
        "(default: one for each core)",
    )
    group.add_argument(
        "--prior-size",
        metavar="PX",
        type=positive,
        help="long side of the prior's input in pixels, more for small objects (default: that of the model)",
    )
    group.add_argument(
        "--points", default="none", help="propagate the prompts' points: none, lk, pips:FILE, cotracker (default: none)"
    )
    group.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="precision of the models (default: auto)",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is written, and where."""
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
    group.add_argument(
        "--name",
        metavar="ID=NAME",
        action="append",
        type=name,
        help="name of an object, for the overlay and the outputs that have names; repeatable",
    )
    group.add_argument(
        "--no-audio", dest="audio", action="store_false", help="leave the sound out of overlay.mp4 and other videos"
    )
    group.add_argument("--show", action="store_true", help="a window (needs opencv-python); files only with -o")
    group.add_argument(
        "--debug",
        metavar="K",
        type=positive,
        nargs="?",
        const=1,
        help="pictures of every frame, or every K-th: confidence map, prompts, masks of the three scales",
    )
    group.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the run goes."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on where a run with the same command line was stopped; from the beginning if there is none",
    )
    group.add_argument("--quiet", action="store_true", help="no progress")
    group.add_argument("--traceback", action="store_true", help="show where an error came from")
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
