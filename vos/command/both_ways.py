"""A run of ``vos-track --both-ways``: first the way back, kept in ``OUT/.resume/backwards``, then the way forwards.

The folder holds a small PNG for each frame of the way back and the newest states of its session, from which a run that
was stopped on that way goes on. Label maps of the way back lie nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..engine.both_ways import BothWays, with_first
from ..engine.given import Hints
from ..engine.kept import KeptResults
from ..engine.session import Session
from ..errors import parameter
from ..io_interfaces import Writer
from ..pipeline import follow_backwards, follow_forwards, mask_of_hints
from ..readers.prefetch import read_ahead
from ..readers.source import SourceReader
from ..structures import FirstMask, Frame, Result
from ..writers.thread import WriterThread
from .frame_log import FrameLog
from .journal import Journal
from .saved import read_state, state_files

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedState:
    """A state of the way back, from which it goes on; a :class:`~vos.pipeline.Replay` of a single frame.

    Attributes:
        frame: index on the way back.
        state: of the session after that frame.
    """

    frame: int
    state: Mapping[str, object]

    def take_up(self, frame: Frame, session: Session) -> Result:
        """Restore the session on its last frame."""
        return session.restore(frame, self.state)


def plan_both_ways(
    session: Session,
    reader: SourceReader,
    first_frame: int,
    first_mask: FirstMask | Hints,
    masks_at: Mapping[int, FirstMask],
    gone: Mapping[int, Collection[int]],
) -> BothWays:
    """Plan the run; of hints the mask is made first. Logs a warning if there is no way back.

    Args:
        session: makes masks from hints.
        reader: of the video.
        first_frame: index of the first mask's frame.
        first_mask: the first mask, or hints for it.
        masks_at: other masks by frame index.
        gone: ids of objects that are gone, by frame index.

    Raises:
        VosError: no object is found by a hint, or an object is gone that was not there.
    """
    if not isinstance(first_mask, FirstMask):
        first_mask = mask_of_hints(session, reader, first_frame, first_mask)
    plan = BothWays(with_first(first_frame, first_mask, masks_at), gone, session.referred_ids)
    if not plan.last:
        before = reader.position(0)
        at = parameter("first_frame", before) if before else parameter("first_frame")
        instead = f", in place of {parameter('start', before)}" if before else ""
        _log.warning(
            "%s: the only mask is of frame 0, and nothing is read before it; if it is of a later frame, give %s%s",
            parameter("both_ways"),
            at,
            instead,
        )
    return plan


def results_both_ways(
    session: Session,
    back: Session,
    reader: SourceReader,
    plan: BothWays,
    journal: Journal,
    soft_edges: bool,
    told: Callable[[int], None],
) -> Generator[Result, None, None]:
    """Follow the way back, unless a run that is resumed has done so; then give one result per frame, in their order.

    Args:
        session: follows the objects forwards.
        back: follows them backwards; closed when it is done.
        reader: of the video.
        plan: what is followed.
        journal: of the run; says where the way back is kept.
        soft_edges: whether outputs need the objects' soft edges.
        told: takes the number of frames of the way back that are done.

    Raises:
        VosError: a frame cannot be read, a result cannot be kept, or the tracker fails.
    """
    with _folder(journal) as folder:
        kept = KeptResults(folder, soft_edges)
        with back:
            if plan.last and plan.last not in kept:  # frame 0 comes last
                _go_back(back, reader, plan, journal, kept, folder, told)
        yield from follow_forwards(session, read_ahead(reader), plan, kept, journal.saved)


def _go_back(
    back: Session,
    reader: SourceReader,
    plan: BothWays,
    journal: Journal,
    kept: KeptResults,
    folder: Path,
    told: Callable[[int], None],
) -> None:
    """Follow the way back, or the rest of it, and keep its results and now and then a state."""
    saved = _newest_state(folder)
    log = FrameLog(folder, (), own_masks=False, soft_edges=False) if journal.resumable else None
    writers: list[Writer] = [kept] if log is None else [kept, log]
    with WriterThread(writers) as thread:
        for result in follow_backwards(back, reader, plan, saved):
            index = result.frame.index
            if saved is None or index > saved.frame:
                if log is not None:
                    log.snapshot(back, result)
                thread.write(result)
            told(index + 1)


def _newest_state(folder: Path) -> SavedState | None:
    """Load the newest state of the way back that is whole."""
    for frame, path in reversed(state_files(folder)):
        state = read_state(path)
        if state is not None:
            return SavedState(frame, state)
        _log.warning("%s: damaged, so it is not used", path)
    return None


@contextmanager
def _folder(journal: Journal) -> Iterator[Path]:
    """Yield the folder of the way back; it stays for a run that can be resumed, until the journal is removed."""
    if journal.backwards is None:
        with TemporaryDirectory(prefix="vos-") as temporary:
            yield Path(temporary)
        return
    journal.begin()
    try:
        yield journal.backwards
    finally:
        if not journal.resumable:
            journal.remove()
