"""Encodes the next frame on a thread of its own while the objects are followed into this one.

On a CPU a small model gains little from more threads inside its operators, which take microseconds each; two
stages that work on two frames at once share the cores better. Results are those of :meth:`vos.Session.step`: the
tracker chooses a frame's region when the frame before is not decoded yet, whether or not it is encoded early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch

from ..interfaces import ForesightedTracker, FrameContext, Seconds
from ..structures import Frame, Result
from .session import Session


class Ahead:
    """Steps a session, with the next frame encoded ahead; a context manager.

    Within it, torch uses half of its threads for each of the two stages if the model encodes a frame about as fast as
    the tracker follows it, see :attr:`vos.interfaces.Segmenter.light`. Where there is one thread, or the tracker is no
    :class:`~vos.interfaces.ForesightedTracker`, nothing is done ahead.

    Args:
        session: the session; the frames of its other methods are encoded as always.
        wanted: False: nothing is done ahead.
    """

    def __init__(self, session: Session, wanted: bool = True) -> None:
        self._session = session
        self._threads = torch.get_num_threads()
        self._worker: ThreadPoolExecutor | None = None
        self._next: tuple[FrameContext, Future[None]] | None = None
        self._wanted = wanted

    def __enter__(self) -> Ahead:
        session = self._session
        if not self._wanted or not isinstance(session.tracker, ForesightedTracker):
            return self
        on_cpu = session.segmenter.device.type == "cpu"
        if on_cpu and self._threads < 2:
            return self
        light = on_cpu and getattr(session.segmenter, "light", False)
        threads = self._threads // 2 if light else self._threads
        self._worker = ThreadPoolExecutor(1, "vos-encoder", torch.set_num_threads, (threads,))
        self._worker.submit(torch.get_num_threads).result()  # its thread is there, and has set its own number
        torch.set_num_threads(threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.shutdown()
            torch.set_num_threads(self._threads)

    def step(self, frame: Frame, following: Frame | None) -> Result:
        """Follow the objects into a frame, see :meth:`vos.Session.step`.

        Args:
            frame: the frame.
            following: the frame after it, if it is there already, to be encoded meanwhile.
        """
        context = self._encoded(frame)
        if following is not None and self._worker is not None:
            self._encode(self._worker, context, following)
        return self._session.step(frame, context)

    def _encode(self, worker: ThreadPoolExecutor, context: FrameContext, following: Frame) -> None:
        """Let a frame be encoded on the thread, in the region that the tracker foresees."""
        session, tracker = self._session, self._session.tracker
        if not session.object_ids or not isinstance(tracker, ForesightedTracker):
            return
        early = session.context(following, Seconds())
        early.look_at(tracker.region_ahead(context))
        self._next = early, worker.submit(early.encode)

    def _encoded(self, frame: Frame) -> FrameContext:
        """Return the context of a frame: the one that was encoded ahead, or a fresh one."""
        ahead, self._next = self._next, None
        if ahead is None or ahead[0].frame is not frame:
            return self._session.context(frame)
        context, done = ahead
        done.result()
        for stage, seconds in context.seconds.items():
            self._session.seconds[stage] += seconds
        context.seconds = self._session.seconds
        return context


def with_following(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Pair each frame with the one after it; the last one, or the last before an error, with None."""
    last: Frame | None = None
    try:
        for frame in frames:
            if last is not None:
                before, last = last, None
                yield before, frame
            last = frame
    except Exception:
        if last is not None:
            yield last, None
        raise
    if last is not None:
        yield last, None
