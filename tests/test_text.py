"""Objects named in words: Grounding DINO against the library's own processor, and what is made of its boxes.

The detector has small random weights; a stub stands in for it where the logic is tested.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import vos
from vos.command.cli import main
from vos.engine import text
from vos.engine.text import GroundingDino, Words, hints_in_source, hints_of_words
from vos.errors import InputError, WeightsError
from vos.structures import Frame
from vos.testing.clip import clip

CPU = torch.device("cpu")
SIZE = (90, 160)
PHRASES = ("disc", "brown dog")


def frame(size: tuple[int, int] = SIZE) -> Frame:
    return next(iter(clip(size)))


class Stub:
    """A detector that finds for each phrase what it was told to."""

    def __init__(self, **found: list[tuple[list[float], float]]):
        self.found = found

    def detect(self, rgb: np.ndarray, phrase: str):
        boxes = self.found[phrase]
        return torch.tensor([box for box, _ in boxes]).reshape(-1, 4), torch.tensor([score for _, score in boxes])


def found_by(stub: Stub, *phrases: str, threshold: float = 0.35):
    return [hint.box for hint in hints_of_words(frame(), Words.of(phrases, threshold), CPU, stub)]


def test_each_box_above_the_threshold_is_an_object_from_the_best_down():
    stub = Stub(disc=[([10, 10, 30, 30], 0.4), ([50, 10, 80, 40], 0.9), ([100, 10, 130, 40], 0.3)])
    assert found_by(stub, "disc") == [(50, 10, 80, 40), (10, 10, 30, 30)]
    assert found_by(stub, "disc", threshold=0.2)[2:] == [(100, 10, 130, 40)]


def test_two_boxes_of_one_object_are_one_whatever_they_are_called():
    near = [([10, 10, 50, 50], 0.6), ([12, 10, 50, 50], 0.8)]
    assert found_by(Stub(disc=near), "disc") == [(12, 10, 50, 50)]
    assert found_by(Stub(disc=near[:1], ball=near[1:]), "disc", "ball") == [(12, 10, 50, 50)]
    apart = [([10, 10, 50, 50], 0.6), ([30, 10, 70, 50], 0.8)]  # a third of their union is shared
    assert len(found_by(Stub(disc=apart), "disc")) == 2


def test_objects_are_numbered_in_the_order_of_the_phrases():
    stub = Stub(cat=[([10, 10, 30, 30], 0.5)], dog=[([60, 10, 90, 30], 0.9)])
    assert found_by(stub, "cat", "dog") == [(10, 10, 30, 30), (60, 10, 90, 30)]
    assert found_by(stub, "dog", "cat")[0] == (60, 10, 90, 30)


@pytest.mark.parametrize("boxes", [[], [([10, 10, 30, 30], 0.21)]])
def test_words_for_nothing_that_is_seen_are_one_line(boxes):
    with pytest.raises(InputError, match=r"`text` 'cat'.*frame 0.*scores 0\.(21|00); lower `text_threshold` \(0\.35\)"):
        found_by(Stub(cat=boxes), "cat")


def test_more_objects_than_there_are_numbers():
    many = [([float(x), 0.0, float(x), 5.0], 0.5) for x in range(256)]
    with pytest.raises(InputError, match="256 objects are found.*at most 255.*raise `text_threshold`"):
        found_by(Stub(disc=many), "disc")


@pytest.mark.parametrize("given", ["", " . ", (), ("dog", "")])
def test_no_words_at_all(given):
    with pytest.raises(InputError, match="`text`: say in words"):
        Words.of(given)
    with pytest.raises(InputError, match=r"`text_threshold=1\.5`: must lie between 0 and 1"):
        Words.of("dog", 1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small Grounding DINO with its tokenizer, in a folder."""
    path = tmp_path_factory.mktemp("dino")
    words = {
        1012: ".",
        1029: "?",
        101: "[CLS]",
        102: "[SEP]",
        0: "[PAD]",
        100: "[UNK]",
    }  # the model knows these numbers
    words |= dict(enumerate(("the", "brown", "dog", "disc"), start=1000))
    vocabulary = [words.get(index, f"[unused{index}]") for index in range(1030)]
    (path / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizer.from_pretrained(path).save_pretrained(path)
    tower = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    backbone = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone, text_config={"model_type": "bert", "vocab_size": 1030, **tower},
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, fusion_dropout=0.0, fusion_droppath=0.0,
        text_enhancer_num_attention_heads=2, num_attention_heads=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.GroundingDinoForObjectDetection(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (40, 120)])
def test_boxes_and_scores_are_those_of_the_librarys_processor(folder, phrase, size, monkeypatch):
    """With its own resizing, normalisation, text and coordinates; 40 x 120 is limited by its long side."""
    monkeypatch.setattr(text, "SHORT_SIDE", 64)
    monkeypatch.setattr(text, "LONG_SIDE", 128)
    seen = frame(size)
    boxes, scores = GroundingDino.load(str(folder), CPU).detect(seen.rgb, phrase)
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    edges = {"shortest_edge": 64, "longest_edge": 128}
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessorPil(size=edges), transformers.AutoTokenizer.from_pretrained(folder)
    )
    inputs = processor(images=Image.fromarray(seen.rgb), text=[[phrase]], return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    expected = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=0.0, target_sizes=[size]
    )[0]
    torch.testing.assert_close(scores, expected["scores"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(boxes + torch.tensor([0.0, 0, 1, 1]), expected["boxes"], rtol=1e-3, atol=0.05)
    assert boxes.std(dim=0).min() > 0 and len(boxes) == 6


def test_words_become_objects_that_are_followed(monkeypatch, tmp_path):
    """By ``vos.track``, from any frame of a folder; with the bundled model."""
    size = (120, 200)
    for seen in itertools.islice(clip(size), 2):
        Image.fromarray(seen.rgb).save(tmp_path / f"{seen.index:05d}.png")
    stub = Stub(disc=[([20.0, 20.0, 90.0, 90.0], 0.9)])
    monkeypatch.setattr(GroundingDino, "load", lambda *_: stub)
    boxed = list(vos.track(tmp_path, [vos.Hint(box=(20, 20, 90, 90))], tracker="persam", device="cpu"))
    named = list(vos.track(tmp_path, text="disc", tracker="persam", device="cpu"))
    assert [each.object_ids for each in named] == [(1,)] * 2
    assert all(np.array_equal(one.labels, other.labels) for one, other in zip(boxed, named, strict=True))
    later = list(vos.track(tmp_path, text="disc", first_frame=1, tracker="persam", device="cpu"))
    assert not later[0].labels.any() and later[1].labels.any()
    with pytest.raises(InputError, match="`text` and `first_mask`"):
        list(vos.track(tmp_path, [vos.Hint(box=(20, 20, 90, 90))], text="disc"))


def test_a_stream_is_told_what_words_need():
    reader = SimpleNamespace(source=object(), name="rtsp://door")
    with pytest.raises(InputError, match="rtsp://door: can be read forwards only.*`text` needs a file or a folder"):
        hints_in_source(reader, 0, "dog")


def test_the_command(monkeypatch, tmp_path, capfd):
    (tmp_path / "clip").mkdir()
    for seen in itertools.islice(clip((120, 200)), 2):
        Image.fromarray(seen.rgb).save(tmp_path / "clip" / f"{seen.index:05d}.png")
    stub = Stub(disc=[([20.0, 20.0, 90.0, 90.0], 0.9), ([110.0, 20.0, 180.0, 90.0], 0.3)])
    monkeypatch.setattr(GroundingDino, "load", lambda *_: stub)
    arguments = [str(tmp_path / "clip"), "--tracker", "persam", "--quiet", "--text", "disc"]
    assert main([*arguments, "-o", str(tmp_path / "one")]) == 0
    labels = np.asarray(Image.open(tmp_path / "one" / "masks" / "00001.png"))
    assert set(np.unique(labels)) == {0, 1}
    assert main([*arguments, "--text-threshold", "0.95", "-o", str(tmp_path / "none")]) == 2
    assert "--text 'disc': nothing on frame 0 is surely that" in capfd.readouterr().err
    assert main([*arguments, "--box", "1,1,9,9", "-o", str(tmp_path / "both")]) == 2
    assert "--text" in capfd.readouterr().err


def test_without_weights_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"grounding-dino-tiny.*`text_model=FOLDER`"):
        GroundingDino.load(text.TEXT_MODEL, CPU)
    transformers.ResNetConfig().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="type resnet, which finds no objects by words"):
        GroundingDino.load(str(tmp_path), CPU)


def test_weights_without_a_tokenizer(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(WeightsError, match="its tokenizer is missing"):
        GroundingDino.load(str(tmp_path), CPU)
