"""The command ``vos-track``: from options to an exit status."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, OutputError, ViewerGone
from .options import SAVES, hints_of, parser
from .progress import Progress
from .status import exit_status, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return exit_status("vos-track", lambda: run(options), options.traceback, "the finished frames are valid")


def run(options: argparse.Namespace) -> int:
    """Track one video; paths are checked before any weights load.

    Raises:
        VosError: one clear line for the user.
    """
    from ..writers.open import WRITERS

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

    from ..readers.open import open_reader

    with open_reader(
        options.video, backend=options.reader, start=options.start, max_frames=options.max_frames, stride=options.stride,
        live=options.live, raw=options.raw, max_pixels=options.max_pixels,
    ) as reader:  # fmt: skip
        from ..pipeline import open_session, read_first_mask

        given = (reader.size, options.resize_mask, options.max_pixels)
        mask = read_first_mask(options.first_mask or hints_of(options.hints), *given)
        later = {at: read_first_mask(path, *given) for at, path in options.mask_at}
        names = ("tracker", "model", "prior", "points", "device", "dtype")
        with open_session(**{name: getattr(options, name) for name in names}) as session:
            journal = _prepared(options, saves, out, session)
            if journal is None:
                return say(f"vos-track: {out}: is finished already, nothing to do", 0)
            return _track(options, saves, out, reader, session, journal, mask, later)


def _prepared(options: argparse.Namespace, saves: list[str], out: Path | None, session):
    """The run's journal, with what it goes on from, and a result folder for it; None: it is finished.

    Raises:
        VosError: the folder cannot be taken, or the run there cannot be gone on with.
    """
    from .journal import Journal
    from .result_folder import check_output, refuse_links

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
        say(f"vos-track: {out}: goes on after frame {saved.frame}", 0)
    return journal


def destination(options: argparse.Namespace) -> Path | None:
    """The result folder; None if nothing is to be written but to standard output or a window.

    Raises:
        VosError: the outputs do not go together.
    """
    from ..readers.address import parse_address

    if str(options.output) == "-" or (options.show and options.output is None):
        if options.save is not None or options.debug:
            raise InputError("--save and --debug write files: give them a folder by -o")
        if options.output is not None:
            from ..writers.stream import check_pipe

            check_pipe()
        return None
    options.save = SAVES if options.save is None else options.save
    address = parse_address(options.video, options.raw)
    return options.output or Path(f"{address.stem if address else Path(options.video).resolve().stem}-vos")


def _track(
    options: argparse.Namespace, saves: list[str], out: Path | None, reader, session, journal, mask, later
) -> int:
    from ..engine.device import keep_freed_memory
    from ..pipeline import follow
    from ..readers.address import without_password
    from ..readers.prefetch import read_ahead
    from ..readers.source import faults_line
    from .run_record import write_run_record

    keep_freed_memory()
    writers = window = None
    if options.show:
        from ..writers.window import Window

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
    from ..writers.open import open_writers
    from ..writers.thread import WriterThread

    opened = []
    if out is not None:
        opened = open_writers(saves, out, fps=fps, first_frame=first.frame, object_ids=first.object_ids)
        if options.debug:
            from ..writers.debug import DebugWriter

            opened.append(DebugWriter(out / "debug", options.debug))
    elif options.output is not None:
        from ..writers.stream import TransportWriter

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


if __name__ == "__main__":
    sys.exit(main())
