"""``report.html`` of a DAVIS evaluation: one file with tables, curves and the worst frames. Used by ``vos-davis``."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import atomic_path, output_errors
from ..palette import davis_palette
from .annotations import Predictions, Truth
from .scoring import ObjectScore, scores_by_sequence

WORST = 5
"""Number of frames shown of each sequence."""

APART = 5
"""Least distance between two of them, in frames."""

PICTURE_WIDTH = 400
"""Width of a picture in pixels."""

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
svg { background: #fafafa; }
figure { display: inline-block; margin: 0 .5rem .5rem 0; }
figcaption { font-size: 13px; color: #555; }
"""


@dataclass(frozen=True)
class Shown:
    """What the report shows of a sequence.

    Attributes:
        pictures: files by the names of their frames; masks are shown on black where there is none.
        truth: its annotations.
        predictions: its results.
    """

    pictures: Mapping[str, Path]
    truth: Truth
    predictions: Predictions


def write_report(
    path: Path,
    title: str,
    totals: dict[str, float],
    scores: Iterable[ObjectScore],
    shown: Callable[[str], Shown],
) -> None:
    """Write the report.

    Args:
        path: the file.
        title: title of the page.
        totals: from :func:`vos.benchmarks.scoring.global_scores`.
        scores: scores of all objects.
        shown: gives the pictures and masks of a sequence by its name.

    Raises:
        OutputError: it cannot be written.
    """
    scores = list(scores)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1><p>First frames are left out; where all frames are annotated, last frames too.",
        table(list(totals), [[f"{value:.3f}" for value in totals.values()]]),
        table(
            ["object", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay"],
            [
                [
                    score.name,
                    *(f"{getattr(s, field):.3f}" for s in (score.j, score.f) for field in ("mean", "recall", "decay")),
                ]
                for score in scores
            ],
        ),
    ]
    for name, objects in scores_by_sequence(scores).items():
        parts += [f"<h2>{escape(name)}</h2>", _curves(objects), _worst_frames(objects, shown(name))]
    with output_errors(path), atomic_path(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def table(head: list[str], records: list[list[str]]) -> str:
    """Write a table in HTML; its cells are escaped."""

    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(record, "td") for record in records) + "</table>"


def _curves(objects: list[ObjectScore], width: int = 900, height: int = 140) -> str:
    """Draw J of each object over the frames, as SVG."""
    lines = [
        f'<line x1=0 x2={width} y1={height * (1 - level)} y2={height * (1 - level)} stroke="#ddd"/>'
        for level in (0.25, 0.5, 0.75)
    ]
    frames = _frames(objects)
    places = dict(zip(frames, np.linspace(0, width, len(frames)), strict=True))
    for score in objects:
        points = " ".join(
            f"{places[frame]:.1f},{height * (1 - y):.1f}" for frame, y in zip(score.frames, score.region, strict=True)
        )
        lines.append(f'<polyline points="{points}" fill=none stroke="{_colour(score.object_id)}" stroke-width=2 />')
    return f'<svg viewBox="0 -4 {width} {height + 8}" width={width} height={height + 8}>{"".join(lines)}</svg>'


def _frames(objects: list[ObjectScore]) -> tuple[str, ...]:
    """Names of the frames in which any object is scored: an object that joins later has the last of them."""
    return max((score.frames for score in objects), key=len)


def _colour(object_id: int) -> str:
    red, green, blue = davis_palette()[object_id]
    return f"rgb({red},{green},{blue})"


def _worst_frames(objects: list[ObjectScore], shown: Shown) -> str:
    """Show the frames with the lowest J as pictures, truth beside prediction."""
    frames = _frames(objects)
    worst = np.ones(len(frames))
    for score in objects:
        own = worst[len(frames) - len(score.frames) :]
        np.minimum(own, score.region, out=own)
    chosen: list[int] = []
    for index in np.argsort(worst, kind="stable"):
        if all(abs(index - other) >= APART for other in chosen):
            chosen.append(int(index))
        if len(chosen) == WORST:
            break
    figures = []
    for index in sorted(chosen):
        frame = frames[index]
        masks = (shown.truth.read(frame)[0], shown.predictions.read(frame))
        pair = [_overlay(shown.pictures.get(frame), labels) for labels in masks]
        figures.append(figure(np.hstack(pair), f"frame {frame}, J {worst[index]:.2f}: truth, prediction"))
    return "".join(figures)


def _overlay(picture: Path | None, labels: np.ndarray) -> np.ndarray:
    """Paint a frame's labels (H, W) over its picture, or over black, see :func:`painted`."""
    if picture is not None:
        with suppress(OSError, SyntaxError, ValueError), Image.open(picture) as opened:  # the mask is shown on black
            return painted(opened.convert("RGB"), labels)
    return painted(Image.new("RGB", labels.shape[::-1]), labels)


def painted(picture: Image.Image, labels: np.ndarray) -> np.ndarray:
    """Paint labels (H, W) over a picture in the DAVIS colours; (h, w, 3) uint8, ``PICTURE_WIDTH`` wide."""
    size = PICTURE_WIDTH, max(1, round(labels.shape[0] * PICTURE_WIDTH / labels.shape[1]))
    rgb = np.asarray(picture.resize(size), dtype=np.float32)
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    colours = davis_palette()[labels].astype(np.float32)
    return np.where((labels > 0)[..., None], 0.45 * rgb + 0.55 * colours, rgb).astype(np.uint8)


def figure(pixels: np.ndarray, caption: str) -> str:
    """Write a figure in HTML that holds its picture (h, w, 3) uint8."""
    picture = base64.b64encode(_jpeg(pixels)).decode()
    return (
        f'<figure><img width={pixels.shape[1]} src="data:image/jpeg;base64,{picture}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
