"""The command ``vos-track``: options and exit codes, no logic."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from . import __version__
from .errors import InputError, OutputError, VosError
from .progress import Progress

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
  vos-track dog.mp4 --first-mask dog.png --model sam-vit-h --prior dinov2-large
      the paper's models, where their weights can be had

exit status: 0 done, 2 something is wrong with the input, 130 stopped by Ctrl-C;
whatever was finished before stays valid.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return exit_status("vos-track", lambda: run(options), options.traceback, "the finished frames are valid")


def exit_status(program: str, action: Callable[[], int], show_traceback: bool, after_stop: str) -> int:
    """Run a command's action: its own status, 2 and one line on a user's mistake, 130 on Ctrl-C."""
    try:
        return action()
    except VosError as error:
        if show_traceback:
            traceback.print_exc()
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped; {after_stop}", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(
        prog="vos-track",
        description="Follow every object of a first mask through a video.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument("video", metavar="VIDEO", help="a video file, or a folder of numbered images")
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
    line.add_argument("-o", "--output", metavar="OUT", type=Path, help="result folder (default: <video stem>-vos)")
    line.add_argument(
        "--tracker", default="persam-f",
        help="persam, persam-f, sam2, sam2:WEIGHTS, edgetam, cutie:FILE, or another one installed (default: %(default)s)",
    )  # fmt: skip
    line.add_argument("--model", default="lite", help="lite, sam-vit-b, sam-vit-l, sam-vit-h, a folder or a .pth file")
    line.add_argument("--prior", default="same", help="same, dinov2-small|base|large|giant, or a folder")
    line.add_argument("--points", default="none", help="propagate the prompts' points: none, lk, pips:FILE, cotracker (default: none)")
    line.add_argument("--save", default=SAVES, metavar="WHAT", help="masks, overlay, csv, cutout, matte, matte-webm, npz, coco (default: %(default)s)")
    line.add_argument(
        "--debug", metavar="K", type=_positive, nargs="?", const=1,
        help="pictures of every frame, or every K-th: confidence map, prompts, masks of the three scales",
    )  # fmt: skip
    line.add_argument("--resize-mask", action="store_true", help="allow a mask of another size than the video")
    line.add_argument("--start", type=_count, default=0, metavar="F", help="frame that the mask belongs to")
    line.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    line.add_argument("--stride", type=_positive, default=1, metavar="K", help="take every K-th frame")
    line.add_argument("--reader", choices=("pyav", "decord"), default="pyav")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    line.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    line.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    line.add_argument("--quiet", action="store_true", help="no progress")
    line.add_argument("--traceback", action="store_true", help="show where an error came from")
    line.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return line


def run(options: argparse.Namespace) -> int:
    """Track one video; paths are checked before any weights load.

    Raises:
        VosError: one clear line for the user.
    """
    from .video.writer import WRITERS

    if bool(options.first_mask) == bool(options.hints):
        raise InputError("give the objects by --first-mask, or by --box and --point; not both" if options.hints else
                         "give the objects of the first frame: --first-mask PNG, --box X0,Y0,X1,Y1 or --point X,Y")  # fmt: skip
    saves = [name.strip() for name in options.save.split(",") if name.strip()]
    unknown = sorted(set(saves) - set(WRITERS))
    if unknown:
        raise InputError(f"--save {unknown[0]}: choose from {', '.join(WRITERS)}")
    out = options.output or Path(f"{Path(options.video).resolve().stem}-vos")

    from .video.reader import open_reader

    with open_reader(
        options.video, backend=options.reader, start=options.start, max_frames=options.max_frames, stride=options.stride
    ) as reader:
        from .pipeline import read_first_mask

        mask = read_first_mask(options.first_mask or _hints(options.hints), reader.size, options.resize_mask)
        later = {at: read_first_mask(path, reader.size, options.resize_mask) for at, path in options.mask_at}
        check_output(out, options.overwrite)
        return _track(options, saves, out, reader, mask, later)


def _track(options: argparse.Namespace, saves: list[str], out: Path, reader, mask, later) -> int:
    from .device import keep_freed_memory
    from .pipeline import follow, open_session
    from .run_record import write_run_record
    from .video.debug import DebugWriter
    from .video.reader import prefetch
    from .video.writer import WriterThread, open_writers

    keep_freed_memory()
    names = ("tracker", "model", "prior", "points", "device", "dtype")
    session = open_session(**{name: getattr(options, name) for name in names})
    writers = None
    began = time.perf_counter()

    def record(outcome: str) -> None:
        chosen = {key: value for key, value in vars(options).items() if key != "traceback"}
        write_run_record(out / "run.json", chosen, session, writers.written, time.perf_counter() - began, outcome)

    progress = Progress(reader.length, sys.stderr, quiet=options.quiet)
    try:
        with session, progress:
            for done, result in enumerate(follow(session, prefetch(reader), mask, later), start=1):
                if writers is None:
                    opened = open_writers(
                        saves, out, fps=reader.fps, first_frame=result.frame, object_ids=result.object_ids
                    )
                    if options.debug:
                        opened.append(DebugWriter(out / "debug", options.debug))
                    writers = WriterThread(opened)
                writers.write(result)
                progress.update(done)
            writers.close()
    except BaseException as error:
        if writers is not None:
            with suppress(OutputError):  # the first error is the one to tell
                writers.close()
            with suppress(OutputError):
                record("stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error))
        raise
    record("finished")
    return 0


def check_output(out: Path, overwrite: bool) -> None:
    """Make the result folder; of an earlier run's files in it none is left.

    Raises:
        OutputError: it exists and is not empty, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()) and not overwrite:
            raise OutputError(f"{out}: already there and not empty; pass --overwrite, or -o another folder")
        probe = out / ".vos-track"
        probe.touch()
        probe.unlink()
        for path in earlier_results(out):
            path.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}; pass -o another folder") from error


def earlier_results(out: Path) -> list[Path]:
    """Files in a result folder that an earlier run wrote, whole or partial; nobody else's."""
    from .video.writer import FILES, FOLDERS, partial_path

    pictures = [
        path
        for folder in FOLDERS
        for path in (out / folder).glob("*.png")
        if re.fullmatch(r"\d{5,}|\.\d{5,}\.partial", path.stem)
    ]
    names = (*FILES, "run.json")
    named = [out / name for name in names] + [partial_path(out / name) for name in names]
    return pictures + [path for path in named if path.is_file()]


class _HintAction(argparse.Action):
    """Notes --box, --point and --object in the order in which they are given."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        hints = list(getattr(namespace, self.dest) or [])
        hints.append((option_string.lstrip("-"), values or None))
        setattr(namespace, self.dest, hints)


def _hints(given: Sequence[tuple[str, tuple | None]]) -> list:
    """Boxes and points as one hint per object; a second box begins another object, as --object does."""
    from .prompted_mask import Hint

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
        raise argparse.ArgumentTypeError(f"{text!r}: give X,Y in pixels, such as 200,150, or 200,150:0 for a point outside")
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


if __name__ == "__main__":
    sys.exit(main())
