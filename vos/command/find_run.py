"""One run of ``vos-find``: from pictures to files; it can be stopped and resumed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from ..engine.device import keep_freed_memory, pick_device, pick_dtype
from ..engine.models import defer_encoder, defer_segmenter, new_tracker
from ..engine.side_by_side import side_by_side
from ..errors import InputError, OutputError
from ..files import atomic_path, make_folder, output_errors
from ..finder import Finder
from ..folder_lock import LOCK, FolderLock
from ..readers.albums import AlbumPicture, list_pictures
from ..readers.references import files_of, read_references
from ..structures import Frame
from .find_options import FindOptions
from .find_outputs import (
    FOLDER,
    Entry,
    Notes,
    PictureFiles,
    confidence_of,
    files_of_pictures,
    read_notes,
    write_coco,
    write_table,
)
from .progress import Progress
from .same_run import RunIdentity, check_same, identify_run, parse_identity
from .status import say

RECORD = "run.json"
"""Record of a finished run."""

_FILES = ("found.csv", "coco.json", RECORD)
"""Files of a result, beside those of pictures."""

_FREE = ("images", "top")
"""Options that may differ when a stopped run is resumed, beside those of every run."""


class FindRun:
    """One run of the command.

    Args:
        options: as given.
        saves: what to write.

    Raises:
        VosError: a picture folder is empty, a reference cannot be used, or a model is unknown.
    """

    def __init__(self, options: FindOptions, saves: Sequence[str]) -> None:
        self._options = options
        self._saves = saves
        self._out = options.output
        self._pictures = list_pictures(options.images, options.max_pixels)
        self._references = read_references(options.reference, options.max_pixels, options.threshold)
        self._device = pick_device(options.device)
        chosen = {name: value for name, value in vars(options).items() if name not in _FREE}
        files = [file for text in options.reference for file in files_of(text)]
        files += [name.partition(":")[2] or name for name in (options.tracker, options.model, options.prior)]
        self._identity = identify_run(chosen, files, self._device)
        self._unreadable = 0

    def run(self) -> int:
        """Find the objects and write the results; return the exit status.

        Raises:
            VosError: the folder cannot be written, or an object of a reference cannot be learned.
        """
        keep_freed_memory()
        with ExitStack() as stack:
            stack.enter_context(FolderLock(self._out, "vos-find"))
            if self._options.resume and self._is_finished():
                return say(f"vos-find: {self._out}: is finished already, nothing to do", 0)
            done = self._prepared()
            began = time.perf_counter()
            finder = stack.enter_context(self._finder())
            entries = self._entries(stack, finder, done)
            if not entries:
                raise InputError("none of the pictures can be read")
            self._write_tables(entries)
            self._record(entries, finder, time.perf_counter() - began)
            shutil.rmtree(self._out / FOLDER)
        return 0

    def _entries(self, stack: ExitStack, finder: Finder, done: dict[str, Entry]) -> list[Entry]:
        """Find the objects in all pictures that are not done yet; return the entries of all, in order."""
        files = PictureFiles(self._out, self._saves)
        notes = Notes(self._out / FOLDER, list(done.values()))
        stack.callback(notes.close)
        progress = stack.enter_context(Progress(len(self._pictures), sys.stderr, quiet=self._options.quiet))

        def entry_of(numbered: tuple[int, AlbumPicture]) -> Entry | InputError:
            index, picture = numbered
            if str(picture.path) in done:
                return done[str(picture.path)]
            try:
                rgb = picture.rgb()
            except InputError as error:
                return error
            entry = files.write(finder.find(Frame(index, 0.0, rgb, picture.name), picture.path))
            notes.add(entry)
            return entry

        entries = []
        with closing(side_by_side(entry_of, enumerate(self._pictures))) as made:
            for count, entry in enumerate(made, start=1):
                if isinstance(entry, InputError):
                    self._unreadable += 1
                    say(f"vos-find: {entry}; it is left out", 0)
                else:
                    entries.append(entry)
                progress.update(count)
        return entries

    def _finder(self) -> Finder:
        options = self._options
        where = self._device, pick_dtype("auto", self._device)
        return Finder(
            new_tracker(options.tracker),
            defer_segmenter(options.model, *where),
            defer_encoder(options.prior, *where),
            self._references,
            many=options.many,
            threshold=options.presence,
        )

    def _is_finished(self) -> bool:
        """Tell whether the folder holds the finished result of this very run, with these pictures.

        Raises:
            InputError: it holds that of a run with other options or references.
        """
        record = _read_json(self._out / RECORD)
        if record is None or self._same(record) is None:
            return False
        if record.get("pictures") != [str(each.path) for each in self._pictures]:
            return False
        top = self._options.top
        before = record.get("top", top)
        if before != top:
            told = f"{self._out}: its run was finished with --top {before or 'unset'}, not {top or 'unset'}"
            raise InputError(f"{told}; give the same command line, or begin anew with --overwrite")
        return True

    def _prepared(self) -> dict[str, Entry]:
        """Make the folder ready; return the entries of an earlier run that is gone on with, by path.

        Raises:
            OutputError: the folder is not empty, or cannot be written.
            InputError: it holds a run with other options, references or pictures.
        """
        out, begun = self._out, self._out / FOLDER
        others = [path for path in out.iterdir() if path.name != LOCK]
        if self._options.resume and begun.is_dir() and self._same(_read_json(begun / RECORD)) is not None:
            return self._done(begun)
        if others and not self._options.overwrite:
            stopped = begun.is_dir() and not self._options.resume
            remedy = "go on with --resume, or begin anew with --overwrite"
            remedy = remedy if stopped else "pass --overwrite, or -o another folder"
            raise OutputError(f"{out}: already there and not empty; {remedy}")
        with output_errors(out):
            self._remove_earlier(begun)
        make_folder(begun)
        with output_errors(begun), atomic_path(begun / RECORD) as partial:
            partial.write_text(json.dumps(self._identity), encoding="utf-8")
        return {}

    def _done(self, begun: Path) -> dict[str, Entry]:
        """Return the entries that a stopped run left, by path; its pictures keep their names, others get new ones.

        Raises:
            InputError: one of its pictures is not among those of this run.
        """
        done: dict[str, Entry] = {entry["path"]: entry for entry in read_notes(begun)}
        options, listed = self._options, {str(each.path) for each in self._pictures}
        missing = sorted(set(done) - listed)
        if missing:
            raise InputError(
                f"{self._out}: its run has done {missing[0]}, which is not among the pictures now; give the same "
                "command line, or begin anew with --overwrite"
            )
        names = {path: entry["name"] for path, entry in done.items()}
        self._pictures = list_pictures(options.images, options.max_pixels, names)
        return done

    def _remove_earlier(self, begun: Path) -> None:
        """Remove what an earlier run wrote into the folder, and nothing else."""
        names = (_read_json(self._out / RECORD) or {}).get("names")
        known = [str(name) for name in names] if isinstance(names, list) else []
        if begun.is_dir():
            known += [entry["name"] for entry in read_notes(begun)]
            shutil.rmtree(begun)
        for path in (*files_of_pictures(self._out, known), *(self._out / name for name in _FILES)):
            path.unlink(missing_ok=True)

    def _same(self, record: dict[str, object] | None) -> RunIdentity | None:
        """Return the identity in a record; None if there is none; raise an InputError if it is another run's."""
        before = parse_identity(record)
        if before is not None:
            check_same(self._out, before, self._identity)
        return before

    def _write_tables(self, entries: list[Entry]) -> None:
        best = sorted(entries, key=confidence_of, reverse=True) if self._options.top else entries
        if "csv" in self._saves:
            write_table(self._out / "found.csv", best)
        if "coco" in self._saves:
            write_coco(self._out / "coco.json", entries)
        if self._options.top:
            self._write_top(best[: self._options.top])

    def _write_top(self, entries: Sequence[Entry]) -> None:
        """Copy the best pictures, or their overlays, to ``top/``, in the order of their confidence."""
        top = self._out / "top"
        make_folder(top)
        for place, entry in enumerate(entries, start=1):
            source = self._out / "overlay" / f"{entry['name']}.jpg"
            source = source if "overlay" in self._saves else Path(entry["path"])
            target = top / f"{place:04d}-{entry['name']}{source.suffix}"
            with output_errors(target), atomic_path(target) as partial:
                shutil.copyfile(source, partial)

    def _record(self, entries: Sequence[Entry], finder: Finder, seconds: float) -> None:
        """Write ``run.json``."""
        session = finder.session
        record = {
            **self._identity,
            "outcome": "finished",
            "pictures": [str(each.path) for each in self._pictures],
            "top": self._options.top,
            "names": [entry["name"] for entry in entries],
            "unreadable": self._unreadable,
            "found_in": sum(any(row["box"] for row in entry["rows"]) for entry in entries),
            "seconds": {"total": seconds, **session.seconds},
            "weights": [*session.segmenter.files, *session.encoder.files],
        }
        path = self._out / RECORD
        with output_errors(path), atomic_path(path) as partial:
            partial.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, object] | None:
    """Read an object from a JSON file; None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
