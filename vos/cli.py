"""The command ``vos-track``: options and exit codes, no logic."""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import __version__
from .errors import InputError, OutputError, ViewerGone, VosError
from .limits import MAX_PIXELS
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return exit_status("vos-track", lambda: run(options), options.traceback, "the finished frames are valid")


def exit_status(program: str, action: Callable[[], int], show_traceback: bool, after_stop: str) -> int:
    """Run a command's action: its own status, 2 and one line on a user's mistake, 130 on Ctrl-C."""
    try:
        status = action()
        sys.stdout.flush()
        return status
    except VosError as error:
        if show_traceback:
            traceback.print_exc()
        return _say(f"{program}: {error}", 2)
    except BrokenPipeError:  # the reader of the standard output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would fail once more when it ends
        return _say(f"{program}: the standard output was closed; {after_stop}", 2)
    except KeyboardInterrupt:
        return _say(f"{program}: stopped; {after_stop}", 130)


def _say(text: str, status: int) -> int:
    """Print one line, whatever is in the names in it; a closed terminal is no reason to fail."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    with suppress(OSError, ValueError):
        print(shown, file=sys.stderr, flush=True)
    return status


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
    line.add_argument("--points", default="none", help="propagate the prompts' points: none, lk, pips:FILE, cotracker (default: none)")
    line.add_argument("--save", metavar="WHAT", help=f"masks, overlay, csv, cutout, matte, matte-webm, npz, coco (default: {SAVES})")
    line.add_argument(
        "--debug", metavar="K", type=_positive, nargs="?", const=1,
        help="pictures of every frame, or every K-th: confidence map, prompts, masks of the three scales",
    )  # fmt: skip
    line.add_argument("--resize-mask", action="store_true", help="allow a mask of another size than the video")
    line.add_argument("--start", type=_count, default=0, metavar="F", help="frame that the mask belongs to")
    line.add_argument("--max-frames", type=_positive, metavar="N", help="stop after N frames")
    line.add_argument("--stride", type=_positive, default=1, metavar="K", help="take every K-th frame")
    line.add_argument("--max-pixels", type=_positive, default=MAX_PIXELS, metavar="N", help="largest frame or mask that is read (default: %(default)s pixels)")
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


def run(options: argparse.Namespace) -> int:
    """Track one video; paths are checked before any weights load.

    Raises:
        VosError: one clear line for the user.
    """
    from .video.writer import WRITERS

    if bool(options.first_mask) == bool(options.hints):
        raise InputError("give the objects by --first-mask, or by --box and --point; not both" if options.hints else
                         "give the objects of the first frame: --first-mask PNG, --box X0,Y0,X1,Y1 or --point X,Y")  # fmt: skip
    if options.resume and options.overwrite:
        raise InputError("--resume goes on with what --overwrite would remove; give one of them")
    out = destination(options)
    saves = [name.strip() for name in options.save.split(",") if name.strip()] if out else []
    unknown = sorted(set(saves) - set(WRITERS))
    if unknown:
        raise InputError(f"--save {unknown[0]}: choose from {', '.join(WRITERS)}")

    from .video.reader import open_reader

    with open_reader(
        options.video, backend=options.reader, start=options.start, max_frames=options.max_frames, stride=options.stride,
        live=options.live, raw=options.raw, max_pixels=options.max_pixels,
    ) as reader:  # fmt: skip
        from .pipeline import open_session, read_first_mask

        given = (reader.size, options.resize_mask, options.max_pixels)
        mask = read_first_mask(options.first_mask or _hints(options.hints), *given)
        later = {at: read_first_mask(path, *given) for at, path in options.mask_at}
        names = ("tracker", "model", "prior", "points", "device", "dtype")
        with open_session(**{name: getattr(options, name) for name in names}) as session:
            journal = _prepared(options, saves, out, session)
            if journal is None:
                return _say(f"vos-track: {out}: is finished already, nothing to do", 0)
            return _track(options, saves, out, reader, session, journal, mask, later)


def _prepared(options: argparse.Namespace, saves: list[str], out: Path | None, session):
    """The run's journal, with what it goes on from, and a result folder for it; None: it is finished.

    Raises:
        VosError: the folder cannot be taken, or the run there cannot be gone on with.
    """
    from .recovery import Journal

    if out is None:
        if options.resume:
            raise InputError("--resume goes on in a result folder: give one by -o")
        return Journal(Path(), None, saves)
    refuse_links(out)
    journal = Journal.open(out, session.tracker, vars(options), saves)
    if options.resume and journal.finished():
        return None
    if options.resume or options.overwrite:
        journal.hold()
    saved = journal.take_up() if options.resume else None
    if saved is None:
        check_output(out, options.overwrite, options.resume)
    elif not options.quiet:
        _say(f"vos-track: {out}: goes on after frame {saved.frame}", 0)
    return journal


def destination(options: argparse.Namespace) -> Path | None:
    """The result folder; None if nothing is to be written but to standard output or a window.

    Raises:
        VosError: the outputs do not go together.
    """
    from .video.address import parse_address

    if str(options.output) == "-" or (options.show and options.output is None):
        if options.save is not None or options.debug:
            raise InputError("--save and --debug write files: give them a folder by -o")
        if options.output is not None:
            from .video.viewers import check_pipe

            check_pipe()
        return None
    options.save = SAVES if options.save is None else options.save
    address = parse_address(options.video, options.raw)
    return options.output or Path(f"{address.stem if address else Path(options.video).resolve().stem}-vos")


def _track(
    options: argparse.Namespace, saves: list[str], out: Path | None, reader, session, journal, mask, later
) -> int:
    from .device import keep_freed_memory
    from .pipeline import follow
    from .run_record import write_run_record
    from .video.address import without_password
    from .video.reader import faults_line, read_ahead

    keep_freed_memory()
    writers = window = None
    if options.show:
        from .video.viewers import Window

        window = Window()
    began = time.perf_counter()

    def record(outcome: str) -> None:
        if out is None:
            return
        chosen = {key: value for key, value in vars(options).items() if key != "traceback"}
        chosen["video"] = without_password(options.video)
        seconds = time.perf_counter() - began
        write_run_record(out / "run.json", chosen, session, writers.written, seconds, outcome, reader.faults, journal)

    progress = Progress(reader.length, sys.stderr, quiet=options.quiet)
    try:
        with progress, _sigterm_as_ctrl_c(options.live):
            for done, result in enumerate(follow(session, read_ahead(reader), mask, later, journal.saved), start=1):
                writers = writers or _open_writers(options, saves, out, reader.fps, result, journal)
                journal.offer(session, result)
                writers.write(result)
                if window is not None:
                    window.show(result)
                progress.update(done)
            writers.close()
    except BaseException as error:
        if writers is not None:
            with suppress(OutputError):  # the first error is the one to tell
                writers.close()
            with suppress(OutputError):
                stopped = "stopped" if options.live else "stopped by Ctrl-C"
                record(stopped if isinstance(error, KeyboardInterrupt) else str(error))
        ended = isinstance(error, ViewerGone) or (options.live and isinstance(error, KeyboardInterrupt))
        if not ended or writers is None:
            raise
    else:
        record("finished")
        journal.remove()
    finally:
        if window is not None:
            window.close()
        told = faults_line(reader)
        if told:
            print(f"vos-track: {told}", file=sys.stderr)
    return 0


def _open_writers(options: argparse.Namespace, saves: list[str], out: Path | None, fps: float | None, first, journal):
    """A writer thread for whatever is to be written, ``first`` being the first result."""
    from .video.writer import WriterThread, open_writers

    opened = []
    if out is not None:
        opened = open_writers(saves, out, fps=fps, first_frame=first.frame, object_ids=first.object_ids)
        if options.debug:
            from .video.debug import DebugWriter

            opened.append(DebugWriter(out / "debug", options.debug))
    elif options.output is not None:
        from .video.viewers import TransportWriter

        opened = [TransportWriter(fps=fps, size=first.frame.size)]
    return WriterThread(journal.behind(opened))


@contextmanager
def _sigterm_as_ctrl_c(wanted: bool) -> Iterator[None]:
    """A live run is ended by either, with its files finished."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_output(out: Path, overwrite: bool, resume: bool = False) -> None:
    """Make the result folder; of an earlier run's files in it none is left.

    Args:
        out: the folder.
        overwrite: it need not be empty.
        resume: nor if it holds a run that was stopped.

    Raises:
        OutputError: it exists and is not empty, or cannot be written.
    """
    from .recovery import FOLDER as RESUME

    try:
        out.mkdir(parents=True, exist_ok=True)
        stopped = (out / RESUME).is_dir()
        if any(out.iterdir()) and not (overwrite or (resume and stopped)):
            if stopped:
                raise OutputError(f"{out}: holds a run that was stopped; go on with --resume, or begin anew with --overwrite")
            nothing = ", and holds nothing to go on with" if resume else ""
            raise OutputError(f"{out}: already there and not empty{nothing}; pass --overwrite, or -o another folder")
        probe = out / ".vos-track"
        probe.touch()
        probe.unlink()
        for path in earlier_results(out):
            path.unlink()
        if stopped:
            shutil.rmtree(out / RESUME)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}; pass -o another folder") from error


def refuse_links(out: Path) -> None:
    """Every file of a result is to lie inside its folder.

    Raises:
        OutputError: a folder in it is a link to elsewhere.
    """
    from .recovery import FOLDER as RESUME
    from .video.writer import FOLDERS

    for name in (*FOLDERS, RESUME):
        if (out / name).is_symlink():
            raise OutputError(f"{out / name}: is a link, so that files would be written elsewhere; remove it")


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
    return pictures + [path for path in named if path.is_file() or path.is_symlink()]


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
