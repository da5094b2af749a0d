"""EfficientSAM against outputs of its published code, with a small model whose weights are drawn by a rule."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import vos
from vos.engine.models import load_segmenter
from vos.errors import InputError, WeightsError
from vos.method.guidance import Guidance
from vos.regions import Region
from vos.segmenters.efficient_sam import EfficientSamSegmenter
from vos.structures import Masks, Prompts
from vos.testing.clip import clip, discs

from .conftest import DATA as PERSAM_DATA

CPU, FLOAT = torch.device("cpu"), torch.float32
DATA = Path(__file__).parent / "data" / "efficient_sam"
SIDE = 96
CLOSE = {"rtol": 1e-4, "atol": 2e-5}
SIZE = (90, 160)


def weights_by_rule() -> dict[str, torch.Tensor]:
    """The weights that the stored outputs were made with, under the names of the published checkpoints."""
    tensors = {}
    for key, shape in json.loads((DATA / "keys.json").read_text()).items():
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
        if len(shape) == 1:
            drawn = 1 + 0.1 * drawn if key.endswith("weight") else 0.1 * drawn
        elif not (shape[0] <= 4 and len(shape) < 4 and "fc" not in key):  # tokens and encodings stay as drawn
            drawn = drawn / drawn[0].numel() ** 0.5
        tensors[key] = drawn
    return tensors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A file as published: tensors under "model", in torch's format."""
    path = tmp_path_factory.mktemp("weights") / "efficient_sam_vitt.pt"
    torch.save({"model": weights_by_rule()}, path)
    return path


@pytest.fixture(scope="module")
def segmenter(checkpoint) -> EfficientSamSegmenter:
    return EfficientSamSegmenter.load(f"efficient-sam:{checkpoint}", CPU, FLOAT, image_size=SIDE)


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    with np.load(DATA / "outputs.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def embedding(segmenter, published):
    with torch.inference_mode():
        return segmenter.embed(published["rgb"])


def prompts(published: dict[str, np.ndarray], case: str) -> Prompts:
    """Prompts of a case: in the published code corners of boxes are points of two more kinds."""
    points, labels = (torch.tensor(published[f"{case}_{each}"]) for each in ("points", "labels"))
    corners = (labels == 2) | (labels == 3)
    if not corners.any():
        return Prompts(points, labels)
    assert (corners.sum(1) == 2).all()
    boxes = points[corners].view(-1, 4)
    inside = points[~corners].view(len(points), -1, 2)
    return Prompts(inside, labels[~corners].view(len(points), -1), boxes)


def decoded(segmenter, embedding, given: Prompts, **how: object) -> Masks:
    with torch.inference_mode():
        return segmenter.decode(embedding, given, **how)


def assert_published(found: Masks, published: dict[str, np.ndarray], name: str) -> None:
    logits, scores = (torch.tensor(published[f"{name}_{each}"]) for each in ("logits", "scores"))
    assert logits.std() > 0.1
    torch.testing.assert_close(found.low_res_logits, logits, **CLOSE)
    torch.testing.assert_close(found.scores, scores, **CLOSE)


def test_the_image_embedding_is_the_published_one(segmenter, embedding, published):
    """Positional encodings are interpolated from 14 x 14 to 6 x 6, and that of the class token is left out."""
    torch.testing.assert_close(embedding.values, torch.tensor(published["embedding"]), **CLOSE)
    torch.testing.assert_close(segmenter.model.positions(), torch.tensor(published["positions"]), **CLOSE)


@pytest.mark.parametrize("case", ["points", "boxed"])
def test_unguided_logits_are_the_published_ones(segmenter, embedding, published, case):
    assert_published(decoded(segmenter, embedding, prompts(published, case)), published, f"{case}_three")


def test_guided_attention_is_that_of_the_published_decoder_with_its_bias(segmenter, embedding, published):
    """Eq. 8: in each attention of tokens to the image, a bias is added to the weights, which sum to 1 again."""
    guidance = Guidance(similarity=torch.tensor(published["similarity"]))
    steered = decoded(segmenter, embedding, prompts(published, "points"), guidance=guidance)
    assert_published(steered, published, "attention")
    assert np.abs(published["attention_logits"] - published["points_three_logits"]).max() > 0.3


def test_semantic_prompting_is_that_of_the_published_decoder_with_the_target(segmenter, embedding, published):
    """Eq. 10: the target is added to the tokens, and again before each later attention block."""
    guidance = Guidance(target_embedding=torch.tensor(published["target"]))
    steered = decoded(segmenter, embedding, prompts(published, "points"), guidance=guidance)
    assert_published(steered, published, "semantic")
    assert np.abs(published["semantic_logits"] - published["points_three_logits"]).max() > 0.3


def test_the_decoder_has_the_published_single_mask_but_gives_the_best_of_three(segmenter, embedding, published):
    given = prompts(published, "points")
    with torch.inference_mode():
        sparse, dense = segmenter.encode_prompts(given, embedding.geometry)
        decoder, places = segmenter.model.mask_decoder, segmenter.model.positions()
        single = Masks(*decoder.predict(embedding.values, places, sparse, dense, multimask=False))
    assert_published(single, published, "points_one")
    one, three = decoded(segmenter, embedding, given, multimask=False), decoded(segmenter, embedding, given)
    best = three.scores.argmax(1)
    assert best.tolist() != [0, 0]
    assert torch.equal(one.scores[:, 0], three.scores.amax(1))
    assert torch.equal(one.low_res_logits[:, 0], three.low_res_logits[torch.arange(2), best])


def test_points_outside_and_more_than_it_takes_change_nothing(segmenter, embedding, published):
    given = prompts(published, "boxed")
    expected = decoded(segmenter, embedding, given)
    more = torch.cat([torch.full((3, 1, 2), 33.0), given.points, torch.full((3, 2, 2), 7.0)], dim=1)
    labels = torch.cat([torch.zeros(3, 1), given.point_labels[:, :2], torch.tensor([[0, -1]]).expand(3, 2)], dim=1)
    widened = Prompts(more, labels, given.boxes)
    torch.testing.assert_close(decoded(segmenter, embedding, widened).low_res_logits, expected.low_res_logits, **CLOSE)
    many = Prompts(torch.arange(18.0).view(1, 9, 2), torch.ones(1, 9), given.boxes[:1])
    first = Prompts(many.points[:, :4], many.point_labels[:, :4], many.boxes)
    found = decoded(segmenter, embedding, many).low_res_logits
    torch.testing.assert_close(found, decoded(segmenter, embedding, first).low_res_logits, **CLOSE)
    three = Prompts(many.points[:, :3], many.point_labels[:, :3], many.boxes)
    assert (found - decoded(segmenter, embedding, three).low_res_logits).abs().max() > 1e-3


def test_a_mask_stands_for_its_box(segmenter, embedding):
    """Lines 3 to 8 and columns 2 to 5 of values of four pixels. An empty mask is no prompt; beside a box none is."""
    points, labels = torch.tensor([[[30.0, 40.0]]]), torch.ones(1, 1)
    logits = torch.full((1, 1, 24, 24), -3.0)
    logits[0, 0, 3:9, 2:6] = 5.0
    box = torch.tensor([[8.0, 12.0, 23.0, 35.0]])
    as_logits = lambda *given: decoded(segmenter, embedding, Prompts(points, labels, *given)).low_res_logits
    boxed = as_logits(box)
    assert torch.equal(as_logits(None, logits), boxed)
    assert torch.equal(as_logits(box, -logits), boxed)
    plain = as_logits()
    assert (boxed - plain).abs().max() > 0.01
    torch.testing.assert_close(as_logits(None, logits.clamp_max(-1)), plain, **CLOSE)


def test_frames_of_any_shape_are_stretched(segmenter):
    frame = next(iter(clip(SIZE))).rgb
    region = Region(40, 20, 80, 45)
    with torch.inference_mode():
        part, alone = segmenter.embed(frame, region), segmenter.embed(frame[20:65, 40:120].copy())
    assert part.geometry.region == region and part.geometry.inside().all()
    torch.testing.assert_close(part.values, alone.values)
    ends = part.geometry.boxes_to_input(torch.tensor([[40.0, 20.0, 120.0, 65.0]]))
    torch.testing.assert_close(ends, torch.tensor([[0.0, 0.0, SIDE, SIDE]]))


def test_half_precision_keeps_points_where_they_are(segmenter, checkpoint, published):
    half = EfficientSamSegmenter.load(f"efficient-sam:{checkpoint}", CPU, torch.bfloat16, image_size=SIDE)
    places, labels = torch.tensor([[[30.0, 40.5]]]), torch.ones(1, 1)
    with torch.inference_mode():
        exact, rounded = (each.model.encode_prompts(places, labels, None, None)[0] for each in (segmenter, half))
        masks = half.decode(half.embed(published["rgb"]), Prompts(places, labels))
    assert torch.equal(exact, rounded)
    assert masks.low_res_logits.dtype == torch.float32 and masks.low_res_logits.isfinite().all()


@pytest.mark.parametrize("tracker", ["persam", "persam-f"])
def test_objects_are_followed_with_it(checkpoint, tracker):
    """At the published side of 1024 pixels."""
    seen = list(itertools.islice(clip(SIZE), 2))
    with vos.open_session(tracker=tracker, model=f"efficient-sam:{checkpoint}", device="cpu") as session:
        session.start(seen[0], discs(2, SIZE))
        result = session.step(seen[1])
        assert session.segmenter.files == (str(checkpoint),)
        assert session.segmenter.image_size == 1024
        try:
            assert session.segment(seen[1], [vos.Hint(box=(20, 20, 90, 80))]).labels.shape == SIZE
        except InputError as told:  # random weights may find nothing
            assert "no object was found there" in str(told)
    assert np.isfinite(result.logits).all() and result.labels.shape == SIZE


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pt: no such file; pass `model=efficient-sam:FILE`"):
        load_segmenter("efficient-sam:nowhere.pt", CPU, FLOAT)
    sam = PERSAM_DATA / "tiny_sam.safetensors"
    with pytest.raises(WeightsError, match=r"not a checkpoint of EfficientSAM: 'image_encoder\.blocks.*' is missing"):
        load_segmenter(f"efficient-sam:{sam}", CPU, FLOAT)
    tensors = weights_by_rule()
    del tensors["mask_decoder.iou_token.weight"]
    tensors["pixel_mean"] = torch.zeros(1, 3, 1, 1)  # which some copies have, and which is no weight
    torch.save(tensors, tmp_path / "half.pt")
    wrong = re.escape("does not fit EfficientSAM: mask_decoder.iou_token.weight and 0 more tensors differ")
    with pytest.raises(WeightsError, match=wrong):
        load_segmenter(f"efficient-sam:{tmp_path / 'half.pt'}", CPU, FLOAT)
