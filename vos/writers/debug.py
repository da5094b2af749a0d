"""Writes ``debug/00000.png`` …: what each decision was made of, one row per object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files import output_errors, save_png
from ..palette import davis_palette
from ..structures import Explanation, Result
from .drawing import draw_overlay

TILE = 320
"""Width of a tile, pixels."""

MOST_OBJECTS = 12
"""Rows of a picture; further objects are left out."""

_POINTS = {1: (40, 255, 40), 0: (255, 40, 40)}
_CAPTION = 18  # pixels


class DebugWriter:
    """One picture per frame: result and prompts, confidence map S, the first pass's masks.

    Green points are positive, red ones negative, the white rectangle is the prompted box. The masks are
    shown as probabilities, with their predicted IoU and, for PerSAM-F, their weight.

    Args:
        folder: where the pictures go.
        every: only each so-many-th frame.
    """

    file_per_frame = True

    def __init__(self, folder: Path, every: int = 1) -> None:
        self._folder = folder
        self._every = every
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """Draw one frame; the first has no decision to show, nor has a tracker without explanations.

        Raises:
            OutputError: the picture cannot be written.
        """
        explanation = result.tracked and result.tracked.explanation
        if explanation is None or result.frame.index % self._every:
            return
        picture = draw(result, explanation)
        save_png(picture, self._folder / f"{result.frame.index:05d}.png")

    def close(self) -> None:
        """Nothing is open between frames."""


@torch.inference_mode()
def draw(result: Result, explanation: Explanation) -> Image.Image:
    """The picture of one frame."""
    rows = [_row(result, explanation, row) for row in range(min(len(result.object_ids), MOST_OBJECTS))]
    return Image.fromarray(np.vstack(rows))


def _row(result: Result, explanation: Explanation, row: int) -> np.ndarray:
    rgb, object_id, tracked = result.frame.rgb, result.object_ids[row], result.tracked
    own = np.where(result.labels == object_id, result.labels, 0).astype(np.uint8)
    shown = draw_overlay(rgb, own, [object_id], result.boxes[row : row + 1])
    tiles = [
        _with_prompts(shown, explanation, row, f"object {object_id}: score {result.scores[row]:.2f}"),
        _confidence(explanation, row),
    ]
    for scale in range(explanation.masks.low_res_logits.shape[1]):
        logits = explanation.masks.low_res_logits[row : row + 1, scale]
        full = logits if tracked.geometry is None else tracked.geometry.upsample(logits)
        caption = f"mask {scale + 1}: IoU {float(explanation.masks.scores[row, scale]):.2f}"
        if explanation.weights is not None:
            caption += f", weight {float(explanation.weights[row, scale]):.2f}"
        tiles.append(_captioned(_tinted(rgb, full[0].sigmoid(), davis_palette()[object_id]), caption))
    return np.hstack(tiles)


def _with_prompts(picture: np.ndarray, explanation: Explanation, row: int, caption: str) -> np.ndarray:
    """The frame with the points and the box that were prompted."""
    scale = TILE / picture.shape[1]
    image = Image.fromarray(_small(picture))
    pen = ImageDraw.Draw(image)
    prompts = explanation.prompts
    if prompts.boxes is not None:
        pen.rectangle([float(edge) * scale for edge in prompts.boxes[row]], outline=(255, 255, 255))
    for (x, y), label in zip(prompts.points[row].tolist(), prompts.point_labels[row].tolist(), strict=True):
        if label in _POINTS:
            at = [x * scale - 3, y * scale - 3, x * scale + 3, y * scale + 3]
            pen.ellipse(at, fill=_POINTS[label], outline=(0, 0, 0))
    return _captioned(np.asarray(image), caption)


def _confidence(explanation: Explanation, row: int) -> np.ndarray:
    """S from its smallest value, dark blue, to its largest, yellow; grey where nothing was encoded."""
    geometry = explanation.prior_geometry
    part = geometry.upsample_region(explanation.confidence[row : row + 1])[0].float().cpu().numpy()
    low, high = float(part.min()), float(part.max())
    share = ((part - low) / max(high - low, 1e-6))[..., None]
    height, width = geometry.frame_size
    picture = np.full((height, width, 3), 110, np.uint8)
    region = geometry.region
    inside = np.s_[region.top : region.top + region.height, region.left : region.left + region.width]
    picture[inside] = np.concatenate([255 * share, 40 + 200 * share**1.5, 120 * (1 - share)], axis=2).astype(np.uint8)
    return _captioned(_small(picture), f"confidence: {low:.2f} to {high:.2f}")


def _tinted(rgb: np.ndarray, probability: Tensor, colour: np.ndarray) -> np.ndarray:
    share = probability.float().cpu().numpy()[..., None] * 0.75
    return _small((rgb // 2 * (1 - share) + colour * share).astype(np.uint8))


def _small(picture: np.ndarray) -> np.ndarray:
    height = max(1, round(picture.shape[0] * TILE / picture.shape[1]))
    return np.asarray(Image.fromarray(picture).resize((TILE, height), Image.Resampling.BILINEAR))


def _captioned(tile: np.ndarray, text: str) -> np.ndarray:
    if tile.shape[1] != TILE:
        tile = _small(tile)
    image = Image.new("RGB", (TILE, tile.shape[0] + _CAPTION), (20, 20, 20))
    image.paste(Image.fromarray(tile), (0, _CAPTION))
    ImageDraw.Draw(image).text((4, 2), text, font=ImageFont.load_default(12), fill=(235, 235, 235))
    return np.asarray(image)
