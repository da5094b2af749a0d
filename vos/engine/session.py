"""The session: one frame in, one result out.

:func:`vos.open_session` makes one for live use, :func:`vos.track` and the command push a whole video
through it. Nothing is kept but the last result and what the tracker remembers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import InputError, PluginError
from ..interfaces import (
    ClosableTracker,
    Edit,
    EditableTracker,
    ForgetfulTracker,
    FrameContext,
    PriorEncoder,
    ResumableTracker,
    Seconds,
    Segmenter,
    Tracker,
    can_edit,
)
from ..references import Reference, Sighting, check_takes_references
from ..state_file import State
from ..structures import FirstMask, Frame, Hint, Result
from .checks import checked_answer, checked_first_mask, checked_frame, checked_id, one_object, result_of_state
from .hints import list_of_hints, mask_from_hints
from .merge import merge, nothing_followed, painted, result_of_labels, silenced, without
from .referring import shown_of, with_first_masks


class Session:
    """Follows objects through frames pushed one at a time.

    Args:
        tracker: follows the objects; a fresh one for each session.
        segmenter: encodes and decodes.
        encoder: makes the features of the location prior.
        references: pictures of objects, which are looked for from the first frame on; see :meth:`start`.

    Attributes:
        seconds: time spent by stage (``encode``, ``prior``, ``track``, ``merge``).
        object_ids: ids of the objects that are followed now, in the order of every result's rows.
    """

    def __init__(
        self, tracker: Tracker, segmenter: Segmenter, encoder: PriorEncoder, references: Sequence[Reference] = ()
    ) -> None:
        self._references = tuple(references)
        self.tracker = tracker
        self.segmenter = segmenter
        self.encoder = encoder
        self.seconds = Seconds()
        self.object_ids: tuple[int, ...] = ()
        self._last: Result | None = None
        self._pointed_at: FrameContext | None = None
        self._tracker_started = False
        self._silent: frozenset[int] = frozenset()
        self._closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the tracker release its files, processes and the like; safe to repeat."""
        if not self._closed and isinstance(self.tracker, ClosableTracker):
            self.tracker.close()
        self._closed = True

    @torch.inference_mode()
    def start(self, frame: Frame, first_mask: FirstMask | np.ndarray | None = None) -> Result:
        """Take the objects on their first frame; what was followed before is forgotten.

        With references, those of the mask are found again by them, and the others begin absent.

        Args:
            frame: the frame.
            first_mask: the objects, or their labels (H, W), see :func:`~vos.structures.first_mask_from_array`; with
                references it may be empty. None: there are none yet but those of the references, see
                :meth:`add_object`.

        Returns:
            The given mask as a result; with references alone, what was found.

        Raises:
            InputError: the mask has another size than the frame, or no object, and there are no references.
        """
        frame = checked_frame(frame)
        if first_mask is None:
            if not self._references:
                return self.wait(frame)
            first_mask = FirstMask(np.zeros(frame.size, np.uint8), ())
        first_mask = checked_first_mask(frame, first_mask, may_be_empty=bool(self._references))
        self._forget_all()
        if not first_mask.object_ids:
            self._refer(frame)
            self._keep(nothing_followed(frame))
            return self.step(frame)
        self.tracker.start(self.context(frame), first_mask)
        self.object_ids, self._tracker_started = first_mask.object_ids, True
        scores = np.ones(len(self.object_ids), dtype=np.float32)
        if self._references:
            self._refer(frame, first_mask)
            scores = np.concatenate([scores, np.zeros(len(self.object_ids) - len(scores), np.float32)])
        return self._keep(result_of_labels(frame, self.object_ids, first_mask.labels, scores))

    def wait(self, frame: Frame) -> Result:
        """Take a frame on which nothing is followed, not even what the references show; :meth:`start` comes later."""
        self._forget_all()
        return self._keep(nothing_followed(checked_frame(frame)))

    @property
    def referred_ids(self) -> tuple[int, ...]:
        """Ids of the objects that have references, ascending."""
        return tuple(sorted({each.object_id for each in self._references}))

    @torch.inference_mode()
    def learn(self) -> None:
        """Learn the references without a video, for :meth:`search`.

        Raises:
            InputError: there is no reference, or no object is found where one points.
            PluginError: the tracker cannot take objects from references.
        """
        self._refer(None)

    def _refer(self, frame: Frame | None, first_mask: FirstMask | None = None) -> None:
        """Hand the references to the tracker, and as further ones the first masks of their objects.

        Args:
            frame: first frame of the video, if there is one.
            first_mask: its objects, which the tracker has.
        """
        tracker = check_takes_references(self.tracker)
        if not self._references:
            raise InputError("no reference was given")
        ids, given = with_first_masks(self._references, self.object_ids, frame, first_mask)
        shown = [shown_of(each, ids.index(each.object_id), self.context, self.segment) for each in given]
        tracker.refer(self.context(frame) if frame is not None else shown[0].context, shown)
        self.object_ids, self._tracker_started = ids, True

    @torch.inference_mode()
    def search(self, context: FrameContext, taken: np.ndarray | None = None) -> Sighting:
        """Look for the objects of :meth:`learn` in one picture of any size; nothing is remembered.

        Args:
            context: of the picture, from :meth:`context`; it may be searched several times.
            taken: pixels of each object that count no longer, (N, H, W) bool; None: there are none.
        """
        tracker = check_takes_references(self.tracker)
        return tracker.search(context, None if taken is None else torch.tensor(taken, device=context.device))

    @torch.inference_mode()
    def segment(self, frame: Frame, hints: Sequence[Hint] | Hint, object_ids: Sequence[int] | None = None) -> FirstMask:
        """Make a mask from boxes and points by the segmenter, for :meth:`start` or a correction.

        A model that encodes whole frames encodes a frame once, however often masks of it are made.

        Args:
            frame: any frame.
            hints: one for each object; a single one is that of one object.
            object_ids: their ascending ids; None: they count from 1.

        Raises:
            InputError: a hint lies outside of the frame, or no object is found there.
        """
        frame, hints = checked_frame(frame), list_of_hints(hints)
        if self.segmenter.wants_last_mask:  # such a model encodes a region of its own for each object
            return mask_from_hints([self.context(frame) for _ in hints], hints, object_ids)
        if self._pointed_at is None or self._pointed_at.frame is not frame:
            self._pointed_at = self.context(frame)
        return mask_from_hints([self._pointed_at] * len(hints), hints, object_ids)

    @torch.inference_mode()
    def step(self, frame: Frame, context: FrameContext | None = None) -> Result:
        """Follow the objects into the next frame.

        Args:
            frame: the frame.
            context: of the frame, from :meth:`context`, if it is encoded already; see :mod:`vos.engine.ahead`.

        Raises:
            InputError: ``start`` was not called, or the frame has another size than the first.
        """
        frame = checked_frame(frame, self._started().frame.size)
        if not self.object_ids:
            return self._keep(nothing_followed(frame))
        context = context or self.context(frame)
        began, encoded = time.perf_counter(), self._encoding_seconds()
        tracked = checked_answer(self.tracker, self.tracker.step(context), len(self.object_ids), frame.size)
        tracked = silenced(tracked, [each in self._silent for each in self.object_ids])
        middle = time.perf_counter()
        self.seconds["track"] += middle - began - (self._encoding_seconds() - encoded)
        result = merge(frame, self.object_ids, tracked)
        self.seconds["merge"] += time.perf_counter() - middle
        self.tracker.observe(context, result)
        return self._keep(result)

    @torch.inference_mode()
    def add_object(self, mask: np.ndarray | FirstMask, object_id: int | None = None) -> Result:
        """Follow one more object, from the last frame on.

        Args:
            mask: the object on the last frame, see :func:`~vos.engine.checks.one_object`.
            object_id: its id; None: one more than the largest.

        Returns:
            The last frame's result with the new object in it.

        Raises:
            InputError: the mask does not fit, or the id is taken.
            PluginError: the tracker cannot add objects.
        """
        last = self._started()
        object_id = checked_id(max(self.object_ids, default=0) + 1 if object_id is None else object_id)
        if object_id in self.object_ids:
            raise InputError(f"object {object_id} is followed already; correct it, or take another number")
        taken = one_object(mask, object_id, last.frame.size)
        if self._tracker_started:
            self._editable("add").add(self.context(last.frame), taken)
        else:
            self.tracker.start(self.context(last.frame), taken)
            self._tracker_started = True
        self.object_ids = (*self.object_ids, object_id)
        return self._keep(painted(last, taken.labels > 0, object_id, self.object_ids))

    @torch.inference_mode()
    def correct(self, object_id: int, mask: np.ndarray | FirstMask) -> Result:
        """Give an object's true mask on the last frame, from which it is followed anew.

        Args:
            object_id: its id.
            mask: the object on the last frame, see :func:`~vos.engine.checks.one_object`.

        Returns:
            The last frame's result with the mask in place.

        Raises:
            InputError: the mask does not fit, or there is no such object.
            PluginError: the tracker cannot correct objects.
        """
        last = self._started()
        row = self._row(object_id)
        taken = one_object(mask, self.object_ids[row], last.frame.size)
        self._editable("correct").correct(self.context(last.frame), [row], taken)
        self._silent -= {object_id}
        return self._keep(painted(last, taken.labels > 0, object_id, self.object_ids))

    @torch.inference_mode()
    def gone(self, object_id: int) -> Result:
        """Say that an object is not on the last frame; it keeps its number, and its mask is empty.

        From there on it is absent until it is found again by what its given masks taught, or shown again by
        :meth:`correct`. With a tracker that is no :class:`~vos.interfaces.ForgetfulTracker`, it must be shown.

        Args:
            object_id: its id.

        Returns:
            The last frame's result without the object.

        Raises:
            InputError: there is no such object.
        """
        last = self._started()
        row = self._row(object_id)
        if isinstance(self.tracker, ForgetfulTracker):
            self.tracker.forget(self.context(last.frame), [row])
        else:
            self._silent |= {object_id}
        return self._keep(painted(last, np.zeros(last.frame.size, bool), object_id, self.object_ids, score=0.0))

    @torch.inference_mode()
    def remove(self, object_id: int) -> None:
        """Stop following an object; its id is free again.

        Raises:
            InputError: there is no such object.
            PluginError: the tracker cannot remove objects.
        """
        last = self._started()
        row = self._row(object_id)
        self._editable("remove").remove([row])
        self.object_ids = tuple(other for other in self.object_ids if other != object_id)
        self._silent -= {object_id}
        self._tracker_started = bool(self.object_ids)
        self._keep(without(last, object_id))

    def state(self) -> State:
        """Give all that is remembered, to go on later with :meth:`restore`.

        Its tensors stay as they are whatever the session does next.

        Returns:
            Object ids, labels and scores of the last result, what is kept absent, and the tracker's class and state.

        Raises:
            InputError: ``start`` was not called.
            PluginError: the tracker cannot be saved.
        """
        last = self._started()
        return {
            "object_ids": self.object_ids,
            "labels": last.labels.copy(),
            "scores": last.scores,
            "silent": sorted(self._silent),
            "class": type(self.tracker).__name__,
            "tracker": self._resumable("be saved").state() if self._tracker_started else None,
        }

    @torch.inference_mode()
    def restore(self, frame: Frame, state: Mapping[str, Any]) -> Result:
        """Go on from a state; the next :meth:`step` gives the result that the saved session would give.

        Args:
            frame: the last frame of the saved session.
            state: from :meth:`state`.

        Returns:
            The frame's result, without logits.

        Raises:
            InputError: the state is of another frame or tracker.
            PluginError: the tracker cannot be restored.
        """
        frame, tracker = checked_frame(frame), self._resumable("be restored")
        try:
            last = result_of_state(frame, state, tracker)
            if state["tracker"] is not None:
                tracker.restore(self.context(frame), state["tracker"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"frame {frame.index}: the saved state is not of this video and tracker: {error}"
            ) from error
        self.object_ids, self._tracker_started = last.object_ids, state["tracker"] is not None
        self._silent = frozenset(state.get("silent", ()))  # which older states lack
        return self._keep(last)

    def context(self, frame: Frame, seconds: Seconds | None = None) -> FrameContext:
        """Make a fresh context, in which nothing is encoded yet; its time is added to ``seconds``, or the session's."""
        return FrameContext(frame, self.segmenter, self.encoder, self.seconds if seconds is None else seconds)

    def _forget_all(self) -> None:
        """Follow nothing, as before any start."""
        self._pointed_at, self._silent, self._last = None, frozenset(), None
        if self._references and self._tracker_started:  # without them, the tracker starts anew
            self._editable("remove").remove(list(range(len(self.object_ids))))
        self.object_ids, self._tracker_started = (), False

    def _keep(self, result: Result) -> Result:
        """Keep a result as the last one, and return it."""
        self._last = result
        return result

    def _started(self) -> Result:
        """Return the last result; raise an InputError if there is none."""
        if self._last is None:
            raise InputError("no objects yet: call start(frame, first_mask) before anything else")
        return self._last

    def _row(self, object_id: int) -> int:
        """Find the row of an object that is followed; raise an InputError for any other."""
        if object_id not in self.object_ids:
            there = ", ".join(map(str, self.object_ids)) or "none"
            raise InputError(f"object {object_id} is not followed; there are: {there}")
        return self.object_ids.index(object_id)

    def _editable(self, edit: Edit) -> EditableTracker:
        """Return the tracker if it has this method; raise a PluginError otherwise."""
        if not can_edit(self.tracker, edit):
            raise self._cannot(f"{edit} objects in mid-video")
        return self.tracker

    def _resumable(self, words: str) -> ResumableTracker:
        """Return the tracker if it can be saved and restored; raise a PluginError otherwise."""
        if not isinstance(self.tracker, ResumableTracker):
            raise self._cannot(words)
        return self.tracker

    def _cannot(self, words: str) -> PluginError:
        return PluginError(f"{type(self.tracker).__name__}: this tracker cannot {words}")

    def _encoding_seconds(self) -> float:
        """Seconds spent on encoding so far, by the segmenter and the prior encoder."""
        return self.seconds["encode"] + self.seconds["prior"]
