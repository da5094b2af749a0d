"""The state of ``vos-annotate`` without any page: the objects of a video, their marks, masks and tracking."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..structures import Result
from .archive import annotation_record, write_archive
from .marking import Marking
from .run import masks_for_run, results_from
from .ways import Run, Way, marks_around, run_back, run_between, run_from_all_marks


class Project(Marking):
    """A :class:`~vos.annotate.marking.Marking` whose objects can be followed, and whose masks can be downloaded.

    Args:
        video: a video file, or a folder of numbered images.
        folder: an empty folder that nothing else writes to.
        tracker: name of an installed tracker.
        **session_options: ``model``, ``prior``, ``device``, see :func:`vos.pipeline.open_session`.

    Attributes:
        archive: path of the zip that :meth:`export` writes.

    Raises:
        VosError: the video cannot be read, or a name is unknown.
    """

    def __init__(self, video: str | Path, folder: Path, *, tracker: str = "persam-f", **session_options: Any) -> None:
        super().__init__(video, folder, tracker=tracker, **session_options)
        self.archive = folder / "download" / f"{Path(video).resolve().stem}-vos.zip"

    def track(self, index: int) -> Generator[int, None, None]:
        """Follow all objects from the masks of a frame to the end of the video.

        Tracked masks of later frames are replaced; marks on them stay and correct the objects there. An object that
        this frame does not show is taken from the last frame before it on which it was marked. A run that was stopped
        is resumed if ``index`` is its last frame and no mark has changed since.

        Yields:
            The index of each frame, once its masks are stored.

        Raises:
            VosError: there is no object to follow, or the tracker or the video fails.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._stop.clear()
            if self._paused is not None and self._paused[0] == index:
                run, self._paused = self._paused[1], None
            else:
                self._forget_run()
                run = self._new_run(index)
            self._tracking = True
        last = index
        try:
            for result in run:
                if result.frame.index > index:
                    self._store(result)
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
        writes them, and ``annotation.json`` with names and hints.

        Yields:
            How many frames are done.

        Raises:
            InputError: no frame has a mask yet.
            OutputError: it cannot be written.
        """
        indices = self.masked
        if not indices:
            raise InputError("there is nothing to download yet: mark an object first")
        annotation = annotation_record(self.frames, self._options, self.names, self.hints)
        yield from write_archive(self.archive, map(self.result, indices), self.frames.fps, annotation)

    def _new_run(self, index: int) -> Generator[Result, None, None]:
        """Start a run from a frame and delete the tracked masks of later frames."""
        masks, gone = masks_for_run(self.result(index), self.hints, self._given.read)
        if min(masks, default=len(self.frames)) > index or index not in {*masks, *gone, *self._scores}:
            raise InputError("this frame has no masks yet: mark an object on it, or track from one that has")
        for later in [each for each in self._scores if each > index]:
            del self._scores[later]
            self._tracked.drop(later)
        return results_from(index, self.frames, masks, gone, self._new_session())

    def _new_way(self, index: int, way: Way) -> Run:
        """Start a run that goes back."""
        if way == "backwards":
            tracked = index in self._scores
            return run_back(self.frames, self.result(index), tracked, self.hints, self._given, self._new_session())
        sessions = self._new_session(), self._new_session()
        if way == "both":
            return run_from_all_marks(self.frames, self.hints, self._given, *sessions)
        marked = {at: self.result(at) for at in marks_around(index, self.hints)}
        return run_between(self.frames, marked, self.hints, *sessions)

    def _new_session(self) -> Session:
        return Session(new_tracker(self._options["tracker"]), self._session.segmenter, self._session.encoder)

    def _store(self, result: Result) -> None:
        """Store the masks and scores of a tracked frame."""
        self._tracked.write(result)
        self._scores[result.frame.index] = dict(zip(result.object_ids, result.scores.tolist(), strict=True))
