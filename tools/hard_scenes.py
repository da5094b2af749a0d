"""Follow the demo's cat and cup through scenes of the kinds that are hard, and show what became of them.

    python tools/hard_scenes.py [--tracker persam] [--model lite] [--sheet docs/hard-scenes.jpg]

Each scene has one difficulty that people meet in clips of their own: another thing that looks alike, a first mask from
a box, a thing that is held, the border of the frame, specks that look alike, a tiny object, a worn first mask. The
pictures are those of ``make_demo.py``, so the true mask of every frame is known. Prints J of each scene as a Markdown
table; the sheet has a line for each, with the frame that it begins with, the worst one and the last one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_demo import FPS, FRAMES, SIZE, background, cat, composed, cup
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

import vos
from vos.benchmarks.scoring import region
from vos.boxes import tight_box
from vos.structures import FirstMask, Frame, Hint, Result
from vos.writers.drawing import draw_overlay

WORN_PX = 6
"""Pixels by which the worn first mask is too small: 8 in a frame of 854 x 480."""

LATE = 0.25
"""Share of a scene's frames, up to the last, of which the table has a mean of its own."""

SHOWN_PX = 320
"""Width of a frame on the sheet."""

Layers = list[tuple[int, np.ndarray]]
"""Of each cutout its number and what :meth:`make_demo.Cutout.placed` gives, the hindmost first."""


@dataclass(frozen=True)
class Scene:
    """One kind of difficulty.

    Attributes:
        name: what is hard.
        layers: gives what is to be seen at a time in [0, 1].
        first: how the first mask is made from the true one: as it is, from the box around it, or worn.
    """

    name: str
    layers: Callable[[float], Layers]
    first: str = "true"

    def frames(self, count: int) -> Iterator[tuple[Frame, np.ndarray]]:
        """Yield so many frames and their true labels (H, W) uint8."""
        for index in range(count):
            time = index / max(1, count - 1)
            rgb, labels = composed(background(time), self.layers(time))
            yield Frame(index, index / FPS, rgb), labels


@dataclass(frozen=True)
class Outcome:
    """What became of a scene.

    Attributes:
        results: of all frames.
        scores: J of each frame, the mean over the objects.
    """

    results: list[Result]
    scores: np.ndarray

    def late(self) -> float:
        """Average J over the last frames."""
        return float(self.scores[-max(1, round(LATE * len(self.scores))) :].mean())


def scenes() -> list[Scene]:
    """List the scenes."""
    head, drink = cat(), cup()

    def swing(time: float, reach: float) -> float:
        return reach * math.sin(math.pi * time)

    def one_of_two(time: float) -> Layers:
        return [(1, drink.placed(130 + 380 * time, 185, 110, 0)), (0, drink.placed(510 - 380 * time, 215, 110, 0))]

    def one_of_two_out_of_hiding(time: float) -> Layers:
        return [
            (0, head.placed(320 - 240 * time, 185, 120, 12)),
            (1, head.placed(320 + 150 * time, 190, 150, 5 * time)),
        ]

    def two_of_two(time: float) -> Layers:
        return [
            (1, drink.placed(200 + swing(time, 56), 200, 110, 0)),
            (2, drink.placed(440 - swing(time, 56), 200, 110, 0)),
        ]

    def alone(time: float) -> Layers:
        return [(1, drink.placed(220 + 200 * time, 210 + swing(time, 30), 130, 20 * time))]

    def held(time: float) -> Layers:
        x, y = 200 + 230 * time, 175 + swing(2 * time, 20)
        return [(0, head.placed(x, y, 230, 8 * time)), (1, drink.placed(x + 10, y + 75, 90, 8 * time))]

    def border(time: float) -> Layers:
        return [(1, head.placed(430 + swing(time, 190), 190, 300, 0))]

    def specks(time: float) -> Layers:
        places = ((60, 60), (150, 300), (330, 50), (480, 90), (590, 220), (560, 320), (380, 320))
        small: Layers = [(0, drink.placed(x, y, 22, 0)) for x, y in places]
        return [*small, *alone(time)]

    def tiny(time: float) -> Layers:
        return [(1, drink.placed(100 + 440 * time, 120 + swing(2 * time, 60), 7, 0))]

    def worn(time: float) -> Layers:
        return [(1, head.placed(250 + 140 * time, 190, 220, 10 * time))]

    return [
        Scene("another one that looks alike passes in front", one_of_two),
        Scene("another one that looks alike comes out from behind", one_of_two_out_of_hiding),
        Scene("two that look alike meet", two_of_two),
        Scene("first mask from a box around a shiny thing", alone, "box"),
        Scene("held by another", held),
        Scene("large, half out of the frame for a while", border),
        Scene("specks that look alike", specks),
        Scene("tiny: 7 pixels high", tiny),
        Scene(f"first mask {WORN_PX} pixels too small", worn, "worn"),
    ]


def followed(scene: Scene, session: vos.Session, count: int) -> Outcome:
    """Follow the objects of a scene through so many frames."""
    results, scores = [], []
    for frame, truth in scene.frames(count):
        if not results:
            numbers = np.unique(truth[truth > 0]).tolist()
            results.append(session.start(frame, first_mask(scene, session, frame, truth)))
        else:
            results.append(session.step(frame))
        labels = results[-1].labels
        scores.append(np.mean([region(labels == number, truth == number) for number in numbers]))
    return Outcome(results, np.array(scores))


def first_mask(scene: Scene, session: vos.Session, frame: Frame, truth: np.ndarray) -> FirstMask | np.ndarray:
    """Make the first mask of a scene."""
    if scene.first == "box":
        box = tight_box(truth > 0)
        assert box is not None
        return session.segment(frame, [Hint(box)])
    if scene.first == "worn":
        return truth * ndimage.binary_erosion(truth > 0, iterations=WORN_PX)
    return truth


def line_of(scene: Scene, outcome: Outcome) -> Image.Image:
    """Draw the first, the worst and the last frame of a scene beside each other, under its name."""
    chosen = (0, int(outcome.scores.argmin()), len(outcome.scores) - 1)
    height = round(SHOWN_PX * SIZE[0] / SIZE[1])
    font = ImageFont.load_default(15)
    line = Image.new("RGB", (3 * SHOWN_PX + 8, height + 30), "white")
    draw = ImageDraw.Draw(line)
    draw.text((2, 3), scene.name, "black", font)
    for place, index in enumerate(chosen):
        result = outcome.results[index]
        drawn = draw_overlay(result.frame.rgb, result.labels, result.object_ids, result.boxes)
        left = place * (SHOWN_PX + 4)
        line.paste(Image.fromarray(drawn).resize((SHOWN_PX, height), Image.Resampling.BOX), (left, 24))
        text = f"frame {index}: J {outcome.scores[index]:.2f}"
        draw.text((left + 4, height + 26), text, "white", font, anchor="lb", stroke_width=2, stroke_fill="black")
    return line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracker", default="persam", help="(default: %(default)s)")
    parser.add_argument("--model", default="lite", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each scene (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, help="file of the pictures")
    options = parser.parse_args(arguments)
    lines = []
    print("| scene | J | of the last quarter | of the worst frame |\n|---|---|---|---|")
    for scene in scenes():
        with vos.open_session(tracker=options.tracker, model=options.model) as session:
            outcome = followed(scene, session, options.frames)
        worst = outcome.scores.min()
        print(f"| {scene.name} | {outcome.scores.mean():.3f} | {outcome.late():.3f} | {worst:.3f} |", flush=True)
        lines.append(line_of(scene, outcome))
    if options.sheet:
        sheet = Image.new("RGB", (lines[0].width, sum(line.height for line in lines)), "white")
        top = 0
        for line in lines:
            sheet.paste(line, (0, top))
            top += line.height
        sheet.save(options.sheet)


if __name__ == "__main__":
    main()
