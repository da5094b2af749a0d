"""The web page of ``vos-annotate``: one large picture, and beside it the steps from top to bottom.

Its state is in the project alone, so that a page that is opened again shows the same.
"""

from __future__ import annotations

import html
import io
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, TypedDict

import gradio as gr

from ..command.progress import Progress
from ..errors import InputError, VosError, parameter
from .gate import LARGEST_BODY, middleware
from .marks import LONGEST_NAME
from .markup import KEYS, colours_css, frame_state, picture_css, progress_line
from .picture import draw_frame, enlargement
from .project import Project
from .ways import Way

HERE = Path(__file__).parent
"""Folder of ``page.css`` and ``page.js``."""

INSIDE, OUTSIDE, BOX = "Inside", "Outside", "Box"
"""The tools, as they are named on the page."""

HELP = {
    INSIDE: "Click on the object. More points make the mask better.",
    OUTSIDE: "Click on what the mask should leave out.",
    BOX: "Click two opposite corners around the object. A box starts it anew.",
}
"""What to do with each tool."""

WAYS: dict[Way, str] = {"backwards": "Track back", "both": "Both ways", "between": "In between"}
"""The buttons that track backwards, with their texts."""

UPDATE_S = 0.25
"""Time between two updates of the page while tracking, seconds."""

TAKE_OVER_S = 10
"""Longest time that a page waits for the tracking of another one to stop, seconds."""

KEPT_S = 300
"""Time after which pictures that were shown are deleted, seconds."""

Started = tuple[Generator[int, None, None], int]
"""A run that yields the indices of frames that are done, and how many those will be."""

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
        name = Path(project.frames.name).name
        with gr.Blocks(
            title=f"{name} - vos-annotate", analytics_enabled=False, fill_width=True, delete_cache=(60, KEPT_S)
        ) as self.blocks:
            with gr.Row(equal_height=False):
                with gr.Column(scale=4, elem_id="stage"):
                    self._add_stage()
                with gr.Column(scale=1, min_width=300, elem_id="steps"):
                    self._add_steps(name)
            self._wire()

    def _add_stage(self) -> None:
        """Add the picture with the slider below it."""
        frames = len(self._project.frames)
        self.picture = gr.Image(
            format="jpeg", interactive=False, show_label=False, container=False, buttons=[], elem_id="picture"
        )
        with gr.Row(elem_id="scrub"):
            gr.Button("‹", elem_id="back", size="sm", min_width=40, scale=0)  # page.js
            gr.Button("›", elem_id="forward", size="sm", min_width=40, scale=0)
            with gr.Column(elem_id="timeline"):
                self.slider = gr.Slider(
                    0,
                    max(1, frames - 1),
                    0,
                    step=1,
                    label="Frame",
                    show_label=False,
                    container=False,
                    buttons=[],
                    elem_id="slider",
                    interactive=frames > 1,
                )
                self.state = gr.HTML(elem_id="state")

    def _add_steps(self, name: str) -> None:
        """Add the four steps; ``name`` is the video's."""
        height, width = self._project.frames.size
        gr.HTML(
            f"<h1>{html.escape(name)}</h1><p>{width} × {height}, {len(self._project.frames)} frames</p>",
            elem_id="title",
        )
        gr.HTML("<h2>1 · Objects</h2>")
        self.objects = gr.Radio([], show_label=False, container=False, elem_id="objects")
        self.name = gr.Textbox(
            placeholder="Name of the object", show_label=False, container=False, max_length=LONGEST_NAME, elem_id="name"
        )
        with gr.Row():
            self.new = gr.Button("New object", size="sm", min_width=90, elem_id="new")
            self.delete = gr.Button("Delete", size="sm", min_width=90, elem_id="delete")
        gr.HTML("<h2>2 · Mark it in the picture</h2>")
        self.tool = gr.Radio([INSIDE, OUTSIDE, BOX], value=INSIDE, show_label=False, container=False, elem_id="tool")
        self.help = gr.HTML(HELP[INSIDE], elem_id="help")
        with gr.Row():
            self.undo = gr.Button("Undo", size="sm", min_width=90, elem_id="undo")
            self.clear = gr.Button("Clear", size="sm", min_width=90, elem_id="clear")
            self.gone = gr.Button("Gone", size="sm", min_width=90, elem_id="gone")
        gr.HTML("<h2>3 · Track</h2>")
        with gr.Row():
            self.track = gr.Button("Track from here", variant="primary", size="md", elem_id="track", scale=3)
            self.stop = gr.Button("Stop", variant="stop", size="md", elem_id="stop", interactive=False, min_width=70)
        with gr.Row():
            self.ways = {way: gr.Button(text, size="sm", min_width=80, elem_id=way) for way, text in WAYS.items()}
        self.progress = gr.HTML(progress_line(), elem_id="progress")
        gr.HTML(
            "<p>Went wrong somewhere? Mark the object again on that frame and track from there, or between marks.</p>",
            elem_classes="note",
        )
        gr.HTML("<h2>4 · Download</h2>")
        self.prepare = gr.Button("Masks, overlay and table (zip)", size="md", elem_id="prepare")
        self.download = gr.DownloadButton("Save", visible="hidden", elem_id="download")
        gr.HTML(f"<p>{KEYS}</p>", elem_classes="note")

    def _wire(self) -> None:
        """Connect the events with the methods that handle them."""
        private: _Private = {"show_progress": "hidden", "api_visibility": "private"}
        quick: _Quick = {**private, "concurrency_id": "quick", "concurrency_limit": 1}
        where = [self.slider, self.objects]
        view = [self.picture, self.state]
        whole = [self.slider, *view, self.objects, self.name]
        quiet = [self.new, self.delete, self.undo, self.clear, self.gone, self.track, *self.ways.values(), self.prepare]
        buttons = [*quiet, self.stop]
        self.blocks.load(self._load, None, [*whole, self.progress, *buttons], **quick)
        self.slider.input(self._show, self.slider, view, trigger_mode="always_last", **quick)
        self.objects.input(lambda chosen: self._project.names.get(chosen, ""), self.objects, self.name, **quick)
        named = [self.name.input, self.name.blur]
        gr.on(named, self._rename, [self.objects, self.name], self.objects, trigger_mode="always_last", **quick)
        self.new.click(self._new, where, whole, **quick)
        self.delete.click(self._delete, where, whole, **quick)
        self.tool.input(lambda tool: HELP[tool], self.tool, self.help, **quick)
        self.picture.select(self._click, [*where, self.tool], view, trigger_mode="multiple", **quick)
        self.undo.click(self._undo, where, whole, **quick)
        self.clear.click(self._clear, where, view, **quick)
        self.gone.click(self._gone, where, view, **quick)
        self.track.click(self._track, where, [*whole, self.progress, *buttons], **private)
        for way, button in self.ways.items():
            button.click(partial(self._track_back, way), where, [*whole, self.progress, *buttons], **private)
        self.stop.click(self._project.stop, None, None, **private)
        prepared = self.prepare.click(self._export, None, [self.progress, self.download, *buttons], **private)
        prepared.success(None, None, None, js="() => document.querySelector('#download').click()", **private)

    # The handlers of the events

    def _load(self) -> Update:
        """Fill a page that is opened; tracking that another page started is stopped, and can be resumed here."""
        self._project.stop()
        give_up = time.monotonic() + TAKE_OVER_S
        while self._project.tracking and time.monotonic() < give_up:
            time.sleep(0.05)
        with _warned():
            if not self._project.names:
                self._project.add_object()
        return *self._whole(0, None), progress_line(), *_buttons(busy=self._project.tracking)

    def _show(self, index: int) -> Update:
        """Draw the picture and the line below it."""
        with _warned():
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
        name = "" if object_id is None else names.get(object_id, "")
        return index, *self._show(index), gr.update(choices=self._choices(), value=object_id), name

    def _rename(self, object_id: int | None, name: str) -> object:
        with _warned():
            self._project.rename(_chosen(object_id), name)
        return gr.update(choices=self._choices())  # another object may be chosen by now

    def _choices(self) -> list[tuple[str, int]]:
        """List the objects as the page shows them, with their ids."""
        return [(f"{each} {name}".strip(), each) for each, name in tuple(self._project.names.items())]

    def _new(self, index: int, object_id: int | None) -> Update:
        with _warned():
            object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _delete(self, index: int, object_id: int | None) -> Update:
        with _warned():
            self._project.remove_object(_chosen(object_id))
            if not self._project.names:
                object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _click(self, index: int, object_id: int | None, tool: str, event: gr.SelectData) -> Update:
        times = enlargement(self._project.frames.size)
        x, y = (place // times for place in event.index)
        with _warned():
            if tool == BOX:
                self._project.add_corner(index, _chosen(object_id), x, y)
            else:
                self._project.add_point(index, _chosen(object_id), x, y, tool == INSIDE)
        return self._show(index)

    def _undo(self, index: int, object_id: int | None) -> Update:
        with _warned():
            marked = self._project.undo()
            index = index if marked is None else marked
        return self._whole(index, object_id)

    def _clear(self, index: int, object_id: int | None) -> Update:
        with _warned():
            self._project.clear(index, _chosen(object_id))
        return self._show(index)

    def _gone(self, index: int, object_id: int | None) -> Update:
        with _warned():
            self._project.mark_gone(index, _chosen(object_id))
        return self._show(index)

    def _track(self, index: int, object_id: int | None) -> Iterator[Update]:
        total = len(self._project.frames) - 1 - index
        text = "" if total else "This is the last frame: nothing is left to track."
        yield from self._follow(lambda: (self._project.track(index), total), index, object_id, text)

    def _track_back(self, way: Way, index: int, object_id: int | None) -> Iterator[Update]:
        project = self._project
        text = "This is the first frame: nothing is left to track." if way == "backwards" and not index else ""
        started = lambda: (project.track_back(index, way), project.frames_of(index, way))
        yield from self._follow(started, index, object_id, text)

    def _follow(self, start: Callable[[], Started], index: int, object_id: int | None, text: str) -> Iterator[Update]:
        """Show a run while it goes on; ``text`` if there is nothing to be done."""
        reached = index
        yield *self._whole(index, object_id), progress_line("Starting …"), *_buttons(busy=True)
        with _warned():
            run, total = start()
            for done, (reached, text) in _with_progress(run, total):
                shown = progress_line(text, done / max(1, total))
                yield reached, *self._show(reached), gr.skip(), gr.skip(), shown, *[gr.skip()] * len(_buttons(True))
        yield *self._whole(reached, object_id), progress_line(text), *_buttons(busy=False)

    def _export(self) -> Iterator[Update]:
        yield progress_line("Preparing …"), gr.skip(), *_buttons(busy=True)
        path: object = gr.skip()
        with _warned():
            total = len(self._project.masked)
            for done, (_, text) in _with_progress(self._project.export(), total):
                yield progress_line(text, done / max(1, total)), *[gr.skip()] * (1 + len(_buttons(True)))
            path = gr.update(value=str(self._project.archive))
        yield progress_line(), path, *_buttons(busy=False)


def serve(project: Project, host: str = "127.0.0.1", port: int | None = None) -> tuple[gr.Blocks, str]:
    """Serve the page of a project from background threads, until the returned blocks are closed.

    The pictures that the browser fetches are in the folder that the environment variable ``GRADIO_TEMP_DIR`` names;
    no other file is served. The variable must be set before this module is imported.

    Args:
        project: the project that is shown.
        host: address to bind to.
        port: port to bind to; None: the first free one from 7860 on.

    Returns:
        The running page and its address.

    Raises:
        InputError: the port is taken, or the address cannot be bound to.
    """
    host = host.strip("[]")
    _check_address(host, port)
    blocks = Page(project).blocks
    _, url, _ = blocks.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        allowed_paths=[],
        max_file_size=LARGEST_BODY,
        ssr_mode=False,
        enable_monitoring=False,
        app_kwargs={"middleware": middleware(host), "docs_url": None, "redoc_url": None},
        theme=gr.themes.Default(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=(HERE / "page.css").read_text(encoding="utf-8") + picture_css(*project.frames.size) + colours_css(),
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return blocks, url


def _check_address(host: str, port: int | None) -> None:
    """Try to bind to the address, as the framework would try for minutes.

    Raises:
        InputError: it cannot be bound to.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        where = parameter("host", host) if port is None else f"{parameter('host', host)} {parameter('port', port)}"
        raise InputError(f"{where}: cannot be served there ({error}); pass another one") from error


def _chosen(object_id: int | None) -> int:
    """Return the chosen object.

    Raises:
        InputError: none is chosen.
    """
    if object_id is None:
        raise InputError("no object is chosen; add one first")
    return object_id


@contextmanager
def _warned() -> Iterator[None]:
    """Show an error of the block as a warning on the page, instead of raising it."""
    try:
        yield
    except VosError as error:
        gr.Warning(html.escape(str(error)), title="")


def _with_progress(run: Generator[int, None, None], total: int) -> Iterator[tuple[int, tuple[int, str]]]:
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


def _buttons(busy: bool) -> list[object]:
    """Enable the buttons, or while busy the last one alone, which stops the work."""
    return [gr.update(interactive=not busy)] * (7 + len(WAYS)) + [gr.update(interactive=busy)]
