"""The parts of the page as they are seen, with their components; :mod:`.page` connects their events."""

from __future__ import annotations

import gradio as gr

from .marks import LONGEST_NAME
from .markup import KEYS, progress_line
from .ways import Way

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


class Stage:
    """The large picture with the slider below it; ``frames`` is the number of frames."""

    def __init__(self, frames: int) -> None:
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


class Objects:
    """The list of the objects, and the name of the chosen one."""

    def __init__(self) -> None:
        self.list = gr.Radio([], show_label=False, container=False, elem_id="objects")
        self.name = gr.Textbox(
            placeholder="Name of the object", show_label=False, container=False, max_length=LONGEST_NAME, elem_id="name"
        )
        self.moment = gr.Number(0, visible="hidden", elem_id="moment")
        with gr.Row():
            self.new = gr.Button("New object", size="sm", min_width=90, elem_id="new")
            self.delete = gr.Button("Delete", size="sm", min_width=90, elem_id="delete")


class Marks:
    """The tools that mark an object in a picture."""

    def __init__(self) -> None:
        self.tool = gr.Radio([INSIDE, OUTSIDE, BOX], value=INSIDE, show_label=False, container=False, elem_id="tool")
        self.help = gr.HTML(HELP[INSIDE], elem_id="help")
        with gr.Row():
            self.undo = gr.Button("Undo", size="sm", min_width=90, elem_id="undo")
            self.clear = gr.Button("Clear", size="sm", min_width=90, elem_id="clear")
            self.gone = gr.Button("Gone", size="sm", min_width=90, elem_id="gone")


class Words:
    """The field that says in words what to look for."""

    def __init__(self) -> None:
        with gr.Accordion("Or say what it is", open=False, elem_id="words"), gr.Row():
            self.text = gr.Textbox(
                placeholder="the brown dog", show_label=False, container=False, max_length=LONGEST_NAME, min_width=140,
                scale=3, elem_id="text",
            )  # fmt: skip
            self.find = gr.Button("Find here", size="sm", min_width=80, elem_id="find")


class Tracking:
    """The buttons that start and stop a run, and the line that tells how far it is."""

    def __init__(self) -> None:
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


class Download:
    """The button that prepares the result, and the hidden one that saves it."""

    def __init__(self) -> None:
        self.prepare = gr.Button("Masks, overlay and table (zip)", size="md", elem_id="prepare")
        self.save = gr.DownloadButton("Save", visible="hidden", elem_id="download")
        gr.HTML(f"<p>{KEYS}</p>", elem_classes="note")
