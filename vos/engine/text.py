"""Objects named in words: an open-vocabulary detector finds their boxes, from which the segmenter makes the first mask.

:func:`vos.track` and the command turn words into :class:`~vos.structures.Hint` boxes here, and go on as with ``--box``.
The detector is Grounding DINO by ``transformers``; it is loaded for one frame and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, WeightsError, parameter
from ..geometry import PIXEL_MEAN, PIXEL_STD, Geometry
from ..readers.backwards import walk_back
from ..readers.source import IndexedSource, SeekableSource, SourceReader
from ..regions import Region
from ..structures import MAX_OBJECT_ID, Frame, Hint
from ..weights import pretrained
from ..weights.configuration import model_type_of
from .device import pick_device

TEXT_MODEL = "IDEA-Research/grounding-dino-tiny"
"""Weights of the detector, when none are named."""

TEXT_THRESHOLD = 0.35
"""Least score of a box that becomes an object."""

SAME_OBJECT = 0.7
"""Overlap of two boxes (IoU) above which they are of one object."""

SHORT_SIDE, LONG_SIDE = 800, 1333
"""Pixels of the detector's input: the short side, unless the long one would be longer than this."""

FAMILIES = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}
"""Types of models as their configurations name them, and the library's classes."""

FULL_STOP = [101, 1012, 102]
"""Tokens of a full stop alone, by whose numbers the model knows where a phrase ends."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in frame pixels, inclusive."""


@dataclass(frozen=True)
class Words:
    """Says in words which objects to follow.

    Attributes:
        phrases: what to look for; each may be found several times.
        threshold: least score of a box that becomes an object, in (0, 1).
        weights: of the detector: a hub name or a folder.
    """

    phrases: tuple[str, ...]
    threshold: float = TEXT_THRESHOLD
    weights: str = field(default=TEXT_MODEL)

    @classmethod
    def of(cls, text: str | Sequence[str], threshold: float | None = None, weights: str | None = None) -> Words:
        """Check and make one.

        Args:
            text: one phrase, or several.
            threshold: None for the default.
            weights: None for the default.

        Raises:
            InputError: a phrase is empty, or the threshold is out of range.
        """
        phrases = (text,) if isinstance(text, str) else tuple(text)
        threshold = TEXT_THRESHOLD if threshold is None else threshold
        if not phrases or not all(phrase.strip(" .") for phrase in phrases):
            raise InputError(f"{parameter('text')}: say in words what to follow, such as 'the brown dog'")
        if not 0 < threshold < 1:
            raise InputError(f"{parameter('text_threshold', threshold)}: must lie between 0 and 1")
        return cls(phrases, threshold, weights or TEXT_MODEL)


def hints_in_source(
    reader: SourceReader,
    index: int,
    words: str | Sequence[str] | Words,
    device: str = "auto",
    given: object = None,
) -> list[Hint]:
    """Find the objects that are named on a frame of a source, before it is followed.

    Args:
        reader: of a video file, a folder or a sequence of frames.
        index: of the frame.
        words: what to look for.
        device: see :func:`vos.open_session`.
        given: a first mask, if there is one: it does not go with words.

    Raises:
        InputError: there are words and a mask, the frame cannot be read by itself, or a phrase names nothing there.
        WeightsError: the detector's weights are missing or do not fit.
    """
    if given is not None:
        raise InputError(f"{parameter('text')} and {parameter('first_mask')} both say what to follow; give one of them")
    if not isinstance(reader.source, (IndexedSource, SeekableSource)):
        raise InputError(
            f"{reader.name}: can be read forwards only, like all that is live and all that decord reads; "
            f"{parameter('text')} needs a file or a folder, and {parameter('reader', 'pyav')}"
        )
    words = words if isinstance(words, Words) else Words.of(words)
    with closing(walk_back(reader, index, group=1)) as frames:
        return hints_of_words(next(frames), words, pick_device(device))


class Detector(Protocol):
    """Finds what a phrase names."""

    def detect(self, rgb: np.ndarray, phrase: str) -> tuple[Tensor, Tensor]:
        """Look for a phrase in a frame (H, W, 3) uint8.

        Returns:
            Boxes (N, 4) as x0, y0, x1, y1 in frame pixels, inclusive, and scores (N,) in [0, 1], in any order.
        """
        ...


def hints_of_words(frame: Frame, words: Words, device: torch.device, detector: Detector | None = None) -> list[Hint]:
    """Find the objects that are named, as a box for each.

    Objects are numbered in the order of the phrases, and for each phrase from the best score down. Of boxes that
    overlap by more than :data:`SAME_OBJECT` only the best is taken, whatever phrases they are of.

    Args:
        frame: the frame.
        words: what to look for.
        device: where the detector runs.
        detector: finds the boxes; None: Grounding DINO with the weights of ``words``.

    Raises:
        InputError: a phrase names nothing that is seen, or too many objects are found.
        WeightsError: the detector's weights are missing or do not fit.
    """
    detector = detector or GroundingDino.load(words.weights, device)
    found: list[tuple[float, int, Box]] = []  # score, index of the phrase, box
    for index, phrase in enumerate(words.phrases):
        boxes, scores = (each.cpu() for each in detector.detect(frame.rgb, phrase))
        best = float(scores.max()) if len(scores) else 0.0
        if best < words.threshold:
            raise InputError(
                f"{parameter('text')} {phrase!r}: nothing on frame {frame.index} is surely that: the best of it scores "
                f"{best:.2f}; lower {parameter('text_threshold')} ({words.threshold:g}), or give a box"
            )
        found += [
            (score, index, (box[0], box[1], box[2], box[3]))
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
            if score >= words.threshold
        ]
    kept: list[tuple[float, int, Box]] = []
    for one in sorted(found, key=lambda each: -each[0]):
        if all(overlap(one[2], other[2]) <= SAME_OBJECT for other in kept):
            kept.append(one)
    if len(kept) > MAX_OBJECT_ID:
        raise InputError(
            f"{parameter('text')}: {len(kept)} objects are found, but at most {MAX_OBJECT_ID} can be followed; "
            f"raise {parameter('text_threshold')}"
        )
    kept.sort(key=lambda each: (each[1], -each[0]))
    return [Hint(box=box) for _, _, box in kept]


def overlap(one: Box, other: Box) -> float:
    """Compute the intersection over union of two boxes, inclusive."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return shared / (sum(areas) - shared)


class GroundingDino:
    """Grounding DINO with the modules of ``transformers``. See :class:`Detector`.

    Args:
        model: of a class of :data:`FAMILIES`.
        tokenizer: of its text encoder.
        device: the device to run on; the precision is float32.
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device) -> None:
        self._model = model.to(device=device, dtype=torch.float32).eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._device = device

    @classmethod
    def load(cls, name: str, device: torch.device) -> GroundingDino:
        """Load by hub name or folder.

        Raises:
            WeightsError: not found, or of another kind.
        """
        instead = "or give the objects by a mask, a box or points"
        kind = model_type_of(name, "text_model", instead=instead)
        if kind not in FAMILIES:
            raise WeightsError(
                f"{name}: holds a model of type {kind}, which finds no objects by words; "
                f"pass {parameter('text_model', 'FOLDER')} with Grounding DINO"
            )
        import transformers

        model = pretrained(getattr(transformers, FAMILIES[kind]), name, "text_model", instead=instead)
        problem = f"{name}: its tokenizer is missing or damaged; download it with the weights"
        try:
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
            numbers = tokenizer(".")["input_ids"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(problem) from error
        if numbers != FULL_STOP:
            raise WeightsError(problem)
        return cls(model, tokenizer, device)

    @torch.inference_mode()
    def detect(self, rgb: np.ndarray, phrase: str) -> tuple[Tensor, Tensor]:
        height, width = rgb.shape[:2]
        text = self._tokenizer([phrase.strip().rstrip(".").lower() + "."], return_tensors="pt")
        tokens = {key: value.to(self._device) for key, value in text.items()}
        output = self._model(pixel_values=self._pixels(rgb), **tokens)
        centre, size = output.pred_boxes[0].split(2, dim=1)
        corners = torch.cat([centre - size / 2, centre + size / 2], dim=1)
        boxes = corners * corners.new_tensor([width, height, width, height]) - corners.new_tensor([0, 0, 1, 1])
        return boxes, output.logits[0].sigmoid().amax(dim=1)

    def _pixels(self, rgb: np.ndarray) -> Tensor:
        """Make the input of a frame, (1, 3, H', W')."""
        height, width = rgb.shape[:2]
        short = min(SHORT_SIDE, LONG_SIDE * min(height, width) / max(height, width))
        size = (
            (round(short), int(short * width / height))
            if height < width
            else (int(short * height / width), round(short))
        )
        geometry = Geometry((height, width), Region(0, 0, width, height), size, size, stride=1)
        image = torch.tensor(geometry.resize(rgb), device=self._device)
        mean, deviation = torch.tensor(PIXEL_MEAN, device=self._device), torch.tensor(PIXEL_STD, device=self._device)
        return ((image - mean) / deviation).permute(2, 0, 1)[None]
