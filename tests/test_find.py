"""``vos.find`` and ``vos-find``, by a tracker that finds a colour, so that nothing depends on weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import vos
import vos.finder
from vos.command import find_run
from vos.command.find import main
from vos.engine.side_by_side import AHEAD, AT_ONCE, side_by_side
from vos.errors import InputError
from vos.interfaces import FrameContext
from vos.readers.albums import list_pictures
from vos.references import ReferringTracker, Shown, Sighting
from vos.structures import FirstMask, Result, Tracked

RED, BLUE = (200, 20, 20), (20, 20, 200)


class ByColour:
    """Finds the largest connected area of each object's colour; presence is 0.9, or 0.2 for another shade of it."""

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        """Do nothing."""

    def step(self, context: FrameContext) -> Tracked:
        raise NotImplementedError

    def observe(self, context: FrameContext, result: Result) -> None:
        """Do nothing."""

    def refer(self, context: FrameContext, shown: Sequence[Shown]) -> None:
        self.colours = {each.row: each.context.frame.rgb[each.mask.labels > 0][0] for each in shown}

    def search(self, context: FrameContext, taken: torch.Tensor | None = None) -> Sighting:
        logits, presence = [], []
        for row, colour in sorted(self.colours.items()):
            distance = np.abs(context.frame.rgb.astype(int) - colour).sum(2)
            free = np.ones_like(distance, bool) if taken is None else ~taken[row].numpy()
            sure = (distance == 0) & free
            areas, count = ndimage.label(sure if sure.any() else (distance < 60) & free)
            largest = areas == 1 + np.argmax(np.bincount(areas.ravel())[1:]) if count else areas > 0
            logits.append(np.where(largest, 8.0, -8.0))
            presence.append(0.0 if not count else 0.9 if sure.any() else 0.2)
        return Sighting(torch.tensor(np.stack(logits)), torch.tensor(presence), torch.tensor(presence) - 0.1)


@pytest.fixture(autouse=True)
def by_colour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every tracker is that of colours, and the current folder is empty."""
    assert isinstance(ByColour(), ReferringTracker)
    monkeypatch.setattr(find_run, "new_tracker", lambda name: ByColour())
    monkeypatch.setattr(vos.finder, "new_tracker", lambda name: ByColour())
    monkeypatch.chdir(tmp_path)


def painted(size: tuple[int, int], *squares: tuple[int, int, int, tuple[int, int, int]]) -> np.ndarray:
    """A grey picture of (H, W) with squares: left, top, side and colour."""
    rgb = np.full((*size, 3), 120, np.uint8)
    for left, top, side, colour in squares:
        rgb[top : top + side, left : left + side] = colour
    return rgb


@pytest.fixture
def album() -> Callable[[], None]:
    """Write pictures of several sizes into ``photos/``, and references beside it."""
    Path("photos").mkdir()
    pictures = {
        "a1.png": painted((60, 80), (5, 5, 20, RED), (50, 30, 10, RED)),
        "a2.jpg": None,
        "a10.png": painted((40, 50), (10, 10, 20, BLUE)),
        "b.png": painted((30, 90)),
        "c.png": painted((50, 50), (20, 20, 10, (210, 30, 30))),
    }
    for name, rgb in pictures.items():
        if rgb is None:
            Path("photos", name).write_bytes(b"no picture")
        else:
            Image.fromarray(rgb).save(Path("photos", name))
    Image.fromarray(painted((20, 20), (5, 5, 10, RED))).save("red.png")
    Image.fromarray(painted((20, 20), (5, 5, 10, BLUE))).save("blue.png")
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(np.pad(mask, ((0, 0), (0, 10)))).save("wide.png")
    return lambda: None


def rows(path: str = "out/found.csv") -> list[dict[str, str]]:
    """The lines of a table."""
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def red() -> vos.Reference:
    """A red square."""
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    return vos.Reference(painted((20, 20), (5, 5, 10, RED)), mask)


def test_pictures_of_any_sizes() -> None:
    pictures = [painted((60, 80), (5, 6, 20, RED)), painted((30, 20))]
    first, second = vos.find(pictures, red())
    assert first.present.tolist() == [True] and second.present.tolist() == [False]
    assert first.boxes.tolist() == [[5, 6, 24, 25]] and first.areas.tolist() == [400]
    assert first.scores.tolist() == pytest.approx([0.9]) and first.similarity.tolist() == pytest.approx([0.8])
    assert second.boxes.tolist() == [[-1] * 4] and not second.labels.any()
    assert first.result.object_ids == (1,)


def test_the_threshold() -> None:
    shade = painted((40, 40), (5, 5, 10, (210, 30, 30)))
    (asked,) = vos.find(shade, red())
    (always,) = vos.find(shade, red(), threshold=0)
    assert not asked.present[0] and asked.scores[0] == pytest.approx(0.2)
    assert always.present[0] and always.areas.tolist() == [100]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": None}, "pictures are files, folders, globs, arrays or PIL images, not a NoneType"),
        ({"references": 5}, "`references=5`: is none"),
        ({"threshold": "x"}, "`threshold=x`: must be a number"),
    ],
)
def test_what_nothing_can_be_found_with(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(vos.find(**{"images": painted((40, 40)), "references": red(), **given}))


def test_several_instances_have_numbers_of_their_own() -> None:
    rgb = painted((60, 80), (5, 5, 20, RED), (50, 30, 10, RED), (40, 5, 5, RED), (70, 50, 5, (210, 30, 30)))
    (found,) = vos.find(rgb, red(), many=True)
    assert found.object_ids == (1, 1, 1) and found.numbers == (1, 2, 3)
    assert found.areas.tolist() == [400, 100, 25]
    assert [int((found.labels == number).sum()) for number in found.numbers] == [400, 100, 25]
    specks = [(70, 5 + 4 * index, 2, RED) for index in range(3)]
    (found,) = vos.find(painted((60, 80), (5, 5, 30, RED), *specks, (50, 30, 4, RED)), red(), many=True)
    assert found.areas.tolist() == [900, 16]  # what is no larger than a hundredth of the surest is no instance
    (nothing,) = vos.find(painted((30, 30)), red(), many=True)
    assert nothing.numbers == (0,) and nothing.result.object_ids == ()


def test_two_objects(album: Callable[[], None]) -> None:
    both = [f"{name}.png=mask.png#{number}" for name, number in (("red", 4), ("blue", 2))]
    found = {each.frame.name: each for each in vos.find(["photos/a1.png", "photos/a10.png"], both)}
    assert found["a1"].object_ids == (2, 4)
    assert found["a1"].present.tolist() == [False, True] and found["a10"].present.tolist() == [True, False]


def test_listing(album: Callable[[], None]) -> None:
    listed = [each.path.name for each in list_pictures("photos")]
    assert listed == ["a1.png", "a2.jpg", "a10.png", "b.png", "c.png"]  # numbers count as numbers
    assert [each.path.name for each in list_pictures(["photos/a*.png"])] == ["a1.png", "a10.png"]
    Path("other").mkdir()
    Image.fromarray(painted((5, 5))).save("other/a1.png")
    assert [each.name for each in list_pictures(["photos/a1.png", "other/a1.png"])] == ["a1", "other-a1"]
    Path("empty").mkdir()
    for wrong, line in (("empty", "holds no pictures"), ("x*.png", "no picture has such a name")):
        with pytest.raises(InputError, match=line):
            list_pictures(wrong)
    with pytest.raises(InputError, match="no picture was given"):
        list_pictures([])


def test_the_command(album: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["photos", "--reference", "red.png=mask.png", "-o", "out", "--quiet"]
    assert main([*arguments, "--save", "masks,overlay,csv,coco,dreambooth", "--top", "2", "--many"]) == 0
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("vos-find: photos/a2.jpg: cannot be read as an image")
    table = rows()
    assert [row["name"] for row in table[:2]] == ["a1", "a1"]  # the surest picture comes first
    assert [row["area"] for row in table[:2]] == ["400", "100"]
    assert table[0] | {"confidence": "0.9000"} == table[0]
    absent = {row["name"]: row for row in table[2:]}
    assert set(absent) == {"a10", "b", "c"} and all(row["x0"] == "" and row["area"] == "0" for row in table[2:])
    assert absent["c"]["confidence"] == "0.2000"
    labels = np.array(Image.open("out/masks/a1.png"))
    assert labels.shape == (60, 80) and np.bincount(labels.ravel()).tolist() == [4300, 400, 100]
    assert Image.open("out/overlay/b.jpg").size == (90, 30)
    assert [path.name for path in sorted(Path("out/top").iterdir())] == ["0001-a1.jpg", "0002-c.jpg"]
    assert [path.name for path in Path("out/dreambooth/1/images").iterdir()] == ["a1.png"]
    document = json.loads(Path("out/coco.json").read_text())
    assert [image["height"] for image in document["images"]] == [60, 40, 30, 50]
    assert [each["bbox"] for each in document["annotations"]] == [[5, 5, 20, 20], [50, 30, 10, 10]]
    from pycocotools import mask as coco

    decoded = coco.decode(document["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(decoded > 0, labels == 1)
    assert not Path("out/.find").exists()


def test_a_stopped_run_goes_on(
    album: Callable[[], None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["photos", "--reference", "red.png=mask.png", "-o", "out", "--quiet"]
    looked = []
    find = vos.finder.Finder.find

    def counted(finder: vos.finder.Finder, frame: vos.Frame, path: Path | None = None) -> vos.Found:
        looked.append(frame.name)
        if frame.name == "b" and looked.count("b") == 1:
            raise KeyboardInterrupt
        return find(finder, frame, path)

    monkeypatch.setattr(vos.finder.Finder, "find", counted)
    assert main(arguments) == 130
    assert Path("out/masks/a1.png").exists() and not Path("out/found.csv").exists()
    assert main(arguments) == 2
    assert "go on with --resume" in capfd.readouterr().err
    assert main([*arguments, "--resume", "--many"]) == 2
    assert "begun with --many false, not true" in capfd.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert sorted(looked) == ["a1", "a10", "b", "b", "c"]  # what was begun with b was finished, and counts
    assert [row["name"] for row in rows()] == ["a1", "a10", "b", "c"]
    assert main([*arguments, "--resume"]) == 0
    assert "is finished already" in capfd.readouterr().err
    Path("out/own.txt").write_text("kept")
    assert main([*arguments, "--overwrite", "--save", "csv"]) == 0
    assert Path("out/own.txt").exists() and not Path("out/masks/a1.png").exists()


def stopped_at(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Stop the run once at a picture; return the list of pictures that are looked at, which grows."""
    looked: list[str] = []
    find = vos.finder.Finder.find

    def counted(finder: vos.finder.Finder, frame: vos.Frame, path: Path | None = None) -> vos.Found:
        looked.append(str(path))
        if Path(str(path)).name == name and looked.count(str(path)) == 1:
            raise KeyboardInterrupt
        return find(finder, frame, path)

    monkeypatch.setattr(vos.finder.Finder, "find", counted)
    return looked


def test_pictures_that_are_done_keep_their_names(
    album: Callable[[], None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("more").mkdir()
    Image.fromarray(painted((30, 30), (2, 2, 7, RED))).save("more/a1.png")
    options = ["--reference", "red.png=mask.png", "-o", "out", "--quiet"]
    stopped_at(monkeypatch, "b.png")
    assert main(["photos", *options]) == 130
    before = Path("out/masks/a1.png").read_bytes()
    assert main(["more", *options, "--resume"]) == 2
    assert "out: its run has done photos/a1.png, which is not among the pictures now" in capfd.readouterr().err
    assert main(["more", "photos", *options, "--resume"]) == 0
    assert Path("out/masks/a1.png").read_bytes() == before
    assert [row["name"] for row in rows()] == ["more-a1", "a1", "a10", "b", "c"]
    assert [row["area"] for row in rows()][:2] == ["49", "400"]
    assert np.count_nonzero(np.array(Image.open("out/masks/more-a1.png"))) == 49


def test_top_is_asked_for_before_a_run_is_finished(
    album: Callable[[], None], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["photos", "--reference", "red.png=mask.png", "-o", "out", "--quiet", "--resume"]
    stopped_at(monkeypatch, "b.png")
    assert main([*arguments, "--top", "3"]) == 130
    assert main([*arguments, "--top", "1"]) == 0
    assert [path.name for path in Path("out/top").iterdir()] == ["0001-a1.jpg"]
    assert main([*arguments, "--top", "1"]) == 0
    capfd.readouterr()
    for more, given in (["--top", "2"], "2"), ([], "unset"):
        assert main([*arguments, *more]) == 2
        told = capfd.readouterr().err
        assert f"out: its run was finished with --top 1, not {given}; " in told and told.count("\n") == 1
    assert [path.name for path in Path("out/top").iterdir()] == ["0001-a1.jpg"]


def test_a_threshold_says_what_a_mask_with_soft_edges_shows(
    album: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    soft = np.zeros((20, 20), np.uint8)
    soft[4:16, 4:16] = 90
    soft[5:15, 5:15] = 160
    soft[7:13, 7:13] = 230
    Image.fromarray(soft).save("soft.png")
    arguments = ["photos", "--reference", "red.png=soft.png", "-o", "out", "--quiet"]
    assert main([*arguments, "--threshold", "150"]) == 0
    assert {row["object"] for row in rows()} == {"1"} and rows()[0]["area"] == "400"
    assert main([*arguments, "--threshold", "150", "--resume"]) == 0
    assert main([*arguments, "--threshold", "80", "--resume"]) == 2
    assert "begun with --threshold 150, not 80" in capfd.readouterr().err
    assert main([*arguments[:3], "-o", "other", "--quiet", "--threshold", "240"]) == 2
    assert "soft.png" in capfd.readouterr().err


def test_a_result_folder_may_begin_with_a_dash(album: Callable[[], None]) -> None:
    assert main(["photos", "--reference", "red.png=mask.png", "-o", "-out", "--quiet"]) == 0
    assert Path("-out/found.csv").is_file()


def test_pictures_are_searched_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are in work at a time if torch has two threads, each with one of these; results come in order."""
    together, threads = Barrier(2, timeout=30), []
    find = vos.finder.Finder.find

    def meeting(finder: vos.finder.Finder, frame: vos.Frame, path: Path | None = None) -> vos.Found:
        threads.append(torch.get_num_threads())
        together.wait()
        return find(finder, frame, path)

    monkeypatch.setattr(vos.finder.Finder, "find", meeting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pictures = [painted((30, 30 + each), (5, 5, 10 + each, RED)) for each in range(6)]
        found = list(vos.find(pictures, red()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [each.areas.tolist() for each in found] == [[(10 + each) ** 2] for each in range(6)]
    assert threads == [1] * 6


def test_what_fails_on_a_thread_fails_at_its_turn() -> None:
    def halved(value: int) -> int:
        if value % 2:
            raise InputError(f"{value} is odd")
        return value // 2

    results = side_by_side(halved, [0, 2, 4, 5, 6])
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="5 is odd"):
        next(results)
    assert list(results) == []


def test_little_is_done_ahead() -> None:
    """However many things there are, only a few are taken before the first result is."""
    taken = []

    def things() -> Iterator[int]:
        for each in range(1000):
            taken.append(each)
            yield each

    results = side_by_side(lambda each: each, things())
    assert next(results) == 0 and len(taken) <= AT_ONCE + AHEAD
    results.close()
    assert len(taken) <= AT_ONCE + AHEAD


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["photos", "--reference", "red.png"], "a reference needs the object's mask or box"),
        (["photos", "--reference", "red.png=wide.png"], "wide.png: 30 x 20, but its picture red.png is 20 x 20"),
        (["none", "--reference", "red.png=mask.png"], "none of the pictures can be read"),
        (["photos/x*.jpg", "--reference", "red.png=mask.png"], "no picture has such a name"),
        (["photos", "--reference", "red.png=mask.png", "--save", "films"], "--save films: choose from masks"),
        (["photos", "--reference", "red.png=mask.png", "--resume", "--overwrite"], "give one of them"),
    ],
)
def test_what_is_wrong_is_one_line(
    album: Callable[[], None], capfd: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main([*arguments, "-o", "out", "--quiet"]) == 2
    told = capfd.readouterr().err.splitlines()
    assert line in told[-1] and all(each.startswith("vos-find: ") for each in told)
