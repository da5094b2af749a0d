"""The one main loop: frames go through a session and become results, forwards or in both directions.

:func:`vos.track` (``vos/tracking.py``), the command, the annotation page and the benchmarks use it, each with readers
and writers of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

from .engine.ahead import Ahead, with_following
from .engine.both_ways import BothWays
from .engine.changes import Changes
from .engine.device import pick_device, pick_dtype
from .engine.given import Hints, frame_index, object_ids_of_first
from .engine.joining import join
from .engine.kept import KeptResults
from .engine.models import Name, defer_encoder, defer_segmenter, new_tracker
from .engine.session import Session
from .errors import InputError, parameter
from .readers.backwards import walk_back
from .readers.prefetch import prefetch
from .readers.source import SourceReader
from .references import Reference, check_takes_references
from .structures import FirstMask, Frame, Result
from .weights.model_cache import Borrowing, ModelCache, lend

_log = logging.getLogger(__name__)


class Replay(Protocol):
    """Results of an earlier run, which take the place of tracking as far as they go."""

    @property
    def frame(self) -> int:
        """Index of the last frame that has a result."""
        ...

    def take_up(self, frame: Frame, session: Session) -> Result:
        """Return a frame's earlier result; on the last such frame, also restore the session."""
        ...


def open_session(
    *,
    tracker: str = "persam-f",
    model: Name = "lite",
    prior: Name = "same",
    points: str = "none",
    device: str = "auto",
    dtype: str = "auto",
    prior_size: int | None = None,
    references: Sequence[Reference] = (),
    models: ModelCache | None = None,
) -> Session:
    """Open a session for live use: ``start(frame, first_mask)``, then ``step(frame)`` for each frame.

    Args:
        tracker: name of an installed tracker.
        model: segmenter, see :func:`vos.engine.models.load_segmenter`.
        prior: prior encoder, see :func:`vos.engine.models.load_encoder`.
        points: point tracker that propagates the prompts, see :mod:`vos.point_trackers`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        prior_size: pixels of the long side of the prior encoder's input; None: its default.
        references: pictures of objects, one or several, which are looked for from the first frame on, see
            :meth:`vos.Session.start`.
        models: where models are kept loaded for later sessions; None: they are this session's own.

    Weights load when the tracker first asks for them, at the latest in ``start``. A tracker that
    uses no segmenter never loads one. Close the session, or use it in a ``with`` statement.

    Raises:
        VosError: a name is unknown, or an option has another form. Missing weights raise an error when they are first
            asked for.
    """
    chosen = pick_device(device)
    where = chosen, pick_dtype(dtype, chosen)
    cache = models or ModelCache()
    fresh = new_tracker(tracker, points=points)
    lend(cache, fresh)
    shown = _references(references)
    if shown:
        check_takes_references(fresh)
    return Session(
        fresh,
        cache.get(("model", model, *where), lambda: defer_segmenter(model, *where)),
        cache.get(("prior", prior, *where, prior_size), lambda: defer_encoder(prior, *where, prior_size)),
        shown,
    )


def another_session(session: Session, *, tracker: str = "persam-f", points: str = "none", **_: Any) -> Session:
    """Open a session with a tracker of its own, and the models and the clock of another one.

    Args:
        session: the other one.
        tracker: see :func:`open_session`.
        points: see :func:`open_session`.

    Raises:
        VosError: a name is unknown.
    """
    fresh = new_tracker(tracker, points=points)
    if isinstance(session.tracker, Borrowing):
        lend(session.tracker.models, fresh)
    other = Session(fresh, session.segmenter, session.encoder)
    other.seconds = session.seconds
    return other


def check_frames(name: str, indices: Iterable[int], source: SourceReader) -> None:
    """Check before tracking that the frames of later changes will come, as far as the source can tell.

    Args:
        name: parameter that has the indices.
        indices: of the frames.
        source: delivers them.

    Raises:
        InputError: a frame lies beyond the end, or no frame can have such an index.
    """
    last = max((frame_index(name, each) for each in indices), default=None)
    if last is not None and source.delivers(last) is False:
        count = f"{source.length} frame" + "s" * (source.length != 1)
        raise InputError(f"{parameter(name)} {last}: there are {count} to track, numbered from 0")


def _references(given: object) -> tuple[Reference, ...]:
    """Take references, one or several; raise an InputError for anything else."""
    several = (given,) if isinstance(given, Reference) else tuple(given) if isinstance(given, Iterable) else None
    if several is None or not all(isinstance(each, Reference) for each in several):
        raise InputError(f"{parameter('references')}: give a list of vos.Reference, not {given!r}")
    return several


def follow(
    session: Session,
    frames: Generator[Frame, None, None],
    first_mask: FirstMask | Hints,
    masks_at: Mapping[int, FirstMask] | None = None,
    saved: Replay | None = None,
    gone: Mapping[int, Collection[int]] | None = None,
    first_frame: int = 0,
    ahead: bool = False,
) -> Generator[Result, None, None]:
    """Push frames through a session; give one result per frame.

    Args:
        session: a fresh one.
        frames: the frames, a generator that is closed at the end.
        first_mask: mask of the first frame, or hints from which it is made; one without objects begins with the
            session's references alone.
        masks_at: true masks of later frames by their index: their objects are corrected, or join.
        saved: an earlier run, whose results take the place of tracking as far as they go.
        gone: ids of objects that a later frame does not show, by its index.
        first_frame: index of the frame of ``first_mask``, or the next one after it; the frames before have no objects.
        ahead: take each frame before the result of the one before it is made, and encode it meanwhile, see
            :class:`vos.engine.ahead.Ahead`.

    Raises:
        InputError: there is no frame, or none with the index of a change, or an object is gone that was not there.
    """
    changes = Changes((*object_ids_of_first(first_mask), *session.referred_ids), masks_at, gone, first_frame)
    last = None
    with closing(frames), Ahead(session, ahead) as stage:
        for frame, following in with_following(frames) if ahead else ((frame, None) for frame in frames):
            if saved is not None and frame.index <= saved.frame:
                result = saved.take_up(frame, session)
            else:
                if frame.index < first_frame:
                    result = session.wait(frame)
                elif last is not None and last >= first_frame:
                    result = stage.step(frame, following)
                elif isinstance(first_mask, FirstMask):
                    result = session.start(frame, first_mask)
                else:
                    result = session.start(frame, session.segment(frame, first_mask))
                result = changes.apply(session, result) if frame.index >= first_frame else result
            yield result
            last = frame.index
    if last is None:
        raise InputError(f"the video delivered no frame; look at {parameter('start')}")
    if last < first_frame:
        raise InputError(f"{parameter('first_frame', first_frame)}: the video ended after frame {last}")
    if changes.last is not None and changes.last[0] > last:
        raise InputError(f"{parameter(changes.last[1])} {changes.last[0]}: the video ended after frame {last}")


def follow_backwards(
    session: Session, source: SourceReader, plan: BothWays, saved: Replay | None = None
) -> Generator[Result, None, None]:
    """Follow objects from the last frame of a plan that has a mask back to frame 0; give one result per frame.

    Args:
        session: a fresh one.
        source: a reader that can be walked back, see :func:`vos.readers.backwards.walk_back`.
        plan: what is followed.
        saved: an earlier run; it is gone on with after its last frame, of which the first result is.

    Yields:
        Results whose ``frame.index`` counts the way back: ``plan.last`` minus the frame's own index.

    Raises:
        VosError: a frame cannot be read, or the tracker fails.
    """
    way, begin = plan.backwards, plan.last - (saved.frame if saved else 0)
    frames = (replace(frame, index=plan.last - frame.index) for frame in walk_back(source, begin))
    yield from follow(session, prefetch(frames), way.first_mask, way.masks_at, saved, way.gone, ahead=True)


def follow_forwards(
    session: Session,
    frames: Generator[Frame, None, None],
    plan: BothWays,
    kept: KeptResults,
    saved: Replay | None = None,
) -> Generator[Result, None, None]:
    """Follow objects forwards, after :func:`follow_backwards`; give one result per frame, joined from both ways.

    Args:
        session: a fresh one.
        frames: all frames, a generator that is closed at the end.
        plan: what is followed.
        kept: has the results of the way back by their own indices.
        saved: an earlier run, whose results, which are joined already, take the place of tracking.

    Raises:
        VosError: a frame cannot be read, the tracker fails, or a kept result is damaged.
    """
    way = plan.forwards
    for result in follow(session, frames, way.first_mask, way.masks_at, saved, way.gone, way.first_frame, ahead=True):
        index = result.frame.index
        if plan.last and index <= plan.last and not (saved and index <= saved.frame):
            yield join(plan, result, kept.read(plan.last - index, result.frame), kept.soft_edges)
        else:
            yield result


def mask_of_hints(session: Session, source: SourceReader, index: int, hints: Hints) -> FirstMask:
    """Make a mask from hints on a frame anywhere in a source, before it is followed.

    Raises:
        InputError: the frame cannot be read by itself, or no object is found there.
    """
    with closing(walk_back(source, index, group=1)) as frames:
        return session.segment(next(frames), hints)
