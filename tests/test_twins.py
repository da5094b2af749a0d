"""``vos.trackers.persam.twins``: pieces of a mask that show the object's parts once more."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vos.geometry import Geometry
from vos.method import matching
from vos.structures import PatchFeatures
from vos.trackers.persam.objects import Appearance, Objects
from vos.trackers.persam.twins import without_twins

GEOMETRY = Geometry.whole_patches((128, 256), 256, 8)
HEAD, TAIL, GROUND = 0, 1, 2
"""What a patch shows, and its channel among the features."""


def picture(*pieces: tuple[int, int, int, float]) -> tuple[Tensor, Tensor]:
    """Draw features (1, 3, 16, 32) and a mask (16, 32) bool.

    Args:
        pieces: columns from and to, in lines 4 to 12; what they show, and how clearly: the cosine to that part.
    """
    features, mask = torch.zeros(1, 3, 16, 32), torch.zeros(16, 32, dtype=torch.bool)
    features[:, GROUND] = 1
    for start, stop, part, cosine in pieces:
        features[0, :, 4:12, start:stop] = 0
        features[0, part, 4:12, start:stop] = cosine
        features[0, GROUND, 4:12, start:stop] = (1 - cosine**2) ** 0.5
        mask[4:12, start:stop] = True
    return features, mask


OBJECT = ((4, 8, HEAD, 1.0), (8, 12, TAIL, 1.0))
TWIN = ((20, 22, HEAD, 0.9), (22, 24, TAIL, 0.9))


def learned(count: int = 1) -> Objects:
    """Make objects that were learned from the same mask."""
    features, mask = picture(*OBJECT)
    coverage = mask.float().expand(count, -1, -1)
    where = PatchFeatures(features, GEOMETRY).places()
    memory, nothing = matching.remember(features, coverage, where), torch.zeros(count, 1)
    return Objects(
        prototype=nothing,
        target=nothing,
        boxes=torch.tensor([[32.0, 32, 95, 95]]).expand(count, -1),
        found=torch.ones(count, dtype=torch.bool),
        likeness=nothing[:, 0],
        usual_area=coverage.flatten(1).sum(1) * 64,
        mask_logits=logits_of(mask).expand(count, 1, -1, -1),
        geometry=GEOMETRY,
        doubts=torch.zeros(count, dtype=torch.long),
        appearance=Appearance(memory, memory, nothing, nothing),  # type: ignore[arg-type]
    )


def logits_of(mask: Tensor) -> Tensor:
    """Low-res logits (1, 64, 128) of a mask of patches."""
    return F.interpolate(mask[None, None].float(), scale_factor=4)[0] * 10 - 5


def kept(
    objects: Objects, frames: int, *masks: tuple[tuple[int, int, int, float], ...]
) -> tuple[list[list[bool]], Objects]:
    """Show the same masks in so many frames; tell of each frame and mask whether it was left as it is."""
    features = picture(*[piece for mask in masks for piece in mask])[0]
    view = SimpleNamespace(embedding=SimpleNamespace(geometry=GEOMETRY), features=PatchFeatures(features, GEOMETRY))
    logits = torch.cat([logits_of(picture(*mask)[1]) for mask in masks])
    told = []
    for _ in range(frames):
        left, doubts = without_twins(view, objects, logits, patience=3)  # type: ignore[arg-type]
        told.append([torch.equal(one, other) for one, other in zip(left, logits, strict=True)])
        objects = replace(objects, doubts=doubts)
    return told, objects


def test_a_twin_is_dropped_when_it_was_seen_often_enough() -> None:
    told, objects = kept(learned(), 4, (*OBJECT, *TWIN))
    assert told == [[True], [True], [False], [False]]
    told, objects = kept(objects, 2, OBJECT)  # gone for a moment, or left out by the decoder itself
    assert told == [[True], [True]]
    assert kept(objects, 1, (*OBJECT, *TWIN))[0] == [[False]]
    told, objects = kept(objects, 9, OBJECT)  # and for long
    assert objects.doubts.tolist() == [0] and kept(objects, 1, (*OBJECT, *TWIN))[0] == [[True]]


def test_what_is_dropped_is_the_twin() -> None:
    features, mask = picture(*OBJECT, *TWIN)
    view = SimpleNamespace(embedding=SimpleNamespace(geometry=GEOMETRY), features=PatchFeatures(features, GEOMETRY))
    left, _ = without_twins(view, learned(), logits_of(mask), patience=1)  # type: ignore[arg-type]
    assert torch.equal(left > 0, logits_of(picture(*OBJECT)[1]) > 0)


@pytest.mark.parametrize(
    "mask",
    [
        OBJECT,
        (OBJECT[0], (9, 12, TAIL, 0.9)),  # a post before the object: the smaller piece is the only tail
        ((4, 7, HEAD, 0.9), (20, 22, TAIL, 0.6)),  # likewise, and it is seen badly
        ((4, 7, HEAD, 1.0), (10, 12, HEAD, 0.9)),  # too little for the whole object: more may be hidden
    ],
)
def test_parts_of_the_object_stay(mask: tuple[tuple[int, int, int, float], ...]) -> None:
    told, objects = kept(learned(), 6, mask)
    assert all(told[-1]) and objects.doubts.tolist() == [0]


def test_an_object_may_go_on_behind_another() -> None:
    masks = ((*OBJECT, (15, 17, HEAD, 0.9)), ((12, 15, GROUND, 1.0),))
    objects = learned(2)
    assert kept(objects, 6, *masks)[0][-1] == [True, True]
    assert kept(objects, 6, masks[0], ((25, 30, GROUND, 1.0),))[0][-1] == [False, True]  # that is elsewhere


def test_without_maps_nothing_is_known_of_parts() -> None:
    objects = replace(learned(), appearance=None)
    logits = logits_of(picture(*OBJECT, *TWIN)[1])
    left, doubts = without_twins(SimpleNamespace(), objects, logits, patience=1)  # type: ignore[arg-type]
    assert left is logits and doubts is objects.doubts
