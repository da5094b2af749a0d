"""What is known of a video while its objects are marked, followed and corrected; without any page."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event, RLock

import numpy as np

from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..pipeline import follow, open_session
from ..readers.prefetch import prefetch
from ..readers.seek import VideoFrames
from ..structures import MAX_OBJECT_ID, FirstMask, Frame, Hint, Result
from .archive import write_archive
from .label_maps import LabelMaps, described

LONGEST_NAME = 60
SMALLEST_BOX = 3  # pixels from corner to corner


class Project:
    """Objects with their names and hints, and the label maps made from them.

    Label maps are kept on the disk, one indexed PNG per frame: ``given/`` what hints say, ``tracked/``
    what tracking found, ``guesses/`` the part of that which points correct. In memory are hints, names and scores. Where a frame has both, the given objects
    win. All methods may be called from any thread; of two that change something the second waits.

    Args:
        video: a video file, or a folder of numbered images.
        folder: an empty folder of its own.
        tracker: name of an installed tracker.
        **session_options: ``model``, ``prior``, ``device``, see :func:`vos.pipeline.open_session`.

    Attributes:
        frames: the video.
        names: of the objects by their ids, in the order in which they were added.
        hints: by frame index and object id.
        corner: a box's first corner, waiting for the second: frame index, object id, x, y.
        archive: the file that :meth:`export` writes.

    Raises:
        VosError: the video cannot be read, or a name is unknown.
    """

    def __init__(self, video: str | Path, folder: Path, *, tracker: str = "persam-f", **session_options: str) -> None:
        self.frames = VideoFrames(video)
        self.names: dict[int, str] = {}
        self.hints: dict[int, dict[int, Hint]] = {}
        self.corner: tuple[int, int, float, float] | None = None
        stem = Path(video).resolve().stem
        self.archive = folder / "download" / f"{stem}-vos.zip"
        self._options = {"tracker": tracker, **session_options}
        self._session = open_session(**self._options)
        self._given, self._tracked = LabelMaps(folder / "given"), LabelMaps(folder / "tracked")
        self._guesses = LabelMaps(folder / "guesses")
        self._scores: dict[int, dict[int, float]] = {}  # by index of the tracked frames, by object id
        self._history: list[tuple[int, int, Hint | None]] = []
        self._last_id = 0
        self._lock = RLock()
        self._stop = Event()
        self._tracking = False
        self._paused: tuple[int, Generator[Result, None, None]] | None = None

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load_models(self) -> None:
        """Load the weights now rather than at the first click.

        Raises:
            WeightsError: they are missing or do not fit.
        """
        _ = self._session.segmenter.name, self._session.encoder.name

    def close(self) -> None:
        """Release the video and the models; the folder stays."""
        self._forget_run()
        self._session.close()
        self.frames.close()

    # Objects

    def add_object(self, name: str = "") -> int:
        """A new object; its id.

        Raises:
            InputError: there are too many.
        """
        with self._lock:
            self._refuse_while_tracking()
            if self._last_id == MAX_OBJECT_ID:
                raise InputError(f"at most {MAX_OBJECT_ID} objects can be numbered; start again for more")
            self._last_id += 1
            self.names[self._last_id] = _clean(name)
            return self._last_id

    def rename(self, object_id: int, name: str) -> None:
        """Name an object; control characters are left out, and what is longer than ``LONGEST_NAME``."""
        self._check_object(object_id)
        self.names[object_id] = _clean(name)

    def remove_object(self, object_id: int) -> None:
        """Drop an object with all its marks and masks; its number is not used again."""
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            for index in [index for index, hints in self.hints.items() if object_id in hints]:
                self._set_hint(index, object_id, None)
            self._history = [entry for entry in self._history if entry[1] != object_id]
            del self.names[object_id]  # in tracked/ it stays, unseen
            self._forget_run()

    # Marks

    def add_point(self, index: int, object_id: int, x: float, y: float, inside: bool = True) -> None:
        """A point inside or outside of an object; on a tracked frame it corrects the mask found there.

        Raises:
            InputError: nothing is found there; then nothing has changed.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            hint = self.hints.get(index, {}).get(object_id, Hint())
            if hint == Hint():
                self._take_guess(index, object_id, x, y)
            if not inside and hint == Hint() and not self._guess(index, [object_id]).any():
                raise InputError("mark the object itself first: a point inside it, or a box around it")
            if hint.box is not None and inside:
                x0, y0, x1, y1 = hint.box
                hint = replace(hint, box=(min(x0, x), min(y0, y), max(x1, x), max(y1, y)))
            self._mark(index, object_id, replace(hint, points=(*hint.points, (float(x), float(y), bool(inside)))))

    def add_corner(self, index: int, object_id: int, x: float, y: float) -> None:
        """A corner of a box around an object; the second one makes the box, anew whatever was marked.

        Raises:
            InputError: the box is too small, or nothing is found in it; then nothing has changed.
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

    def clear(self, index: int, object_id: int) -> None:
        """Take back all marks of an object on a frame."""
        with self._lock:
            self.corner = None
            if object_id in self.hints.get(index, {}):
                self._mark(index, object_id, None)

    def undo(self) -> int | None:
        """Take back the last mark, wherever it was; the index of its frame, None if there is none."""
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

    # What is known

    @property
    def tracking(self) -> bool:
        """Whether :meth:`track` is under way."""
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
        """What is known of a frame; without any object where nothing is."""
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
                scores |= dict.fromkeys(hinted, 1.0)
        return described(frame, labels, scores)

    # Tracking

    def track(self, index: int) -> Generator[int, None, None]:
        """Follow all objects from a frame to the end, from the masks that it has; yields each index when done.

        What was found in later frames is replaced; marks on them stay and correct the objects there. An object
        that this frame does not show is taken from the last frame on which it was marked. Tracking that was
        stopped goes on where it was, if nothing has changed and ``index`` is the last frame that it did.

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
                    self._keep(result)
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
        """Let :meth:`track` end after the frame that it is at."""
        self._stop.set()

    def export(self) -> Generator[int, None, None]:
        """Write ``archive``: what the command writes for the frames that have masks; yields how many are done.

        The zip holds ``masks/`` (numbered as the video's frames), ``overlay.mp4``, ``objects.csv``, and in
        ``annotation.json`` names and hints.

        Raises:
            InputError: no frame has a mask yet.
            OutputError: it cannot be written.
        """
        indices = self.masked
        if not indices:
            raise InputError("there is nothing to download yet: mark an object first")
        annotation = {
            "video": Path(self.frames.name).name,
            "frames": len(self.frames),
            **self._options,
            "objects": self.names,
            "hints": {
                index: {each: {"box": hint.box, "points": hint.points} for each, hint in sorted(hints.items())}
                for index, hints in sorted(self.hints.items())
            },
        }
        yield from write_archive(self.archive, map(self.result, indices), self.frames.fps, annotation)

    def _new_run(self, index: int) -> Generator[Result, None, None]:
        """Follow from a frame on; what was found later is gone."""
        masks = self._masks_for(index)
        if min(masks, default=len(self.frames)) > index or (index not in masks and index not in self._scores):
            raise InputError("this frame has no masks yet: mark an object on it, or track from one that has")
        for later in [each for each in self._scores if each > index]:
            del self._scores[later]
            self._tracked.drop(later)
        frames = self._frames_of([each for each in sorted(masks) if each < index], index)
        tracker = new_tracker(self._options["tracker"])
        session = Session(tracker, self._session.segmenter, self._session.encoder)
        return _closing(session, follow(session, prefetch(frames), masks.pop(min(masks)), masks))

    def _frames_of(self, earlier: list[int], index: int) -> Generator[Frame, None, None]:
        yield from map(self.frames.frame, earlier)
        yield from self.frames.frames_from(index)

    def _masks_for(self, index: int) -> Mapping[int, FirstMask]:
        """Masks that a run from a frame must be given, by frame: the frame's own, later and hidden objects'."""
        shown = self.result(index)
        present = {each for each, area in zip(shown.object_ids, shown.areas, strict=True) if area}
        masks = {index: FirstMask(shown.labels, tuple(sorted(present)))} if present else {}
        for other, hints in self.hints.items():
            wanted = set(hints)
            if other < index:
                wanted -= present | {
                    each for later, more in self.hints.items() if other < later < index for each in more
                }
            if wanted and other != index:
                masks[other] = FirstMask(self._given.read(other, wanted), tuple(sorted(wanted)))
        return masks

    def _keep(self, result: Result) -> None:
        self._tracked.write(result)
        scores = zip(result.object_ids, result.scores.tolist(), strict=True)
        self._scores[result.frame.index] = dict(scores)

    def _forget_run(self) -> None:
        if self._paused is not None:
            self._paused[1].close()
        self._paused = None

    # Hints

    def _mark(self, index: int, object_id: int, hint: Hint | None) -> None:
        self._refuse_while_tracking()
        self._check_object(object_id)
        before = self.hints.get(index, {}).get(object_id)
        self._set_hint(index, object_id, hint)
        self._history.append((index, object_id, before))

    def _set_hint(self, index: int, object_id: int, hint: Hint | None) -> None:
        """Put one hint in place and make the frame's masks from all of them anew; all or nothing."""
        hints = {each: other for each, other in self.hints.get(index, {}).items() if each != object_id}
        if hint is not None:
            hints[object_id] = hint
        if hints:
            frame = self.frames.frame(index)
            ids = tuple(sorted(hints))
            mask = self._session.segment(frame, [self._with_guess(index, each, hints[each]) for each in ids], ids)
            self._given.write(described(frame, mask.labels, dict.fromkeys(ids, 1.0)))
            self.hints[index] = hints
        else:
            self.hints.pop(index, None)
            self._given.drop(index)
            self._guesses.drop(index)
        self.corner = None
        self._forget_run()

    def _take_guess(self, index: int, object_id: int, x: float, y: float) -> None:
        """Let what tracking found be what points correct, unless the first one is well away from it."""
        guesses = self._guess(index, set(self.names) - {object_id})
        if object_id in self._scores.get(index, {}):
            found = self._tracked.read(index, [object_id]) > 0
            rows, columns = np.nonzero(found)
            if len(rows) and _near(x, columns) and _near(y, rows):
                guesses[found] = object_id
        self._guesses.write(described(self.frames.frame(index), guesses, {}))

    def _guess(self, index: int, object_ids: Iterable[int]) -> np.ndarray:
        """Labels (H, W) that points on a frame correct; 0 for objects that are marked from nothing."""
        if index not in self._guesses:
            return np.zeros(self.frames.size, np.uint8)
        return self._guesses.read(index, object_ids)

    def _with_guess(self, index: int, object_id: int, hint: Hint) -> Hint:
        guess = self._guess(index, [object_id]) > 0
        return replace(hint, mask=guess) if hint.box is None and guess.any() else hint

    def _refuse_while_tracking(self) -> None:
        if self._tracking:
            raise InputError("tracking is under way; stop it first")

    def _check_object(self, object_id: int) -> None:
        if object_id not in self.names:
            raise InputError(f"there is no object {object_id}; add one first")


def _closing(session: Session, results: Generator[Result, None, None]) -> Generator[Result, None, None]:
    with session:
        yield from results


def _near(place: float, places: np.ndarray) -> bool:
    """Whether a coordinate lies within the extent of others, or by half of it beside."""
    low, high = places.min(), places.max()
    return abs(place - (low + high) / 2) <= high - low


def _clean(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable()).strip()[:LONGEST_NAME]
