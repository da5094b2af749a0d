"""SAM 2 and EdgeTAM as trackers: against the library's own session, and bounded, with small random weights.

The conformance suite runs with small weights that are trained here to follow a drawn disc.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import EdgeTamVideoConfig, Sam2VideoConfig

import vos
from vos.batch.storage import Place
from vos.batch.worker import VideoWorker, video_request
from vos.command.cli import main
from vos.engine import models
from vos.errors import InputError, WeightsError
from vos.geometry import Geometry
from vos.structures import FirstMask, Frame
from vos.testing.clip import clip, disc_labels, discs, sway

from .streaming import (
    SIZE,
    Library,
    assert_librarys_logits,
    assert_loaded_once,
    change_without,
    frames,
    low_res,
    model_class,
    pixels,
    session_class,
)

SIDE = 64
FRAMES = 24
CLOSE = {"rtol": 1e-4, "atol": 2e-3}
"""Of logits up to 25: these weights multiply rounding from frame to frame, so that memory shows in the logits."""


NAMES = ("sam2", "edgetam")

pytestmark = pytest.mark.usefixtures("one_thread")


def small_config(name: str):
    """A configuration of 1.2 million parameters; what is 64 and 128 the library demands to be so."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIDE, SIDE],
        "hidden_size": 8,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 2],
        "window_positional_embedding_background_size": [2, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 128,
    }
    common = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 8},
        "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
        "image_size": SIDE,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 2,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 128,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 32,
    }
    if name == "sam2":
        return Sam2VideoConfig(**common, memory_attention_feed_forward_hidden_size=32)
    latents = {"perceiver_resampler_num_latents": 4, "perceiver_resampler_num_latents_2d": 4}
    return EdgeTamVideoConfig(
        **common, **latents, memory_attention_mlp_hidden_size=32, memory_attention_rope_k_sizes=[2, 2]
    )


@pytest.fixture(scope="module", params=NAMES)
def weights(request, tmp_path_factory) -> str:
    """``NAME:FOLDER`` of a model whose logits depend on all that it remembers."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(2)  # the position embedding is drawn here, and some draws multiply rounding a hundredfold
        model = model_class(request.param)(small_config(request.param))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            deviation = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.3
            parameter.data = torch.randn(parameter.shape, generator=generator) * deviation
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(20)  # always there, unless a test says so
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return f"{request.param}:{folder}"


FOLLOWED = (1, 13, 28, 39)
"""Discs that training follows: so many that one answer for all of them would overlap each by a quarter."""


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory, mask_loss) -> str:
    """``NAME:FOLDER`` of a model that follows one of several like discs, which only its memory can tell it.

    It starts with faint images, and with each place looking at the same place in the memory, so that
    40 steps are enough.
    """
    config = small_config(request.param)
    config.multimask_output_for_tracking = config.mask_decoder_config.dynamic_multimask_via_stability = False
    if request.param == "edgetam":
        config.perceiver_resampler_num_latents_2d, config.memory_attention_rope_k_sizes = 16, [4, 4]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(request.param)(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    for convolution in model.vision_encoder.neck.convs:
        convolution.weight.data *= 0.2
    for layer in model.memory_attention.layers:
        layer.cross_attn_image.q_proj.bias.data.fill_(5), layer.cross_attn_image.k_proj.bias.data.fill_(5)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(20)
    model.vision_encoder.requires_grad_(False)

    size, generator = (120, 200), torch.Generator().manual_seed(0)
    geometry = Geometry.stretched(size, SIDE, 16)
    seen = [pixels(frame, request.param, SIDE) for frame in frames(16, size)]
    labels = [torch.tensor(disc_labels(size, max(FOLLOWED), sway(size, at))) for at in range(len(seen))]
    truth = torch.stack([torch.stack([each == disc for disc in FOLLOWED]) for each in labels])
    forward = type(model).forward.__wrapped__  # without its inference mode
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, 40)
    for _ in range(40):
        first, later = torch.randint(len(seen), (2,), generator=generator).tolist()
        session = session_class(request.param)(dtype=torch.float32)
        for row, mask in enumerate(geometry.input_masks(truth[first])):
            session.add_mask_inputs(session.obj_id_to_idx(row), 0, mask[None, None].float())
        session.obj_with_new_inputs = list(range(len(FOLLOWED)))
        forward(model, session, frame_idx=0, frame=seen[first])
        output = forward(model, session, frame_idx=1, frame=seen[later])
        optimizer.zero_grad()
        mask_loss(geometry.upsample(output.pred_masks[:, 0]), truth[later].float()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1)
        optimizer.step(), schedule.step()
    folder = tmp_path_factory.mktemp(f"trained-{request.param}")
    model.save_pretrained(folder)
    return f"{request.param}:{folder}"


@pytest.fixture
def session(weights):
    with vos.open_session(tracker=weights, device="cpu") as session:
        yield session


@pytest.mark.parametrize("count", [1, 2])
def test_logits_are_those_of_the_librarys_own_session(weights, session, count):
    """Beyond the memory's length: 6 memories and 15 pointers of the last frames."""
    assert_librarys_logits(weights, session, frames(FRAMES), count, **CLOSE)


@pytest.mark.parametrize("forgotten", ["object_pointer", "maskmem_features"])
def test_the_oldest_thing_that_is_kept_matters(weights, forgotten):
    """So that agreement with the library says that not too much is forgotten."""
    assert change_without(weights, frames(FRAMES), forgotten) > 1e-3


def held(value: object, seen: set[int]) -> list[torch.Tensor]:
    """All tensors that can be reached from a value without its model's weights."""
    if id(value) in seen or isinstance(value, torch.nn.Module):
        return []
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    inner = [*inner, *(vars(value).values() if hasattr(value, "__dict__") else ())]
    return [tensor for each in inner for tensor in held(each, seen)]


def test_what_is_held_does_not_grow(session):
    first, *later = frames(60)
    session.start(first, discs(2, SIZE))
    counts = []
    for frame in later:
        session.step(frame)
        tensors = held(session.tracker, set())
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        counts.append((len(tensors), sum(storages.values())))
    assert len(set(counts[20:])) == 1
    for one in session.tracker._objects:
        outputs = one.output_dict_per_obj[0]
        kept = [sum(key in output for output in outputs["non_cond_frame_outputs"].values()) for key in
                ("object_pointer", "maskmem_features", "pred_masks", "high_res_masks")]  # fmt: skip
        assert kept == [15, 6, 0, 0]
        assert list(outputs["cond_frame_outputs"]) == [0]
        assert not one.processed_frames and not one.mask_inputs_per_obj[0] and not one.frames_tracked_per_obj[0]
    assert len(session.tracker._features._vision_features) == 1


def test_the_image_is_encoded_once_for_all_objects_and_corrections(session):
    calls = []
    first, second, *_ = frames(2)
    session.start(first, discs(3, SIZE))
    session.tracker._model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    session.step(second)
    session.correct(2, disc_labels(SIZE, 9) == 9)
    session.add_object(disc_labels(SIZE, 8) == 8)
    assert len(calls) == 1


def test_a_given_mask_comes_back_where_it_was(session):
    """Prompts go from the frame to the model's square and logits back; a wrong way shows here."""
    outputs = []
    first = FirstMask(np.pad(np.full((9, 30), 5, np.uint8), ((6, 30), (40, 7))), (5,))
    session.tracker._load(session.context(frames(1)[0]))
    session.tracker._model.register_forward_hook(lambda *call: outputs.append(call[-1].pred_masks))
    session.start(frames(1)[0], first)
    mask = session.tracker._geometry.upsample(outputs[0][:, 0])[0].numpy() > 0
    assert np.count_nonzero(mask & first.masks()[0]) > 0.8 * np.count_nonzero(mask | first.masks()[0])


def test_an_object_too_small_for_the_input_is_taken_all_the_same(session):
    size = (300, 400)
    labels = np.zeros(size, np.uint8)
    labels[200, 300] = 1
    seen = list(itertools.islice(clip(size), 2))
    session.start(seen[0], labels)
    assert session.tracker._geometry.input_masks(torch.tensor(labels[None] > 0)).sum() == 1
    session.step(seen[1])


def test_an_absent_object_has_an_empty_mask_keeps_its_number_and_comes_back(session):
    first, *later = frames(4)
    session.start(first, np.uint8([0, 3, 9])[disc_labels(SIZE, 2)])
    bias = session.tracker._model.mask_decoder.pred_obj_score_head.proj_out.bias
    present = session.step(later[0])
    assert (present.scores > 0.5).all() and present.logits.max() > 0
    bias.fill_(-200)
    absent = session.step(later[1])
    assert absent.object_ids == (3, 9) and not absent.labels.any()
    assert (absent.boxes == -1).all() and (absent.scores < 0.5).all()
    bias.fill_(20)
    assert (session.step(later[2]).scores > 0.5).all()


def test_an_object_that_joins_is_as_if_it_were_alone_and_disturbs_nobody(weights):
    *seen, last = frames(8)
    labels = disc_labels(SIZE, 9)
    with (
        vos.open_session(tracker=weights, device="cpu") as both,
        vos.open_session(tracker=weights, device="cpu") as one,
        vos.open_session(tracker=weights, device="cpu") as late,
    ):
        for session in (both, one):
            session.start(seen[0], discs(1, SIZE))
        for frame in seen[1:4]:
            both.step(frame), one.step(frame)
        both.add_object(labels == 9, object_id=4)
        late.start(seen[3], np.uint8(labels == 9))
        for frame in [*seen[4:], last]:
            results = [session.step(frame) for session in (both, one, late)]
            assert results[0].object_ids == (1, 4)
            assert np.array_equal(low_res(results[0])[0], low_res(results[1])[0])
            assert np.array_equal(low_res(results[0])[1], low_res(results[2])[0])
        both.remove(1)
        frame = clip_frame(9)
        assert np.array_equal(low_res(both.step(frame)), low_res(late.step(frame)))


def clip_frame(index: int) -> Frame:
    return next(itertools.islice(clip(SIZE), index, None))


def test_a_corrected_mask_is_a_second_true_one_and_the_mistakes_are_forgotten(weights, session):
    library, first, true = Library(weights), discs(1, SIZE), disc_labels(SIZE, 9) == 9
    library.give(0, {1: first.masks()[0]})
    seen = frames(FRAMES)
    library.logits(seen[0], 0)
    session.start(seen[0], first)
    for at in range(1, 10):
        library.logits(seen[at], at), session.step(seen[at])
    corrected = session.correct(1, true)
    assert np.array_equal(corrected.labels == 1, true)
    library.session.output_dict_per_obj[0]["non_cond_frame_outputs"].clear()
    library.session.frames_tracked_per_obj[0].clear()  # else it takes the mask for a prediction
    library.give(9, {1: true})
    library.logits(seen[9], 9)
    for at in range(10, FRAMES):
        np.testing.assert_allclose(low_res(session.step(seen[at])), library.logits(seen[at], at), **CLOSE)


def test_corrections_without_end_are_bounded_too(session):
    first, *later = frames(16)
    session.start(first, discs(1, SIZE))
    for frame in later:
        session.step(frame)
        session.correct(1, disc_labels(SIZE, 1) == 1)
    kept = session.tracker._objects[0].output_dict_per_obj[0]["cond_frame_outputs"]
    assert list(kept) == [0, *range(9, 16)]


def test_objects_that_all_left_may_be_followed_by_others(session):
    first, second, third = frames(3)
    session.start(first, discs(1, SIZE))
    session.remove(1)
    session.step(second)
    session.add_object(disc_labels(SIZE, 2) == 2)
    assert session.step(third).object_ids == (1,)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(weights, dtype):
    with vos.open_session(tracker=weights, device="cpu", dtype=dtype) as session:
        first, *later = frames(4)
        session.start(first, discs(2, SIZE))
        for frame in later:
            result = session.step(frame)
        assert session.tracker._model.dtype == getattr(torch, dtype)
        assert result.logits.dtype == np.float32 and np.isfinite(result.logits).all()


@pytest.mark.slow
def test_what_was_learned_is_read_from_the_memory(trained):
    """So that the conformance suite fails where the memory is not kept, or not read."""
    size, overlaps = (120, 200), []
    truth = disc_labels(size, 1, sway(size, 1)) > 0
    first, second = itertools.islice(clip(size), 2)
    for forgotten in ((), ("maskmem_features",), ("maskmem_features", "object_pointer")):
        with vos.open_session(tracker=trained, device="cpu") as session:
            session.start(first, discs(1, size))
            true = session.tracker._objects[0].output_dict_per_obj[0]["cond_frame_outputs"][0]
            true.update({key: torch.zeros_like(true[key]) for key in forgotten})
            found = session.step(second).labels > 0
            overlaps.append(np.count_nonzero(found & truth) / np.count_nonzero(found | truth))
    assert overlaps[0] > 0.5 and max(overlaps[1:]) < 0.3, overlaps


@pytest.mark.slow
def test_it_conforms(trained, conforms):
    """What is held is also counted above, so fewer frames do for the memory of the process."""
    conforms("--tracker", trained, "--memory-frames", "45")


def test_sessions_share_what_a_cache_keeps(weights, monkeypatch):
    assert_loaded_once(weights, monkeypatch)


def test_a_worker_of_vos_batch_loads_it_once(weights, tmp_path, monkeypatch):
    loads = []
    kind = model_class(weights)
    load = kind.from_pretrained
    monkeypatch.setattr(kind, "from_pretrained", lambda *given, **how: (loads.append(1), load(*given, **how))[1])
    (tmp_path / "clip").mkdir()
    for frame in frames(3):
        Image.fromarray(frame.rgb).save(tmp_path / "clip" / f"{frame.index:05d}.png")
    Image.fromarray(disc_labels(SIZE, 1)).save(tmp_path / "mask.png")
    worker = VideoWorker()
    given = ("--first-mask", str(tmp_path / "mask.png"), "--tracker", weights, "--device", "cpu")
    for name in ("one", "two", "three"):
        assert worker.run(video_request(Place(name, tmp_path / name), (str(tmp_path / "clip"), *given)))["frames"] == 3
    assert len(loads) == 1
    masks = [[(tmp_path / name / f"masks/{at:05d}.png").read_bytes() for at in range(3)] for name in ("one", "three")]
    assert masks[0] == masks[1]


def test_the_command_and_its_record(weights, tmp_path):
    for frame in frames(5):
        tmp_path.joinpath("clip").mkdir(exist_ok=True)
        Image.fromarray(frame.rgb).save(tmp_path / "clip" / f"{frame.index:05d}.png")
    Image.fromarray(disc_labels(SIZE, 2)).save(tmp_path / "mask.png")
    Image.fromarray(np.uint8(3 * (disc_labels(SIZE, 3) == 3))).save(tmp_path / "later.png")
    arguments = [tmp_path / "clip", "--first-mask", tmp_path / "mask.png", "--tracker", weights, "-o", tmp_path / "out"]
    assert main([*map(str, arguments), "--mask-at", f"2={tmp_path / 'later.png'}", "--device", "cpu", "--quiet"]) == 0
    assert len(list((tmp_path / "out/masks").iterdir())) == 5
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert list(record["weights"]) == [f"{weights.partition(':')[2]}/model.safetensors"]  # and none of lite's
    assert record["options"]["tracker"] == weights


def test_wrong_weights_are_one_clear_line(tmp_path, weights, tiny_sam, capfd):
    name, folder = weights.split(":")
    tiny_sam.model.save_pretrained(tmp_path / "sam")
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "damaged")
    (tmp_path / "damaged/model.safetensors").write_bytes(b"\0" * 50)
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "pickled")
    torch.save({}, tmp_path / "pickled/pytorch_model.bin")
    (tmp_path / "empty").mkdir()
    other = {"sam2": "edgetam", "edgetam": "sam2"}[name]
    cases = [f"{name}:{tmp_path / each}" for each in ("sam", "damaged", "pickled", "empty")] + [f"{other}:{folder}"]
    for case in cases:
        with (
            vos.open_session(tracker=case, device="cpu") as session,
            pytest.raises(WeightsError, match=case.split(":")[1]),
        ):
            session.start(frames(1)[0], discs(1, SIZE))
    assert not capfd.readouterr().err  # no table of a library before the line


def test_without_a_folder_the_published_weights_are_asked_for(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, source in {"sam2": "facebook/sam2.1-hiera-small", "edgetam": "yonigozlan/EdgeTAM-hf"}.items():
        with (
            vos.open_session(tracker=name, device="cpu") as session,
            pytest.raises(WeightsError, match=f"{source}.*`tracker={name}:FOLDER`"),
        ):
            session.start(frames(1)[0], discs(1, SIZE))


def test_an_encoder_whose_package_is_missing_is_named(weights, monkeypatch):
    def needs_timm(*_, **__):
        raise ImportError("TimmWrapperModel requires the timm library but it was not found")

    monkeypatch.setattr(model_class(weights), "from_pretrained", needs_timm)
    with vos.open_session(tracker=weights, device="cpu") as session, pytest.raises(WeightsError, match="timm library"):
        session.start(frames(1)[0], discs(1, SIZE))


def test_what_follows_the_colon_is_for_trackers_that_have_weights():
    assert models.new_tracker("sam2:some/folder").options.weights == "some/folder"
    with pytest.raises(InputError, match="persam:x: this tracker takes nothing after a colon"):
        models.new_tracker("persam:x")
    with pytest.raises(InputError, match="sam2: nothing stands after the colon"):
        models.new_tracker("sam2:")
    with pytest.raises(InputError, match="sam2: this tracker has no option points"):
        models.new_tracker("sam2", points="lk")


def test_device_and_precision_are_known_without_loading_a_segmenter(monkeypatch):
    def never(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr("vos.segmenters.lite.LiteSegmenter.load", never)
    with vos.open_session(device="cpu", dtype="bfloat16") as session:
        context = session.context(frames(1)[0])
        assert (context.device, context.dtype) == (torch.device("cpu"), torch.bfloat16)
