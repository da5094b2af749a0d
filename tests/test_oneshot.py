"""One-shot sets: the readers on tiny copies of each layout, the order of episodes, and the command ``vos-oneshot``."""

from __future__ import annotations

import csv
import json
import pickle
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vos.benchmarks.oneshot import command, lvis
from vos.benchmarks.oneshot.episodes import Draws, Episode, MaskedPicture, cropped
from vos.benchmarks.oneshot.files import read_pickle, union_of
from vos.benchmarks.oneshot.sets import SETS
from vos.benchmarks.overlap import Overlap
from vos.errors import InputError

SIZE = (60, 80)
"""(H, W) of the pictures."""


def square(x: int, y: int, side: int) -> np.ndarray:
    """A mask (H, W) bool of the pixels from x, y on."""
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def polygon(x: int, y: int, side: int) -> list[float]:
    """The same as a polygon."""
    corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
    return [float(value) for corner in corners for value in corner]


def save_picture(path: Path, mask: np.ndarray, seed: int = 0) -> None:
    """A red thing on noise."""
    rgb = np.random.default_rng(seed).integers(60, 90, (*SIZE, 3)).astype(np.uint8)
    rgb[mask] = (220, 60, 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, quality=95)


def save_pickle(path: Path, content: object) -> None:
    """Write a pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run lengths, with counts as text as in JSON."""
    coded = pytest.importorskip("pycocotools.mask").encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": coded["size"], "counts": coded["counts"].decode("ascii")}


# tiny copies of the sets; each has what its reader needs and no more

PLACE = (20, 15, 24)
"""x, y and side of the thing in picture 0; it moves by a pixel from one to the next."""


def moved(index: int) -> tuple[int, int, int]:
    """Its place in a picture."""
    return PLACE[0] + index, PLACE[1] + index, PLACE[2]


def make_fss(root: Path, count: int = 10) -> None:
    """Two test classes of ten pictures each, or fewer."""
    (root / "FSS-1000/splits").mkdir(parents=True)
    (root / "FSS-1000/splits/test.txt").write_text("zebra\napple\n")
    for name in ("apple", "zebra"):
        for index in range(1, count + 1):
            path = root / f"FSS-1000/data/{name}/{index}.jpg"
            save_picture(path, square(*moved(index)), index)
            Image.fromarray(square(*moved(index)).astype(np.uint8) * 255).convert("RGB").save(path.with_suffix(".png"))


def make_coco(root: Path) -> None:
    """Fold 1 alone: each class has the same three pictures, which show class 5, the thing, and class 1 in a corner."""
    names = [f"val2014/{index}.jpg" for index in range(3)]
    for index, name in enumerate(names):
        save_picture(root / "COCO2014" / name, square(*moved(index)), index)
        values = np.where(square(*moved(index)), 6, 0).astype(np.uint8)
        values[:5, :5] = 2
        path = (root / "COCO2014/annotations" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    save_pickle(root / "COCO2014/splits/val/fold1.pkl", dict.fromkeys(range(1, 80, 4), names))


def make_lvis(root: Path) -> None:
    """Twenty classes of three pictures with two instances each, one a polygon and one in run lengths; one too small."""
    content: dict[int, dict[str, Any]] = {3: {"val2017/0.jpg": {"annotations": []}}}
    for index in range(3):
        save_picture(root / f"LVIS/coco/val2017/{index}.jpg", square(*moved(index)), index)
    for each in range(100, 120):
        content[each] = {
            f"val2017/{index}.jpg": {
                "annotations": [
                    {"segmentation": [polygon(*moved(index))]},
                    {"segmentation": run_lengths(square(0, 0, 4))},
                ]
            }
            for index in range(3)
        }
    save_pickle(root / "LVIS/lvis_val.pkl", content)


def make_pascal_part(root: Path) -> None:
    """Cats with a head in three pictures; one also shows a cat without, and a dog."""
    base = root / "Pascal-Part/VOCdevkit/VOC2010"
    names = [f"2008_{index:06d}" for index in range(3)]
    parts = {"head": {"train": ["x"], "val": names}, "tail": {"train": [], "val": names}}
    folds = {name: {"object": {"cat": {"part": parts}}} for name in ("animals", "indoor", "person", "vehicles")}
    base.mkdir(parents=True)
    (base / "all_obj_part_to_image.json").write_text(json.dumps(folds))
    for index, name in enumerate(names):
        save_picture(base / f"JPEGImages/{name}.jpg", square(*moved(index)), index)
        head = {"name": "head", "mask": [run_lengths(square(*moved(index)))]}
        box = {"xmin": 10, "ymin": 5, "xmax": 70, "ymax": 55}
        things = [{"name": "cat", "bndbox": box, "parts": [head, {"name": "ear", "mask": []}]}]
        if index == 2:
            things += [{"name": "cat", "bndbox": box, "parts": []}, {"name": "dog", "bndbox": box, "parts": [head]}]
        path = base / f"Annotations_Part_json_merged_part_classes/{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"object": things}))


def make_paco_part(root: Path) -> None:
    """Eight parts in the order 17, 16, … 10; each has the same three pictures, listed twice."""
    classes = list(range(17, 9, -1))
    pictures = [{index: f"http://somewhere/val2017/{index}.jpg"} for index in range(3)] * 2
    annotations: dict[int, list[dict[str, Any]]] = {}
    for index in range(3):
        save_picture(root / f"PACO-Part/coco/val2017/{index}.jpg", square(*moved(index)), index)
        annotations[index] = [
            {
                "category_id": each,
                "obj_ann_id": 7,
                "obj_bbox": [10.4, 5.0, 60.0, 50.0],
                "segmentation": [polygon(*moved(index))],
            }
            for each in classes
        ]
    content = {"cid2img": dict.fromkeys(classes, pictures), "img2anno": annotations}
    save_pickle(root / "PACO-Part/paco/paco_part_train.pkl", content)
    save_pickle(root / "PACO-Part/paco/paco_part_val.pkl", content)


MAKERS: dict[str, Callable[[Path], None]] = {
    "fss": make_fss,
    "coco": make_coco,
    "lvis": make_lvis,
    "pascal-part": make_pascal_part,
    "paco-part": make_paco_part,
}
FOLD = {"fss": 0, "coco": 1, "lvis": 4, "pascal-part": 0, "paco-part": 1}
"""A fold of each set that the copies have."""


def episodes(root: Path, name: str, count: int | None = 3, shots: int = 1, seed: int = 0) -> list[Episode]:
    """The first episodes of a set."""
    MAKERS[name](root)
    return list(islice(SETS[name](root).episodes(FOLD[name], shots, seed), count))


# readers


@pytest.mark.parametrize("name", MAKERS)
def test_every_set_yields_pictures_with_their_masks(tmp_path: Path, name: str) -> None:
    for episode in episodes(tmp_path, name, shots=2):
        assert len(episode.supports) == 2 and episode.fold == FOLD[name]
        for picture in (episode.query, *episode.supports):
            thing = square(*moved(int(re.findall(r"\d+", picture.name)[-1])))
            mask = thing | square(0, 0, 4) if name == "lvis" else thing
            if name == "coco" and episode.class_name != "5":
                mask = square(0, 0, 5) if episode.class_name == "1" else thing & False
            if name.endswith("part"):
                thing, mask = thing[5:55, 10:70], mask[5:55, 10:70]
            assert np.array_equal(picture.mask, mask)
            red = picture.rgb[..., 0] > 150
            assert np.count_nonzero(red ^ thing) < 0.1 * np.count_nonzero(thing)  # JPEG blurs the edge


@pytest.mark.parametrize("name", MAKERS)
def test_a_query_is_never_its_own_support(tmp_path: Path, name: str) -> None:
    for episode in episodes(tmp_path, name, 12, shots=2):
        assert episode.query.name not in [each.name for each in episode.supports]


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_gives_the_same_episodes(tmp_path: Path, name: str) -> None:
    def names(found: list[Episode]) -> list[tuple[str, ...]]:
        return [(each.class_name, each.query.name, *(one.name for one in each.supports)) for each in found]

    first = names(episodes(tmp_path / "1", name, 12))
    assert names(episodes(tmp_path / "2", name, 12)) == first
    assert names(episodes(tmp_path / "3", name, 12, seed=1)) != first


def test_objects_of_parts_are_cut_to_their_box(tmp_path: Path) -> None:
    for name in ("pascal-part", "paco-part"):
        for episode in episodes(tmp_path, name):
            assert {each.mask.shape for each in (episode.query, *episode.supports)} == {(50, 60)}


def test_numbers_of_episodes(tmp_path: Path) -> None:
    """FSS-1000: one for each picture. PASCAL-Part: one for each listed picture of each part, usable or not."""
    fss = episodes(tmp_path, "fss", None)
    assert len(fss) == 20 and len({each.query.name for each in fss}) == 20
    assert [each.query.name for each in fss[:3]] == ["apple/1.jpg", "apple/10.jpg", "apple/2.jpg"]
    assert len(episodes(tmp_path, "pascal-part", None)) == 6


def test_lvis_has_2300_and_its_classes_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_lvis(tmp_path)
    opened = SETS["lvis"](tmp_path)
    monkeypatch.setattr(lvis.Lvis, "_read", lambda self, name, drawn: MaskedPicture(name, *blank()))
    found = list(opened.episodes(4, 1, 0))
    assert len(found) == 2300
    assert [each.class_name for each in found[:4]] == ["104", "114", "104", "114"]  # 20 usable classes in 10 folds


def blank() -> tuple[np.ndarray, np.ndarray]:
    """A picture and a mask of one pixel."""
    return np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool)


def test_classes_of_folds(tmp_path: Path) -> None:
    coco = {each.class_name for each in episodes(tmp_path, "coco", 100)}
    assert coco <= {str(each) for each in range(1, 80, 4)} and len(coco) > 10
    paco = {each.class_name for each in episodes(tmp_path, "paco-part", 20)}
    assert paco == {"16", "12"}  # every fourth in the file's own order, from the second on


def test_draws_are_those_of_the_older_generator() -> None:
    """As in HSNet's and Matcher's code: one choice without replacement, again and again until it is no query."""
    np.random.seed(0)
    expected = [int(np.random.choice(range(1, 11), 1, replace=False)[0]) for _ in range(40)]
    draws = Draws(0)
    assert [draws.one(list(range(1, 11))) for _ in range(40)] == expected
    draws = Draws(0)
    assert (
        list(draws.others(list(range(1, 11)), 5, expected[1].__eq__))
        == [each for each in expected if each != expected[1]][:5]
    )


def test_the_first_episode_of_coco_in_published_order(tmp_path: Path) -> None:
    """Class, query, then supports until one is not the query."""
    [episode] = episodes(tmp_path, "coco", 1)
    random = np.random.RandomState(0)
    names = [f"val2014/{index}.jpg" for index in range(3)]
    assert episode.class_name == str(random.choice(list(range(1, 80, 4)), 1, replace=False)[0])
    assert episode.query.name == random.choice(names, 1, replace=False)[0]
    while (support := random.choice(names, 1, replace=False)[0]) == episode.query.name:
        pass
    assert episode.supports[0].name == support


def test_masks_as_polygons_run_lengths_and_arrays() -> None:
    pytest.importorskip("pycocotools")
    one, other = square(*PLACE), square(60, 40, 10)
    uncompressed = {"size": list(SIZE), "counts": [SIZE[0] * 79, SIZE[0]]}  # the last column
    both = union_of([[polygon(*PLACE)], run_lengths(other)], SIZE, "x")
    assert np.array_equal(both, one | other)
    assert np.array_equal(union_of([one.astype(np.uint8), uncompressed], SIZE, "x"), one | (np.arange(80) == 79))
    for wrong in ([[1.0, 2.0]], {"counts": "x"}, 3, run_lengths(np.ones((8, 8), bool))):
        with pytest.raises(InputError, match="x: its annotation is no mask"):
            union_of([wrong], SIZE, "x")


def test_cutting_leaves_something() -> None:
    picture = MaskedPicture("p", np.zeros((*SIZE, 3), np.uint8), square(*PLACE))
    assert cropped(picture, (-5, 10, 40, 100)).mask.shape == (50, 40)
    with pytest.raises(InputError, match="leaves nothing"):
        cropped(picture, (90, 0, 99, 9))
    with pytest.raises(InputError, match=r"p: 80 x 60, but its mask is 8 x 9"):
        MaskedPicture("p", picture.rgb, np.zeros((9, 8), bool))


class Evil:
    """Would run a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_pickles_of_plain_data_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.pkl"
    content = {"a": [1, "b", (2.5, None)], 3: np.arange(4), 4: np.float64(1.5), 5: {1, 2}}
    save_pickle(path, content)
    read = read_pickle(path)
    assert read["a"] == content["a"] and np.array_equal(read[3], content[3]) and read[4] == 1.5 and read[5] == {1, 2}
    save_pickle(path, {"a": Evil()})
    with pytest.raises(InputError, match=r"file.pkl: cannot be read as a pickle \(it holds builtins.print"):
        read_pickle(path)
    assert not capsys.readouterr().out
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="get it anew"):
        read_pickle(path)


def remove(pattern: str) -> Callable[[Path], None]:
    """Remove a file."""
    return lambda root: next(root.glob(pattern)).unlink()


def replace_pickle(pattern: str, content: object) -> Callable[[Path], None]:
    """Put other content into a pickle."""
    return lambda root: save_pickle(next(root.glob(pattern)), content)


def replace_text(pattern: str, content: str) -> Callable[[Path], object]:
    """Put other content into a text file."""
    return lambda root: next(root.glob(pattern)).write_text(content)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("fss", remove("FSS-1000/splits/test.txt"), "test.txt: cannot be read"),
        ("fss", lambda root: (root / "FSS-1000/splits/test.txt").write_text("pear\n"), "pear: holds no pictures"),
        ("fss", remove("FSS-1000/data/apple/1.png"), "1.png: no such file"),
        ("coco", remove("COCO2014/splits/val/fold1.pkl"), "fold1.pkl: cannot be read"),
        ("coco", replace_pickle("COCO2014/splits/val/*", {1: ["a"]}), "class 1: has 1 pictures"),
        ("coco", replace_pickle("COCO2014/splits/val/*", {1: 2}), "has no list of pictures for class 1"),
        ("coco", remove("COCO2014/val2014/0.jpg"), "0.jpg: cannot be read as an image"),
        ("lvis", replace_pickle("LVIS/lvis_val.pkl", {}), "lvis_val.pkl: too few classes"),
        ("lvis", replace_pickle("LVIS/lvis_val.pkl", [1]), "lvis_val.pkl: its content is not as expected"),
        ("pascal-part", remove("**/all_obj_part_to_image.json"), "all_obj_part_to_image.json: cannot be read"),
        (
            "pascal-part",
            replace_text("**/*image.json", "{}"),
            "its content is not as expected",
        ),
        ("pascal-part", remove("**/2008_000000.json"), "2008_000000.json: cannot be read"),
        ("paco-part", replace_pickle("**/paco_part_val.pkl", {}), "paco_part_val.pkl: its content is not as expected"),
        ("paco-part", remove("**/paco_part_train.pkl"), "paco_part_train.pkl: cannot be read"),
    ],
)
def test_damaged_sets_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], object], message: str
) -> None:
    MAKERS[name](tmp_path)
    damage(tmp_path)
    arguments = ["--set", name, "--root", str(tmp_path), "--fold", str(FOLD[name]), "-o", str(tmp_path / "out")]
    assert command.main([*arguments, "--tracker", "persam", "--episodes", "8"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list((tmp_path / "out").glob("*.csv")) and not list((tmp_path / "out").glob(".episodes*"))


# the command


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a table."""
    with path.open() as file:
        return list(csv.DictReader(file))


def test_measures_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_fss(tmp_path, 3)
    out = tmp_path / "out"
    arguments = ["--set", "fss", "--root", str(tmp_path), "--tracker", "persam", "-o", str(out), "--shots", "2"]
    assert command.main([*arguments, "--episodes", "5"]) == 0
    table = rows(out / "episodes-fss.csv")
    assert [row["query"] for row in table[2:]] == ["apple/3.jpg", "zebra/1.jpg", "zebra/2.jpg"]
    assert all(len(row["supports"].split()) == 2 for row in table)
    classes = {row["Class"]: row for row in rows(out / "per-class_results-fss.csv")}
    for name in ("apple", "zebra"):
        own = [row for row in table if row["class"] == name]
        shared, either = (sum(int(row[key]) for row in own) for key in ("shared", "either"))
        assert float(classes[name]["IoU"]) == pytest.approx(shared / either, abs=1e-6)
        assert float(classes[name]["IoU"]) > 0.2 and classes[name]["Episodes"] == str(len(own))
    first, mean = rows(out / "global_results-fss.csv")
    expected = np.mean([float(row["IoU"]) for row in classes.values()])
    assert float(first["mIoU"]) == float(mean["mIoU"]) == pytest.approx(expected, abs=1e-6)
    assert float(mean["FB-IoU"]) > 0.2 and mean["Episodes"] == "5"
    assert f"mIoU {float(mean['mIoU']):.3f}" in capsys.readouterr().out
    assert json.loads((out / "run.json").read_text())["options"]["shots"] == 2
    assert (out / "report.html").read_text().count("data:image/jpeg;base64,") == 5


def test_folds_and_seeds_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a finder that finds all of the picture: IoU is the share of the masks."""
    make_lvis(tmp_path)
    monkeypatch.setattr(command, "predict", lambda made, episode: (np.ones(SIZE, bool), 1.0, object()))
    monkeypatch.setattr(command.Finding, "chosen", lambda options: None)
    monkeypatch.setattr(command, "write_run_record", lambda *arguments: None)
    out = tmp_path / "out"
    arguments = ["--set", "lvis", "--root", str(tmp_path), "-o", str(out), "--episodes", "3"]
    assert command.main([*arguments, "--fold", "2", "7", "--seed", "0", "3"]) == 0
    table = rows(out / "global_results-lvis.csv")
    assert [(row["Fold"], row["Seed"]) for row in table] == [
        ("2", "0"),
        ("2", "3"),
        ("7", "0"),
        ("7", "3"),
        ("mean", ""),
    ]
    share = (square(*PLACE) | square(0, 0, 4)).mean()
    assert all(float(row["mIoU"]) == pytest.approx(share, abs=1e-6) for row in table)
    assert [row["Episodes"] for row in table] == ["3"] * 4 + ["12"]
    episode = rows(out / "episodes-lvis.csv")
    assert [row["fold"] for row in episode] == ["2"] * 6 + ["7"] * 6
    assert [row["query"] for row in episode[:3]] != [row["query"] for row in episode[3:6]] or (
        [row["supports"] for row in episode[:3]] != [row["supports"] for row in episode[3:6]]
    )


def test_counts_of_folds() -> None:
    one, other = command.FoldScore(0), command.FoldScore(1)
    one.add("a", Overlap(10, 20, 15, 100))
    one.add("a", Overlap(20, 20, 20, 100))
    one.add("b", Overlap(0, 50, 20, 100))
    other.add("c", Overlap(5, 5, 5, 10))
    assert one.miou == pytest.approx((30 / 40 + 0) / 2) and other.miou == 1
    assert one.fb_iou == pytest.approx((30 / 90 + 210 / 270) / 2)
    assert one.record()["Episodes"] == 3


def test_squares_are_squeezed(tmp_path: Path) -> None:
    [episode] = episodes(tmp_path, "fss", 1)
    small = command.squeezed(episode, 30)
    assert small.query.rgb.shape == (30, 30, 3) and small.supports[0].mask.shape == (30, 30)
    assert small.query.mask.mean() == pytest.approx(episode.query.mask.mean(), abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fold", "1"], "--fold 1: fss has folds 0 to 0"),
        (["--shots", "0"], "--shots 0: must be 1 or more"),
        (["--seed", "0", "-1"], "--seed -1: must be 0 or more"),
        (["--square", "0"], "--square 0: must be 1 or more"),
        (["--tracker", "nonesuch"], "nonesuch"),
    ],
)
def test_wrong_options_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    make_fss(tmp_path, 1)
    assert command.main(["--set", "fss", "--root", str(tmp_path), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
