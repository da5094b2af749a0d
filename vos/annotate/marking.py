"""The objects of a video, their marks and their masks, without any page; :mod:`.project` adds the tracking."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, RLock
from typing import Any, Self

import numpy as np

from ..engine.device import pick_device
from ..engine.text import SAME_OBJECT, Words, hints_of_words, overlap
from ..errors import InputError, parameter
from ..pipeline import open_session
from ..readers.seek import VideoFrames
from ..structures import MAX_OBJECT_ID, Hint, Result
from .guesses import Guesses
from .label_maps import LabelMaps, result_with_scores
from .marks import Gone, box_between, clean_name, with_point
from .photographs import Photographs

_ALL_NUMBERS_USED = f"at most {MAX_OBJECT_ID} objects can be numbered; start again for more"


class Marking:
    """Holds the objects of a video with their names and hints, and stores their label maps; makes those of the hints.

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
        text_model: weights of the detector that finds objects by words; None: its default.
        text_threshold: least score of an object that is found by words; None: the default.
        **session_options: ``model``, ``prior``, ``device``, see :func:`vos.pipeline.open_session`.

    Attributes:
        frames: the video.
        names: names of the objects by id, in the order in which they were added.
        hints: hints by frame index and object id.
        corner: first corner of an unfinished box: frame index, object id, x, y; or None.
        photographs: pictures of the objects from elsewhere; changed inside :meth:`changed_photographs` alone.

    Raises:
        VosError: the video cannot be read, or a name is unknown.
    """

    def __init__(
        self,
        video: str | Path,
        folder: Path,
        *,
        tracker: str = "persam-f",
        text_model: str | None = None,
        text_threshold: float | None = None,
        **session_options: Any,
    ) -> None:
        self.frames = VideoFrames(video)
        self.names: dict[int, str] = {}
        self.hints: dict[int, dict[int, Hint]] = {}
        self.corner: tuple[int, int, float, float] | None = None
        self._options = {"tracker": tracker, **session_options}
        self._session = open_session(**self._options)
        self._given, self._tracked = LabelMaps(folder / "given"), LabelMaps(folder / "tracked")
        self._guesses = Guesses(folder / "guesses", self.frames.size)
        self.photographs = Photographs(folder / "photographs", self._session.segment)
        self._words = Words.of("anything", text_threshold, text_model)
        self._scores: dict[int, dict[int, float]] = {}  # of the tracked frames, by frame index and object id
        self._history: list[tuple[int, int, Hint | None]] = []  # frame index, object id, the hint before the mark
        self._last_id = 0
        self._lock, self._stop = RLock(), Event()
        self._tracking = False
        self._paused: tuple[int, Generator[Result, None, None]] | None = None  # last frame index, rest of the run

    def __enter__(self) -> Self:
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
                raise InputError(_ALL_NUMBERS_USED)
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
            self.photographs.drop(object_id)
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
                found = None
                if object_id in self._scores.get(index, {}):
                    found = self._tracked.read(index, [object_id]) > 0
                others = set(self.names) - {object_id}
                self._guesses.take(self.frames.frame(index), object_id, found, x, y, others)
            if not inside and hint == Hint() and not self._guesses.read(index, [object_id]).any():
                raise InputError("mark the object itself first: a point inside it, or a box around it")
            self._mark(index, object_id, with_point(hint, x, y, inside))

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
            self._mark(index, object_id, Hint(box_between(x0, y0, x, y)))

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

    def find(self, index: int, object_id: int | None, words: str) -> list[int]:
        """Mark all that words name on a frame by a box each, as objects with these words as their name.

        Args:
            index: of the frame.
            object_id: the chosen object, which is the first of them if nothing is known of it yet.
            words: such as ``the brown dog``.

        Returns:
            The ids of the objects.

        Raises:
            InputError: nothing of the kind is seen that is not marked yet, there are too many objects, or tracking is
                running; nothing is changed.
            WeightsError: the detector's weights are missing or do not fit.
        """
        asked = Words.of(words, self._words.threshold, self._words.weights)
        try:
            hints = hints_of_words(self.frames.frame(index), asked, pick_device(self._options.get("device", "auto")))
        except InputError as error:
            raise InputError(str(error).removeprefix(f"{parameter('text')} ")) from error
        with self._lock:
            self._refuse_while_tracking()
            marked = [hint.box for hint in self.hints.get(index, {}).values() if hint.box is not None]
            boxes = [hint.box for hint in hints if hint.box is not None]
            fresh = [Hint(box) for box in boxes if all(overlap(box, other) <= SAME_OBJECT for other in marked)]
            if not fresh:
                raise InputError(f"{words!r}: all that is found on this frame has its box already")
            blank = [object_id] if object_id is not None and self._is_blank(object_id) else []
            ids = [*blank, *range(self._last_id + 1, self._last_id + 1 + len(fresh) - len(blank))]
            if max(ids) > MAX_OBJECT_ID:
                raise InputError(_ALL_NUMBERS_USED)
            self._set_hints(index, dict(zip(ids, fresh, strict=True)))
            self._last_id = max(self._last_id, *ids)
            self.names |= dict.fromkeys(ids, clean_name(words))
            self._history += [(index, each, None) for each in ids]
            return ids

    @contextmanager
    def changed_photographs(self, object_id: int) -> Iterator[Photographs]:
        """Give the photographs for a change of those of an object.

        Raises:
            InputError: there is no such object, or tracking is running.
        """
        with self._lock:
            self._refuse_while_tracking()
            self._check_object(object_id)
            yield self.photographs
            self._forget_run()

    # Masks

    @property
    def tracking(self) -> bool:
        """Whether a run is under way."""
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
        return self._result(index, self.names)

    def _result(self, index: int, tracked: Collection[int]) -> Result:
        """Return the objects of a frame, but the tracked masks of some objects alone."""
        frame = self.frames.frame(index)
        with self._lock:
            labels = np.zeros(frame.size, np.uint8)
            scores: dict[int, float] = {}
            if index in self._scores:
                scores = {each: score for each, score in self._scores[index].items() if each in tracked}
                labels = self._tracked.read(index, scores)
            if index in self.hints:
                hinted = self.hints[index]
                given = self._given.read(index, hinted)
                labels = np.where(given > 0, given, np.where(np.isin(labels, list(hinted)), 0, labels)).astype(np.uint8)
                scores |= {each: float(hint != Gone()) for each, hint in hinted.items()}
        return result_with_scores(frame, labels, scores)

    # Hints

    def _mark(self, index: int, object_id: int, hint: Hint | None) -> None:
        """Change one hint, as :meth:`_set_hint`, in a way that :meth:`undo` takes back."""
        self._refuse_while_tracking()
        self._check_object(object_id)
        before = self.hints.get(index, {}).get(object_id)
        self._set_hint(index, object_id, hint)
        self._history.append((index, object_id, before))

    def _set_hint(self, index: int, object_id: int, hint: Hint | None) -> None:
        """Replace one hint as :meth:`_set_hints` does."""
        self._set_hints(index, {object_id: hint})

    def _set_hints(self, index: int, changed: Mapping[int, Hint | None]) -> None:
        """Replace hints, None: remove it, and make the frame's given masks anew; on an error nothing is changed."""
        hints = {each: hint for each, hint in {**self.hints.get(index, {}), **changed}.items() if hint is not None}
        if hints:
            frame = self.frames.frame(index)
            ids = tuple(each for each in sorted(hints) if hints[each] != Gone())
            labels = np.zeros(frame.size, np.uint8)
            if ids:
                shown = [self._guesses.added_to(hints[each], index, each) for each in ids]
                labels = self._session.segment(frame, shown, ids).labels
            self._given.write(result_with_scores(frame, labels, dict.fromkeys(ids, 1.0)))
            self.hints[index] = hints
        else:
            self.hints.pop(index, None)
            self._given.drop(index)
            self._guesses.drop(index)
        self.corner = None
        self._forget_run()

    def _refuse_while_tracking(self) -> None:
        """Raise an ``InputError`` if a run is under way."""
        if self._tracking:
            raise InputError("tracking is under way; stop it first")

    def _check_object(self, object_id: int) -> None:
        """Raise an ``InputError`` if there is no such object."""
        if object_id not in self.names:
            raise InputError(f"there is no object {object_id}; add one first")

    def _is_blank(self, object_id: int) -> bool:
        """Tell whether nothing is known of an object."""
        known = {each for marks in (self.hints, self._scores) for of_frame in marks.values() for each in of_frame}
        return self.names.get(object_id) == "" and object_id not in known and not self.photographs.of(object_id)

    def _forget_run(self) -> None:
        """Drop a stopped run, which can then no longer be resumed."""
        if self._paused is not None:
            self._paused[1].close()
        self._paused = None
