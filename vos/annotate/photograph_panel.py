"""The part of the page that takes photographs of objects, with the handlers of its events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import gradio as gr

from .events import QUICK, Update, chosen, warned
from .markup import choices, photograph_state
from .panels import BOX, INSIDE
from .photographs import Photographs
from .picture import draw_photograph, reduction
from .project import Project


class PhotographPanel:
    """The last photograph of the chosen object, and the buttons that upload it and its mask, and remove it.

    Args:
        project: holds the photographs.

    Attributes:
        outputs: the components that :meth:`shown` gives values for.
        buttons: those that wait while work is under way.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._shown = count()
        with gr.Accordion("Or show a photograph of it", open=False, elem_id="photographs"):
            with gr.Row():
                self._photograph = gr.UploadButton(
                    "Photograph", file_types=["image"], size="sm", min_width=90, elem_id="photograph"
                )
                self._mask = gr.UploadButton("Its mask", file_types=["image"], size="sm", min_width=80, elem_id="mask")
                self._remove = gr.Button("Remove", size="sm", min_width=80, elem_id="remove")
            self._picture = gr.Image(
                format="jpeg", interactive=False, show_label=False, container=False, buttons=[], visible=False,
                elem_id="photo",
            )  # fmt: skip
            self._state = gr.HTML(photograph_state(()), elem_id="photo-state")
        self.outputs: list[gr.components.Component] = [self._picture, self._state]
        self.buttons: list[gr.components.Component] = [self._photograph, self._mask, self._remove]

    def wire(self, objects: gr.Radio, tool: gr.Radio) -> None:
        """Connect the events; the list of objects says which one is shown, the tool what a click marks."""
        outputs = [*self.outputs, objects]
        self._photograph.upload(self._add, [self._photograph, objects], [*outputs, self._photograph], **QUICK)
        self._mask.upload(self._add_mask, [self._mask, objects], [*outputs, self._mask], **QUICK)
        self._remove.click(self._drop, objects, outputs, **QUICK)
        self._picture.select(self._click, [objects, tool], outputs, trigger_mode="multiple", **QUICK)

    def shown(self, object_id: int | None) -> Update:
        """Show the last photograph of an object."""
        photographs = self._project.photographs.of(object_id) if object_id is not None else ()
        picture: object = gr.update(value=None, visible=False)
        if photographs and object_id is not None:
            drawn = draw_photograph(photographs[-1], object_id)
            drawn.info["comment"] = str(next(self._shown))  # see Page
            picture = gr.update(value=drawn, visible=True)
        return picture, photograph_state(photographs)

    def _all(self, object_id: int | None) -> Update:
        return *self.shown(object_id), gr.update(choices=choices(self._project))

    @contextmanager
    def _changed(self, object_id: int | None) -> Iterator[tuple[int, Photographs]]:
        """Give the chosen object and the photographs for a change; an error becomes a warning on the page."""
        with warned(), self._project.changed_photographs(chosen(object_id)) as photographs:
            yield chosen(object_id), photographs

    def _add(self, file: str, object_id: int | None) -> Update:
        with _taken(file) as path, self._changed(object_id) as (each, photographs):
            photographs.add(each, path, path.name)
        return *self._all(object_id), gr.update(value=None)

    def _add_mask(self, file: str, object_id: int | None) -> Update:
        with _taken(file) as path, self._changed(object_id) as (each, photographs):
            photographs.add_mask(each, path, path.name)
        return *self._all(object_id), gr.update(value=None)

    def _drop(self, object_id: int | None) -> Update:
        with self._changed(object_id) as (each, photographs):
            photographs.remove(each)
        return self._all(object_id)

    def _click(self, object_id: int | None, tool: str, event: gr.SelectData) -> Update:
        with self._changed(object_id) as (each, photographs):
            last = photographs.of(each)[-1:]
            if last:
                x, y = ((place + 0.5) / reduction(last[0].frame.size) - 0.5 for place in event.index)
                if tool == BOX:
                    photographs.add_corner(each, x, y)
                else:
                    photographs.add_point(each, x, y, tool == INSIDE)
        return self._all(object_id)


@contextmanager
def _taken(file: str) -> Iterator[Path]:
    """Give the path of an uploaded file, and delete what is left of it."""
    try:
        yield Path(file)
    finally:
        Path(file).unlink(missing_ok=True)
