"""One run of ``vos-track``: opens everything in order, follows the objects, and leaves valid files however it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from ..engine.both_ways import BothWays, with_references
from ..engine.changes import Changes
from ..engine.device import computing_threads, keep_freed_memory
from ..engine.given import (
    Hints,
    first_and_others,
    object_ids_of_first,
    only_file,
    read_first_mask,
    read_mask,
)
from ..engine.session import Session
from ..errors import InputError, OutputError, ViewerGone
from ..folder_lock import FolderLock
from ..io_interfaces import Writer
from ..pipeline import another_session, check_frames, follow, open_session
from ..readers.address import parse_address, without_password
from ..readers.backwards import check_walks_back
from ..readers.open import open_reader
from ..readers.prefetch import read_ahead
from ..readers.references import read_references
from ..readers.source import SourceReader, faults_line
from ..structures import FirstMask, Result
from ..weights.model_cache import ModelCache
from ..writers.open import open_writers
from ..writers.outputs import DEBUG_FOLDER, OUTPUTS, need_soft_edges
from ..writers.thread import WriterThread
from ..writers.window import Window
from .both_ways import plan_both_ways, results_both_ways
from .journal import Journal
from .label_set import extras_of, read_given_labels
from .marked import marked_objects
from .option_groups import SAVES
from .options import Options
from .progress import Progress
from .result_folder import prepare_folder, refuse_links
from .run_record import write_run_record
from .status import say, sigterm_as_ctrl_c, with_flags


def track(options: Options, models: ModelCache | None = None) -> int:
    """Track one video; return the exit status.

    Paths are checked before any weights load. ``options.save`` is filled in, so that the record of the run has it.

    Args:
        options: options that go together.
        models: where models are kept loaded for later runs; None: they are this run's own.

    Raises:
        VosError: an option, the input or the output cannot be used.
    """
    out = destination(options)
    if out is not None and options.save is None:
        options.save = SAVES
    saves = chosen_outputs(options.save) if out is not None else []
    with ExitStack() as stack:
        run = Run(options, out, saves, stack, models)
        finished = options.resume and run.journal.is_finished()
        if not finished or run.journal.is_there():
            run.lock_folder()
            finished = options.resume and run.journal.is_finished()  # another run may have ended just now
        if finished:
            run.journal.remove()
            return say(f"vos-track: {out}: is finished already, nothing to do", 0)
        run.prepare_folder()
        run.follow_objects()
    return 0


def destination(options: Options) -> Path | None:
    """Return the result folder; None if results go to standard output or a window alone.

    Raises:
        VosError: the outputs do not go together, or standard output is no pipe.
    """
    if str(options.output) == "-" or (options.show and options.output is None):
        if options.save is not None or options.debug:
            raise InputError("--save and --debug write files: give them a folder by -o")
        if options.output is not None:
            from ..writers.stream import check_pipe

            check_pipe()
        return None
    address = parse_address(options.video, options.raw)
    return options.output or Path(f"{address.stem if address else Path(options.video).resolve().stem}-vos")


def chosen_outputs(save: str | None) -> list[str]:
    """Return the names of the outputs that ``--save`` lists.

    Raises:
        InputError: a name is unknown.
    """
    names = [name.strip() for name in (save or "").split(",") if name.strip()]
    unknown = sorted(set(names) - set(OUTPUTS))
    if unknown:
        raise InputError(f"--save {unknown[0]}: choose from {', '.join(OUTPUTS)}")
    return names


class Run:
    """One run of the command.

    The constructor opens the input, the session and the journal. Then call :meth:`lock_folder`,
    :meth:`prepare_folder` and :meth:`follow_objects`.

    Args:
        options: options that go together.
        out: result folder, or None.
        saves: names of the outputs in it.
        stack: closes all that the run opens.
        models: where models are kept loaded; None: nowhere.

    Attributes:
        journal: what is kept to resume the run.

    Raises:
        VosError: the input cannot be read, a model is unknown, or the run cannot be resumed.
    """

    def __init__(
        self,
        options: Options,
        out: Path | None,
        saves: Sequence[str],
        stack: ExitStack,
        models: ModelCache | None = None,
    ) -> None:
        self._options = options
        self._models = models
        self._out = out
        self._saves = saves
        self._stack = stack
        self._reader = stack.enter_context(self._open_reader())
        self._references = read_references(options.reference, options.max_pixels) if options.reference else []
        self._labels = read_given_labels(options, self._reader)
        self._first_frame, self._first_mask, self._masks_at = self._read_masks()
        self._gone = self._objects_gone()
        self._session = stack.enter_context(self._open_session())
        self.journal = self._open_journal()
        self._window: Window | None = None
        self._writers: WriterThread | None = None
        self._names: list[str] = []
        self._began_s = time.perf_counter()

    def lock_folder(self) -> None:
        """Make the result folder, if there is to be one, and lock it until the run ends.

        Raises:
            OutputError: another run is writing there, or it cannot be written.
        """
        if self._out is not None:
            self._stack.enter_context(FolderLock(self._out, "vos-track"))

    def prepare_folder(self) -> None:
        """Make the locked folder ready: load what the run goes on from, or remove an earlier run's results.

        Raises:
            VosError: the folder cannot be taken, or the run there cannot be resumed.
        """
        options = self._options
        if self._out is None:
            return
        saved = self.journal.load() if options.resume else None
        if saved is None:
            prepare_folder(self._out, options.overwrite, options.resume)
            if not (options.resume and self.journal.has_way_back()):
                self.journal.remove()
            elif not options.quiet:
                say(f"vos-track: {self._out}: goes on with the way back", 0)
        elif not options.quiet:
            say(f"vos-track: {self._out}: goes on after frame {saved.frame}", 0)

    def follow_objects(self) -> None:
        """Follow the objects through the video and write the results.

        A closed window or pipe, and Ctrl-C in a live run, end it well.

        Raises:
            VosError: the input broke off, or a result cannot be written; the frames before that are written.
            KeyboardInterrupt: it was stopped; likewise.
        """
        keep_freed_memory()
        self._stack.enter_context(computing_threads(self._options.threads))
        self._open_window()
        self._began_s = time.perf_counter()
        plan = self._plan() if self._options.both_ways else None
        back = plan.last + 1 if plan and plan.last else 0  # frames of the way back
        length = self._reader.length
        progress = Progress(None if length is None else back + length, sys.stderr, quiet=self._options.quiet)
        try:
            with progress, sigterm_as_ctrl_c(self._options.live):
                for done, result in enumerate(self._results(plan, progress), start=back + 1):
                    self._take(result)
                    progress.update(done)
                self._close_writers()
        except BaseException as error:
            self._stop(error)
            if not self._ends_well(error):
                raise
        else:
            self._record("finished")
            self.journal.remove()

    def _open_reader(self) -> SourceReader:
        options = self._options
        return open_reader(
            options.video,
            backend=options.reader,
            start=options.start,
            max_frames=options.max_frames,
            stride=options.stride,
            live=options.live,
            raw=options.raw,
            max_pixels=options.max_pixels,
        )

    def _read_masks(self) -> tuple[int, FirstMask | Hints, dict[int, FirstMask]]:
        """Read the masks: index of the frame of the first, the first, and the others by frame."""
        options, size = self._options, self._reader.size
        if self._labels is not None:
            return self._labels.first_and_others()
        marked = marked_objects(options, self._reader)
        given, first_frame, others = first_and_others(
            marked, options.first_frame, dict(options.mask_at), bool(self._references) and not options.both_ways
        )
        first = read_first_mask(given, size, options.resize_mask, options.max_pixels, options.threshold)
        check_frames("first_frame", [first_frame] if options.first_frame else (), self._reader)
        check_frames("masks_at", [at for at, _ in options.mask_at], self._reader)
        later = {
            at: read_mask(
                path, size, options.resize_mask, options.max_pixels, options.threshold, True, only_file(given)
            )
            for at, path in others.items()
        }
        return first_frame, first, later

    def _objects_gone(self) -> dict[int, list[int]]:
        """Collect the objects of ``--gone`` by frame, and check them."""
        gone = self._labels.gone() if self._labels is not None else {}
        for at, object_ids in self._options.gone or ():
            gone.setdefault(at, []).extend(object_ids)
        check_frames("gone", gone, self._reader)
        if self._options.both_ways:
            check_walks_back(self._reader)
        else:
            known = (*object_ids_of_first(self._first_mask), *(each.object_id for each in self._references))
            Changes(known, self._masks_at, gone, self._first_frame)
        return gone

    def _open_session(self) -> Session:
        options = self._options
        return open_session(
            tracker=options.tracker,
            model=options.model,
            prior=options.prior,
            prior_size=options.prior_size,
            references=self._references,
            points=options.points,
            device=options.device,
            dtype=options.dtype,
            models=self._models,
        )

    def _open_journal(self) -> Journal:
        """Open the journal; one that keeps nothing if there is no result folder."""
        if self._out is None:
            if self._options.resume:
                raise InputError("--resume goes on in a result folder: give one by -o")
            return Journal(None)
        refuse_links(self._out)
        return Journal.open(self._out, self._session.tracker, self._options, self._saves)

    def _open_window(self) -> None:
        window = Window(dict(self._options.name or ())) if self._options.show else None
        self._stack.callback(self._tell_faults)
        if window is not None:
            self._stack.callback(window.close)
        self._window = window

    def _open_writers(self, first: Result) -> WriterThread:
        """Open what is to be written, on a thread; the first result tells the size and the objects."""
        options, fps = self._options, self._reader.fps
        fps = fps and fps / options.stride
        writers: list[Writer] = []
        if self._out is not None:
            self.journal.announce()
            frame, ids = first.frame, first.object_ids
            writers = open_writers(
                self._saves, self._out, fps=fps, first_frame=frame, object_ids=ids, extras=extras_of(options)
            )
            if options.debug:
                from ..writers.debug import DebugWriter

                writers.append(DebugWriter(self._out / DEBUG_FOLDER, options.debug))
        elif options.output is not None:
            from ..writers.stream import TransportWriter

            writers = [TransportWriter(fps=fps, size=first.frame.size, names=dict(options.name or ()))]
        return WriterThread(self.journal.attach(writers))

    def _results(self, plan: BothWays | None, progress: Progress) -> Iterator[Result]:
        if plan is not None:
            return self._results_both_ways(plan, progress)
        frames, saved = read_ahead(self._reader), self.journal.saved
        given = self._first_mask, self._masks_at, saved, self._gone, self._first_frame, not self._reader.live
        return follow(self._session, frames, *given)

    def _plan(self) -> BothWays:
        given = self._first_frame, self._first_mask, self._masks_at, self._gone
        return plan_both_ways(self._session, self._reader, *given)

    def _results_both_ways(self, plan: BothWays, progress: Progress) -> Iterator[Result]:
        options = self._options
        fresh = another_session(self._session, tracker=options.tracker, points=options.points)
        back = with_references(fresh, self._references)
        soft_edges = need_soft_edges(self._saves)
        return results_both_ways(self._session, back, self._reader, plan, self.journal, soft_edges, progress.update)

    def _take(self, result: Result) -> None:
        """Hand one result to the journal, the writers and the window."""
        if self._writers is None:
            self._writers = self._open_writers(result)
        self.journal.snapshot(self._session, result)
        self._writers.write(result)
        if result.frame.name is not None:
            self._names.append(result.frame.name)
        if self._window is not None:
            self._window.show(result)

    def _close_writers(self) -> None:
        if self._writers is not None:
            self._writers.close()

    def _stop(self, error: BaseException) -> None:
        """Finish the files after an error or a signal, and record what it was."""
        if self._writers is None:
            return
        if isinstance(error, KeyboardInterrupt):
            outcome = "stopped" if self._options.live else "stopped by Ctrl-C"
        else:
            outcome = with_flags(str(error))
        with suppress(OutputError):  # the first error is the one to tell
            self._close_writers()
        with suppress(OutputError):
            self._record(outcome)

    def _ends_well(self, error: BaseException) -> bool:
        """Tell whether this is a way to end a run, rather than a failure."""
        stopped = self._options.live and isinstance(error, KeyboardInterrupt)
        return self._writers is not None and (stopped or isinstance(error, ViewerGone))

    def _record(self, outcome: str) -> None:
        """Write ``run.json``."""
        if self._out is None or self._writers is None:
            return
        options = {key: value for key, value in vars(self._options).items() if key != "traceback"}
        options["video"] = without_password(self._options.video)
        write_run_record(
            self._out / "run.json",
            options,
            self._session,
            self._writers.written,
            time.perf_counter() - self._began_s,
            outcome,
            self._reader.faults,
            self.journal,
            self._names,
        )

    def _tell_faults(self) -> None:
        """Print what went wrong with the input without ending the run."""
        told = faults_line(self._reader)
        if told:
            print(f"vos-track: {told}", file=sys.stderr)
