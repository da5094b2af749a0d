"""Truth and results as people have them: numbers with gaps, colours, white on black, sparse sets, objects that join."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks.annotations import Truth
from vos.benchmarks.mask_folder import foreground
from vos.benchmarks.scoring import ObjectScore, SequenceScorer, score_sequence
from vos.errors import InputError
from vos.palette import davis_palette

DENSE = tuple(f"{index:05d}" for index in range(6))
"""Names of a sequence in which every frame is annotated."""

EVERY_FIFTH = ("00000", "00005", "00010", "00015")
"""Names of a sparse set, or of one whose pictures have such names."""


def labels_of(objects: Sequence[int], shift: int = 0) -> np.ndarray:
    """Labels (48, 64) with a square for each object, side by side."""
    labels = np.zeros((48, 64), np.uint16)
    for place, object_id in enumerate(objects):
        if object_id:
            labels[10:30, 2 + 20 * place + shift : 16 + 20 * place + shift] = object_id
    return labels


def indexed(labels: np.ndarray) -> Image.Image:
    """An indexed image in the DAVIS palette."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(davis_palette().tobytes())
    return image


def grey(labels: np.ndarray) -> Image.Image:
    """A grey image whose values are the labels, of 16 bits if they need it."""
    return Image.fromarray(labels if labels.max() > 255 else labels.astype(np.uint8))


def coloured(labels: np.ndarray) -> Image.Image:
    """A colour image in the DAVIS palette."""
    return Image.fromarray(davis_palette()[labels])


def white(labels: np.ndarray) -> Image.Image:
    """A grey image, white wherever there is an object."""
    return Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8))


def one_bit(labels: np.ndarray) -> Image.Image:
    """An image of 1 bit, white wherever there is an object."""
    return Image.fromarray(labels > 0)


KINDS = {"indexed": indexed, "grey": grey, "coloured": coloured, "white": white, "1 bit": one_bit}


def save(folder: Path, masks: Mapping[str, np.ndarray], kind: str = "indexed") -> Path:
    """Write masks by name; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in masks.items():
        KINDS[kind](labels).save(folder / f"{name}.png")
    return folder


def moving(names: Sequence[str], objects: Sequence[int]) -> dict[str, np.ndarray]:
    """Labels of objects that move to the right, by name."""
    return {name: labels_of(objects, index % 3) for index, name in enumerate(names)}


def by_id(scores: Sequence[ObjectScore]) -> dict[int, tuple[float, float]]:
    """J and F of each object."""
    return {score.object_id: (score.j.mean, score.f.mean) for score in scores}


PERFECT, ABSENT = (1.0, 1.0), (0.0, 0.0)


@pytest.mark.parametrize("objects", [(2, 9), (1, 2, 3), (7,), (200, 254)])
@pytest.mark.parametrize("truth_kind", ["indexed", "grey", "coloured"])
@pytest.mark.parametrize("result_kind", ["indexed", "coloured"])
def test_the_objects_are_those_of_the_truth(
    tmp_path: Path, objects: tuple[int, ...], truth_kind: str, result_kind: str
) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, objects), truth_kind)
    alone = len(objects) == 1 and truth_kind != "indexed"  # two greys are one object; 7 is a grey of the palette
    ids = dict(zip(objects, [1] if alone else objects, strict=True))
    shown = {
        name: np.where(labels == objects[0], ids[objects[0]], labels) for name, labels in moving(DENSE, objects).items()
    }
    right = save(tmp_path / "right", shown, result_kind)
    assert by_id(score_sequence(truth, right, 2017)) == dict.fromkeys(ids.values(), PERFECT)
    empty = save(tmp_path / "empty", moving(DENSE, ()), result_kind)
    assert by_id(score_sequence(truth, empty, 2017)) == dict.fromkeys(ids.values(), ABSENT)
    half = save(tmp_path / "half", moving(DENSE, [ids[objects[0]], *[0] * (len(objects) - 1)]), result_kind)
    found = by_id(score_sequence(truth, half, 2017))
    assert found == dict.fromkeys(ids.values(), ABSENT) | {ids[objects[0]]: PERFECT}


@pytest.mark.parametrize("kind", ["indexed", "grey", "coloured"])
def test_a_frame_with_one_object_alone_shows_that_object(tmp_path: Path, kind: str) -> None:
    masks = moving(DENSE, (1, 2))
    masks["00002"], masks["00003"] = labels_of((0, 2)), labels_of((0, 0))
    truth, results = (save(tmp_path / name, masks, kind) for name in ("truth", "results"))
    assert by_id(score_sequence(truth, results, 2017)) == {1: PERFECT, 2: PERFECT}


@pytest.mark.parametrize("kind", ["indexed", "grey"])
def test_a_frame_with_void_alone_shows_no_object(tmp_path: Path, kind: str) -> None:
    masks = moving(DENSE, (1, 2))
    results = save(tmp_path / "results", masks | {"00002": labels_of((1,))}, kind)
    truth = save(tmp_path / "truth", masks | {"00002": labels_of((255,))}, kind)
    assert by_id(score_sequence(truth, results, 2017)) == {1: PERFECT, 2: PERFECT}


@pytest.mark.parametrize("year", [2016, 2017])
@pytest.mark.parametrize("kind", ["white", "indexed", "coloured"])
def test_white_on_black_is_one_object(tmp_path: Path, year: int, kind: str) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (1,)), "white")
    results = save(tmp_path / "results", moving(DENSE, (1,)), kind)
    assert by_id(score_sequence(truth, results, year)) == {1: PERFECT}
    assert by_id(score_sequence(truth, save(tmp_path / "none", moving(DENSE, ()), kind), year)) == {1: ABSENT}
    other = save(tmp_path / "other", moving(DENSE, (5,)))
    assert by_id(score_sequence(other, save(tmp_path / "white", moving(DENSE, (5,)), "white"), 2017)) == {5: PERFECT}


def test_white_on_black_cannot_be_several_objects(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (1, 2)))
    results = save(tmp_path / "results", moving(DENSE, (1, 2)), "white")
    with pytest.raises(InputError, match=r"00001\.png: one object in a single colour, but .* has \[1, 2\]"):
        score_sequence(truth, results, 2017)


def test_ids_above_255_are_refused(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (2, 300)), "grey")
    with pytest.raises(InputError, match=r"00000\.png: .*300"):
        score_sequence(truth, truth, 2017)


def test_sixteen_bits_with_small_ids_are_read(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for name, labels in moving(DENSE, (1, 2)).items():
        Image.fromarray(labels).save(truth / f"{name}.png")
    results = save(tmp_path / "results", moving(DENSE, (1, 2)))
    assert by_id(score_sequence(truth, results, 2017)) == {1: PERFECT, 2: PERFECT}


def test_a_sparse_set_is_scored_where_it_is_annotated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = save(tmp_path / "truth", moving(EVERY_FIFTH, (1, 2)))
    frames = [f"{index:05d}" for index in range(18)]
    results = save(tmp_path / "results", dict.fromkeys(frames, labels_of(())) | moving(EVERY_FIFTH, (1, 2)))
    for known in (frames, None):  # from the pictures, or from the results alone
        scores = score_sequence(truth, results, 2017, known)
        assert [score.frames for score in scores] == [EVERY_FIFTH[1:]] * 2
        assert by_id(scores) == {1: PERFECT, 2: PERFECT}
    assert "4 of 18 frames are annotated" in caplog.text


def test_the_last_frame_is_left_out_where_all_are_annotated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = save(tmp_path / "truth", moving(EVERY_FIFTH, (1,)))
    for frames in (EVERY_FIFTH, None):
        [score] = score_sequence(truth, truth, 2017, frames)
        assert score.frames == EVERY_FIFTH[1:-1]
    assert not caplog.records


def test_an_object_is_scored_from_the_frame_after_it_appears(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = moving(DENSE, (3,)) | {name: labels_of((3, 8)) for name in DENSE[2:]}
    masks["00004"] = labels_of((3, 8, 9))
    truth = save(tmp_path / "truth", masks)
    results = save(tmp_path / "results", masks | {"00002": labels_of((3,)), "00003": labels_of((3,))})
    scores = score_sequence(truth, results, 2017)
    assert {score.object_id: score.frames for score in scores} == {3: DENSE[1:5], 8: DENSE[3:5]}
    assert by_id(scores) == {3: PERFECT, 8: (0.5, 0.5)}
    assert "scored from the frame after that on: 8" in caplog.text
    assert "too late to be scored: 9" in caplog.text


@pytest.mark.parametrize(
    ("objects", "only"),
    [
        ({"00000": (1,)}, True),
        ({"00000": (1,), "00020": (0, 2)}, True),
        ({"00000": (1,), "00020": (1, 2)}, False),
        ({"00000": (1,), "00005": ()}, False),
        ({"00000": (1,), "00005": (1,)}, False),
    ],
)
def test_first_annotations_only(tmp_path: Path, objects: dict[str, tuple[int, ...]], only: bool) -> None:
    truth = Truth(save(tmp_path / "truth", {name: labels_of(ids) for name, ids in objects.items()}), 2017)
    assert truth.first_annotations_only == only


def test_the_objects_of_a_frame_are_given_where_they_appear(tmp_path: Path) -> None:
    truth = Truth(
        save(tmp_path / "truth", {"a1": labels_of((1, 4)), "a9": labels_of((1, 4, 2)), "a10": labels_of(())}), 2017
    )
    assert list(truth.paths) == ["a1", "a9", "a10"]
    assert truth.introductions == {1: "a1", 2: "a9", 4: "a1"}
    assert truth.first_mask("a1", (48, 64)).object_ids == (1, 4)
    assert truth.first_mask("a9", (48, 64)).object_ids == (2,)
    with pytest.raises(InputError, match=r"a1\.png: 64 x 48, but the pictures are 32 x 24"):
        truth.first_mask("a1", (24, 32))


def test_masks_of_no_frame_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (1,)))
    results = save(tmp_path / "results", moving((*DENSE, "00006", "00007"), (1,)))
    [score] = score_sequence(truth, results, 2017)
    assert score.frames == DENSE[1:-1]
    assert "2 masks of no frame of the sequence are not scored: 00006.png, 00007.png" in caplog.text


def test_truth_that_cannot_be_scored(tmp_path: Path) -> None:
    for folder, masks, message in (
        ("empty", moving(DENSE, ()), "no annotation holds an object"),
        ("two", moving(DENSE[:2], (1,)), "2 annotations to score"),
        ("late", moving(DENSE, ()) | {DENSE[-1]: labels_of((1,))}, "no frame to score"),
    ):
        truth = save(tmp_path / folder, masks)
        with pytest.raises(InputError, match=message):
            score_sequence(truth, truth, 2017)
    with pytest.raises(InputError, match="no such folder"):
        score_sequence(save(tmp_path / "truth", moving(DENSE, (1,))), tmp_path / "nonesuch", 2017)


def test_frames_are_added_by_name_and_others_are_ignored(tmp_path: Path) -> None:
    scorer = SequenceScorer(Truth(save(tmp_path / "truth", moving(EVERY_FIFTH, (1,))), 2017), EVERY_FIFTH)
    for name, labels in moving(EVERY_FIFTH, (1,)).items():
        scorer.add(name, labels.astype(np.uint8))
    scorer.add("00007", np.zeros((1, 1), np.uint8))
    [score] = scorer.scores()
    assert (score.frames, score.j.mean) == (EVERY_FIFTH[1:-1], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_foreground_is_all_that_is_marked(tmp_path: Path, kind: str) -> None:
    labels = labels_of((1, 2, 255))
    KINDS[kind](labels).save(tmp_path / "mask.png")
    assert np.array_equal(foreground(tmp_path / "mask.png"), labels > 0)


def test_a_soft_truth_is_read_as_a_first_mask_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hard = moving(DENSE, (1,))
    truth = save(tmp_path / "truth", {})
    for name, labels in hard.items():
        soft = Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8)).resize(
            (256, 192), Image.Resampling.BILINEAR
        )
        soft.save(truth / f"{name}.png")
    results = save(tmp_path / "results", {})
    for name, labels in hard.items():
        indexed(labels).resize((256, 192), Image.Resampling.NEAREST).save(results / f"{name}.png")
    caplog.set_level(logging.WARNING)
    [score] = score_sequence(truth, results, 2017)
    assert score.object_id == 1 and score.j.mean > 0.95
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records) > 0


@pytest.mark.parametrize("kind", ["coloured", "flat"])
def test_colours_keep_their_numbers_through_a_sequence(tmp_path: Path, kind: str) -> None:
    colours = davis_palette().copy()
    if kind == "flat":
        colours[1], colours[2], colours[7], colours[9] = (255, 140, 0), (0, 90, 200), (200, 200, 200), (10, 240, 240)
    frames = [(1, 2), (7,), (1,), (9, 0, 2), (0, 7), (1, 2)]  # grey alone, and colours that join one by one
    for folder in ("truth", "results"):
        (tmp_path / folder).mkdir()
        for name, objects in zip(DENSE, frames, strict=True):
            Image.fromarray(colours[labels_of(objects)]).save(tmp_path / folder / f"{name}.png")
    truth = Truth(tmp_path / "truth", 2017)
    assert len(truth.objects) == 4
    assert sorted(truth.introductions.values()) == ["00000", "00000", "00001", "00003"]
    scores = score_sequence(truth, tmp_path / "results")
    assert all(values == PERFECT for values in by_id(scores).values())
    tracked = save(tmp_path / "tracked", {name: truth.read(name)[0] for name in DENSE})
    assert by_id(score_sequence(Truth(tmp_path / "truth", 2017), tracked)) == by_id(scores)


def test_a_threshold_cuts_truth_and_results(tmp_path: Path) -> None:
    grey_levels = {name: np.where(labels > 0, 60, 20).astype(np.uint16) for name, labels in moving(DENSE, (1,)).items()}
    for labels in grey_levels.values():
        labels[:5] = 40
    folder = save(tmp_path / "truth", grey_levels, "grey")
    truth = Truth(folder, 2017, threshold=50)
    assert truth.objects == [1]
    assert np.array_equal(truth.read("00001")[0] > 0, labels_of((1,), 1) > 0)
    assert by_id(score_sequence(truth, folder)) == {1: PERFECT}


def test_colours_outside_of_the_palette_beside_colours_of_it_are_refused(tmp_path: Path) -> None:
    for colour in ((255, 140, 0), (200, 200, 200)):
        truth = save(tmp_path / str(colour), moving(DENSE, (1, 2)), "coloured")
        Image.fromarray(np.array([(0, 0, 0), (128, 0, 0), colour], np.uint8)[labels_of((0, 2))]).save(
            truth / "00003.png"
        )
        with pytest.raises(InputError, match=r"00003\.png: .* not in the DAVIS palette"):
            score_sequence(truth, truth, 2017)


def test_results_in_other_colours_than_the_truth_are_refused(tmp_path: Path) -> None:
    strange = np.array([(0, 0, 0), (255, 140, 0), (0, 90, 200)], np.uint8)
    results = save(tmp_path / "results", {})
    for name, labels in moving(DENSE, (1, 2)).items():
        Image.fromarray(strange[labels]).save(results / f"{name}.png")
    for kind in ("indexed", "coloured"):
        truth = save(tmp_path / kind, moving(DENSE, (1, 2)), kind)
        with pytest.raises(InputError, match=r"00001\.png: its colours are not in the DAVIS palette"):
            score_sequence(truth, results, 2017)


@pytest.mark.parametrize("objects", [(1, 2), (2, 9)])
@pytest.mark.parametrize("kind", ["indexed", "grey", "coloured"])
def test_1_bit_results_are_white(tmp_path: Path, objects: tuple[int, ...], kind: str) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, objects), kind)
    results = save(tmp_path / "results", moving(DENSE, objects), "1 bit")
    with pytest.raises(InputError, match=r"00001\.png: one object in a single colour, but .* has \["):
        score_sequence(truth, results, 2017)
    KINDS["1 bit"](labels_of(objects)).save(truth / "00003.png")
    with pytest.raises(InputError, match=r"00003\.png: one object in a single colour|not in the DAVIS palette"):
        score_sequence(truth, truth, 2017)


@pytest.mark.parametrize("truth_kind", ["indexed", "coloured", "white", "1 bit"])
@pytest.mark.parametrize("object_id", [1, 2])
@pytest.mark.parametrize("grey_value", ["1 bit", 127, 50, 7, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_object_may_have_any_grey(
    tmp_path: Path, truth_kind: str, object_id: int, grey_value: int | str, channels: int
) -> None:
    masks = moving(DENSE, (object_id,))
    truth = save(tmp_path / "truth", masks, truth_kind)
    results = save(tmp_path / "results", {})
    for name, labels in masks.items():
        inside = labels > 0 if grey_value == "1 bit" else (labels > 0) * np.uint8(grey_value)
        image = Image.fromarray(inside)
        (image if channels == 1 else image.convert("RGB")).save(results / f"{name}.png")
    assert list(by_id(score_sequence(truth, results, 2017)).values()) == [PERFECT]


@pytest.mark.parametrize("values", [(50, 127), (1, 50), (50, 1)])
def test_a_single_object_has_one_grey_in_all_results(tmp_path: Path, values: tuple[int, int]) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (1,)))
    results = save(tmp_path / "results", moving(DENSE, (values[0],)), "grey")
    grey(labels_of((values[1],))).save(results / "00003.png")
    with pytest.raises(InputError, match=rf"00003\.png: object {values[1]}, but other masks have object {values[0]}"):
        score_sequence(truth, results, 2017)


def test_an_index_that_the_truth_lacks_is_no_grey(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth", moving(DENSE, (1,)))
    with pytest.raises(InputError, match=r"00001\.png: object 5 is not in .* which has \[1\]$"):
        score_sequence(truth, save(tmp_path / "results", moving(DENSE, (5,))), 2017)


@pytest.mark.parametrize("kind", ["indexed", "grey"])
def test_void_in_results_is_told(tmp_path: Path, kind: str) -> None:
    masks = moving(DENSE, (1, 2, 255))
    truth = save(tmp_path / "truth", masks)
    with pytest.raises(InputError, match=r"object 255 is not in .* \[1, 2\]; 255 is void in the truth, and must be 0"):
        score_sequence(truth, save(tmp_path / "results", masks, kind), 2017)
