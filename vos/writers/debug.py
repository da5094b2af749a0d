"""Writes ``debug/00000.png`` and so on, named as masks are: what each decision was based on, one strip per object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files import frame_png, make_folder, save_png
from ..palette import davis_palette
from ..structures import Explanation, Result, Tracked
from .drawing import draw_overlay

TILE = 320
"""Width of a tile, pixels."""

MOST_OBJECTS = 12
"""Largest number of strips in a picture; further objects are left out."""

_POINTS = {1: (40, 255, 40), 0: (255, 40, 40)}
"""Colours of the points by their prompt label, RGB; padding (-1) is not drawn."""

_CAPTION = 18
"""Height of a tile's caption, pixels."""


class DebugWriter:
    """Writes one picture per frame: the result with its prompts, the confidence map S and the first decoding's masks.

    Green points are positive, red ones negative, the white rectangle is the prompted box. The masks are shown as
    probabilities, with their predicted IoU and, for PerSAM-F, their weight.

    Args:
        folder: where the pictures go; made if need be.
        every: draw every so-many-th frame.

    Raises:
        OutputError: the folder cannot be made.
    """

    file_per_frame = True

    def __init__(self, folder: Path, every: int = 1) -> None:
        self._folder = folder
        self._every = every
        make_folder(folder)

    def write(self, result: Result) -> None:
        """Draw one frame, if its tracker gave an explanation; the first frame has none.

        Raises:
            OutputError: the picture cannot be written.
        """
        tracked = result.tracked
        if tracked is None or tracked.explanation is None or result.frame.index % self._every:
            return
        path = frame_png(self._folder, result.frame.index, result.frame.name)
        save_png(draw(result, tracked, tracked.explanation), path)

    def close(self) -> None:
        """Do nothing: no file is open between frames."""


@torch.inference_mode()
def draw(result: Result, tracked: Tracked, explanation: Explanation) -> Image.Image:
    """Draw the picture of one frame from its result and what the tracker gave for it."""
    count = min(len(result.object_ids), MOST_OBJECTS)
    return Image.fromarray(np.vstack([_strip(result, tracked, explanation, row) for row in range(count)]))


def _strip(result: Result, tracked: Tracked, explanation: Explanation, row: int) -> np.ndarray:
    """Draw the tiles of one object side by side, (h, w, 3) uint8."""
    rgb, object_id = result.frame.rgb, result.object_ids[row]
    own = np.where(result.labels == object_id, result.labels, 0).astype(np.uint8)
    overlay = draw_overlay(rgb, own, [object_id], result.boxes[row : row + 1])
    tiles = [
        _with_prompts(overlay, explanation, row, f"object {object_id}: score {result.scores[row]:.2f}"),
        _confidence(explanation, row),
    ]
    for scale in range(explanation.masks.low_res_logits.shape[1]):
        logits = explanation.masks.low_res_logits[row : row + 1, scale]
        geometry = explanation.geometry or tracked.geometry
        full = logits if geometry is None else geometry.upsample(logits)
        caption = f"mask {scale + 1}: IoU {float(explanation.masks.scores[row, scale]):.2f}"
        if explanation.weights is not None:
            caption += f", weight {float(explanation.weights[row, scale]):.2f}"
        tiles.append(_captioned(_tinted(rgb, full[0].sigmoid(), davis_palette()[object_id]), caption))
    return np.hstack(tiles)


def _with_prompts(picture: np.ndarray, explanation: Explanation, row: int, caption: str) -> np.ndarray:
    """Draw an object's prompted points and box over the frame, as a tile."""
    scale = TILE / picture.shape[1]
    image = Image.fromarray(_small(picture))
    pen = ImageDraw.Draw(image)
    prompts = explanation.prompts
    if prompts.boxes is not None:
        pen.rectangle([float(edge) * scale for edge in prompts.boxes[row]], outline=(255, 255, 255))
    for (x, y), label in zip(prompts.points[row].tolist(), prompts.point_labels[row].tolist(), strict=True):
        if label in _POINTS:
            disc = [x * scale - 3, y * scale - 3, x * scale + 3, y * scale + 3]
            pen.ellipse(disc, fill=_POINTS[label], outline=(0, 0, 0))
    return _captioned(np.asarray(image), caption)


def _confidence(explanation: Explanation, row: int) -> np.ndarray:
    """Draw S (eq. 6) as a tile, from dark blue at its minimum to yellow at its maximum; grey outside the region."""
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
    """Tint the darkened frame by a probability map (H, W), at the size of a tile."""
    share = probability.float().cpu().numpy()[..., None] * 0.75
    return _small((rgb // 2 * (1 - share) + colour * share).astype(np.uint8))


def _small(picture: np.ndarray) -> np.ndarray:
    """Resize a picture to the width of a tile."""
    height = max(1, round(picture.shape[0] * TILE / picture.shape[1]))
    return np.asarray(Image.fromarray(picture).resize((TILE, height), Image.Resampling.BILINEAR))


def _captioned(tile: np.ndarray, text: str) -> np.ndarray:
    """Put a line of text above a tile."""
    image = Image.new("RGB", (TILE, tile.shape[0] + _CAPTION), (20, 20, 20))
    image.paste(Image.fromarray(tile), (0, _CAPTION))
    ImageDraw.Draw(image).text((4, 2), text, font=ImageFont.load_default(12), fill=(235, 235, 235))
    return np.asarray(image)
