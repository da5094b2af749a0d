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

    Encoding and following have a thread each. If the model encodes a frame about as fast as the tracker follows it
    (``light`` of :class:`~vos.interfaces.Segmenter`), each has half of torch's threads. The caller's own thread is left
    as it is. Where torch has one thread, or the tracker is no :class:`~vos.interfaces.ForesightedTracker`, nothing is
    done ahead.

    Args:
        session: the session; its other methods are called as always.
        wanted: False: nothing is done ahead.
    """

    def __init__(self, session: Session, wanted: bool = True) -> None:
        self._session = session
        self._wanted = wanted
        self._threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._next: tuple[FrameContext, Future[None]] | None = None

    def __enter__(self) -> Ahead:
        session, threads = self._session, torch.get_num_threads()
        if not self._wanted or not isinstance(session.tracker, ForesightedTracker):
            return self
        on_cpu = session.segmenter.device.type == "cpu"
        if threads > 1 or not on_cpu:
            light = on_cpu and getattr(session.segmenter, "light", False)
            own = threads // 2 if light else threads
            self._threads = _thread("vos-encoder", own), _thread("vos-tracker", own)
            torch.set_num_threads(threads)  # their number became that of all threads to come
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads or ():
            thread.shutdown()

    def step(self, frame: Frame, following: Frame | None) -> Result:
        """Follow the objects into a frame, see :meth:`vos.Session.step`.

        Args:
            frame: the frame.
            following: the frame after it, if it is there already, to be encoded meanwhile.
        """
        if self._threads is None:
            return self._session.step(frame)
        encoder, tracker = self._threads
        context = self._encoded(frame)
        if following is not None:
            self._encode(encoder, context, following)
        return tracker.submit(self._session.step, frame, context).result()

    def _encode(self, encoder: ThreadPoolExecutor, context: FrameContext, following: Frame) -> None:
        """Let a frame be encoded on the thread, in the region that the tracker foresees."""
        session, tracker = self._session, self._session.tracker
        if not session.object_ids or not isinstance(tracker, ForesightedTracker):
            return
        early = session.context(following, Seconds())
        early.look_at(tracker.region_ahead(context))
        self._next = early, encoder.submit(early.encode)

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


def _thread(name: str, threads: int) -> ThreadPoolExecutor:
    """Start a thread on which torch computes with so many threads of its own."""
    thread = ThreadPoolExecutor(1, name, torch.set_num_threads, (threads,))
    thread.submit(torch.get_num_threads).result()  # it is there now, and has set its number
    return thread


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
