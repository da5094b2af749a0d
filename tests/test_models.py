"""Loading of models: three ways to SAM agree, DINOv2 from a folder, and clear lines for bad weights."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model

import vos
from vos import plugins
from vos.encoders.dinov2 import Dinov2Encoder
from vos.encoders.same import SameEncoder
from vos.engine.models import defer_encoder, defer_segmenter, load_encoder, load_segmenter
from vos.engine.session import Session
from vos.errors import InputError, PluginError, WeightsError
from vos.interfaces import FrameContext, Seconds
from vos.method.guidance import Guidance
from vos.regions import Region
from vos.segmenters.lite_network import LiteNetwork
from vos.segmenters.sam import SamSegmenter
from vos.segmenters.segment_anything import PackageSegmenter
from vos.structures import Frame, Prompts, first_mask_from_array
from vos.trackers.persam import PerSAM
from vos.weights import LITE, model_files

from .conftest import DATA

CPU, FLOAT = torch.device("cpu"), torch.float32
TINY_HEADS = 4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The tiny SAM as Meta ships theirs: a pickled dictionary of tensors."""
    path = tmp_path_factory.mktemp("sam") / "sam_tiny.pth"
    torch.save(load_file(DATA / "tiny_sam.safetensors"), path)
    return path


@pytest.fixture
def torchvision_names(monkeypatch):
    """The few names of torchvision that the package imports and that none of its encoders calls."""
    names = {
        "torchvision": (),
        "torchvision.ops": (),
        "torchvision.ops.boxes": ("batched_nms", "box_area"),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": ("resize", "to_pil_image"),
    }
    for name, members in names.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, None)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["folder", "pth", "safetensors", "package"])
def loaded(request, tmp_path, tiny_sam, checkpoint):
    if request.param == "folder":
        tiny_sam.model.save_pretrained(tmp_path)
        return load_segmenter(str(tmp_path), CPU, FLOAT)
    if request.param == "pth":
        return SamSegmenter.load(str(checkpoint), CPU, FLOAT, decoder_heads=TINY_HEADS)
    if request.param == "safetensors":
        return SamSegmenter.load(str(DATA / "tiny_sam.safetensors"), CPU, FLOAT, decoder_heads=TINY_HEADS)
    request.getfixturevalue("torchvision_names")
    return PackageSegmenter.load(f"segment-anything:{checkpoint}", CPU, FLOAT, decoder_heads=TINY_HEADS)


def test_every_way_to_sam_meets_the_published_outputs(loaded, published):
    arrays = {key: torch.as_tensor(value) for key, value in published("image_persam").items()}
    prompts = Prompts(arrays["point_coords"].float()[None], arrays["point_labels"][None])
    with torch.inference_mode():
        embedding = loaded.embed(published("frames")["frames"][3])
        plain = loaded.decode(embedding, prompts)
        steered = loaded.decode(embedding, prompts, Guidance(target_embedding=arrays["target_embedding"][0]))
        refined = loaded.decode(
            embedding,
            Prompts(
                prompts.points,
                prompts.point_labels,
                arrays["step2_box"].float()[None],
                arrays["step1_low_res_logits"][None, arrays["step1_best"]][None],
            ),
        )
    assert (embedding.values - arrays["test_embedding"]).abs().max() < 2e-4
    assert (plain.low_res_logits[0] - arrays["unguided_low_res_logits"]).abs().max() < 2e-4
    assert (plain.scores[0] - arrays["unguided_scores"]).abs().max() < 2e-4
    assert (steered.low_res_logits[0] - arrays["semantic_only_low_res_logits"]).abs().max() < 2e-4
    assert (refined.low_res_logits[0] - arrays["step2_low_res_logits"]).abs().max() < 2e-4
    assert loaded.files


def torch_attends_in_half_precision() -> bool:
    """Whether torch can: it breaks off where AMX is there but ``ATEN_CPU_CAPABILITY`` hides AVX-512 from it."""
    tokens, mask = torch.zeros(25, 2, 196, 24, dtype=torch.bfloat16), torch.zeros(25, 2, 196, 196, dtype=torch.bfloat16)
    try:
        torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)
    except RuntimeError:
        return False
    return True


@pytest.mark.skipif(not torch_attends_in_half_precision(), reason="torch has no attention in bfloat16 here")
def test_half_precision_keeps_points_where_they_are(checkpoint, published):
    """On a GPU SAM runs in bfloat16, whose steps between 512 and 1024 are 4: coordinates must not."""
    arrays = {key: torch.as_tensor(value) for key, value in published("image_persam").items()}
    points, labels = arrays["point_coords"].float()[None] + 0.7, arrays["point_labels"][None]
    guidance = Guidance(torch.rand(1, 16, 16), arrays["target_embedding"][0])
    full, half = (SamSegmenter.load(str(checkpoint), CPU, dtype, TINY_HEADS) for dtype in (FLOAT, torch.bfloat16))
    with torch.inference_mode():
        exact, rounded = (each.model.encode_prompts(points, labels, None, None)[0] for each in (full, half))
        masks = [
            each.decode(each.embed(published("frames")["frames"][3]), Prompts(points, labels), guidance)
            for each in (full, half)
        ]
    assert (exact - rounded).abs().max() < 0.02
    assert masks[1].low_res_logits.dtype == torch.float32
    agree = (masks[0].low_res_logits > 0) == (masks[1].low_res_logits > 0)
    assert agree.float().mean() > 0.97


def test_a_package_that_cannot_be_imported_is_one_clear_line(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    monkeypatch.setitem(sys.modules, "segment_anything.modeling", None)
    with pytest.raises(WeightsError, match=r"vos-track\[segment-anything\]"):
        load_segmenter(f"segment-anything:{checkpoint}", CPU, FLOAT)


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


def context(rgb, segmenter, encoder, region=None):
    made = FrameContext(Frame(0, 0.0, rgb), segmenter, encoder, Seconds())
    made.look_at(region)
    return made


def test_dinov2_gives_unit_features_of_whole_patches(dino_folder, tiny_sam, published):
    rgb = published("frames")["frames"][0]
    encoder = load_encoder(str(dino_folder), CPU, FLOAT)
    with torch.inference_mode():
        features = encoder.features(context(rgb, tiny_sam, encoder))
    height, width = features.geometry.input_size
    assert width == 840 and height % 14 == 0
    assert height / width == pytest.approx(rgb.shape[0] / rgb.shape[1], rel=0.03)
    assert features.values.shape == (1, 32, height // 14, width // 14)
    assert torch.allclose(features.values.norm(dim=1), torch.ones(1), atol=1e-5)
    assert encoder.files and encoder.files[0].endswith("model.safetensors")


def test_dinov2_patches_are_in_reading_order(dino_folder, tiny_sam, published):
    """A patch feature is the token of that patch: it moves when its pixels change most."""
    rgb = published("frames")["frames"][0]
    changed = rgb.copy()
    changed[100:120, 300:330] = 255 - changed[100:120, 300:330]
    encoder = Dinov2Encoder(Dinov2Model.from_pretrained(dino_folder), "tiny", CPU, FLOAT, long_side=280)
    with torch.inference_mode():
        before, after = (encoder.features(context(image, tiny_sam, encoder)) for image in (rgb, changed))
    moved = (before.values - after.values).norm(dim=1)[0]
    row, column = divmod(int(moved.argmax()), moved.shape[1])
    x, y = before.geometry.cells_to_frame(torch.tensor([[column, row]]).float())[0].tolist()
    assert 285 <= x <= 345 and 85 <= y <= 135


def test_dinov2_sees_the_region_that_the_tracker_looks_at(dino_folder, tiny_sam, published):
    rgb = published("frames")["frames"][0]
    encoder = Dinov2Encoder(Dinov2Model.from_pretrained(dino_folder), "tiny", CPU, FLOAT, long_side=280)
    region = Region(100, 50, 227, 128)
    with torch.inference_mode():
        part = encoder.features(context(rgb, tiny_sam, encoder, region))
        alone = encoder.features(context(rgb[50:178, 100:327].copy(), tiny_sam, encoder))
    assert torch.allclose(part.values, alone.values, atol=1e-5)
    assert part.geometry.region == region


def test_sam_with_dinov2_follows_through_the_engine(dino_folder, tiny_sam, published):
    clip = published("frames_multi")
    session = Session(PerSAM(), tiny_sam, load_encoder(str(dino_folder), CPU, FLOAT))
    session.start(Frame(0, 0.0, clip["frames"][0]), first_mask_from_array(clip["labels"][0]))
    result = session.step(Frame(1, 0.1, clip["frames"][1]))
    assert result.labels.shape == clip["labels"][1].shape
    assert np.isfinite(result.logits).all()
    assert session.seconds["prior"] > 0


class Hostile:
    """What a hostile checkpoint holds: code that runs when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def bad_files(folder):
    (folder / "text.pth").write_text("not weights")
    (folder / "hostile.pth").write_bytes(pickle.dumps({"a": Hostile()}))
    torch.save({"a": Hostile()}, folder / "hostile_zip.pth")
    torch.save({"weight": torch.zeros(3)}, folder / "other.pth")
    torch.save([1, 2], folder / "list.pth")
    save_file({"weight": torch.zeros(3)}, folder / "other.safetensors")
    tensors = load_file(DATA / "tiny_sam.safetensors")
    tensors.pop("mask_decoder.iou_token.weight")
    save_file(tensors, folder / "missing.safetensors")
    return sorted(path.name for path in folder.iterdir())


def test_bad_files_of_weights_are_refused_by_name_and_never_run(tmp_path, capsys):
    for name in bad_files(tmp_path):
        path = tmp_path / name
        with pytest.raises(WeightsError, match=name):
            SamSegmenter.load(str(path), CPU, FLOAT, decoder_heads=TINY_HEADS)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nowhere/sam.pth", "segment-anything:nowhere/sam.pth"])
def test_a_file_that_is_not_there(name):
    with pytest.raises(WeightsError, match=r"nowhere.sam\.pth: no such file"):
        load_segmenter(name, CPU, FLOAT)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json.*`model=FOLDER`"):
        load_segmenter(str(tmp_path), CPU, FLOAT)
    with pytest.raises(WeightsError, match=r"config\.json.*`prior=FOLDER`"):
        load_encoder(str(tmp_path), CPU, FLOAT)


def test_a_folder_of_another_model(dino_folder):
    with pytest.raises(WeightsError, match="not weights of|no usable weights"):
        load_segmenter(str(dino_folder), CPU, FLOAT)


def test_weights_that_only_the_hub_has(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="facebook/sam-vit-huge.*`model=FOLDER`"):
        load_segmenter("sam-vit-h", CPU, FLOAT)


def test_weights_from_the_hub_are_listed_as_they_lie_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert model_files("some/model") == ()
    snapshot = tmp_path / "models--some--model" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("1234")
    (snapshot / "model.safetensors").write_bytes(LITE.read_bytes())
    assert model_files("some/model") == (str(snapshot / "model.safetensors"),)


def test_without_a_network_the_line_comes_at_once(monkeypatch, capfd):
    def unknown(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr("vos.weights.getproxies", dict)
    monkeypatch.setattr("vos.weights.socket.getaddrinfo", unknown)
    with pytest.raises(WeightsError, match="facebook/dinov2-large.*`prior=FOLDER`"):
        load_encoder("dinov2-large", CPU, FLOAT)
    assert not capfd.readouterr().err  # the downloader announces each of its retries, 23 s of them


def test_a_misspelt_name_lists_those_there_are():
    with pytest.raises(PluginError, match="lite.*sam-vit-b"):
        load_segmenter("light", CPU, FLOAT)
    with pytest.raises(PluginError, match="dinov2-base.*same"):
        load_encoder("dino", CPU, FLOAT)


def test_fused_activations_change_nothing(lite):
    """The encoder with convolution and ReLU6 in one pass, against the network as trained."""
    network = LiteNetwork(lite.network.config)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(LITE).items()})
    pixels = torch.randn((1, 3, 96, 160), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = network.to(lite.fast_dtype).embed(pixels.to(lite.fast_dtype))
        fused = lite.network.embed(pixels.to(lite.fast_dtype))
    assert (plain[0].float() - fused[0].float()).abs().max() <= 0.02 * plain[0].float().abs().max()


def test_damaged_weights_of_lite(tmp_path, monkeypatch):
    path = tmp_path / "lite.safetensors"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match=r"lite\.safetensors.*pass a file that tools/train_lite\.py wrote"):
        load_segmenter(f"lite:{path}", CPU, FLOAT)
    monkeypatch.setattr("vos.segmenters.lite.LITE", path)
    with pytest.raises(WeightsError, match=r"lite\.safetensors.*install vos-track anew"):
        load_segmenter("lite", CPU, FLOAT)


def test_weights_of_lite_from_a_file(tmp_path, lite):
    path = tmp_path / "own.safetensors"
    path.write_bytes(LITE.read_bytes())
    own = load_segmenter(f"lite:{path}", CPU, FLOAT)
    assert own.files == (str(path),)
    assert torch.equal(own.network.match.weight, lite.network.match.weight)


def test_a_model_may_be_named_by_a_path(tiny_sam, tmp_path):
    tiny_sam.model.save_pretrained(tmp_path / "sam")
    assert load_segmenter(tmp_path / "sam", CPU, FLOAT).files
    assert defer_segmenter(tmp_path / "sam", CPU, FLOAT).name == str(tmp_path / "sam")
    with pytest.raises(WeightsError, match=r"config\.json.*`prior=FOLDER`"):
        load_encoder(tmp_path, CPU, FLOAT)


@pytest.mark.parametrize(
    "options",
    [{"model": None}, {"prior": None}, {"tracker": None}, {"points": None}, {"model": 5}, {"tracker": b"persam"}],
)
def test_names_that_are_no_texts_are_refused(options):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"`{name}={value}`: must be a name or a path, not of type"):
        vos.open_session(**{"tracker": "persam", **options})


@pytest.mark.parametrize("size", ["a", 1.5, -3, 0])
def test_the_size_of_the_prior_is_a_whole_number(size):
    with pytest.raises(InputError, match=f"`prior_size={size}`: must be 1 or more, a whole number of pixels"):
        vos.open_session(prior="dinov2-base", prior_size=size)


def test_a_prior_encoder_may_take_an_argument_after_a_colon(monkeypatch):
    class Own(SameEncoder):
        @classmethod
        def load(cls, name, device, dtype):
            made = cls()
            made.name = name
            return made

    monkeypatch.setattr(plugins, "names", lambda group: ["own"] if group == "vos.prior_encoders" else [])
    monkeypatch.setattr(plugins, "load", lambda group, name: {"own": Own}[name])
    assert load_encoder("own:x", CPU, FLOAT).name == defer_encoder("own:x", CPU, FLOAT).name == "own:x"
