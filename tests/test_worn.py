"""``vos.trackers.persam.worn``: given masks that are too small or too large all round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vos import hinted
from vos.benchmarks.scoring import dilate
from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.interfaces import FrameContext, Seconds
from vos.segmenters.lite import LiteSegmenter
from vos.segmenters.sam import SamSegmenter
from vos.structures import FirstMask, Frame
from vos.testing.clip import clip, discs
from vos.trackers.persam import PerSAM, PerSamOptions, tracker, worn

HEIGHT, WIDTH = 240, 320


def blob(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A disc with a bar across it, (H, W) bool."""
    lines, columns = np.ogrid[:height, :width]
    disc = (lines - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 5) ** 2
    bar = (abs(lines - height / 2) < height / 12) & (abs(columns - width / 2) < width / 3)
    return disc | bar


def eroded(mask: np.ndarray, pixels: int) -> np.ndarray:
    return ~dilate(~mask, pixels)


@pytest.mark.parametrize("pixels", [3, 8, 12])
def test_wear_is_measured(pixels: int) -> None:
    assert worn.wear(blob(), blob()) == (0, 0)
    smaller, larger = worn.wear(eroded(blob(), pixels), blob()), worn.wear(dilate(blob(), pixels), blob())
    assert smaller[0] == pytest.approx(pixels, abs=1) and larger[0] == pytest.approx(-pixels, abs=1)
    assert min(smaller[1], larger[1]) > 0.8


def test_other_differences_are_no_wear() -> None:
    half = blob()
    half[:, WIDTH // 2 :] = False
    lattice = blob()
    lattice[::3] = False
    pixels, explained = worn.wear(half, blob())
    assert pixels < worn.LEAST or explained < worn.TOO_SMALL
    pixels, explained = worn.wear(lattice, blob())
    assert pixels < worn.LEAST or explained < worn.TOO_SMALL
    nothing, everything = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    assert worn.wear(blob(), nothing) == worn.wear(nothing, blob()) == worn.wear(blob(), everything) == (0, 0)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """What is decoded from any box is the blob; the boxes, one for each look."""
    boxes: list[tuple[float, ...]] = []

    class Blob:
        def __init__(self, context: FrameContext, hint: object, **_: object) -> None:
            boxes.append(hint.box)
            self._size = context.frame.size

        def logits(self) -> Tensor:
            return torch.tensor(np.where(blob(*self._size), 5.0, -5.0))

    for module in (worn, hinted):
        monkeypatch.setattr(module, "HintedObject", Blob)
    return boxes


def context(lite: LiteSegmenter, height: int = HEIGHT, width: int = WIDTH) -> FrameContext:
    frame = Frame(0, 0.0, np.zeros((height, width, 3), np.uint8))
    return FrameContext(frame, lite, SameEncoder(), Seconds())


def mended(context: FrameContext, labels: np.ndarray) -> np.ndarray:
    ids = tuple(np.unique(labels[labels > 0]).tolist())
    return worn.mended(context, FirstMask(labels.astype(np.uint8), ids)).numpy()


def test_a_worn_mask_is_mended_and_that_is_said(
    lite: LiteSegmenter, looks: list[tuple[float, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    labels = 7 * eroded(blob(), 6)
    assert np.array_equal(mended(context(lite), labels)[0], blob())
    assert len(looks) == 9 and looks[0] in looks[1:]  # a quick look, then several from near by, and at parts
    assert "object 7: its mask is about 6 pixels too small all round" in caplog.text
    larger = dilate(blob(480, 640), 12)
    assert np.array_equal(mended(context(lite, 480, 640), larger)[0], blob(480, 640))
    caplog.clear()
    larger = dilate(blob(960, 1280), 16)
    assert np.array_equal(mended(context(lite, 960, 1280), larger)[0], blob(960, 1280))
    assert "16 pixels too large" in caplog.text


def test_what_is_meant_stays(lite: LiteSegmenter, looks: list[tuple[float, ...]]) -> None:
    assert np.array_equal(mended(context(lite), blob())[0], blob())
    assert len(looks) == 1  # further looks are saved
    part = blob()
    part[:, WIDTH // 2 :] = False
    assert np.array_equal(mended(context(lite), part)[0], part)
    few = np.zeros((HEIGHT, WIDTH), bool)
    few[100:110, 100:110] = True
    looks.clear()
    assert np.array_equal(mended(context(lite), few)[0], few) and not looks


def test_no_object_gets_pixels_of_another(lite: LiteSegmenter, looks: list[tuple[float, ...]]) -> None:
    labels = eroded(blob(), 6).astype(np.uint8)
    rim = blob() & (labels == 0)
    labels[rim & (np.arange(WIDTH) < 60)] = 2
    one, _ = mended(context(lite), labels)
    assert np.array_equal(one, blob() & (labels != 2))


@pytest.mark.parametrize(
    ("options", "mends"),
    [(PerSamOptions(), True), (PerSamOptions(mend=False), False), (PerSamOptions.published(), False)],
)
def test_it_is_an_option(
    options: PerSamOptions, mends: bool, lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    first_mask, frame = discs(2, (HEIGHT, WIDTH)), next(clip((HEIGHT, WIDTH)))
    given = torch.tensor(first_mask.masks())

    def one_pixel_less(context: FrameContext, mask: FirstMask) -> Tensor:
        asked.append(mask)
        return given & given.roll(1, 2)

    monkeypatch.setattr(tracker, "mended", one_pixel_less)
    session = Session(PerSAM(options), lite, SameEncoder())
    shown = session.start(frame, first_mask)
    assert np.array_equal(shown.labels, first_mask.labels)  # the first frame shows what was given
    assert asked == [first_mask] * mends
    learned = session.tracker.objects.usual_area
    assert ((learned < given.flatten(1).sum(1)) == mends).all()


def test_sam_takes_masks_as_they_are(tiny_sam: SamSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "mended", None)
    Session(PerSAM(), tiny_sam, SameEncoder()).start(next(clip((64, 96))), discs(2, (64, 96)))
