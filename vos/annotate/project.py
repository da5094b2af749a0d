"""The state of ``vos-annotate`` without any page: the objects of a video, their marks, masks and tracking."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..references import check_takes_references
from ..structures import FirstMask, Result
from .archive import annotation_record, write_archive
from .marking import Marking
from .run import masks_for_run, results_from
from .ways import Run, Way, marks_around, run_back, run_between, run_from_all_marks


class Project(Marking):
    """A :class:`~vos.annotate.marking.Marking` whose objects can be followed, and whose masks can be downloaded.

    Args:
        video: a video file, or a folder of numbered images.
        folder: an empty folder that nothing else writes to.
        **options: see there.

    Attributes:
        archive: path of the zip that :meth:`export` writes.

    Raises:
        VosError: the video cannot be read, or a name is unknown.
    """

    def __init__(self, video: str | Path, folder: Path, **options: Any) -> None:
        super().__init__(video, folder, **options)
        self._searched: set[int] = set()  # frames whose tracked masks the search for references found at their start
        self.archive = folder / "download" / f"{Path(video).resolve().stem}-vos.zip"

    def track(self, index: int) -> Generator[int, None, None]:
        """Follow all objects from the masks of a frame to the end of the video.

        Objects that have photographs are looked for from this frame on: on the frame itself if there is no mask on it
        or before, and looked for anew when it is tracked from again. Tracked masks of later frames are replaced; marks
        on them stay and correct the objects there. An object that this frame does not show is taken from the last frame
        before it on which it was marked. A run that was stopped is resumed if ``index`` is its last frame and no mark
        has changed since.

        Yields:
            The index of each frame, once its masks are stored.

        Raises:
            VosError: there is no object to follow, or the tracker or the video fails.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._stop.clear()
            searched = False
            if self._paused is not None and self._paused[0] == index:
                run, self._paused = self._paused[1], None
            else:
                self._forget_run()
                run, searched = self._new_run(index)
            self._tracking = True
        last = index
        try:
            for result in run:
                if result.frame.index > index or searched:
                    self._store(result, result.frame.index == index)
                    last = result.frame.index
                    yield last
                if self._stop.is_set() and result.frame.index >= index:
                    break
            else:
                return
            self._paused = last, run
        except GeneratorExit:
            self._paused = last, run
            raise
        finally:
            self._tracking = False

    def track_back(self, index: int, way: Way = "backwards") -> Generator[int, None, None]:
        """Follow objects backwards, or both ways, and replace their tracked masks.

        Args:
            index: of the frame that it starts from.
            way: ``backwards``: from the masks of the frame to the beginning. ``both``: from all marks, whichever frame
                this is. ``between``: between the marked frames around this one, from both ends of each stretch.

        Yields:
            The index of each frame that is done; with ``both`` and ``between`` those of the way back first, whose masks
            are stored when the way forwards comes to them.

        Raises:
            VosError: there is no object to follow, or the tracker or the video fails.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._stop.clear()
            self._forget_run()
            run = self._new_way(index, way)
            self._tracking = True
        try:
            with closing(run):
                for at, result in run:
                    if result is not None:
                        self._store(result)
                    yield at
                    if self._stop.is_set():
                        break
        finally:
            self._tracking = False

    def frames_of(self, index: int, way: Way) -> int:
        """Count the frames that :meth:`track_back` will be done with, those of both ways.

        Raises:
            InputError: the frame does not lie between two marked ones.
        """
        if way == "backwards":
            return index
        if way == "between":
            around = marks_around(index, self.hints)
            return 2 * (around[-1] - around[0] + 1)
        return len(self.frames) + max(self.hints, default=0) + 1

    def stop(self) -> None:
        """Let :meth:`track` or :meth:`track_back` end after the frame in work; :meth:`track` can be resumed."""
        self._stop.set()

    def export(self) -> Generator[int, None, None]:
        """Write the frames that have masks to ``archive``.

        The zip holds ``masks/`` (numbered as the video's frames), ``overlay.mp4`` and ``objects.csv`` as ``vos-track``
        writes them, ``annotation.json`` with names and hints, and ``references/`` with the photographs and their masks.

        Yields:
            How many frames are done.

        Raises:
            InputError: no frame has a mask yet, or a photograph is not marked.
            OutputError: it cannot be written.
        """
        indices = self.masked
        if not indices:
            raise InputError("there is nothing to download yet: mark an object first")
        self.photographs.references()  # none is left out
        shown = self.photographs.records()
        annotation = annotation_record(self.frames, self._options, self.names, self.hints, shown)
        results = map(self.result, indices)
        yield from write_archive(self.archive, results, self.frames.fps, annotation, self.photographs.write)

    def frames_from(self, index: int) -> int:
        """Count the frames that :meth:`track` will be done with.

        Raises:
            InputError: a photograph is not marked.
        """
        resumed = self._paused is not None and self._paused[0] == index
        itself = not resumed and self._begins_searching(index, self._masks_from(index)[0])
        return len(self.frames) - index - (not itself)

    def _masks_from(self, index: int) -> tuple[dict[int, FirstMask], dict[int, list[int]]]:
        """Collect the masks and the objects that are gone for a run from a frame, see :func:`masks_for_run`."""
        referred = {each.object_id for each in self.photographs.references()}
        again = referred if index in self._searched else set()
        shown = self._result(index, set(self.names) - again)
        return masks_for_run(shown, self.hints, self._given.read, referred)

    def _begins_searching(self, index: int, masks: Collection[int]) -> bool:
        """Tell whether a run from a frame begins with the search for references alone."""
        return bool(self.photographs.references()) and min(masks, default=len(self.frames)) > index

    def _new_run(self, index: int) -> tuple[Generator[Result, None, None], bool]:
        """Start a run from a frame and delete the tracked masks of later frames; tell whether it begins searching."""
        masks, gone = self._masks_from(index)
        searching = self._begins_searching(index, masks)
        if searching:
            masks[index] = FirstMask(np.zeros(self.frames.size, np.uint8), ())
        elif min(masks, default=len(self.frames)) > index or (
            index not in {*masks, *gone, *self._scores} and not self.photographs.references()
        ):
            raise InputError("this frame has no masks yet: mark an object on it, or track from one that has")
        session = self._new_session()
        if index in self._searched:  # found again, or what the run is given counts
            again = session.referred_ids
            self._scores[index] = {each: one for each, one in self._scores[index].items() if each not in again}
        for later in [each for each in self._scores if each > index]:
            del self._scores[later]
            self._tracked.drop(later)
        return results_from(index, self.frames, masks, gone, session), searching

    def _new_way(self, index: int, way: Way) -> Run:
        """Start a run that goes back."""
        if way == "backwards":
            tracked = index in self._scores
            return run_back(self.frames, self.result(index), tracked, self.hints, self._given, self._new_session())
        if self.photographs.references():
            raise InputError("photographs of objects do not go with this yet: track from a frame, or remove them first")
        sessions = self._new_session(), self._new_session()
        if way == "both":
            return run_from_all_marks(self.frames, self.hints, self._given, *sessions)
        marked = {at: self.result(at) for at in marks_around(index, self.hints)}
        return run_between(self.frames, marked, self.hints, *sessions)

    def _new_session(self) -> Session:
        tracker, references = new_tracker(self._options["tracker"]), self.photographs.references()
        if references:
            check_takes_references(tracker)
        return Session(tracker, self._session.segmenter, self._session.encoder, references)

    def _store(self, result: Result, searched: bool = False) -> None:
        """Store the masks and scores of a tracked frame; ``searched``: it is the first of a search."""
        self._tracked.write(result)
        (self._searched.add if searched else self._searched.discard)(result.frame.index)
        self._scores[result.frame.index] = dict(zip(result.object_ids, result.scores.tolist(), strict=True))
