"""Prior encoders of every family: held against the library's own features, with small random weights.

The library's backbones, which cut off class and register tokens themselves, and its image processor for NaFlex are
the second opinion on geometry; frames are resized here apart from the encoders.
"""

from __future__ import annotations

import itertools
import logging
import re

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import vos
from vos import plugins
from vos.command.cli import main
from vos.encoders.any_family import FAMILIES
from vos.engine.models import load_encoder
from vos.errors import InputError, PluginError, WeightsError
from vos.interfaces import FrameContext, Seconds
from vos.regions import Region
from vos.structures import Frame
from vos.testing.clip import clip, discs

CPU, FLOAT = torch.device("cpu"), torch.float32
SIZE = (90, 160)
"""(H, W) of the frames."""

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP_PIXELS = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)

BLOCKS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER = {**BLOCKS, "intermediate_size": 64}

CONFIGS = {
    "dinov2": ("Dinov2Model", {**BLOCKS, "image_size": 70, "patch_size": 14, "mlp_ratio": 2}),
    "registers": (
        "Dinov2WithRegistersModel",
        {**BLOCKS, "image_size": 70, "patch_size": 14, "mlp_ratio": 2, "num_register_tokens": 3},
    ),
    "dinov3": ("DINOv3ViTModel", {**TOWER, "image_size": 64, "patch_size": 16, "num_register_tokens": 4}),
    "convnext": ("DINOv3ConvNextModel", {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1]}),
    "clip": ("CLIPVisionModel", {**TOWER, "image_size": 64, "patch_size": 16}),
    "clip14": ("CLIPVisionModel", {**TOWER, "image_size": 56, "patch_size": 14}),
    "siglip": ("SiglipVisionModel", {**TOWER, "image_size": 64, "patch_size": 16}),
    "naflex": ("Siglip2VisionModel", {**TOWER, "num_patches": 16, "patch_size": 16}),
}
"""Small models: class of the library, and configuration."""

PATCH = {
    "dinov2": 14,
    "registers": 14,
    "dinov3": 16,
    "convnext": 32,
    "clip": 16,
    "clip14": 14,
    "siglip": 16,
    "naflex": 16,
}
PIXELS = {"clip": CLIP_PIXELS, "clip14": CLIP_PIXELS, "siglip": HALF, "naflex": HALF}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the folder of a small model, by name; its features differ from patch to patch."""

    def made(name: str):
        path = root / name
        if not path.exists():
            kind, settings = CONFIGS[name]
            config = getattr(transformers, kind).config_class(**settings)
            with torch.random.fork_rng():
                torch.manual_seed(3)
                model = getattr(transformers, kind)(config)
                for key, parameter in model.named_parameters():
                    if "norm" not in key and "lambda" not in key:
                        deviation = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
                        parameter.data.normal_(std=deviation)
            model.save_pretrained(path)
        return path

    root = tmp_path_factory.mktemp("encoders")
    return made


def frame(index: int = 0, size: tuple[int, int] = SIZE) -> Frame:
    return next(itertools.islice(clip(size), index, None))


def features_of(encoder, seen: Frame, region: Region | None = None):
    context = FrameContext(seen, None, encoder, Seconds())
    context.look_at(region)
    with torch.inference_mode():
        return context.features


def encoder_of(path, long_side: int | None = None):
    encoder = load_encoder(str(path), CPU, FLOAT)
    encoder.long_side = long_side
    return encoder


def pixels(seen: Frame, name: str, size: tuple[int, int]) -> torch.Tensor:
    """A frame as the model takes it, (1, 3, H, W)."""
    image = np.asarray(Image.fromarray(seen.rgb).resize(size[::-1], Image.Resampling.BILINEAR))
    mean, deviation = map(np.float32, PIXELS.get(name, IMAGENET))
    return torch.tensor((image / np.float32(255) - mean) / deviation).permute(2, 0, 1)[None]


def librarys_map(name: str, path, seen: Frame, size: tuple[int, int]) -> torch.Tensor:
    """What the library makes of a frame, (C, h, w), of unit length."""
    with torch.inference_mode():
        found = _librarys_map(name, path, pixels(seen, name, size))
    return found / found.norm(dim=0)


def _librarys_map(name: str, path, image: torch.Tensor) -> torch.Tensor:
    if name == "convnext":
        backbone = transformers.DINOv3ConvNextBackbone.from_pretrained(path, out_features=["stage4"])
        norm = transformers.DINOv3ConvNextModel.from_pretrained(path).layer_norm
        return norm(backbone(image).feature_maps[0][0].permute(1, 2, 0)).permute(2, 0, 1)
    if name in ("dinov2", "registers", "dinov3"):
        backbones = {"dinov2": "Dinov2", "registers": "Dinov2WithRegisters", "dinov3": "DINOv3ViT"}
        kind = getattr(transformers, f"{backbones[name]}Backbone")
        return kind.from_pretrained(path).eval()(image).feature_maps[0][0]
    kind = getattr(transformers, CONFIGS[name][0])
    model, (rows, columns) = kind.from_pretrained(path).eval(), (length // PATCH[name] for length in image.shape[2:])
    if name == "naflex":
        shapes, patches = torch.tensor([[rows, columns]]), naflex_patches(image)
        tokens = model(patches, torch.ones(1, rows * columns), shapes).last_hidden_state[0]
    else:
        tokens = model(image, interpolate_pos_encoding=True).last_hidden_state[0, -rows * columns :]
    return tokens.T.reshape(-1, rows, columns)


def naflex_patches(image: torch.Tensor) -> torch.Tensor:
    """The list of patches as the library's own image processor makes it."""
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    return torch.tensor(convert_image_to_patches(image[0].numpy(), PATCH["naflex"]))[None]


@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_those_of_the_library(folder, name):
    """Of a wide frame, whose shape none of the models was made for."""
    patch = PATCH[name]
    found = features_of(encoder_of(folder(name), 5 * patch), frame())
    expected = librarys_map(name, folder(name), frame(), (3 * patch, 5 * patch))
    assert found.geometry.input_size == (3 * patch, 5 * patch) and found.geometry.stride == patch
    assert found.values.shape == (1, *expected.shape) and expected.shape[1:] == (3, 5)
    assert expected.flatten(1).std(dim=1).mean() > 0.01  # patches differ, or this would prove nothing
    torch.testing.assert_close(found.values[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2", "registers", "clip", "clip14", "siglip"])
def test_positions_of_the_models_own_size_are_as_they_were_learned(folder, name):
    """Of a square frame of the size that the model was made for nothing is interpolated."""
    side = CONFIGS[name][1]["image_size"]
    seen = frame(size=(120, 120))
    found = features_of(encoder_of(folder(name), side), seen).values[0]
    model = getattr(transformers, CONFIGS[name][0]).from_pretrained(folder(name)).eval()
    with torch.inference_mode():
        tokens = model(pixels(seen, name, (side, side))).last_hidden_state[0, -found[0].numel() :]
    torch.testing.assert_close(found.flatten(1).T, tokens / tokens.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_feature_lies_where_its_patch_does(folder, name):
    """In reading order: what moves most is the patch whose pixels change."""
    patch, encoder = PATCH[name], encoder_of(folder(name), 8 * PATCH[name])
    seen = frame(size=(4 * patch, 8 * patch))
    changed = seen.rgb.copy()
    changed[patch : 2 * patch, 5 * patch : 6 * patch] = 255 - changed[patch : 2 * patch, 5 * patch : 6 * patch]
    before, after = (features_of(encoder, each) for each in (seen, Frame(0, 0.0, changed)))
    moved = (before.values - after.values).norm(dim=1)[0]
    assert divmod(int(moved.argmax()), 8) == (1, 5)
    x, y = before.geometry.cells_to_frame(torch.tensor([[5.0, 1.0]]))[0].tolist()
    assert 5 * patch <= x < 6 * patch and patch <= y < 2 * patch


def test_a_region_is_encoded_as_if_it_were_the_frame(folder):
    seen, region = frame(), Region(40, 20, 80, 45)
    encoder = encoder_of(folder("dinov3"), 160)
    part = features_of(encoder, seen, region)
    alone = features_of(encoder, Frame(0, 0.0, seen.rgb[20:65, 40:120].copy()))
    assert part.geometry.region == region
    torch.testing.assert_close(part.values, alone.values)


def test_by_default_the_long_side_has_so_many_patches(folder):
    for name, patches in {"dinov2": 60, "dinov3": 60, "convnext": 40, "clip": 40, "naflex": 40}.items():
        context = FrameContext(frame(), None, None, Seconds())
        geometry = load_encoder(str(folder(name)), CPU, FLOAT).geometry(context)
        assert geometry.grid == (round(patches * 9 / 16), patches)


@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision(folder, name):
    full = features_of(encoder_of(folder(name), 160), frame()).values
    half = load_encoder(str(folder(name)), CPU, torch.bfloat16)
    half.long_side = 160
    rounded = features_of(half, frame()).values
    assert rounded.dtype == torch.float32
    assert (full * rounded).sum(dim=1).min() > 0.98


def test_the_vision_part_of_a_whole_model_is_read(folder, tmp_path):
    """The hub has CLIP and SigLIP with their text parts."""
    texts = {**TOWER, "vocab_size": 99, "max_position_embeddings": 8, "eos_token_id": 2}
    for name, kind in {"clip": "CLIPModel", "siglip": "SiglipModel", "naflex": "Siglip2Model"}.items():
        with torch.random.fork_rng():
            torch.manual_seed(4)
            config = getattr(transformers, kind).config_class(text_config=texts, vision_config=CONFIGS[name][1])
            whole = getattr(transformers, kind)(config).eval()
        whole.save_pretrained(tmp_path / name)
        whole.vision_model.save_pretrained(tmp_path / f"{name}-vision")
        found, alone = (
            features_of(encoder_of(tmp_path / path, 80), frame()).values for path in (name, f"{name}-vision")
        )
        assert torch.equal(found, alone)
        own = load_encoder(str(tmp_path / name), CPU, FLOAT).model.state_dict()
        assert all(torch.equal(tensor, own[key]) for key, tensor in whole.vision_model.state_dict().items())


def test_every_family_has_short_names_and_each_name_is_its_own():
    listed = plugins.names("vos.prior_encoders")
    for name in listed:
        kind = plugins.load("vos.prior_encoders", name)
        assert name == "same" or name in kind.hub_names
    kinds = {plugins.load("vos.prior_encoders", name).__name__ for name in listed} - {"SameEncoder"}
    assert kinds == {encoder for _, encoder in FAMILIES.values()}


def test_an_unknown_name_lists_those_that_are_installed():
    with pytest.raises(PluginError) as told:
        load_encoder("dinosaur", CPU, FLOAT)
    for name in ("same", "dinov2-large", "dinov2-reg-base", "dinov3-convnext-tiny", "clip-large", "siglip2-so400m"):
        assert re.search(rf"\b{name}\b", str(told.value))


def test_a_folder_of_something_else_is_one_line(tmp_path):
    config = transformers.ResNetConfig(hidden_sizes=[8], depths=[1], embedding_size=8, layer_type="basic")
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"type resnet.*`prior=FOLDER`.*clip, dinov2, dinov3, siglip2"):
        load_encoder(str(tmp_path), CPU, FLOAT)


def test_weights_that_lack_a_tensor_are_refused(folder, tmp_path):
    path = folder("dinov3")
    tensors = load_file(path / "model.safetensors")
    tensors.pop("norm.weight")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    with pytest.raises(WeightsError, match=r"norm\.weight and 0 more are missing"):
        load_encoder(str(tmp_path), CPU, FLOAT)


def test_weights_that_only_the_hub_has(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="facebook/dinov3-vitl16-pretrain-lvd1689m.*`prior=FOLDER`"):
        load_encoder("dinov3-large", CPU, FLOAT)
    with pytest.raises(WeightsError, match="someone/else.*`prior=FOLDER`"):
        load_encoder("someone/else", CPU, FLOAT)


def test_a_licence_that_does_not_allow_all_uses_is_told_when_chosen(folder, caplog):
    with caplog.at_level(logging.WARNING):
        load_encoder(str(folder("dinov2")), CPU, FLOAT)
        assert not caplog.messages
        for name in ("dinov3", "convnext"):
            load_encoder(str(folder(name)), CPU, FLOAT)
    assert len(caplog.messages) == 2 and all("licence" in line and "\n" not in line for line in caplog.messages)


@pytest.mark.parametrize("name", ["dinov3", "convnext", "naflex"])
def test_objects_are_followed_with_it(folder, name):
    size = (90, 160)
    seen = list(itertools.islice(clip(size), 3))
    with vos.open_session(
        tracker="persam", prior=str(folder(name)), prior_size=4 * PATCH[name], device="cpu"
    ) as session:
        session.start(seen[0], discs(2, size))
        results = [session.step(each) for each in seen[1:]]
        assert session.encoder.long_side == 4 * PATCH[name]
        assert any("model.safetensors" in file for file in session.encoder.files)
    assert all(np.isfinite(each.logits).all() and each.labels.shape == size for each in results)
    assert session.seconds["prior"] > 0


def test_the_size_of_the_input_is_an_option(folder, tmp_path, square, capfd):
    arguments = [str(tmp_path / "clip"), "--first-mask", str(square), "--tracker", "persam", "--quiet"]
    (tmp_path / "clip").mkdir()
    for seen in itertools.islice(clip((48, 64)), 2):
        Image.fromarray(seen.rgb).save(tmp_path / "clip" / f"{seen.index:05d}.png")
    priors = ["--prior", str(folder("dinov3")), "--prior-size", "64"]
    assert main([*arguments, *priors, "-o", str(tmp_path / "out")]) == 0
    assert capfd.readouterr().err.count("DINOv3 is under Meta's own licence") == 1
    assert '"prior_size": 64' in (tmp_path / "out" / "run.json").read_text()
    assert main([*arguments, "--prior-size", "64", "-o", str(tmp_path / "same")]) == 2
    assert "--prior-size 64: the prior same has no input of its own" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--prior-size", "0"])


def test_a_size_of_nothing_is_refused():
    with pytest.raises(InputError, match="`prior_size=0`: must be 1 or more"):
        vos.open_session(prior="dinov2-small", prior_size=0)
