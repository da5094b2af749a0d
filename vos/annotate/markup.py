"""Writes the HTML and CSS of the page that depend on the project: a frame's state, progress, sizes and colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ..palette import bright_palette
from .photographs import Photograph
from .picture import enlargement
from .project import Project

KEYS = (
    "<kbd>←</kbd> <kbd>→</kbd> frame (<kbd>Shift</kbd>: ten) · <kbd>I</kbd> <kbd>O</kbd> <kbd>B</kbd> mark · "
    "<kbd>1</kbd>–<kbd>9</kbd> object · <kbd>N</kbd> new · <kbd>Z</kbd> undo · <kbd>G</kbd> gone · "
    "<kbd>T</kbd> track · <kbd>R</kbd> back · <kbd>W</kbd> both ways · <kbd>E</kbd> in between · <kbd>S</kbd> stop"
)
"""The keys of ``page.js``, as HTML."""


def choices(project: Project) -> list[tuple[str, int]]:
    """List the objects as the page shows them, with their ids."""
    listed = []
    for object_id, name in tuple(project.names.items()):
        shown = "(photograph)" if project.photographs.of(object_id) else ""
        listed.append((" ".join(filter(None, (str(object_id), name, shown))), object_id))
    return listed


def photograph_state(photographs: Sequence[Photograph]) -> str:
    """Write as HTML what the photographs of an object are good for, and what to do with the last one."""
    if not photographs:
        return "<p>A photograph from anywhere: the object is looked for in the video, without any mark there.</p>"
    last, others = photographs[-1], len(photographs) - 1
    more = f" With {others} more." if others else ""
    text = "Mark the object in it with the tools above, or upload its mask."
    if last.mask is not None:
        text = "The object is looked for from the frame that you track from."
    return f"<p><b>{html.escape(last.name)}</b>{more} {text}</p>"


def progress_line(text: str = "", share: float | None = None) -> str:
    """Write a line of text as HTML, after a bar if there is a share of the work (0 to 1)."""
    bar = "" if share is None else f"<progress max='1' value='{min(1.0, share):.4f}'></progress>"
    return f"{bar}<span>{html.escape(text)}</span>"


def frame_state(project: Project, index: int, time_s: float) -> str:
    """Write the number, time and kind of a frame as HTML, after a strip of the tracked and the marked frames."""
    frames = len(project.frames)
    kind = "marked" if index in project.hints else "tracked" if index in project.tracked else "no masks yet"
    spans = "".join(
        f"<i style='left:{100 * first / frames:.3f}%;width:{100 * (last + 1 - first) / frames:.3f}%'></i>"
        for first, last in _stretches(project.tracked)
    )
    marks = "".join(f"<b style='left:{100 * (at + 0.5) / frames:.3f}%'></b>" for at in tuple(project.hints))
    return f"<div class='strip'>{spans}{marks}</div><p>Frame {index} of 0–{frames - 1} · {time_s:.2f} s · {kind}</p>"


def _stretches(indices: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the first and last of each run of successive numbers; ``indices`` ascend."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = found[-1][0], index
        else:
            found.append((index, index))
    return found


def picture_css(height: int, width: int) -> str:
    """Write the CSS that shows the picture as large as the window allows, without bars and not enlarged further.

    So a click falls on the very pixel that is seen.
    """
    most = width * enlargement((height, width))
    return (
        f"#picture{{aspect-ratio:{width}/{height};max-width:min({most}px,calc((100vh - 110px)*{width / height:.5f}))}}"
    )


def colours_css() -> str:
    """Write the CSS of a dot in the overlay's colour before each object's name."""
    return "".join(
        f"#objects label:has(input[value='{each}'])::before{{background:rgb({red},{green},{blue})}}"
        for each, (red, green, blue) in enumerate(bright_palette().tolist())
        if each
    )
