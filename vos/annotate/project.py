"""The state of ``vos-annotate`` without any page: the objects of a video, their marks, masks and tracking."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from threading import Event, RLock
from typing import Any

import numpy as np

from ..boxes import tight_box
from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..pipeline import open_session
from ..readers.seek import VideoFrames
from ..structures import MAX_OBJECT_ID, Hint, Result
from .archive import annotation_record, write_archive
from .label_maps import LabelMaps, result_with_scores
from .marks import SMALLEST_BOX, Gone, clean_name, is_near
from .run import masks_for_run, results_from


class Project:
    """Holds the objects of a video with their names and hints, and makes and stores their label maps.

    A hint is all that was marked of one object on one frame. Names, hints and scores are in memory. Label maps are
    on the disk, one indexed PNG per frame:

    - ``given/``: the masks made from hints;
    - ``tracked/``: the masks that tracking found. Where a frame has both, given masks replace tracked ones;
    - ``guesses/``: the tracked masks that points correct.

    All methods may be called from any thread; those that change something run one at a time.

    Args:
        video: a video file, or a folder of numbered images.
        folder: an empty folder that nothing else writes to.
        tracker: name of an installed tracker.
        **session_options: ``model``, ``prior``, ``device``, see :func:`vos.pipeline.open_session`.

    Attributes:
        frames: the video.
        names: names of the objects by id, in the order in which they were added.
        hints: hints by frame index and object id.
        corner: first corner of an unfinished box: frame index, object id, x, y; or None.
        archive: path of the zip that :meth:`export` writes.

    Raises:
        VosError: the video cannot be read, or a name is unknown.
    """

    def __init__(self, video: str | Path, folder: Path, *, tracker: str = "persam-f", **session_options: Any) -> None:
        self.frames = VideoFrames(video)
        self.names: dict[int, str] = {}
        self.hints: dict[int, dict[int, Hint]] = {}
        self.corner: tuple[int, int, float, float] | None = None
        self.archive = folder / "download" / f"{Path(video).resolve().stem}-vos.zip"
        self._options = {"tracker": tracker, **session_options}
        self._session = open_session(**self._options)
        self._given, self._tracked = LabelMaps(folder / "given"), LabelMaps(folder / "tracked")
        self._guesses = LabelMaps(folder / "guesses")
        self._scores: dict[int, dict[int, float]] = {}  # of the tracked frames, by frame index and object id
        self._history: list[tuple[int, int, Hint | None]] = []  # frame index, object id, the hint before the mark
        self._last_id = 0
        self._lock, self._stop = RLock(), Event()
        self._tracking = False
        self._paused: tuple[int, Generator[Result, None, None]] | None = None  # last frame index, rest of the run

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load_models(self) -> None:
        """Load the weights now, so that the first click need not wait for them.

        Raises:
            WeightsError: weights are missing or do not fit.
        """
        _ = self._session.segmenter.name, self._session.encoder.name

    def close(self) -> None:
        """Release the video and the models; the folder is left."""
        self._forget_run()
        self._session.close()
        self.frames.close()

    # Objects

    def add_object(self, name: str = "") -> int:
        """Add an object; return its id.

        Raises:
            InputError: all ids are used, or tracking is running.
        """
        with self._lock:
            self._refuse_while_tracking()
            if self._last_id == MAX_OBJECT_ID:
                raise InputError(f"at most {MAX_OBJECT_ID} objects can be numbered; start again for more")
            self._last_id += 1
            self.names[self._last_id] = clean_name(name)
            return self._last_id

    def rename(self, object_id: int, name: str) -> None:
        """Name an object; control characters are removed and a long name is cut to ``LONGEST_NAME``.

        Raises:
            InputError: there is no such object.
        """
        self._check_object(object_id)
        self.names[object_id] = clean_name(name)

    def remove_object(self, object_id: int) -> None:
        """Delete an object with all its marks and masks; its id is not used again.

        Raises:
            InputError: there is no such object, or tracking is running.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            for index in [index for index, hints in self.hints.items() if object_id in hints]:
                self._set_hint(index, object_id, None)
            self._history = [entry for entry in self._history if entry[1] != object_id]
            del self.names[object_id]  # it stays in tracked/, from where only objects with a name are read
            self._forget_run()

    # Marks

    def add_point(self, index: int, object_id: int, x: float, y: float, inside: bool = True) -> None:
        """Mark a point inside or outside of an object; on a tracked frame it corrects the mask that was found.

        Raises:
            InputError: no object is found there, or tracking is running; nothing is changed.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            before = self.hints.get(index, {}).get(object_id, Gone())
            hint = Hint() if before == Gone() else before
            if hint == Hint():
                self._take_guess(index, object_id, x, y)
            if not inside and hint == Hint() and not self._guess(index, [object_id]).any():
                raise InputError("mark the object itself first: a point inside it, or a box around it")
            if hint.box is not None and inside:
                x0, y0, x1, y1 = hint.box
                hint = replace(hint, box=(min(x0, x), min(y0, y), max(x1, x), max(y1, y)))
            self._mark(index, object_id, replace(hint, points=(*hint.points, (float(x), float(y), bool(inside)))))

    def add_corner(self, index: int, object_id: int, x: float, y: float) -> None:
        """Mark a corner of a box around an object; the second one makes the box, which replaces the frame's marks.

        Raises:
            InputError: the box is too small, no object is found in it, or tracking is running; no mask is changed.
        """
        with self._lock:
            self._check_object(object_id)
            if self.corner is None or self.corner[:2] != (index, object_id):
                self._refuse_while_tracking()
                self.corner = index, object_id, float(x), float(y)
                return
            *_, x0, y0 = self.corner
            self.corner = None
            if min(abs(x - x0), abs(y - y0)) < SMALLEST_BOX:
                raise InputError("the box is too small: click two opposite corners of it")
            self._mark(index, object_id, Hint((min(x0, x), min(y0, y), max(x0, x), max(y0, y))))

    def mark_gone(self, index: int, object_id: int) -> None:
        """Mark that a frame does not show an object, in the place of its other marks there; its mask is empty.

        Tracking from there or past it leaves the object absent until it is found again or marked on a later frame.

        Raises:
            InputError: no earlier frame shows the object, or tracking is running.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            shown = [known for marks in (self.hints, self._scores) for at, known in marks.items() if at < index]
            if not any(object_id in known for known in shown):
                raise InputError("the object is on no earlier frame: mark it on the first one that shows it")
            self._mark(index, object_id, Gone())

    def clear(self, index: int, object_id: int) -> None:
        """Remove all marks of an object from a frame.

        Raises:
            InputError: tracking is running.
        """
        with self._lock:
            self.corner = None
            if object_id in self.hints.get(index, {}):
                self._mark(index, object_id, None)

    def undo(self) -> int | None:
        """Take back the last mark; return the index of its frame, or None if there is no mark.

        Raises:
            InputError: tracking is running.
        """
        with self._lock:
            if self.corner is not None:
                index, self.corner = self.corner[0], None
                return index
            self._refuse_while_tracking()
            if not self._history:
                return None
            index, object_id, before = self._history.pop()
            self._set_hint(index, object_id, before)
            return index

    # Masks

    @property
    def tracking(self) -> bool:
        """Whether :meth:`track` is running."""
        return self._tracking

    @property
    def tracked(self) -> tuple[int, ...]:
        """Indices of the tracked frames, ascending."""
        return tuple(sorted(self._scores))

    @property
    def masked(self) -> tuple[int, ...]:
        """Indices of the frames that have masks, ascending."""
        return tuple(sorted({*self._scores, *self.hints}))

    def result(self, index: int) -> Result:
        """Return the objects of a frame; a frame without masks has none.

        Raises:
            InputError: there is no such frame, or it cannot be decoded.
        """
        frame = self.frames.frame(index)
        with self._lock:
            labels = np.zeros(frame.size, np.uint8)
            scores: dict[int, float] = {}
            if index in self._scores:
                scores = {each: score for each, score in self._scores[index].items() if each in self.names}
                labels = self._tracked.read(index, scores)
            if index in self.hints:
                hinted = self.hints[index]
                given = self._given.read(index, hinted)
                labels = np.where(given > 0, given, np.where(np.isin(labels, list(hinted)), 0, labels)).astype(np.uint8)
                scores |= {each: float(hint != Gone()) for each, hint in hinted.items()}
        return result_with_scores(frame, labels, scores)

    # Tracking

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

    def stop(self) -> None:
        """Let :meth:`track` end after the frame that it is working on; the run can be resumed."""
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
        masks, gone = masks_for_run(self.result(index), self.hints, self._given)
        if min(masks, default=len(self.frames)) > index or index not in {*masks, *gone, *self._scores}:
            raise InputError("this frame has no masks yet: mark an object on it, or track from one that has")
        for later in [each for each in self._scores if each > index]:
            del self._scores[later]
            self._tracked.drop(later)
        session = Session(new_tracker(self._options["tracker"]), self._session.segmenter, self._session.encoder)
        return results_from(index, self.frames, masks, gone, session)

    def _store(self, result: Result) -> None:
        """Store the masks and scores of a tracked frame."""
        self._tracked.write(result)
        self._scores[result.frame.index] = dict(zip(result.object_ids, result.scores.tolist(), strict=True))

    def _forget_run(self) -> None:
        """Drop a stopped run, which can then no longer be resumed."""
        if self._paused is not None:
            self._paused[1].close()
        self._paused = None

    # Hints

    def _mark(self, index: int, object_id: int, hint: Hint | None) -> None:
        """Change one hint, as :meth:`_set_hint`, in a way that :meth:`undo` takes back."""
        self._refuse_while_tracking()
        self._check_object(object_id)
        before = self.hints.get(index, {}).get(object_id)
        self._set_hint(index, object_id, hint)
        self._history.append((index, object_id, before))

    def _set_hint(self, index: int, object_id: int, hint: Hint | None) -> None:
        """Replace one hint, None: remove it, and make the frame's given masks anew; on an error nothing is changed."""
        hints = {each: other for each, other in self.hints.get(index, {}).items() if each != object_id}
        if hint is not None:
            hints[object_id] = hint
        if hints:
            frame = self.frames.frame(index)
            ids = tuple(each for each in sorted(hints) if hints[each] != Gone())
            labels = np.zeros(frame.size, np.uint8)
            if ids:
                shown = [self._with_guess(index, each, hints[each]) for each in ids]
                labels = self._session.segment(frame, shown, ids).labels
            self._given.write(result_with_scores(frame, labels, dict.fromkeys(ids, 1.0)))
            self.hints[index] = hints
        else:
            self.hints.pop(index, None)
            self._given.drop(index)
            self._guesses.drop(index)
        self.corner = None
        self._forget_run()

    def _take_guess(self, index: int, object_id: int, x: float, y: float) -> None:
        """Let points correct the object's tracked mask, unless the first point is well away from that mask."""
        guesses = self._guess(index, set(self.names) - {object_id})
        if object_id in self._scores.get(index, {}):
            found = self._tracked.read(index, [object_id]) > 0
            box = tight_box(found)
            if box is not None and is_near(x, box[0], box[2]) and is_near(y, box[1], box[3]):
                guesses[found] = object_id
        self._guesses.write(result_with_scores(self.frames.frame(index), guesses, {}))

    def _guess(self, index: int, object_ids: Iterable[int]) -> np.ndarray:
        """Return the masks that points on a frame correct, (H, W) uint8 labels; objects without one are background."""
        if index not in self._guesses:
            return np.zeros(self.frames.size, np.uint8)
        return self._guesses.read(index, object_ids)

    def _with_guess(self, index: int, object_id: int, hint: Hint) -> Hint:
        """Add the mask that the points of a hint correct, if there is one; a box needs none."""
        guess = self._guess(index, [object_id]) > 0
        return replace(hint, mask=guess) if hint.box is None and guess.any() else hint

    def _refuse_while_tracking(self) -> None:
        """Raise an ``InputError`` if :meth:`track` is running."""
        if self._tracking:
            raise InputError("tracking is under way; stop it first")

    def _check_object(self, object_id: int) -> None:
        """Raise an ``InputError`` if there is no such object."""
        if object_id not in self.names:
            raise InputError(f"there is no object {object_id}; add one first")
