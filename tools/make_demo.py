"""Render the demo clip: a cat's head and a cup of coffee over a launch pad at dusk.

Three photographs that scikit-image has inside its wheel are cut out by hand-drawn outlines and
moved over each other, so that the true mask of every frame is known:

- ``rocket``: DSCOVR on Falcon 9, photographed by SpaceX, released into the public domain;
- ``chelsea``: the cat, CC0 by the photographer, Stefan van der Walt;
- ``coffee``: courtesy of Pikolo Espresso Bar, CC0 by the photographer, Rachel Michetti.

The cat (object 1) drifts to the right; the cup (object 2) flies to the left, in front of it. The
same options give the same files.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

SIZE = (360, 640)
"""(H, W) of the clip."""

FRAMES = 48
"""Number of frames."""

FPS = 24

CAT_TOP_PX = 48
"""Height of the mirrored fur above the photograph, which cuts the head off."""

CAT_OUTLINE = (
    *((40, 62), (44, 30), (50, 2), (57, -24), (64, -37), (72, -38), (86, -24), (104, -12), (122, -15)),
    *((143, -21), (170, -27), (205, -30), (240, -29), (270, -25), (298, -16), (318, -6), (340, -11)),
    *((362, -18), (378, -20), (388, -18), (393, -8), (391, 6), (387, 18), (379, 36), (370, 52), (360, 68)),
    *((353, 76), (357, 92), (361, 108), (362, 124), (361, 142), (357, 160), (350, 178), (342, 193)),
    *((330, 208), (320, 222), (314, 238), (306, 254), (296, 268), (284, 276), (268, 279), (250, 278)),
    *((230, 281), (205, 278), (185, 275), (165, 269), (145, 258), (128, 250), (112, 238), (98, 224)),
    *((84, 208), (72, 190), (62, 176), (52, 162), (44, 146), (38, 130), (34, 112), (34, 92)),
)
"""Polygon (x, y) of the cat's head in pixels of the photograph."""

SAUCER = (78, 67, 479, 389)
"""Box of the saucer's ellipse."""

CUP_RIM = (172, 17, 408, 209)
"""Box of the rim's ellipse."""

SPOON_END = ((396, 75), (402, 68), (414, 66), (423, 70), (425, 78), (420, 92), (413, 116), (398, 112))
"""Polygon (x, y) of the spoon's end."""


@dataclass(frozen=True)
class Cutout:
    """A photograph with soft transparency.

    Attributes:
        rgba: premultiplied (H, W, 4) float32 in [0, 1].
    """

    rgba: np.ndarray

    def placed(self, x: float, y: float, height_px: float, degrees: float) -> np.ndarray:
        """Place the cutout on an empty frame.

        Args:
            x: its centre, in pixels of the frame.
            y: the same.
            height_px: its height in the frame.
            degrees: its turn, clockwise.

        Returns:
            Premultiplied (H, W, 4) float32.
        """
        height, width = self.rgba.shape[:2]
        shrink = height / height_px
        source = _blurred(self.rgba, 0.45 * max(0.0, shrink - 1))
        cos, sin = math.cos(math.radians(degrees)) * shrink, math.sin(math.radians(degrees)) * shrink
        matrix = (
            *(cos, sin, width / 2 - cos * x - sin * y),
            *(-sin, cos, height / 2 + sin * x - cos * y),
        )
        channels = [
            Image.fromarray(channel).transform(SIZE[::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
            for channel in np.moveaxis(source, -1, 0)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 1)


def _blurred(values: np.ndarray, radius_px: float) -> np.ndarray:
    """Blur every channel of (H, W, C) float32 in [0, 1]; quantises to 8 bits on the way."""
    if radius_px <= 0:
        return values
    blur = ImageFilter.GaussianBlur(radius_px)
    channels = [
        np.asarray(Image.fromarray(np.uint8(channel * 255 + 0.5)).filter(blur))
        for channel in np.moveaxis(values, -1, 0)
    ]
    return np.stack(channels, axis=-1).astype(np.float32) / 255


def _cut(rgb: np.ndarray, draw_outline: Callable[[ImageDraw.ImageDraw, int], None], edge_px: float) -> Cutout:
    """Cut out the area that ``draw_outline(draw, scale)`` fills, with a soft edge, and crop to it."""
    scale = 4
    mask = Image.new("L", (rgb.shape[1] * scale, rgb.shape[0] * scale))
    draw_outline(ImageDraw.Draw(mask), scale)
    mask = mask.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(edge_px))
    alpha = np.asarray(mask, dtype=np.float32) / 255
    ys, xs = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    inside = np.s_[max(0, ys[0] - 2) : ys[-1] + 3, max(0, xs[0] - 2) : xs[-1] + 3]
    return Cutout(np.dstack([rgb / np.float32(255) * alpha[..., None], alpha])[inside].astype(np.float32))


def cat() -> Cutout:
    """Cut out the cat's head; mirrored fur fills in what the photograph cuts off at the top."""
    photo = data.chelsea()
    rgb = np.concatenate([photo[CAT_TOP_PX:0:-1], photo])

    def outline(draw: ImageDraw.ImageDraw, scale: int) -> None:
        draw.polygon([(x * scale, (y + CAT_TOP_PX) * scale) for x, y in CAT_OUTLINE], fill=255)

    return _cut(rgb, outline, 1.6)


def cup() -> Cutout:
    """Cut out the cup on its saucer, with the spoon."""

    def outline(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for box in (SAUCER, CUP_RIM):
            draw.ellipse([length * scale for length in box], fill=255)
        draw.polygon([(x * scale, y * scale) for x, y in SPOON_END], fill=255)

    return _cut(data.coffee(), outline, 1.0)


def background(time: float) -> np.ndarray:
    """Show the launch pad under a slow pan and zoom: (H, W, 3) float32 in [0, 1]; ``time`` in [0, 1]."""
    photo = Image.fromarray(data.rocket()[:424])
    height, width = SIZE
    zoom = 1.04 + 0.12 * _eased(time)
    crop_width, crop_height = photo.width / zoom, photo.width / zoom * height / width
    left = (photo.width - crop_width) * (0.2 + 0.6 * time)
    top = (photo.height - crop_height) * (0.9 - 0.3 * time)
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC, box=box), dtype=np.float32) / 255


def _eased(time: float) -> float:
    """Ease from 0 to 1, with a soft start and end."""
    return time * time * (3 - 2 * time)


def frames(count: int = FRAMES) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (H, W, 3) uint8 RGB and (H, W) uint8 true labels of each frame."""
    head, drink = cat(), cup()
    for index in range(count):
        time = index / max(1, count - 1)
        layers = [
            head.placed(
                x=195 + 215 * _eased(time),
                y=190 + 16 * math.sin(2 * math.pi * time),
                height_px=205 + 30 * math.sin(math.pi * time),
                degrees=-9 + 16 * math.sin(1.5 * math.pi * time),
            ),
            drink.placed(
                x=535 - 420 * time,
                y=250 - 40 * math.sin(math.pi * time),
                height_px=118 + 34 * time,
                degrees=14 * math.cos(2 * math.pi * time),
            ),
        ]
        yield composed(background(time), list(enumerate(layers, start=1)))


def composed(rgb: np.ndarray, layers: Iterable[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Put placed cutouts over each other.

    Args:
        rgb: what is behind them, (H, W, 3) float32 in [0, 1].
        layers: of each its number in the labels, 0 for one that nobody follows, and what :meth:`Cutout.placed` gave;
            the last is in front.

    Returns:
        (H, W, 3) uint8 and the labels (H, W) uint8.
    """
    labels = np.zeros(SIZE, np.uint8)
    for number, layer in layers:
        rgb = layer[..., :3] + rgb * (1 - layer[..., 3:])
        labels[layer[..., 3] >= 0.5] = number
    return np.uint8(rgb.clip(0, 1) * 255 + 0.5), labels


def save_labels(path: Path, labels: np.ndarray) -> None:
    """Save (H, W) uint8 labels as an indexed PNG with the DAVIS palette."""
    from vos.palette import davis_palette

    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    image.save(path)


def render(folder: Path, count: int = FRAMES, truth: Path | None = None) -> None:
    """Write ``clip.mp4`` and ``first_mask.png`` into ``folder``.

    Args:
        folder: folder to write to; created if need be.
        count: number of frames in which the objects take their whole path.
        truth: folder for the true masks of all frames, ``00000.png`` and so on.
    """
    for target in (folder, truth):
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "medium", "threads": "1"}
        stream.codec_context.time_base = Fraction(1, FPS)
        for index, (rgb, labels) in enumerate(frames(count)):
            if index == 0:
                save_labels(folder / "first_mask.png", labels)
            if truth is not None:
                save_labels(truth / f"{index:05d}.png", labels)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where clip.mp4 and first_mask.png are written")
    parser.add_argument("--frames", type=int, default=FRAMES, help="number of frames (default: %(default)s)")
    parser.add_argument("--truth", type=Path, help="also write the true masks of all frames to this folder")
    options = parser.parse_args()
    if options.frames < 1:
        parser.error("--frames must be at least 1")
    render(options.folder, options.frames, options.truth)
    print(f"{options.folder / 'clip.mp4'}: {options.frames} frames; first mask: {options.folder / 'first_mask.png'}")


if __name__ == "__main__":
    main()
