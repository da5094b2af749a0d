"""What the handlers of the page's events share: options, warnings and progress. :mod:`.page` and its panels use it."""

from __future__ import annotations

import asyncio
import html
import io
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Literal, TypedDict

import gradio as gr

from ..command.progress import Progress
from ..command.status import with_flags
from ..errors import InputError, VosError

UPDATE_S = 0.25
"""Time between two updates of the page while tracking, seconds."""

LOOK_S = 0.25
"""Longest time that an open page delays the end of the server, seconds."""

LOOKS = 120
"""So many times ``LOOK_S`` after a page was closed, nothing is kept for it any longer."""

Update = tuple[object, ...]
"""New values of an event's outputs, one for each component, in their order."""


class _Private(TypedDict):
    """Options of events that are not part of an interface for other programs."""

    show_progress: Literal["hidden"]
    api_visibility: Literal["private"]


class _Quick(_Private):
    """Options of events that are handled one after another, so that answers come in the order of the clicks."""

    concurrency_id: str
    concurrency_limit: int


PRIVATE: _Private = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of all events."""

QUICK: _Quick = {**PRIVATE, "concurrency_id": "quick", "concurrency_limit": 1}
"""Options of the events that are handled one after another."""


WITH_MOMENT = "(object, name) => [object, name, performance.now()]"
"""Script of the page: adds to an object's number and its name the moment at which it was typed, in milliseconds."""


class KeptOpen:
    """Keeps the stream of answers to each page open as long as the page, by an event that does not end before.

    The framework closes the stream after the last answer that is due, and opens a new one with the next event. An event
    that is sent before the browser has noticed the end would never get its answer, and a click be lost.
    """

    def __init__(self) -> None:
        self._over = False

    def end(self) -> None:
        """End the event of all pages, so that the server can stop at once."""
        self._over = True

    async def wait(self) -> AsyncIterator[None]:
        """Handle the event of one page; each value gives the framework an occasion to see that the page is gone."""
        for waited in count(1):
            if self._over:
                break
            await asyncio.sleep(LOOK_S)
            if waited % LOOKS == 0:
                yield


def chosen(object_id: int | None) -> int:
    """Return the chosen object.

    Raises:
        InputError: none is chosen.
    """
    if object_id is None:
        raise InputError("no object is chosen; add one first")
    return object_id


@contextmanager
def warned() -> Iterator[None]:
    """Show an error of the block as a warning on the page, instead of raising it."""
    try:
        yield
    except VosError as error:
        gr.Warning(html.escape(with_flags(str(error))), title="")


def with_progress(run: Generator[int, None, None], total: int) -> Iterator[tuple[int, tuple[int, str]]]:
    """Run to the end; yield how far it is, what it yielded last and a line of progress, now and then and at the end."""
    line = io.StringIO()
    done = value = 0
    with closing(run), Progress(total, line, interval_s=UPDATE_S, is_terminal=False) as progress:
        for done, value in enumerate(run, start=1):
            progress.update(done)
            if line.getvalue():
                yield done, (value, line.getvalue())
                line.seek(0)
                line.truncate()
    if done:
        yield done, (value, line.getvalue())
