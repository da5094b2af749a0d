"""SAM 3's tracker, with small weights: against the library's own session, bounded, and read from the whole model."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import transformers

import vos
from vos.errors import WeightsError
from vos.testing.clip import disc_labels, discs

from .streaming import SIZE, assert_librarys_logits, assert_loaded_once, change_without, frames, low_res

SIDE = 56
FRAMES = 18
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""Of logits whose deviation is about 1."""

BACKBONE = {
    "model_type": "sam3_vit_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 14,
    "window_size": 2,
    "global_attn_indexes": [1],
    "pretrain_image_size": 28,
}
VISION = {"model_type": "sam3_vision_model", "backbone_config": BACKBONE, "fpn_hidden_size": 128}
TRACKER = {
    "prompt_encoder_config": {"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 8},
    "mask_decoder_config": {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
    "image_size": SIDE,
    "memory_attention_hidden_size": 128,
    "memory_attention_num_layers": 2,
    "memory_attention_feed_forward_hidden_size": 32,
    "memory_encoder_hidden_size": 128,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 32,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """Give a model weights of which all matter, and an object that is always there."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" not in name and "position" not in name:
            deviation = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.data = torch.randn(parameter.shape, generator=generator) * deviation
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        config = transformers.Sam3TrackerVideoConfig(vision_config=VISION, **TRACKER)
        model = drawn(transformers.Sam3TrackerVideoModel(config))
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(20)
    path = tmp_path_factory.mktemp("sam3")
    model.save_pretrained(path)
    return str(path)


@pytest.fixture
def session(folder):
    with vos.open_session(tracker=f"sam3:{folder}", device="cpu") as session:
        yield session


@pytest.mark.parametrize("count", [1, 2])
def test_logits_are_those_of_the_librarys_own_session(folder, session, count):
    """Beyond the memory's length: 6 memories and 15 pointers of the last frames."""
    assert_librarys_logits(f"sam3:{folder}", session, frames(FRAMES), count, **CLOSE)


@pytest.mark.parametrize("forgotten", ["object_pointer", "maskmem_features"])
def test_the_oldest_thing_that_is_kept_matters(folder, forgotten):
    """So that agreement with the library says that not too much is forgotten."""
    assert change_without(f"sam3:{folder}", frames(FRAMES), forgotten) > 5 * CLOSE["atol"]


def test_sessions_share_what_a_cache_keeps(folder, monkeypatch):
    assert_loaded_once(f"sam3:{folder}", monkeypatch)


def test_what_is_held_does_not_grow(session):
    first, *later = frames(22)
    session.start(first, discs(2, SIZE))
    for frame in later:
        session.step(frame)
    for one in session.tracker._objects:
        outputs = one.output_dict_per_obj[0]
        kept = [sum(key in output for output in outputs["non_cond_frame_outputs"].values()) for key in
                ("object_pointer", "maskmem_features", "pred_masks", "high_res_masks")]  # fmt: skip
        assert kept == [15, 6, 0, 0] and list(outputs["cond_frame_outputs"]) == [0]
        assert not one.processed_frames and not one.mask_inputs_per_obj[0] and not one.frames_tracked_per_obj[0]
    assert len(session.tracker._features._vision_features) == 1


def test_the_image_is_encoded_once_for_all_objects(session):
    calls = []
    first, second = frames(2)
    session.start(first, discs(3, SIZE))
    session.tracker._model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    session.step(second)
    assert len(calls) == 1


def test_objects_join_are_corrected_and_leave_without_touching_the_others(folder):
    labels = disc_labels(SIZE, 9)
    seen = frames(6)
    with (
        vos.open_session(tracker=f"sam3:{folder}", device="cpu") as both,
        vos.open_session(tracker=f"sam3:{folder}", device="cpu") as alone,
    ):
        for session in (both, alone):
            session.start(seen[0], discs(1, SIZE))
            session.step(seen[1])
        both.add_object(labels == 9, object_id=4)
        results = [session.step(seen[2]) for session in (both, alone)]
        assert results[0].object_ids == (1, 4)
        assert np.array_equal(low_res(results[0])[0], low_res(results[1])[0])
        both.correct(4, labels == 8)
        results = [session.step(seen[3]) for session in (both, alone)]
        assert np.array_equal(low_res(results[0])[0], low_res(results[1])[0])
        both.remove(4)
        assert np.array_equal(*(low_res(session.step(seen[4])) for session in (both, alone)))


def test_an_absent_object_has_an_empty_mask_and_comes_back(session):
    first, *later = frames(3)
    session.start(first, discs(1, SIZE))
    bias = session.tracker._model.mask_decoder.pred_obj_score_head.proj_out.bias
    bias.fill_(-200)
    absent = session.step(later[0])
    assert not absent.labels.any() and absent.scores[0] < 0.5
    bias.fill_(20)
    assert session.step(later[1]).scores[0] > 0.5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(folder, dtype):
    with vos.open_session(tracker=f"sam3:{folder}", device="cpu", dtype=dtype) as session:
        first, *later = frames(3)
        session.start(first, discs(2, SIZE))
        for frame in later:
            result = session.step(frame)
        assert session.tracker._model.dtype == getattr(torch, dtype)
        assert result.logits.dtype == np.float32 and np.isfinite(result.logits).all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[torch.nn.Module, str]:
    """All of SAM 3, with its detector, as the hub has it; and its folder."""
    layers = {"hidden_size": 128, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 48,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 8,
    }
    detector = {
        "model_type": "sam3",
        "vision_config": VISION,
        "text_config": text,
        "geometry_encoder_config": layers,
        "detr_encoder_config": layers,
        "detr_decoder_config": {**layers, "num_queries": 4},
        "mask_decoder_config": {"hidden_size": 128, "num_attention_heads": 2},
    }
    tracker = {"model_type": "sam3_tracker_video", "vision_config": VISION, **TRACKER}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
        model = drawn(transformers.Sam3VideoModel(config))
    path = tmp_path_factory.mktemp("whole")
    model.save_pretrained(path)
    return model, str(path)


def test_the_tracker_is_read_from_the_weights_of_the_whole_model(whole, caplog):
    model, path = whole
    with vos.open_session(tracker=f"sam3:{path}", device="cpu") as session:
        first, second = frames(2)
        with caplog.at_level(logging.WARNING):
            session.start(first, discs(1, SIZE))
        session.step(second)
        own = session.tracker._model.state_dict()
        assert session.tracker.files[0].endswith("model.safetensors")
    parts = {
        "": model.tracker_model.state_dict(),
        "vision_encoder.backbone.": model.detector_model.vision_encoder.backbone.state_dict(),
        "vision_encoder.neck.": model.tracker_neck.state_dict(),
    }
    expected = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    assert set(own) == set(expected) and all(torch.equal(own[name], expected[name]) for name in own)
    assert [line for line in caplog.messages if "licence" in line and "\n" not in line]


def test_weights_that_only_the_hub_has(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with vos.open_session(tracker="sam3", device="cpu") as session, pytest.raises(WeightsError, match="facebook/sam3"):
        session.start(frames(1)[0], discs(1, SIZE))
