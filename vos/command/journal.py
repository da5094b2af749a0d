"""The journal of a run: ``OUT/.resume``, from which a run that was stopped goes on.

``run.json`` says what the run is, ``frames.jsonl`` has one line for each frame that all writers have taken, and the
newest two states of the session are ``<frame>-<CRC-32>.safetensors``. Label maps are read back from ``masks/`` of the
result; ``.resume`` holds them where they are not among the outputs, and the soft edges of mattes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engine.device import pick_device
from ..engine.session import Session
from ..errors import InputError, PluginError, VosError
from ..files import output_errors
from ..interfaces import ResumableTracker, Tracker
from ..io_interfaces import Writer
from ..readers.references import files_of
from ..structures import Result
from ..writers.outputs import need_soft_edges
from .frame_log import FrameLog, NewFrames, write_whole
from .options import Options
from .same_run import RunIdentity, check_same, identify_run, parse_identity
from .saved import Saved, read_entries, read_json, read_state, state_files

_log = logging.getLogger(__name__)

FOLDER = ".resume"
"""Name of the journal's folder in the result folder."""

BACKWARDS = "backwards"
"""Name of the folder in it that has the results of the way back, of a run in both directions."""


class Journal:
    """Keeps what a stopped run needs to go on.

    The calls, in this order; from :meth:`load` on the caller holds the lock of the result folder:

    1. with ``--resume`` :meth:`is_finished`, then :meth:`load`;
    2. :meth:`remove`, unless a state was loaded;
    3. :meth:`announce`, before the writers open, and :meth:`attach`, once they are;
    4. :meth:`snapshot`, before each result is handed to the writers;
    5. :meth:`remove`, when the run is finished.

    Nothing is written before :meth:`attach`, or :meth:`begin` of a run in both directions. For a run that cannot be
    resumed, :meth:`attach` and :meth:`snapshot` do nothing.

    Args:
        out: result folder; None: there is none, and no call does anything.
        identity: identity of the run; None: it cannot be resumed.
        saves: names of the outputs.

    Attributes:
        saved: what :meth:`load` found; None: the run begins.
    """

    def __init__(self, out: Path | None, identity: RunIdentity | None = None, saves: Sequence[str] = ()) -> None:
        self.saved: Saved | None = None
        self._out = out or Path()
        self._folder = self._out / FOLDER
        self._exists = out is not None
        self._identity = identity
        self._own_masks = "masks" not in saves
        self._soft_edges = need_soft_edges(saves)
        self._frame_log: FrameLog | None = None
        self._is_same = False

    @classmethod
    def open(cls, out: Path, tracker: Tracker, options: Options, saves: Sequence[str]) -> Journal:
        """Return the journal of a run of the command.

        Raises:
            InputError: the run is to be resumed, but its source cannot be read again.
            PluginError: the run is to be resumed, but its tracker cannot be saved.
        """
        problem: VosError | None = None
        if not os.path.exists(options.video):
            problem = InputError(f"{options.video}: is no file or folder, so that --resume cannot read it again")
        elif not isinstance(tracker, ResumableTracker):
            problem = PluginError(f"{options.tracker}: this tracker cannot be saved, so leave --resume out")
        if problem is not None and options.resume:
            raise problem
        files = [options.video, *(options.first_mask or ()), *(path for _, path in options.mask_at)]
        files += [options.masks] if options.masks else []
        files += [file for text in options.reference or () for file in files_of(text)]
        models = [options.tracker, options.model, options.prior, options.points]
        models += [options.text_model] if options.text_model else []
        files += [name.partition(":")[2] or name for name in models]
        identity = None if problem else identify_run(vars(options), files, pick_device(options.device))
        return cls(out, identity, saves)

    @property
    def inputs(self) -> Mapping[str, str]:
        """Fingerprints of the input files by path; empty if the run cannot be resumed."""
        return self._identity["inputs"] if self._identity else {}

    @property
    def resumable(self) -> bool:
        """Whether the run can be resumed."""
        return self._identity is not None

    @property
    def backwards(self) -> Path | None:
        """Folder for the way back of a run in both directions; None: there is no result folder."""
        return self._folder / BACKWARDS if self._exists else None

    def has_way_back(self) -> bool:
        """Tell, after :meth:`load`, whether the stopped run left some of a way back."""
        return self._is_same and (self._folder / BACKWARDS).is_dir()

    def is_finished(self) -> bool:
        """Tell whether the folder holds the finished result of this very run.

        Raises:
            InputError: it holds the finished result of a run with other options or inputs.
        """
        record = read_json(self._out / "run.json")
        if self._identity is None or record is None or record.get("outcome") != "finished" or not record.get("inputs"):
            return False
        before = parse_identity({**record, "made_by": self._identity["made_by"]})
        if before is None:
            return False
        check_same(self._out, before, self._identity)
        return True

    def is_there(self) -> bool:
        """Tell whether the result folder holds a journal, of whatever run."""
        return self._exists and self._folder.is_dir()

    def load(self) -> Saved | None:
        """Load the newest state that is whole; None: there is none, the run begins anew.

        Raises:
            InputError: the stopped run had other options or inputs.
        """
        before = parse_identity(read_json(self._folder / "run.json"))
        if before is None or self._identity is None:
            return None
        check_same(self._out, before, self._identity)
        self._is_same = True
        entries = read_entries(self._folder / "frames.jsonl")
        masks = (self._folder if self._own_masks else self._out) / "masks"
        for frame, path in reversed(state_files(self._folder)):
            state = read_state(path)
            if state is not None and frame < len(entries):
                opacity = self._folder / "opacity" if self._soft_edges else None
                self.saved = Saved(frame, state, entries[: frame + 1], masks, not self._own_masks, opacity)
                return self.saved
            _log.warning("%s: damaged, so it is not used", path)
        return None

    def attach(self, writers: Sequence[Writer]) -> list[Writer]:
        """Open the journal and append it to the writers.

        Returns:
            The writers to use. Those with one file per frame come after the others, and are not handed the frames
            that they wrote before the run was stopped; the journal is the last.

        Raises:
            OutputError: the journal cannot be written.
        """
        if self._identity is None:
            return list(writers)
        first = self.saved.frame + 1 if self.saved else 0
        entries = self.saved.entries if self.saved else ()
        self.begin()
        with output_errors(self._folder):
            for frame, path in state_files(self._folder):
                if frame >= first:
                    path.unlink()
            self._frame_log = FrameLog(self._folder, entries, own_masks=self._own_masks, soft_edges=self._soft_edges)
        per_frame = [writer for writer in writers if getattr(writer, "file_per_frame", False)]
        others = [writer for writer in writers if writer not in per_frame]
        return [*others, *(NewFrames(writer, first) for writer in (*per_frame, self._frame_log))]

    def begin(self) -> None:
        """Make the folder and note the identity of the run in it, so that what is written there can be gone on with.

        Raises:
            OutputError: it cannot be written.
        """
        with output_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            if self._identity is not None:
                write_whole(self._folder / "run.json", json.dumps(self._identity).encode())

    def announce(self) -> None:
        """Begin, unless the run cannot be resumed: before the writers open, so that it may be killed while they do.

        Raises:
            OutputError: it cannot be written.
        """
        if self._identity is not None:
            self.begin()

    def snapshot(self, session: Session, result: Result) -> None:
        """Keep the session's state after a result that is about to be handed to the writers, if one is due."""
        known = self.saved is not None and result.frame.index <= self.saved.frame
        if self._frame_log is not None and not known:
            self._frame_log.snapshot(session, result)

    def remove(self) -> None:
        """Remove the folder.

        Raises:
            OutputError: the folder cannot be removed.
        """
        with output_errors(self._folder):
            if self.is_there():
                shutil.rmtree(self._folder)
