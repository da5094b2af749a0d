"""PerSeg and the other measures with references: boundary IoU, ``vos-perseg``, ``subjects`` and ``mirrored``."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vos.benchmarks import find_speed, finding, mirrored, perseg, subjects
from vos.benchmarks.boundary_iou import boundary_iou, rim
from vos.benchmarks.models import Models
from vos.benchmarks.overlap import Overlap
from vos.benchmarks.picture_report import Worst
from vos.errors import InputError
from vos.folder_lock import FolderLock
from vos.palette import davis_palette
from vos.references import Reference
from vos.segmenters.sam import SamSegmenter
from vos.structures import Frame

SIZE = (96, 128)
"""(H, W) of the pictures."""


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A mask (H, W) bool."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def picture(mask: np.ndarray, colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A picture (H, W, 3) uint8 of a flat thing on noise."""
    rgb = np.random.default_rng(seed).integers(60, 90, (*SIZE, 3)).astype(np.uint8)
    rgb[mask] = colour
    return rgb


PLACES = ((40, 50, 24), (80, 40, 24), (60, 52, 28))
COLOURS = {"can": (220, 60, 40), "cup": (240, 200, 30)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tiny copy of PerSeg: two objects, three pictures each, masks in colour as there."""
    for name, colour in COLOURS.items():
        for kind in ("Images", "Annotations"):
            (tmp_path / "perseg" / kind / name).mkdir(parents=True)
        for index, place in enumerate(PLACES):
            mask = disc(*place)
            rgb = picture(mask, colour, index)
            Image.fromarray(rgb).save(tmp_path / f"perseg/Images/{name}/{index:02d}.jpg", quality=95)
            drawn = np.zeros((*SIZE, 3), np.uint8)
            drawn[mask] = (128, 0, 0)
            Image.fromarray(drawn).save(tmp_path / f"perseg/Annotations/{name}/{index:02d}.png")
    return tmp_path / "perseg"


def run(root: Path, *arguments: object) -> int:
    """Run the command with a tracker that needs no fit; return its exit status."""
    return perseg.main(["--root", str(root), "--tracker", "persam", *map(str, arguments)])


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a table."""
    with path.open() as file:
        return list(csv.DictReader(file))


def save(path: Path, mask: np.ndarray) -> None:
    """Write a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


# boundary IoU


@pytest.mark.parametrize("ratio", [0.02, 0.05, 0.001])
@pytest.mark.parametrize("mask", [disc(60, 50, 30), disc(0, 0, 40), np.ones(SIZE, bool), np.zeros(SIZE, bool)])
def test_the_rim_is_the_mask_without_its_repeated_erosion(mask: np.ndarray, ratio: float) -> None:
    """As Cheng et al. define it, with an erosion of OpenCV's that does not know of the frame's border."""
    cv2 = pytest.importorskip("cv2")
    width = max(1, round(ratio * float(np.hypot(*SIZE))))
    padded = np.pad(mask, 1).astype(np.uint8)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    assert np.array_equal(rim(mask, ratio), mask & (eroded == 0))


def test_boundary_iou_of_squares_by_hand() -> None:
    one, other = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    one[20:60, 20:60] = True  # 40 x 40; the rim is 3 pixels wide, 2 % of 141 pixels
    other[20:60, 22:62] = True
    assert rim(one).sum() == 40 * 40 - 34 * 34
    shared = 2 * 3 * 38 + 1 * 34 * 2  # upper and lower bands, then a column of each pair of sides
    either = 2 * (40 * 40 - 34 * 34) - shared
    assert boundary_iou(one, other) == pytest.approx(shared / either)
    assert boundary_iou(one, one) == 1
    assert boundary_iou(one, ~one & False) == 0
    assert boundary_iou(~one & False, ~one & False) == 1


def test_overlaps_add_up_before_they_are_divided() -> None:
    one = Overlap.of(np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 0, 0]], bool))
    other = Overlap.of(np.array([[1, 1, 1, 0]], bool), np.array([[1, 1, 1, 1]], bool))
    both = one + other
    assert (both.iou, both.accuracy) == (pytest.approx(4 / 6), pytest.approx(4 / 5))
    assert both.outside.iou == pytest.approx(2 / 4)
    assert Overlap().iou == Overlap().accuracy == 1


# vos-perseg


def test_finds_objects_by_their_first_picture(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    assert run(root, "-o", out) == 0
    assert sorted(path.name for path in (out / "can").iterdir()) == ["01.png", "02.png"]
    with Image.open(out / "can/01.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3)[:3], davis_palette()[:3])
    table = rows(out / "per-object_results.csv")
    assert [row["Object"] for row in table] == ["can", "cup"]
    for row in table:
        pairs = [(out / row["Object"] / f"0{index}.png", disc(*PLACES[index])) for index in (1, 2)]
        both = sum((Overlap.of(np.asarray(Image.open(path)) > 0, truth) for path, truth in pairs), Overlap())
        assert float(row["IoU"]) == pytest.approx(both.iou, abs=1e-6) and row["Pictures"] == "2"
        assert both.iou > 0.2
    [totals] = rows(out / "global_results.csv")
    for total, column in (("mIoU", "IoU"), ("mBoundary-IoU", "Boundary-IoU"), ("mAccuracy", "Accuracy")):
        assert float(totals[total]) == pytest.approx(np.mean([float(row[column]) for row in table]), abs=1e-5)
    assert f"mIoU {float(totals['mIoU']):.3f}" in capsys.readouterr().out
    record = json.loads((out / "run.json").read_text())
    assert record["options"]["tracker"] == "persam" and record["frames"] == 4
    report = (out / "report.html").read_text()
    assert "<h2>can</h2>" in report and report.count("data:image/jpeg;base64,") == 4 and "http" not in report


def test_complete_objects_are_skipped_and_broken_ones_found_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    for name in COLOURS:
        for index in (1, 2):
            save(out / f"{name}/{index:02d}.png", disc(10, 10, 5))
    (out / "can/02.png").unlink()
    assert run(root, "-o", out) == 0
    assert "1 of 2 objects are complete already" in capsys.readouterr().out
    table = rows(out / "per-object_results.csv")
    assert float(table[0]["IoU"]) > 0.2 and float(table[1]["IoU"]) < 0.1
    assert not list(out.glob(".*.partial"))


def test_masks_of_another_tracker_are_no_results_of_this_one(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert run(root, "--tracker", "persam", "-o", out) == 0
    assert run(root, "--tracker", "persam", "--objects", "can", "-o", out) == 0
    assert run(root, "--tracker", "persam-f", "-o", out) == 2
    assert "was begun with --tracker persam, not persam-f; give the same command line, or give another -o" in (
        capsys.readouterr().err
    )


def test_iou_is_summed_over_pictures_then_divided(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    for name in COLOURS:
        save(out / f"{name}/01.png", disc(*PLACES[1]))
        save(out / f"{name}/02.png", np.zeros(SIZE, bool))
    assert run(root, "--evaluate-only", out, "--objects", "cup") == 0
    [row] = rows(out / "per-object_results.csv")
    areas = [disc(*place).sum() for place in PLACES]
    assert float(row["IoU"]) == pytest.approx(areas[1] / (areas[1] + areas[2]), abs=1e-6)
    assert float(row["Accuracy"]) == pytest.approx(areas[1] / (areas[1] + areas[2]), abs=1e-6)
    rims = [rim(disc(*place)).sum() for place in PLACES]
    assert float(row["Boundary-IoU"]) == pytest.approx(rims[1] / (rims[1] + rims[2]), abs=1e-6)


def test_more_references_are_left_out_of_the_score(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert run(root, "--shots", 2, "--objects", "can", "-o", out) == 0
    assert [path.name for path in (out / "can").iterdir()] == ["02.png"]
    [row] = rows(out / "per-object_results.csv")
    assert row["Pictures"] == "1" and float(row["IoU"]) > 0.2


def test_the_released_script_leaves_objects_out(root: Path) -> None:
    for kind in ("Images", "Annotations"):
        shutil.copytree(root / kind / "cup", root / kind / "vase")
    options = perseg.parse(["--root", str(root), "-o", "x"])
    assert [each.name for each in perseg.objects_of(options)] == ["can", "cup", "vase"]
    options.published = True
    assert [each.name for each in perseg.objects_of(options)] == ["can", "cup"]


def test_published_behaviour_is_that_of_the_image_scripts() -> None:
    options = vars(finding.image_tracker("persam", published=True))
    assert any(getattr(value, "positives", None) == 1 for value in options.values())  # top-1, unlike in video
    with pytest.raises(InputError, match="leave out"):
        finding.image_tracker("cutie", published=True)


@pytest.mark.parametrize("name", ["persam", "persam-f"])
def test_published_finds_what_the_image_scripts_found(
    name: str, tiny_sam: SamSegmenter, published: Callable[[str], dict[str, np.ndarray]]
) -> None:
    """The masks of ``persam.py`` and ``persam_f.py`` on the same pictures and weights."""
    clip, arrays = published("frames"), published(f"image_{name.replace('-', '_')}")
    made = finding.Finding(Models(tiny_sam, torch.device("cpu"), torch.float32), name, published=True)
    with made.finder([Reference(clip["frames"][0], clip["masks"][0])]) as finder:
        found = finder.find(Frame(0, 0.0, clip["frames"][3]))
    assert np.count_nonzero((found.labels > 0) != arrays["final_mask"].astype(bool)) <= 5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root, out: shutil.rmtree(root / "Annotations"), "holds no folders of objects; is --root"),
        (lambda root, out: (root / "Images/can/01.jpg").unlink(), "01.jpg: no such picture"),
        (lambda root, out: [(root / f"Annotations/can/0{i}.png").unlink() for i in (1, 2)], "1 annotations, but 1"),
        (lambda root, out: (out / "can/02.png").unlink(), "02.png: no such mask"),
        (lambda root, out: save(out / "can/02.png", np.ones((8, 8), bool)), "but the annotation (96, 128)"),
        (lambda root, out: (root / "Annotations/can/02.png").write_text("no"), "02.png: not a readable image"),
        (lambda root, out: (root / "Images/can/02.jpg").write_text("no"), "02.jpg: cannot be read as an image"),
    ],
)
def test_every_mistake_is_one_clear_line(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, Path], object],
    message: str,
) -> None:
    out = tmp_path / "theirs"
    for name in COLOURS:
        for index in (1, 2):
            save(out / f"{name}/{index:02d}.png", disc(*PLACES[index]))
    damage(root, out)
    assert run(root, "--evaluate-only", out) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_unknown_objects_links_and_locks(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    assert run(root, "--objects", "dog", "-o", out) == 2
    assert "no object dog; there are: can, cup" in capsys.readouterr().err
    assert run(root, "--shots", 0, "-o", out) == 2
    assert "--shots 0: must be 1 or more" in capsys.readouterr().err
    with FolderLock(out, "vos-perseg"):
        assert run(root, "-o", out) == 2
    assert "another vos-perseg is writing there" in capsys.readouterr().err
    (out / "can").symlink_to(tmp_path)
    assert run(root, "--objects", "can", "-o", out) == 2
    assert "is a link" in capsys.readouterr().err


def test_the_report_keeps_the_worst() -> None:
    worst, mask = Worst(2), disc(*PLACES[0])
    for index, iou in enumerate((0.5, 0.9, 0.1, 0.7)):
        worst.add(f"p{index}", picture(mask, COLOURS["can"]), mask, mask, iou)
    html = worst.html()
    assert html.index("p2, IoU 0.10") < html.index("p0, IoU 0.50")
    assert "p1, IoU" not in html and "p3, IoU" not in html


# subjects and mirrored frames


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two subjects with boxes, and one without."""
    root = tmp_path / "subjects"
    boxes = {}
    for name, colour in (COLOURS | {"pen": (40, 60, 230)}).items():
        (root / name).mkdir(parents=True)
        for index, (x, y, radius) in enumerate(PLACES):
            Image.fromarray(picture(disc(x, y, radius), colour, index)).save(
                root / name / f"{index:02d}.jpg", quality=95
            )
            box = [(x - radius) / SIZE[1], (y - radius) / SIZE[0], (x + radius) / SIZE[1], (y + radius) / SIZE[0]]
            boxes.setdefault(name, []).append([round(value, 3) for value in box])
    del boxes["pen"]
    (root / "boxes.json").write_text(json.dumps(boxes))
    return root


def test_subjects(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    arguments = ["--root", str(photographs), "--tracker", "persam", "--subjects", "can", "--threshold", "0"]
    assert subjects.main([*arguments, "--output", str(table), "--distractors", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("| all | 2 | ") and lines[-1].endswith("| 4 | 1.000 |")
    outcomes = rows(table)
    assert [(row["shown"], row["picture"]) for row in outcomes[:2]] == [("can", "01.jpg"), ("can", "02.jpg")]
    ious = [float(row["iou"]) for row in outcomes[:2]]
    assert np.mean(ious) > 0.2
    assert [float(cell) for cell in lines[-1].split("|")[3:5]] == pytest.approx(
        [np.mean([iou > 0.5 for iou in ious]), np.mean(ious)], abs=1e-3
    )
    assert [row["shown"] for row in outcomes[2:]] == ["cup", "cup", "pen", "pen"]
    assert all(row["iou"] == "" and row["present"] == "True" for row in outcomes[2:])  # the threshold is 0


def test_nothing_is_found_where_nothing_is_sure_enough(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--root", str(photographs), "--tracker", "persam", "--subjects", "cup", "--distractors", "1"]
    assert subjects.main([*arguments, "--threshold", "1.1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| all | 2 | 0.000 | 0.000 | 2 | 0.000 |"


def test_box_iou_by_hand() -> None:
    assert subjects.box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert subjects.box_iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "boxes.json").unlink(), "boxes.json: cannot be read"),
        (lambda root: (root / "boxes.json").write_text("{"), "boxes.json: holds no boxes"),
        (lambda root: (root / "boxes.json").write_text('{"can": [[0, 0, 0, 1]]}'), "boxes.json: holds no boxes"),
        (lambda root: shutil.rmtree(root / "can"), "can: no such folder"),
        (lambda root: (root / "can/01.jpg").unlink(), "2 pictures, but 3 boxes"),
    ],
)
def test_damaged_subjects_are_one_clear_line(
    photographs: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], message: str
) -> None:
    damage(photographs)
    assert subjects.main(["--root", str(photographs)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_speed_of_vos_find(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_speed.main(["--count", "3", "--repeats", "1"]) == 0
    drawn = capsys.readouterr().out.splitlines()[-1].split("|")
    assert drawn[1].strip() == "3" and all(float(cell) > 0 for cell in drawn[2:6])
    reference = f"{photographs / 'can/00.jpg'}@10,10,60,60"
    arguments = ["--pictures", str(photographs / "can"), str(photographs / "pen"), "--reference", reference]
    assert find_speed.main([*arguments, "--repeats", "1", "--count", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| 4 | ")
    assert find_speed.main(["--pictures", str(photographs / "none"), "--reference", reference]) == 2
    assert "none of the pictures" in capsys.readouterr().err


def test_mirrored_frames(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--davis", str(davis), "--tracker", "persam", "--step"]
    assert mirrored.main([*arguments, "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| cat | 2 | 0.") and lines[-1].startswith("| mean | | 0.")
    assert float(lines[-1].split("|")[3]) > 0.2
    assert mirrored.main([*arguments, "9"]) == 2
    assert "has no frame 9 to search" in capsys.readouterr().err


def test_frames_are_mirrored_with_their_truth(davis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that copies the truth of the frame as it is scores by its overlap with the mirrored truth alone."""
    seen: list[np.ndarray] = []

    class Finder:
        def __enter__(self) -> Finder:
            return self

        def __exit__(self, *_: object) -> None: ...

        def find(self, frame):
            seen.append(frame.rgb)
            return type("Found", (), {"labels": np.zeros(frame.size, np.uint8)})

    class Made:
        def finder(self, references) -> Finder:
            seen.extend(each.rgb for each in references)
            return Finder()

    tree = mirrored.Davis(davis, 2016)
    regions: Iterator[float] = mirrored.search(Made(), tree, "cat", 2)  # type: ignore[arg-type]
    assert list(regions) == [0, 0]
    images = [np.asarray(Image.open(davis / f"JPEGImages/480p/cat/{index:05d}.jpg")) for index in (0, 2, 4)]
    assert np.array_equal(seen[0], images[0])
    assert all(np.array_equal(one, image[:, ::-1]) for one, image in zip(seen[1:], images[1:], strict=True))


def test_models_load_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = Models.load.__func__  # type: ignore[attr-defined]

    def counted(cls, *arguments: object) -> Models:
        loads.append(arguments)
        return load(cls, *arguments)

    monkeypatch.setattr(Models, "load", classmethod(counted))
    assert run(root, "-o", tmp_path / "results") == 0
    assert len(loads) == 1
