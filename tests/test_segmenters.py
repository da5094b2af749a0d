"""SAM-HQ and the image model of SAM 2: unguided logits against the library, and the guidance of the paper.

Small configurations with random weights, saved to a folder; the library runs from the same folder.
"""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import vos
from vos.engine.models import load_segmenter
from vos.errors import InputError, WeightsError
from vos.method.guidance import Guidance
from vos.regions import Region
from vos.segmenters.sam import SamSegmenter
from vos.segmenters.sam2_image import Sam2ImageSegmenter
from vos.segmenters.sam_hq import SamHqSegmenter
from vos.structures import Prompts
from vos.testing.clip import clip, discs

from .conftest import DATA
from .test_sam2 import small_config

CPU, FLOAT = torch.device("cpu"), torch.float32
SIZE = (90, 160)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def hq_config(image_size: int = 64, patch: int = 8):
    vision = {
        "hidden_size": 24,
        "output_channels": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": image_size,
        "patch_size": patch,
        "window_size": 3,
        "global_attn_indexes": [1, 2],
        "num_pos_feats": 16,
        "mlp_dim": 48,
    }
    prompt = {"hidden_size": 32, "image_size": image_size, "patch_size": patch, "mask_input_channels": 8}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 32,
        "vit_dim": 24,
        "layer_norm_eps": 1e-5,  # as published, and as the segmenter has it whatever the configuration says
    }
    return transformers.SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def saved(kind: str, config, folder) -> str:
    """Save a model with random weights whose layers all matter; return its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = getattr(transformers, kind)(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" not in name and "positional" not in name:
                parameter.data.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def hq_folder(tmp_path_factory):
    return saved("SamHQModel", hq_config(), tmp_path_factory.mktemp("hq"))


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory):
    """The video model, as the hub has it: the image model is read from it."""
    return saved("Sam2VideoModel", small_config("sam2"), tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module", params=["hq", "sam2"])
def both(request):
    """A segmenter, and the library's own model from the same folder."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    kind = {"hq": transformers.SamHQModel, "sam2": transformers.Sam2Model}[request.param]
    library = kind.from_pretrained(folder).eval()
    if request.param == "hq":
        up_sample_what_was_attended(library.mask_decoder)
    return load_segmenter(folder, CPU, FLOAT), library


def up_sample_what_was_attended(decoder) -> None:
    """Put right what the library (5.23) does otherwise than the published code of SAM-HQ.

    Its decoder drops the image that comes out of its transformer, and up-samples the embedding that went in, its lines
    and columns exchanged. ``predict_masks`` of SysCV/sam-hq, and SAM's decoder, up-sample what comes out.
    """
    attended = []
    decoder.transformer.register_forward_hook(lambda _module, _inputs, outputs: attended.append(outputs[1]))

    def instead(_module, inputs):
        image = attended.pop()[:, 0].transpose(1, 2)
        return (image.reshape(inputs[0].shape),)

    decoder.upscale_conv1.register_forward_pre_hook(instead)


def frame(index: int = 0) -> np.ndarray:
    return next(itertools.islice(clip(SIZE), index, None)).rgb


def points(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    places = torch.tensor([[30.0, 20.0], [100.0, 60.5], [150.0, 85.0], [12.0, 70.0]]).repeat(count, 1, 1)
    places += 3 * torch.arange(count)[:, None, None]
    return places, torch.tensor([[1, 0, 1, -1], [1, 1, 0, 0], [0, 1, 1, 1]])[:count]


BOXES = torch.tensor([[10.0, 8.0, 90.0, 70.0], [0.0, 0.0, 159.0, 89.0], [40.0, 33.0, 41.0, 35.0]])


def prompts(grid: tuple[int, int], boxed: bool, masked: bool) -> Prompts:
    places, labels = points()
    masks = torch.randn(3, 1, 4 * grid[0], 4 * grid[1], generator=torch.Generator().manual_seed(1)) if masked else None
    return Prompts(places, labels, BOXES if boxed else None, masks)


def librarys_input(segmenter, rgb: np.ndarray) -> torch.Tensor:
    """A frame as the library's processor makes it: SAM's is padded, SAM 2's stretched."""
    side = segmenter.image_size
    height, width = SIZE
    size = (side, side) if isinstance(segmenter, Sam2ImageSegmenter) else (side, int(height * side / width + 0.5))
    image = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)) / np.float32(255)
    normal = (image - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    padded = np.zeros((side, side, 3), np.float32)
    padded[: size[1], : size[0]] = normal
    return torch.tensor(padded).permute(2, 0, 1)[None]


def librarys_prompts(segmenter, given: Prompts) -> dict[str, torch.Tensor]:
    """Prompts in the coordinates of the input, one object a row of the batch of points."""
    side, (height, width) = segmenter.image_size, SIZE
    stretched = isinstance(segmenter, Sam2ImageSegmenter)
    scale = torch.tensor([side / width, side / height if stretched else int(height * side / width + 0.5) / height])
    arguments = {"input_points": (given.points * scale)[None], "input_labels": given.point_labels[None]}
    if given.boxes is not None:
        arguments["input_boxes"] = (given.boxes * scale.repeat(2))[None]
    return arguments


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("boxed", [False, True])
def test_unguided_logits_are_those_of_the_library(both, multimask, boxed):
    segmenter, library = both
    with torch.inference_mode():
        embedding = segmenter.embed(frame())
        given = prompts(embedding.geometry.grid, boxed, masked=False)
        found = segmenter.decode(embedding, given, multimask=multimask)
        expected = library(
            librarys_input(segmenter, frame()), **librarys_prompts(segmenter, given), multimask_output=multimask
        )
    masks, scores = expected.pred_masks[0], expected.iou_scores[0]
    if isinstance(segmenter, SamHqSegmenter) and multimask:  # the library sorts SAM's part of the masks by score
        order = found.scores.argsort(dim=1, descending=True)
        token = hq_part(library, segmenter, given)
        sam = found.low_res_logits - token
        found_masks = sam.gather(1, order[..., None, None].expand_as(sam)) + token
        assert not torch.equal(order, torch.arange(3).expand_as(order))
    else:
        order, found_masks = torch.arange(found.scores.shape[1]).expand_as(found.scores), found.low_res_logits
    assert masks.shape == found_masks.shape and masks.std() > 0.1
    torch.testing.assert_close(found_masks, masks, **CLOSE)
    torch.testing.assert_close(found.scores.gather(1, order), scores, **CLOSE)


def hq_part(library, segmenter, given: Prompts) -> torch.Tensor:
    """The token's own masks, (N, 1, h, w), as the library gives them alone."""
    image = librarys_input(segmenter, frame())
    with torch.inference_mode():
        return library(image, **librarys_prompts(segmenter, given), hq_token_only=True).pred_masks[0]


def test_the_high_quality_token_matters(both):
    segmenter, library = both
    if not isinstance(segmenter, SamHqSegmenter):
        pytest.skip("SAM 2 has none")
    given = prompts(segmenter.geometry(SIZE).grid, boxed=True, masked=False)
    with torch.inference_mode():
        whole = segmenter.decode(segmenter.embed(frame()), given, multimask=False).low_res_logits
    assert hq_part(library, segmenter, given).std() > 0.1 * whole.std()


def test_a_mask_prompt_is_the_librarys_mask_input(both):
    """With all objects as a batch of images, as the library takes one mask for each image."""
    segmenter, library = both
    with torch.inference_mode():
        embedding = segmenter.embed(frame())
        given = prompts(embedding.geometry.grid, boxed=False, masked=True)
        found = segmenter.decode(embedding, given, multimask=False)
        apart = {key: value[0][:, None] for key, value in librarys_prompts(segmenter, given).items()}
        images = librarys_input(segmenter, frame()).expand(3, -1, -1, -1)
        expected = library(images, **apart, input_masks=given.mask_logits, multimask_output=False)
        without = segmenter.decode(embedding, prompts(embedding.geometry.grid, False, False), multimask=False)
    torch.testing.assert_close(found.low_res_logits, expected.pred_masks[:, 0], **CLOSE)
    assert (found.low_res_logits - without.low_res_logits).abs().max() > 0.1


def test_semantic_prompting_is_the_librarys(both):
    """Eq. 10, which the library has as ``target_embedding``; it leaves out the last attention, which gets it here."""
    segmenter, library = both
    with torch.inference_mode():
        embedding = segmenter.embed(frame())
        given = prompts(embedding.geometry.grid, boxed=False, masked=False)
        target = torch.randn(3, embedding.values.shape[1], generator=torch.Generator().manual_seed(2))
        plain = segmenter.decode(embedding, given, multimask=False)
        steered = segmenter.decode(embedding, given, Guidance(target_embedding=target), multimask=False)

        def with_target(_module, inputs, named):
            return inputs, {**named, "query": named["query"] + target[:, None]}

        last = library.mask_decoder.transformer.final_attn_token_to_image
        hook = last.register_forward_pre_hook(with_target, with_kwargs=True)
        expected = library(
            librarys_input(segmenter, frame()),
            **librarys_prompts(segmenter, given),
            target_embedding=target[:, None],
            multimask_output=False,
        )
        hook.remove()
    assert (plain.low_res_logits - steered.low_res_logits).abs().max() > 0.1
    torch.testing.assert_close(steered.low_res_logits, expected.pred_masks[0], **CLOSE)


def test_guided_attention_adds_its_bias_in_every_attention_to_the_image(both, monkeypatch):
    """Eq. 8 against a plain computation: softmax of softmax plus bias, in every attention of tokens to the image."""
    segmenter, library = both
    bias_of = torch.zeros(1, *segmenter.geometry(SIZE).grid)
    bias_of[0, 1, 2] = 6.0
    guidance = Guidance(similarity=bias_of)
    with torch.inference_mode():
        embedding = segmenter.embed(frame())
        places, labels = points(1)
        given = Prompts(places, labels)
        steered = segmenter.decode(embedding, given, guidance, multimask=False)
        plain = segmenter.decode(embedding, given, multimask=False)
        with_bias(library, guidance.attention_bias(), monkeypatch)
        expected = library(
            librarys_input(segmenter, frame()), **librarys_prompts(segmenter, given), multimask_output=False
        )
    assert (steered.low_res_logits - plain.low_res_logits).abs().max() > 0.05
    torch.testing.assert_close(steered.low_res_logits, expected.pred_masks[0], **CLOSE)


def with_bias(library, bias: torch.Tensor, monkeypatch) -> None:
    """Let the library's attentions of tokens to the image add a bias to their weights and normalise them again."""

    def attention(module, query, key, value, attention_mask=None, scaling=None, **_):
        weights = (query @ key.transpose(2, 3) * scaling).softmax(dim=-1)
        if module in steered:
            weights = (weights + bias[:, None]).softmax(dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    transformer = library.mask_decoder.transformer
    steered = [layer.cross_attn_token_to_image for layer in transformer.layers]
    steered.append(transformer.final_attn_token_to_image)
    of_module = sys.modules[type(transformer).__module__]
    chosen = SimpleNamespace(get_interface=lambda *_: attention)
    own = type(steered[0]).forward

    def forward(self, *arguments, **named):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of_module, "ALL_ATTENTION_FUNCTIONS", chosen)
            return own(self, *arguments, **named)

    monkeypatch.setattr(type(steered[0]), "forward", forward)


def test_an_unstable_mask_gives_way_to_the_best_of_three(sam2_folder):
    """As in the library; each of the two ways is taken by an object."""
    segmenter = Sam2ImageSegmenter.load(sam2_folder, CPU, FLOAT)
    library = transformers.Sam2Model.from_pretrained(sam2_folder).eval()
    with torch.inference_mode():
        embedding = segmenter.embed(frame())
        given = prompts(embedding.geometry.grid, boxed=False, masked=False)
        three = segmenter.decode(embedding, given)
        ways = []
        for threshold in (0.0, 1.1):
            segmenter.model.mask_decoder.stable = threshold
            library.mask_decoder.dynamic_multimask_stability_thresh = threshold
            one = segmenter.decode(embedding, given, multimask=False)
            arguments = librarys_prompts(segmenter, given)
            expected = library(librarys_input(segmenter, frame()), **arguments, multimask_output=False)
            torch.testing.assert_close(one.low_res_logits, expected.pred_masks[0], **CLOSE)
            torch.testing.assert_close(one.scores, expected.iou_scores[0], **CLOSE)
            ways.append(one.low_res_logits)
    best = three.low_res_logits[torch.arange(3), three.scores.argmax(1)]
    torch.testing.assert_close(ways[1][:, 0], best, **CLOSE)
    assert (ways[0] - ways[1]).abs().max() > 0.1


def test_a_region_is_encoded_as_if_it_were_the_frame(both):
    segmenter, _ = both
    region = Region(40, 20, 80, 45)
    with torch.inference_mode():
        part = segmenter.embed(frame(), region)
        alone = segmenter.embed(frame()[20:65, 40:120].copy())
    assert part.geometry.region == region
    torch.testing.assert_close(part.values, alone.values)
    inside = part.geometry.boxes_to_input(torch.tensor([[40.0, 20.0, 120.0, 65.0]]))[0]
    assert inside[:2].tolist() == [0, 0] and inside[2:].max() == segmenter.image_size


@pytest.mark.parametrize("tracker", ["persam", "persam-f"])
@pytest.mark.parametrize("name", ["hq", "sam2"])
def test_objects_are_followed_with_it(name, tracker, request):
    folder = request.getfixturevalue(f"{name}_folder")
    seen = list(itertools.islice(clip(SIZE), 3))
    with vos.open_session(tracker=tracker, model=folder, device="cpu") as session:
        session.start(seen[0], discs(2, SIZE))
        results = [session.step(each) for each in seen[1:]]
        assert session.segmenter.files[0].endswith("model.safetensors")
    assert all(np.isfinite(each.logits).all() and each.labels.shape == SIZE for each in results)


@pytest.mark.parametrize("name", ["hq", "sam2"])
def test_a_box_makes_a_first_mask(name, request):
    with vos.open_session(model=request.getfixturevalue(f"{name}_folder"), device="cpu") as session:
        seen = next(iter(clip(SIZE)))
        try:
            assert session.segment(seen, [vos.Hint(box=(20, 20, 90, 80))]).labels.shape == SIZE
        except InputError as told:  # random weights may find nothing
            assert "no object was found there" in str(told)


@pytest.mark.parametrize("name", ["hq", "sam2"])
def test_half_precision_keeps_points_where_they_are(name, request):
    folder = request.getfixturevalue(f"{name}_folder")
    full, half = (load_segmenter(folder, CPU, dtype) for dtype in (FLOAT, torch.bfloat16))
    places, labels = points(1)
    with torch.inference_mode():
        exact, rounded = (each.model.encode_prompts(places, labels, None, None)[0] for each in (full, half))
        masks = half.decode(half.embed(frame()), Prompts(places, labels))
    assert torch.equal(exact, rounded)
    assert masks.low_res_logits.dtype == torch.float32 and np.isfinite(masks.low_res_logits.numpy()).all()


def test_folders_say_what_they_hold(hq_folder, sam2_folder, tmp_path):
    assert type(load_segmenter(hq_folder, CPU, FLOAT)) is SamHqSegmenter
    assert type(load_segmenter(sam2_folder, CPU, FLOAT)) is Sam2ImageSegmenter
    image_model = transformers.Sam2Model.from_pretrained(sam2_folder)
    image_model.save_pretrained(tmp_path)
    assert type(load_segmenter(str(tmp_path), CPU, FLOAT)) is Sam2ImageSegmenter


def test_a_published_checkpoint_of_sam_hq(tmp_path):
    """Names as in ``MaskDecoderHQ`` of SysCV/sam-hq; SAM's part is the tiny SAM's, whose decoder has 4 heads."""
    tensors = load_file(DATA / "tiny_sam.safetensors")
    width = len(tensors["image_encoder.patch_embed.proj.weight"])
    channels = len(tensors["image_encoder.neck.0.weight"])
    eighth, quarter = channels // 8, channels // 4
    shapes = {
        "hf_token.weight": (1, channels),
        **{f"hf_mlp.layers.{n}.weight": (channels, channels) for n in (0, 1)},
        **{f"hf_mlp.layers.{n}.bias": (channels,) for n in (0, 1)},
        "hf_mlp.layers.2.weight": (eighth, channels),
        "hf_mlp.layers.2.bias": (eighth,),
    }
    convolutions = {
        "compress_vit_feat": ((width, channels, 2, 2), (channels,), (channels, eighth, 2, 2), (eighth,)),
        "embedding_encoder": ((channels, quarter, 2, 2), (quarter,), (quarter, eighth, 2, 2), (eighth,)),
        "embedding_maskfeature": ((quarter, eighth, 3, 3), (quarter,), (eighth, quarter, 3, 3), (eighth,)),
    }
    for name, (first, norm, last, bias) in convolutions.items():
        shapes |= {f"{name}.0.weight": first, f"{name}.0.bias": norm, f"{name}.1.weight": norm, f"{name}.1.bias": norm}
        shapes |= {f"{name}.3.weight": last, f"{name}.3.bias": bias}
    generator = torch.Generator().manual_seed(0)
    own = {f"mask_decoder.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save({**tensors, **own}, tmp_path / "sam_hq.pth")
    segmenter = SamHqSegmenter.load(f"sam-hq-vit-b:{tmp_path / 'sam_hq.pth'}", CPU, FLOAT, decoder_heads=4)
    decoder = segmenter.model.mask_decoder
    assert torch.equal(decoder.hq_token.weight, own["mask_decoder.hf_token.weight"])
    assert torch.equal(decoder.hq_mask_mlp.proj_out.weight, own["mask_decoder.hf_mlp.layers.2.weight"])
    assert torch.equal(decoder.compress_vit_conv2.weight, own["mask_decoder.compress_vit_feat.3.weight"])
    assert torch.equal(decoder.encoder_norm.bias, own["mask_decoder.embedding_encoder.1.bias"])
    assert torch.equal(decoder.mask_conv1.weight, own["mask_decoder.embedding_maskfeature.0.weight"])
    sam = SamSegmenter.load(str(DATA / "tiny_sam.safetensors"), CPU, FLOAT, decoder_heads=4)
    with torch.inference_mode():
        assert torch.equal(segmenter.embed(frame()).values, sam.embed(frame()).values)
    with pytest.raises(WeightsError, match="not a checkpoint of SAM-HQ"):
        SamHqSegmenter.load(f"sam-hq-vit-b:{DATA / 'tiny_sam.safetensors'}", CPU, FLOAT, decoder_heads=4)
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such file.*`model=sam-hq-vit-h:FILE`"):
        load_segmenter("sam-hq-vit-b:nowhere.pth", CPU, FLOAT)


@pytest.mark.parametrize("name", ["sam-hq-vit-h", "sam2-large"])
def test_weights_that_only_the_hub_has(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"(syscv-community/sam-hq-vit-huge|sam2.1-hiera-large).*`model=FOLDER`"):
        load_segmenter(name, CPU, FLOAT)
