"""The web page of ``vos-annotate``: one large picture, and beside it the steps from top to bottom.

Its state is in the project alone, so that a page that is opened again shows the same.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import gradio as gr

from .events import PRIVATE, QUICK, WITH_MOMENT, KeptOpen, Update, chosen, warned, with_progress
from .markup import choices, frame_state, progress_line
from .panels import BOX, HELP, INSIDE, Download, Marks, Objects, Stage, Tracking, Words
from .photograph_panel import PhotographPanel
from .picture import draw_frame, enlargement
from .project import Project
from .ways import Way

TAKE_OVER_S = 10
"""Longest time that a page waits for the tracking of another one to stop, seconds."""

KEPT_S = 300
"""Time after which pictures that were shown are deleted, seconds."""

Started = tuple[Generator[int, None, None], int]
"""A run that yields the indices of frames that are done, and how many those will be."""


class Page:
    """Builds the components of the page and connects their events with the project.

    Args:
        project: shared by all tabs that show the page.

    Attributes:
        blocks: the page, not yet served.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._shown = count()
        self._kept_open = KeptOpen()
        self._named_at: dict[tuple[str | None, int | None], float] = {}
        name = Path(project.frames.name).name
        with gr.Blocks(
            title=f"{name} - vos-annotate", analytics_enabled=False, fill_width=True, delete_cache=(60, KEPT_S)
        ) as self.blocks:
            with gr.Row(equal_height=False):
                with gr.Column(scale=4, elem_id="stage"):
                    self._stage = Stage(len(project.frames))
                with gr.Column(scale=1, min_width=300, elem_id="steps"):
                    self._add_steps(name)
            self._wire()

    def close(self) -> None:
        """Stop serving the page."""
        self._kept_open.end()
        self.blocks.close(verbose=False)

    def _add_steps(self, name: str) -> None:
        """Add the four steps; ``name`` is the video's."""
        height, width = self._project.frames.size
        gr.HTML(
            f"<h1>{html.escape(name)}</h1><p>{width} × {height}, {len(self._project.frames)} frames</p>",
            elem_id="title",
        )
        gr.HTML("<h2>1 · Objects</h2>")
        self._objects = Objects()
        gr.HTML("<h2>2 · Mark it in the picture</h2>")
        self._marks = Marks()
        self._photographs = PhotographPanel(self._project)
        self._words = Words()
        gr.HTML("<h2>3 · Track</h2>")
        self._tracking = Tracking()
        gr.HTML("<h2>4 · Download</h2>")
        self._download = Download()

    def _wire(self) -> None:
        """Connect the events with the methods that handle them."""
        stage, objects, marks, tracking, download = (
            self._stage, self._objects, self._marks, self._tracking, self._download,
        )  # fmt: skip
        where = [stage.slider, objects.list]
        view = [stage.picture, stage.state]
        described = [objects.name, *self._photographs.outputs]
        whole = [stage.slider, *view, objects.list, *described]
        busy = [*whole, tracking.progress, *self._buttons()]
        self.blocks.load(self._kept_open.wait, None, None, concurrency_limit=None, **PRIVATE)
        self.blocks.load(self._load, None, busy, **QUICK)
        stage.slider.input(self._show, stage.slider, view, trigger_mode="always_last", **QUICK)
        objects.list.input(self._describe, objects.list, described, **QUICK)
        named = [objects.name.input, objects.name.blur]
        typed = [objects.list, objects.name, objects.moment]
        # each with the values of its moment: one that waits would take the name to the object that is chosen by then
        gr.on(named, self._rename, typed, objects.list, js=WITH_MOMENT, trigger_mode="multiple", **QUICK)
        objects.new.click(self._new, where, whole, **QUICK)
        objects.delete.click(self._delete, where, whole, **QUICK)
        marks.tool.input(lambda tool: HELP[tool], marks.tool, marks.help, **QUICK)
        stage.picture.select(self._click, [*where, marks.tool], view, trigger_mode="multiple", **QUICK)
        marks.undo.click(self._undo, where, whole, **QUICK)
        marks.clear.click(self._clear, where, view, **QUICK)
        marks.gone.click(self._gone, where, view, **QUICK)
        self._photographs.wire(objects.list, marks.tool)
        asked = [self._words.find.click, self._words.text.submit]
        gr.on(asked, self._find, [*where, self._words.text], busy, **PRIVATE)
        tracking.track.click(self._track, where, busy, **PRIVATE)
        for way, button in tracking.ways.items():
            button.click(partial(self._track_back, way), where, busy, **PRIVATE)
        tracking.stop.click(self._project.stop, None, None, **PRIVATE)
        shown = [tracking.progress, download.save, *self._buttons()]
        prepared = download.prepare.click(self._export, None, shown, **PRIVATE)
        prepared.success(None, None, None, js="() => document.querySelector('#download').click()", **PRIVATE)

    def _buttons(self) -> list[gr.components.Component]:
        """List the buttons that wait while work is under way; the last one stops it."""
        objects, marks, tracking = self._objects, self._marks, self._tracking
        quiet = [objects.new, objects.delete, marks.undo, marks.clear, marks.gone, self._words.find, tracking.track]
        return [*quiet, *self._photographs.buttons, *tracking.ways.values(), self._download.prepare, tracking.stop]

    def _enabled(self, busy: bool) -> list[object]:
        """Enable the buttons, or while busy the last one alone, which stops the work."""
        return [gr.update(interactive=not busy)] * (len(self._buttons()) - 1) + [gr.update(interactive=busy)]

    def _unchanged(self) -> list[object]:
        """Leave the buttons as they are."""
        return [gr.skip()] * len(self._buttons())

    # The handlers of the events

    def _load(self) -> Update:
        """Fill a page that is opened; tracking that another page started is stopped, and can be resumed here."""
        self._project.stop()
        give_up = time.monotonic() + TAKE_OVER_S
        while self._project.tracking and time.monotonic() < give_up:
            time.sleep(0.05)
        with warned():
            if not self._project.names:
                self._project.add_object()
        return *self._whole(0, None), progress_line(), *self._enabled(busy=self._project.tracking)

    def _show(self, index: int) -> Update:
        """Draw the picture and the line below it."""
        with warned():
            result = self._project.result(index)
            corner = self._project.corner
            on_frame = corner[1:] if corner is not None and corner[0] == index else None
            picture = draw_frame(result, self._project.hints.get(index, {}), on_frame)
            # Gradio names files by their content: equal pictures would share one that is written while it is read.
            picture.info["comment"] = str(next(self._shown))
            return picture, frame_state(self._project, index, result.frame.time_s)
        return gr.skip(), gr.skip()

    def _whole(self, index: int, object_id: int | None) -> Update:
        """Show everything that depends on the frame and on the objects; an unknown object gives way to the first."""
        names = self._project.names
        if object_id not in names:
            object_id = next(iter(names), None)
        listed = gr.update(choices=choices(self._project), value=object_id)
        return index, *self._show(index), listed, *self._describe(object_id)

    def _describe(self, object_id: int | None) -> Update:
        """Show the name and the photograph of an object."""
        name = "" if object_id is None else self._project.names.get(object_id, "")
        return name, *self._photographs.shown(object_id)

    def _rename(self, object_id: int | None, name: str, moment: float, request: gr.Request) -> object:
        """Name an object as it was typed; what a page sends at once may arrive in any order, and the last counts."""
        asked = request.session_hash, object_id
        if moment < self._named_at.get(asked, 0.0):
            return gr.skip()
        self._named_at[asked] = moment
        before = choices(self._project)
        with warned():
            self._project.rename(chosen(object_id), name)
        if choices(self._project) == before:
            return gr.skip()
        return gr.update(choices=choices(self._project))  # another object may be chosen by now

    def _new(self, index: int, object_id: int | None) -> Update:
        with warned():
            object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _delete(self, index: int, object_id: int | None) -> Update:
        with warned():
            self._project.remove_object(chosen(object_id))
            if not self._project.names:
                object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _click(self, index: int, object_id: int | None, tool: str, event: gr.SelectData) -> Update:
        times = enlargement(self._project.frames.size)
        x, y = (place // times for place in event.index)
        with warned():
            if tool == BOX:
                self._project.add_corner(index, chosen(object_id), x, y)
            else:
                self._project.add_point(index, chosen(object_id), x, y, tool == INSIDE)
        return self._show(index)

    def _undo(self, index: int, object_id: int | None) -> Update:
        with warned():
            marked = self._project.undo()
            index = index if marked is None else marked
        return self._whole(index, object_id)

    def _clear(self, index: int, object_id: int | None) -> Update:
        with warned():
            self._project.clear(index, chosen(object_id))
        return self._show(index)

    def _gone(self, index: int, object_id: int | None) -> Update:
        with warned():
            self._project.mark_gone(index, chosen(object_id))
        return self._show(index)

    def _find(self, index: int, object_id: int | None, words: str) -> Iterator[Update]:
        yield *self._whole(index, object_id), progress_line(f"Looking for {words} …"), *self._enabled(busy=True)
        text = ""
        with warned():
            found = self._project.find(index, object_id, words)
            object_id, text = found[0], f"Found {len(found)}: look at the masks, then track."
        yield *self._whole(index, object_id), progress_line(text), *self._enabled(busy=False)

    def _track(self, index: int, object_id: int | None) -> Iterator[Update]:
        last = index == len(self._project.frames) - 1
        text = "This is the last frame: nothing is left to track." if last else ""
        started = lambda: (self._project.track(index), self._project.frames_from(index))
        yield from self._follow(started, index, object_id, text)

    def _track_back(self, way: Way, index: int, object_id: int | None) -> Iterator[Update]:
        project = self._project
        text = "This is the first frame: nothing is left to track." if way == "backwards" and not index else ""
        started = lambda: (project.track_back(index, way), project.frames_of(index, way))
        yield from self._follow(started, index, object_id, text)

    def _follow(self, start: Callable[[], Started], index: int, object_id: int | None, text: str) -> Iterator[Update]:
        """Show a run while it goes on; ``text`` if there is nothing to be done."""
        unchanged = [gr.skip()] * (2 + len(self._photographs.outputs))
        yield *self._whole(index, object_id), progress_line("Starting …"), *self._enabled(busy=True)
        with warned():
            run, total = start()
            for done, (reached, text) in with_progress(run, total):
                shown = progress_line(text, done / max(1, total))
                yield reached, *self._show(reached), *unchanged, shown, *self._unchanged()
        # the last frame is shown already, and the user may have gone to another one since
        yield *[gr.skip()] * 3, *unchanged, progress_line(text), *self._enabled(busy=False)

    def _export(self) -> Iterator[Update]:
        yield progress_line("Preparing …"), gr.skip(), *self._enabled(busy=True)
        path: object = gr.skip()
        with warned():
            total = len(self._project.masked)
            for done, (_, text) in with_progress(self._project.export(), total):
                yield progress_line(text, done / max(1, total)), gr.skip(), *self._unchanged()
            path = gr.update(value=str(self._project.archive))
        yield progress_line(), path, *self._enabled(busy=False)
