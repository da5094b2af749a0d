"""The web page: steps from top to bottom beside one large picture; all it knows is in the project."""

from __future__ import annotations

import html
import io
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from ..command.progress import Progress
from ..errors import InputError, VosError
from ..palette import bright_palette
from .gate import LARGEST_BODY, Gate
from .picture import draw_frame, enlargement
from .project import LONGEST_NAME, Project

HERE = Path(__file__).parent
INSIDE, OUTSIDE, BOX = "Inside", "Outside", "Box"
KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> frame (<kbd>Shift</kbd>: ten) · <kbd>I</kbd> <kbd>O</kbd> <kbd>B</kbd> mark · "
    "<kbd>1</kbd>–<kbd>9</kbd> object · <kbd>N</kbd> new · <kbd>Z</kbd> undo · <kbd>T</kbd> track · <kbd>S</kbd> stop"
)
HELP = {
    INSIDE: "Click on the object. More points make the mask better.",
    OUTSIDE: "Click on what the mask should leave out.",
    BOX: "Click two opposite corners around the object. A box starts it anew.",
}
UPDATE_S = 0.25  # between pictures while tracking
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TAKE_OVER_S = 10
KEPT_S = 300  # pictures that were shown are deleted after this time


class Page:
    """Components, and what they do.

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
        frames = len(self._project.frames)
        self.picture = gr.Image(
            format="jpeg", interactive=False, show_label=False, container=False, buttons=[], elem_id="picture"
        )
        with gr.Row(elem_id="scrub"):
            gr.Button("‹", elem_id="back", size="sm", min_width=40, scale=0)  # page.js
            gr.Button("›", elem_id="forward", size="sm", min_width=40, scale=0)
            with gr.Column(elem_id="timeline"):
                self.slider = gr.Slider(
                    0, max(1, frames - 1), 0, step=1, label="Frame", show_label=False, container=False, buttons=[],
                    elem_id="slider", interactive=frames > 1,
                )  # fmt: skip
                self.state = gr.HTML(elem_id="state")

    def _add_steps(self, name: str) -> None:
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
        gr.HTML("<h2>3 · Track</h2>")
        with gr.Row():
            self.track = gr.Button("Track from here", variant="primary", size="md", elem_id="track", scale=3)
            self.stop = gr.Button("Stop", variant="stop", size="md", elem_id="stop", interactive=False, min_width=70)
        self.progress = gr.HTML(_progress(), elem_id="progress")
        gr.HTML(
            "<p>Went wrong somewhere? Mark the object again on that frame and track from there.</p>",
            elem_classes="note",
        )
        gr.HTML("<h2>4 · Download</h2>")
        self.prepare = gr.Button("Masks, overlay and table (zip)", size="md", elem_id="prepare")
        self.download = gr.DownloadButton("Save", visible="hidden", elem_id="download")
        gr.HTML(f"<p>{KEYS}</p>", elem_classes="note")

    def _wire(self) -> None:
        """Which event calls what."""
        own = {"show_progress": "hidden", "api_visibility": "private"}
        quick = {**own, "concurrency_id": "quick", "concurrency_limit": 1}  # answers come in the order of the questions
        where = [self.slider, self.objects]
        view = [self.picture, self.state]
        whole = [self.slider, *view, self.objects, self.name]
        buttons = [self.new, self.delete, self.undo, self.clear, self.track, self.prepare, self.stop]
        self.blocks.load(self._load, None, [*whole, self.progress, *buttons], **quick)
        self.slider.input(self._show, self.slider, view, trigger_mode="always_last", **quick)
        self.objects.input(lambda chosen: self._project.names.get(chosen, ""), self.objects, self.name, **quick)
        gr.on(
            [self.name.input, self.name.blur], self._rename, [self.objects, self.name], self.objects,
            trigger_mode="always_last", **quick,
        )  # fmt: skip
        self.new.click(self._new, where, whole, **quick)
        self.delete.click(self._delete, where, whole, **quick)
        self.tool.input(lambda tool: HELP[tool], self.tool, self.help, **quick)
        self.picture.select(self._click, [*where, self.tool], view, trigger_mode="multiple", **quick)
        self.undo.click(self._undo, where, whole, **quick)
        self.clear.click(self._clear, where, view, **quick)
        self.track.click(self._track, where, [*whole, self.progress, *buttons], **own)
        self.stop.click(self._project.stop, None, None, **own)
        prepared = self.prepare.click(self._export, None, [self.progress, self.download, *buttons], **own)
        prepared.success(None, None, None, js="() => document.querySelector('#download').click()", **own)

    # What the events do

    def _load(self):
        """A page that opens, perhaps again, takes over: what another one tracks is stopped, and can go on here."""
        self._project.stop()
        give_up = time.monotonic() + TAKE_OVER_S
        while self._project.tracking and time.monotonic() < give_up:
            time.sleep(0.05)
        with _warned():
            if not self._project.names:
                self._project.add_object()
        return *self._whole(0, None), _progress(), *_buttons(busy=self._project.tracking)

    def _show(self, index: int):
        """The picture, and the line below it."""
        with _warned():
            result = self._project.result(index)
            corner = self._project.corner
            shown = corner[1:] if corner is not None and corner[0] == index else None
            picture = draw_frame(result, self._project.hints.get(index, {}), shown)
            picture.info["comment"] = str(
                next(self._shown)
            )  # equal pictures would be one file, written while it is read
            return picture, _state(self._project, index, result.frame.time_s)
        return gr.skip(), gr.skip()

    def _whole(self, index: int, object_id: int | None):
        """Everything that depends on the frame and on the objects."""
        names = self._project.names
        if object_id not in names:
            object_id = next(iter(names), None)
        return index, *self._show(index), gr.update(choices=self._choices(), value=object_id), names.get(object_id, "")

    def _rename(self, object_id: int | None, name: str):
        with _warned():
            self._project.rename(object_id, name)
        return gr.update(choices=self._choices())  # another object may be chosen by now

    def _choices(self) -> list[tuple[str, int]]:
        return [(f"{each} {name}".strip(), each) for each, name in tuple(self._project.names.items())]

    def _new(self, index: int, object_id: int | None):
        with _warned():
            object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _delete(self, index: int, object_id: int | None):
        with _warned():
            self._project.remove_object(object_id)
            if not self._project.names:
                object_id = self._project.add_object()
        return self._whole(index, object_id)

    def _click(self, index: int, object_id: int | None, tool: str, event: gr.SelectData):
        times = enlargement(self._project.frames.size)
        x, y = (place // times for place in event.index)
        with _warned():
            if tool == BOX:
                self._project.add_corner(index, object_id, x, y)
            else:
                self._project.add_point(index, object_id, x, y, tool == INSIDE)
        return self._show(index)

    def _undo(self, index: int, object_id: int | None):
        with _warned():
            at = self._project.undo()
            index = index if at is None else at
        return self._whole(index, object_id)

    def _clear(self, index: int, object_id: int | None):
        with _warned():
            self._project.clear(index, object_id)
        return self._show(index)

    def _track(self, index: int, object_id: int | None):
        reached = index
        yield *self._whole(index, object_id), _progress("Starting …"), *_buttons(busy=True)
        text = ""
        with _warned():
            total = len(self._project.frames) - 1 - index
            text = "" if total else "This is the last frame: nothing is left to track."
            run = self._project.track(index)
            for reached, text in _told(run, total):
                shown = _progress(text, (reached - index) / max(1, total))
                yield reached, *self._show(reached), gr.skip(), gr.skip(), shown, *[gr.skip()] * 7
        yield *self._whole(reached, object_id), _progress(text), *_buttons(busy=False)

    def _export(self):
        yield _progress("Preparing …"), gr.skip(), *_buttons(busy=True)
        path = gr.skip()
        with _warned():
            total = len(self._project.masked)
            for done, text in _told(self._project.export(), total):
                yield _progress(text, done / max(1, total)), *[gr.skip()] * 8
            path = gr.update(value=str(self._project.archive))
        yield _progress(), path, *_buttons(busy=False)


def serve(project: Project, host: str = "127.0.0.1", port: int | None = None) -> tuple[gr.Blocks, str]:
    """Serve the page of a project from threads of its own, until the returned blocks are closed.

    Pictures that the browser fetches lie in the folder that GRADIO_TEMP_DIR names; nothing else is served.
    It must be set before this module is imported.

    Args:
        project: what is shown.
        host: address to bind to.
        port: None: the first free one from 7860 on.

    Returns:
        The running page and its address.

    Raises:
        InputError: the port is taken, or the address cannot be bound to.
    """
    host = host.strip("[]")
    _check_address(host, port)
    blocks = Page(project).blocks
    hosts = frozenset((*LOOPBACK, "[::1]")) if host in LOOPBACK else None
    _, url, _ = blocks.launch(
        server_name=f"[{host}]" if ":" in host else host, server_port=port, share=False,
        inbrowser=False, prevent_thread_lock=True, quiet=True,
        footer_links=[], allowed_paths=[], max_file_size=LARGEST_BODY, ssr_mode=False, enable_monitoring=False,
        app_kwargs={"middleware": [Middleware(Gate, hosts=hosts)], "docs_url": None, "redoc_url": None},
        theme=gr.themes.Default(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=(HERE / "page.css").read_text(encoding="utf-8") + _proportions(*project.frames.size) + _colours(),
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )  # fmt: skip
    return blocks, url


def _check_address(host: str, port: int | None) -> None:
    """Refuse at once what would be tried for minutes."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        where = host if port is None else f"{host} --port {port}"
        raise InputError(f"--host {where}: cannot be served there ({error}); pass another one") from error


@contextmanager
def _warned() -> Iterator[None]:
    """Shows a user's mistake on the page; what was done before stays."""
    try:
        yield
    except VosError as error:
        gr.Warning(html.escape(str(error)), title="")


def _told(run: Generator[int, None, None], total: int) -> Iterator[tuple[int, str]]:
    """What a run yields, a few times a second and at its end, with a line on how far it is."""
    line = io.StringIO()
    done = value = 0
    with closing(run), Progress(total, line, interval_s=UPDATE_S, is_terminal=False) as progress:
        for done, value in enumerate(run, start=1):
            progress.update(done)
            if line.getvalue():
                yield value, line.getvalue()
                line.seek(0)
                line.truncate()
    if done:
        yield value, line.getvalue()


def _buttons(busy: bool) -> list:
    """Updates of the buttons: the last one stops what is under way."""
    return [gr.update(interactive=not busy)] * 6 + [gr.update(interactive=busy)]


def _progress(text: str = "", share: float | None = None) -> str:
    bar = "" if share is None else f"<progress max='1' value='{min(1.0, share):.4f}'></progress>"
    return f"{bar}<span>{html.escape(text)}</span>"


def _state(project: Project, index: int, time_s: float) -> str:
    """Which frame it is, and a strip that tells which frames are tracked and which are marked."""
    frames = len(project.frames)
    kind = "marked" if index in project.hints else "tracked" if index in project.tracked else "no masks yet"
    spans = "".join(
        f"<i style='left:{100 * first / frames:.3f}%;width:{100 * (last + 1 - first) / frames:.3f}%'></i>"
        for first, last in _stretches(project.tracked)
    )
    marks = "".join(f"<b style='left:{100 * (at + 0.5) / frames:.3f}%'></b>" for at in tuple(project.hints))
    return f"<div class='strip'>{spans}{marks}</div><p>Frame {index} of 0–{frames - 1} · {time_s:.2f} s · {kind}</p>"


def _stretches(indices: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = found[-1][0], index
        else:
            found.append((index, index))
    return found


def _proportions(height: int, width: int) -> str:
    """The picture as large as the window allows, with no bars beside it and not larger than it is: clicks are exact."""
    most = width * enlargement((height, width))
    return (
        f"#picture{{aspect-ratio:{width}/{height};max-width:min({most}px,calc((100vh - 110px)*{width / height:.5f}))}}"
    )


def _colours() -> str:
    """A dot in the overlay's colour before each object's name."""
    return "".join(
        f"#objects label:has(input[value='{each}'])::before{{background:rgb({red},{green},{blue})}}"
        for each, (red, green, blue) in enumerate(bright_palette().tolist())
        if each
    )
