"""Regions of a frame: what a zoomed input shows, and how maps move from one region to another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.geometry import OUTSIDE_LOGIT, Geometry
from vos.regions import Region, shapes
from vos.structures import Frame, first_mask_from_array
from vos.trackers.persam import PerSAM, PerSamOptions

SIZE = (480, 854)
WHOLE = Geometry.longest_side(SIZE, 512, 8, pad_to=32)


def zoomed(region):
    return Geometry.longest_side(SIZE, 512, 8, region=region, pad_to=32)


def disc(x, y, radius):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return torch.tensor((columns - x) ** 2 + (rows - y) ** 2 < radius**2)[None]


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (840, 470, 853, 479), (400, 200, 500, 260), (0, 0, 853, 479), (10, 0, 40, 479)]
)
def test_a_region_lies_in_the_frame_and_has_its_shape(box):
    region = Region.around(torch.tensor([box], dtype=torch.float32), SIZE, 2.0, 0.4)
    assert 0 <= region.left <= box[0] and box[2] < region.left + region.width <= SIZE[1]
    assert 0 <= region.top <= box[1] and box[3] < region.top + region.height <= SIZE[0]
    assert region.width / region.height == pytest.approx(SIZE[1] / SIZE[0], rel=0.01)
    assert region.width >= 0.4 * SIZE[1] - 1
    assert zoomed(region).input_size == WHOLE.input_size


def test_a_region_shows_all_boxes():
    boxes = torch.tensor([[100.0, 100, 120, 130], [300, 150, 330, 200]])
    region = Region.around(boxes, SIZE, 1.0, 0.0)
    assert (region.left, region.left + region.width) == (100, 331)


@pytest.mark.parametrize(
    ("box", "shape", "input_size"),
    [
        ((100, 200, 500, 380), (480, 854), (288, 512)),  # wide
        ((400, 100, 600, 300), (1, 1), (384, 384)),
        ((400, 30, 460, 440), (854, 480), (512, 288)),
        ((400, 100, 660, 475), (1, 1), (384, 384)),  # turned it would not fit into the frame
        ((0, 0, 853, 479), (480, 854), (288, 512)),  # nor would a square
        ((400, 200, 404, 240), (480, 854), (288, 512)),  # small: no shape enlarges it more
    ],
)
def test_a_region_of_any_shape_enlarges_most(box, shape, input_size):
    region = Region.around(torch.tensor([box], dtype=torch.float32), SIZE, 1.25, 0.4, any_shape=True)
    assert 0 <= region.left <= box[0] and box[2] < region.left + region.width <= SIZE[1]
    assert 0 <= region.top <= box[1] and box[3] < region.top + region.height <= SIZE[0]
    assert region.height / region.width == pytest.approx(shape[0] / shape[1], rel=0.01)
    assert zoomed(region).input_size == input_size
    assert zoomed(region).magnification >= zoomed(Region.around(torch.tensor([box]), SIZE, 1.25, 0.4)).magnification


def test_a_region_keeps_its_shape_until_another_is_clearly_better():
    nearly_square = torch.tensor([[300.0, 100, 539, 299]])
    wide, square = Region(0, 0, 427, 240), Region(0, 0, 240, 240)
    assert Region.around(nearly_square, SIZE, 1.0, 0.2, any_shape=True, last=wide).width == 356
    assert Region.around(nearly_square, SIZE, 1.0, 0.2, any_shape=True, last=square).width == 240
    tall = torch.tensor([[300.0, 100, 359, 339]])
    assert Region.around(tall, SIZE, 1.0, 0.2, any_shape=True, last=wide).height == 240


@pytest.mark.parametrize("frame_size", [(360, 640), (640, 360), (480, 480), (500, 480), (30, 900), (1080, 1920)])
def test_regions_of_every_shape_have_inputs_of_no_more_pixels(frame_size):
    own = Geometry.longest_side(frame_size, 512, 8, pad_to=32)
    for height, width in shapes(frame_size):
        region = Region(0, 0, max(1, round(width / 4)), max(1, round(height / 4)))
        geometry = Geometry.longest_side(frame_size, 512, 8, region=region, pad_to=32)
        assert 0 < np.prod(geometry.input_size) <= np.prod(own.input_size)
        assert all(side % 32 == 0 for side in geometry.input_size)


def test_what_a_frame_shows_of_a_box():
    assert Region.within(torch.tensor([-20.0, 5.5, 30.2, 700]), SIZE) == Region(0, 5, 31, 475)
    assert Region.within(torch.tensor([900.0, 500, 950, 520]), SIZE) == Region(853, 479, 1, 1)


def test_points_and_boxes_are_the_same_place_in_every_region():
    geometry = zoomed(Region(200, 100, 427, 240))
    cells = torch.tensor([[[0.0, 0], [10, 5], [63, 35]]])
    frame = geometry.cells_to_frame(cells)
    assert torch.allclose(geometry.to_input(frame + 0.5), (cells + 0.5) * 8, atol=0.51)
    assert torch.equal(geometry.boxes_to_input(torch.tensor([[200.0, 100, 200, 100]])), torch.zeros(1, 4))


@pytest.mark.parametrize("source", [None, Region(150, 60, 500, 281), Region(300, 100, 240, 240)])
@pytest.mark.parametrize("target", [None, Region(250, 120, 400, 225), Region(340, 60, 180, 320)])
def test_last_masks_move_between_regions(source, target):
    mask = disc(420, 220, 60)
    there, here = zoomed(source), zoomed(target)
    size, other = ([4 * side for side in geometry.grid] for geometry in (here, there))
    moved = here.resample(there.mask_logits(mask, other, 8.0), there, outside=-8.0)
    direct = here.mask_logits(mask, size, 8.0)
    assert moved.shape == direct.shape
    agree = ((moved > 0) == (direct > 0)).float().mean()
    assert agree > 0.99


def test_what_the_source_did_not_show_is_outside():
    left, right = Region(0, 0, 427, 240), Region(427, 240, 427, 240)
    logits = torch.full((1, 1, 144, 256), 5.0)
    assert (zoomed(right).resample(logits, zoomed(left), outside=-8.0)[..., 4:, 4:] == -8).all()


def test_masks_come_back_where_they_were():
    mask = disc(420, 220, 60)
    geometry = zoomed(Region(250, 120, 400, 225))
    full = geometry.upsample(geometry.mask_logits(mask, (144, 256), 8.0)[:, 0])
    assert full.shape == mask.shape
    inside = full > 0
    assert (inside & mask).sum() / (inside | mask).sum() > 0.98
    assert full[0, 0, 0] == OUTSIDE_LOGIT


def test_coverage_in_a_region_counts_its_cells():
    geometry = zoomed(Region(250, 120, 400, 225))
    coverage = geometry.coverage(disc(420, 220, 60))
    area = coverage.sum().item() * 64 / geometry.magnification**2
    assert area == pytest.approx(np.pi * 60**2, rel=0.02)


def test_the_engine_encodes_the_region_and_looks_everywhere_for_a_lost_object(lite, published, monkeypatch):
    clip = published("frames")
    frames = [Frame(i, i / 24, rgb) for i, rgb in enumerate(clip["frames"])]
    regions, embed = [], lite.embed
    monkeypatch.setattr(lite, "embed", lambda rgb, region=None: regions.append(region) or embed(rgb, region))
    session = Session(PerSAM(), lite, SameEncoder())
    big = [np.pad(frame.rgb, ((0, 300), (0, 600), (0, 0)), mode="edge") for frame in frames]
    truth = [np.pad(mask, ((0, 300), (0, 600))) for mask in clip["masks"]]
    session.start(Frame(0, 0.0, big[0]), first_mask_from_array(truth[0]))
    found = session.step(Frame(1, 0.1, big[1]))
    session.step(Frame(2, 0.2, np.zeros_like(big[0])))
    session.step(Frame(3, 0.3, big[3]))
    assert [region is None or region.width < big[0].shape[1] for region in regions] == [True] * 5
    assert [region is None for region in regions] == [False, True, False, False, True]  # at first to learn its likeness
    overlap = (found.labels > 0) & (truth[1] > 0)
    assert overlap.sum() / ((found.labels > 0) | (truth[1] > 0)).sum() > 0.6


@pytest.mark.parametrize("any_shape", [True, False])
def test_a_tall_object_is_seen_in_a_tall_region_if_the_segmenter_takes_it(lite, published, monkeypatch, any_shape):
    rgb = np.pad(published("frames")["frames"][0], ((100, 100), (300, 300), (0, 0)), mode="edge")
    height, width = rgb.shape[:2]
    tall = np.zeros((height, width), dtype=np.uint8)
    tall[100 : height - 100, width // 2 - 20 : width // 2 + 20] = 1
    regions, embed = [], lite.embed
    monkeypatch.setattr(lite, "any_shape", any_shape, raising=False)
    monkeypatch.setattr(lite, "embed", lambda rgb, region=None: regions.append(region) or embed(rgb, region))
    session = Session(PerSAM(PerSamOptions(mend=False)), lite, SameEncoder())
    session.start(Frame(0, 0.0, rgb), first_mask_from_array(tall))
    session.step(Frame(1, 0.1, rgb))
    assert [region.height > region.width for region in regions if region] == [any_shape] * 2


def test_a_tracker_cannot_move_the_view_after_encoding(lite, published):
    rgb = published("frames")["frames"][0]

    class Late(PerSAM):
        def start(self, context, first_mask):
            super().start(context, first_mask)
            context.look_at(None)

    session = Session(Late(), lite, SameEncoder())
    with pytest.raises(RuntimeError, match="look_at"):
        session.start(Frame(0, 0.0, rgb), first_mask_from_array(published("frames")["masks"][0]))


@pytest.mark.parametrize("region", [None, Region(30, 20, 160, 90), Region(160, 90, 160, 90)])
def test_positive_parts_are_those_of_the_whole(region):
    generator = torch.Generator().manual_seed(0)
    geometry = Geometry.longest_side((180, 320), 512, 8, region=region, pad_to=32)
    maps = torch.nn.functional.interpolate(torch.randn(4, 1, 9, 16, generator=generator) - 1, scale_factor=16)[:, 0]
    maps[3] = -1.0
    for logits, (lines, columns, part) in zip(geometry.upsample(maps), geometry.positive_parts(maps), strict=True):
        torch.testing.assert_close(part, logits[lines, columns], atol=1e-4, rtol=0)
        elsewhere = logits.clone()
        elsewhere[lines, columns] = -1.0
        assert (elsewhere <= 0).all()


def test_positive_parts_of_an_input_that_is_up_sampled_twice_are_whole():
    geometry = Geometry.longest_side((180, 320), 256, 16)
    maps = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1))
    for logits, (lines, columns, part) in zip(geometry.upsample(maps), geometry.positive_parts(maps), strict=True):
        assert torch.equal(logits[lines, columns], part) and part.shape == (180, 320)


def test_input_masks_of_nothing_are_empty():
    masks = torch.cat([disc(420, 220, 60), torch.zeros(1, *SIZE, dtype=torch.bool), disc(420, 220, 1)])
    shown = Geometry.short_side(SIZE, 240, 96).input_masks(masks)
    assert shown[0].sum() == pytest.approx(np.pi * 30**2, rel=0.05)
    assert not shown[1].any() and shown[2].sum() == 1


@pytest.mark.parametrize("size", [(3, 400), (8, 2000), (12, 1708), (720, 3), (1, 1), (480, 854)])
def test_some_cells_lie_on_a_region_however_narrow_it_is(size):
    geometry = Geometry.longest_side(size, 512, 8, pad_to=32)
    inside = geometry.inside()
    height, width = (max(1, round(side / 8)) for side in geometry.resized_size)
    assert inside[:height, :width].all() and inside.sum() == height * width


@pytest.mark.parametrize("size", [(3, 400), (720, 3)])
def test_an_object_may_fill_a_very_narrow_frame(lite, size):
    rgb = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    session = Session(PerSAM(), lite, SameEncoder())
    session.start(Frame(0, 0.0, rgb), first_mask_from_array(np.ones(size, bool)))
    assert session.step(Frame(1, 0.1, rgb)).labels.shape == size
