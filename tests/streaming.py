"""The library's own streaming sessions of SAM 2, EdgeTAM and SAM 3, and what the trackers have in common with them."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import vos
from vos.engine.session import Session
from vos.pipeline import another_session
from vos.structures import Frame, Result
from vos.testing.clip import clip, discs
from vos.weights.model_cache import ModelCache

SIZE = (45, 77)

MODELS = {"sam2": "Sam2VideoModel", "edgetam": "EdgeTamVideoModel", "sam3": "Sam3TrackerVideoModel"}
"""The library's classes by the names of the trackers."""

IMAGENET = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
NORMAL = {"sam2": IMAGENET, "edgetam": IMAGENET, "sam3": np.full((2, 3), 0.5, np.float32)}
"""Mean and deviation of red, green and blue, likewise."""


def frames(count: int, size: tuple[int, int] = SIZE) -> list[Frame]:
    return list(itertools.islice(clip(size), count))


def low_res(result: Result) -> np.ndarray:
    return result.tracked.logits.numpy()


def model_class(weights: str) -> type:
    return getattr(transformers, MODELS[weights.partition(":")[0]])


def session_class(weights: str) -> type:
    return getattr(transformers, MODELS[weights.partition(":")[0]].replace("Model", "InferenceSession"))


def pixels(frame: Frame, name: str, side: int) -> torch.Tensor:
    """A frame as the image encoder takes it, (3, S, S)."""
    image = np.asarray(Image.fromarray(frame.rgb).resize((side, side), Image.Resampling.BILINEAR))
    mean, deviation = NORMAL[name]
    return torch.tensor((image / np.float32(255) - mean) / deviation).permute(2, 0, 1)


class Library:
    """The library's own streaming session, as its documentation runs it; nothing is ever forgotten.

    Written apart from the trackers: only the weights and the order of the frames are common.
    """

    def __init__(self, weights: str):
        self._name, _, folder = weights.partition(":")
        self.model = model_class(weights).from_pretrained(folder).eval()
        self.session = session_class(weights)()
        self.session.dtype = torch.float32
        self._side = self.model.config.image_size

    def give(self, at: int, masks: dict[int, np.ndarray]) -> None:
        kind = "sam3_tracker" if self._name == "sam3" else "sam2"
        module = importlib.import_module(f"transformers.models.{kind}_video.processing_{kind}_video")
        processor = getattr(module, "".join(part.title() for part in kind.split("_")) + "VideoProcessor")
        stand_in = SimpleNamespace(target_size=self._side)  # the real one needs torchvision for its images
        processor.process_new_mask_for_video_frame(
            stand_in, self.session, at, list(masks), [mask.astype(np.uint8) for mask in masks.values()]
        )

    def logits(self, frame: Frame, at: int) -> np.ndarray:
        output = self.model(self.session, frame_idx=at, frame=pixels(frame, self._name, self._side))
        return output.pred_masks[:, 0].numpy()


def assert_librarys_logits(weights: str, session: Session, seen: Sequence[Frame], count: int, **close: float) -> None:
    """Follow discs with a tracker and with the library; the logits of all frames agree."""
    library, first = Library(weights), discs(count, SIZE)
    library.give(0, dict(enumerate(first.masks(), start=1)))
    library.logits(seen[0], 0)
    session.start(seen[0], first)
    for at, frame in enumerate(seen[1:], start=1):
        expected = library.logits(frame, at)
        assert expected.std() > 0.1
        np.testing.assert_allclose(low_res(session.step(frame)), expected, **close)
    assert len(library.session.output_dict_per_obj[0]["non_cond_frame_outputs"]) == len(seen) - 1


def change_without(weights: str, seen: Sequence[Frame], forgotten: str) -> float:
    """Return by how much logits of the last frame change if the oldest memory of a kind is taken away."""
    results = []
    for forget in (False, True):
        with vos.open_session(tracker=weights, device="cpu") as session:
            session.start(seen[0], discs(1, SIZE))
            for frame in seen[1:-1]:
                session.step(frame)
            tracked = session.tracker._objects[0].output_dict_per_obj[0]["non_cond_frame_outputs"]
            oldest = min(at for at, output in tracked.items() if forgotten in output)
            assert oldest == len(seen) - 1 - {"object_pointer": 15, "maskmem_features": 6}[forgotten]
            if forget:
                tracked[oldest][forgotten] = torch.zeros_like(tracked[oldest][forgotten])
            results.append(low_res(session.step(seen[-1])))
    return float(np.abs(results[0] - results[1]).max())


def assert_loaded_once(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow a clip in several sessions with one cache: one load for each precision, and the same logits."""
    loads: list[int] = []
    kind, models = model_class(weights), ModelCache()
    load = kind.from_pretrained
    monkeypatch.setattr(kind, "from_pretrained", lambda *given, **how: (loads.append(1), load(*given, **how))[1])
    first, *later = frames(4)
    results = []
    for _ in range(2):
        with vos.open_session(tracker=weights, device="cpu", models=models) as session:
            session.start(first, discs(1, SIZE))
            results.append([low_res(session.step(frame)) for frame in later])
            assert session.tracker.files[0].endswith("model.safetensors")
            another = another_session(session, tracker=weights)
            another.start(first, discs(1, SIZE))
            results.append([low_res(another.step(frame)) for frame in later])
    assert len(loads) == 1
    assert all(np.array_equal(each, results[0]) for each in results[1:])
    with vos.open_session(tracker=weights, device="cpu", dtype="bfloat16", models=models) as session:
        session.start(first, discs(1, SIZE))
    with vos.open_session(tracker=weights, device="cpu") as session:  # with a cache of its own
        session.start(first, discs(1, SIZE))
    assert len(loads) == 3
