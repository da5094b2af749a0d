"""The tiny SAM, the prior and the guided decoder against the published code's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vos.encoders.same import SameEncoder
from vos.engine.session import Session
from vos.method import prior
from vos.method.guidance import Guidance, standardised
from vos.structures import Frame, Prompts, first_mask_from_array
from vos.trackers.persam import PerSAM, PerSAMF, PerSamFOptions, PerSamOptions

TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def image(published, tiny_sam):
    arrays = {key: torch.as_tensor(value) for key, value in published("image_persam").items()}
    frames = published("frames")["frames"]
    with torch.inference_mode():
        return arrays, tiny_sam.embed(frames[0]), tiny_sam.embed(frames[3])


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert (ours - theirs).abs().max() < tolerance


def test_embeddings(image):
    arrays, reference, test = image
    close(reference.values, arrays["ref_embedding"])
    close(test.values, arrays["test_embedding"])


def test_target_embedding_and_similarity(image):
    arrays, reference, test = image
    coverage = (arrays["ref_mask_grid"] > 0).float()[None]
    assert int(coverage.sum()) == int(arrays["n_foreground"])
    target = prior.prototype(reference.values, coverage)
    close(target, arrays["target_embedding"][0])
    confidence = prior.similarity(F.normalize(test.values, dim=1), F.normalize(target, dim=1))
    close(confidence[0], arrays["sim_low"])
    quadrupled = F.interpolate(confidence[:, None], scale_factor=4, mode="bilinear")[:, 0]
    full = test.geometry.upsample(quadrupled)
    close(full[0], arrays["sim_full"])
    points, labels = prior.extreme_points(full, positives=1)
    assert torch.equal(points[0], arrays["point_coords"])
    assert torch.equal(labels[0], arrays["point_labels"])


def test_prototype_product_is_the_mean_of_all_similarities(image):
    """Eq. 5-6: one product with the mean of the normalised features."""
    arrays, reference, test = image
    mask = arrays["ref_mask_grid"] > 0
    unit_reference, unit_test = F.normalize(reference.values, dim=1), F.normalize(test.values, dim=1)
    each = torch.einsum("cn,chw->nhw", unit_reference[0][:, mask], unit_test[0])
    product = prior.similarity(unit_test, prior.prototype(unit_reference, mask.float()[None]))
    close(product[0], each.mean(0), 1e-6)


CASES = {
    "unguided": (False, False, True),
    "attention_only": (True, False, True),
    "semantic_only": (False, True, True),
    "step0": (True, True, False),
}


@pytest.mark.parametrize("case", CASES)
def test_guided_decoder(case, image, tiny_sam):
    arrays, _, test = image
    attention, semantic, multimask = CASES[case]
    guidance = Guidance(
        standardised(arrays["sim_full"][None], test.geometry.grid) if attention else None,
        arrays["target_embedding"][0] if semantic else None,
        rule="sigmoid",
    )
    prompts = Prompts(arrays["point_coords"].float()[None], arrays["point_labels"][None])
    with torch.inference_mode():
        masks = tiny_sam.decode(test, prompts, guidance, multimask)
    close(masks.low_res_logits[0], arrays[f"{case}_low_res_logits"])
    close(masks.scores[0], arrays[f"{case}_scores"])


def test_bias_of_equation_8_is_the_softmax_of_the_map():
    confidence = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    bias = Guidance(confidence, alpha=2.0).attention_bias()
    expected = 2 * torch.exp(torch.arange(4.0)) / torch.exp(torch.arange(4.0)).sum()
    assert bias.shape == (1, 1, 4)
    close(bias.flatten(), expected, 1e-6)


def test_objects_of_a_batch_do_not_mix(image, tiny_sam):
    """Each row of the batch has its own similarity and target embedding."""
    arrays, _, test = image
    generator = torch.Generator().manual_seed(0)
    points = arrays["point_coords"].float()[None].repeat(3, 1, 1) * torch.tensor([1.0, 0.7, 0.4])[:, None, None]
    labels = arrays["point_labels"][None].repeat(3, 1)
    similarity = torch.rand((3, 16, 16), generator=generator)
    target = torch.randn((3, 64), generator=generator)
    with torch.inference_mode():
        together = tiny_sam.decode(test, Prompts(points, labels), Guidance(similarity, target))
        for row in range(3):
            one = slice(row, row + 1)
            alone = tiny_sam.decode(test, Prompts(points[one], labels[one]), Guidance(similarity[one], target[one]))
            close(together.low_res_logits[one], alone.low_res_logits, 1e-4)
            close(together.scores[one], alone.scores, 1e-5)


class Recording:
    """A segmenter that keeps the prompts and masks of every pass."""

    def __init__(self, segmenter):
        self._segmenter = segmenter
        self.passes = []

    def __getattr__(self, name):
        return getattr(self._segmenter, name)

    def decode(self, embedding, prompts, *rest):
        masks = self._segmenter.decode(embedding, prompts, *rest)
        self.passes.append((prompts, masks))
        return masks


VIDEOS = [(tracker, count) for tracker in ("persam", "persam_f") for count in ("one", "two")]


@pytest.mark.parametrize(("name", "count"), VIDEOS)
def test_published_video_pipeline(name, count, published, tiny_sam):
    tracker = {"persam": PerSAM(PerSamOptions.published()), "persam_f": PerSAMF(PerSamFOptions.published())}[name]
    arrays = published(f"video_{name}_{count}")
    clip = published("frames" if count == "one" else "frames_multi")
    truth = clip["masks"][0] if count == "one" else clip["labels"][0]
    segmenter = Recording(tiny_sam)
    session = Session(tracker, segmenter, SameEncoder())
    frames = [Frame(i, i / 24, rgb) for i, rgb in enumerate(clip["frames"])]
    session.start(frames[0], first_mask_from_array(truth))
    ids = range(1, truth.max() + 1)
    for row, i in enumerate(ids):
        close(tracker.objects.prototype[row : row + 1], torch.as_tensor(arrays[f"obj{i}_target_feat"]))
        if name == "persam_f":
            close(tracker.weights[row], torch.as_tensor(arrays[f"obj{i}_weights"]), 1e-4)
    for index, frame in enumerate(frames[1:], start=1):
        segmenter.passes.clear()
        result = session.step(frame)
        for row, i in enumerate(ids):
            key = f"f{index}_obj{i}"
            first = segmenter.passes[0][0]
            assert np.array_equal(first.points[row], arrays[f"{key}_points"])
            assert np.array_equal(first.point_labels[row], arrays[f"{key}_labels"])
            assert np.array_equal(first.boxes[row], arrays[f"{key}_box"])
            for step, (prompts, masks) in enumerate(segmenter.passes):
                if f"{key}_step{step}_box" in arrays:
                    assert np.array_equal(prompts.boxes[row], arrays[f"{key}_step{step}_box"])
                close(masks.low_res_logits[row], torch.as_tensor(arrays[f"{key}_step{step}_low_res_logits"]))
                close(masks.scores[row], torch.as_tensor(arrays[f"{key}_step{step}_scores"]))
        assert np.count_nonzero(result.labels != arrays[f"f{index}_labels"]) <= 5


@pytest.mark.parametrize("name", ["persam", "persam_f"])
def test_published_image_pipeline(name, published, tiny_sam):
    arrays = published(f"image_{name}")
    clip = published("frames")
    options = {"persam": PerSamOptions, "persam_f": PerSamFOptions}[name].published_image()
    tracker = {"persam": PerSAM, "persam_f": PerSAMF}[name](options)
    segmenter = Recording(tiny_sam)
    session = Session(tracker, segmenter, SameEncoder())
    session.start(Frame(0, 0.0, clip["frames"][0]), first_mask_from_array(clip["masks"][0]))
    if name == "persam_f":
        close(segmenter.passes[0][1].low_res_logits[0], torch.as_tensor(arrays["ref_low_res_logits"]))
        close(tracker.weights[0], torch.as_tensor(arrays["weights_final"]), 1e-4)
    segmenter.passes.clear()
    result = session.step(Frame(1, 1 / 24, clip["frames"][3]))
    points = segmenter.passes[0][0].points[0]
    assert np.array_equal(points, arrays["point_coords" if name == "persam" else "test_point"])
    for step, (prompts, masks) in enumerate(segmenter.passes):
        if f"step{step}_box" in arrays:
            assert np.array_equal(prompts.boxes[0], arrays[f"step{step}_box"])
        close(masks.low_res_logits[0], torch.as_tensor(arrays[f"step{step}_low_res_logits"]))
        close(masks.scores[0], torch.as_tensor(arrays[f"step{step}_scores"]))
    assert len(segmenter.passes) == 3
    assert np.count_nonzero((result.labels > 0) != arrays["final_mask"].astype(bool)) <= 5
