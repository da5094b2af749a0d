"""Masks of many frames from labelling tools: what our own outputs, pycocotools and hand-written labels hold is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.engine.merge import result_of_labels
from vos.errors import InputError
from vos.palette import davis_palette
from vos.readers.label_sets import LabelSet, frame_names_of, read_label_set
from vos.readers.marked import draw_area
from vos.structures import Frame
from vos.writers.open import open_writers
from vos.writers.outputs import Extras

SIZE = (48, 64)
NAMES = {1: "dog", 2: "ring", 7: "cat"}


def labels_of(index: int) -> np.ndarray:
    """A square that moves, a ring, and a bar in frames 2 and 3 alone."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:30, 10 + index : 20 + index] = 1
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 24, columns - 45)
    labels[(distance < 11) & (distance > 5)] = 2
    if index in (2, 3):
        labels[40:44, 8:50] = 7
    return labels


def write(save: str, out: Path, names: dict[int, str] | None = None, count: int = 5) -> None:
    results = []
    for index in range(count):
        frame = Frame(index, index / 25, np.full((*SIZE, 3), 90, np.uint8))
        ids = (1, 2) if index < 2 else (1, 2, 7)
        results.append(result_of_labels(frame, ids, labels_of(index), np.ones(len(ids))))
    first = results[0]
    extras = Extras(NAMES if names is None else names)
    [writer] = open_writers([save], out, fps=25, first_frame=first.frame, object_ids=(1, 2), extras=extras)
    for result in results:
        writer.write(result)
    writer.close()


def check(found: LabelSet, exact: bool = True, count: int = 5) -> None:
    """The labels are those that were written, or nearly."""
    assert list(found.masks) == list(range(count))
    for index, mask in found.masks.items():
        if exact:
            np.testing.assert_array_equal(mask.labels, labels_of(index))
        else:
            assert (mask.labels == labels_of(index)).mean() > 0.99
        assert mask.object_ids == tuple(np.unique(labels_of(index))[1:].tolist())


@pytest.mark.parametrize(
    ("save", "path"), [("cvat", "cvat.xml"), ("cvat-images", "cvat-images.xml"), ("masks", "masks")]
)
def test_own_outputs_come_back(tmp_path: Path, save: str, path: str) -> None:
    write(save, tmp_path)
    found = read_label_set(tmp_path / path, SIZE)
    check(found)
    assert found.names == ({} if save == "masks" else NAMES)
    assert found.gone() == {4: [7]}


@pytest.mark.parametrize(
    ("save", "path"), [("coco-images", "coco-images/annotations/instances_default.json"), ("coco", "coco.json")]
)
def test_own_coco_comes_back(tmp_path: Path, save: str, path: str) -> None:
    pytest.importorskip("pycocotools.mask")
    write(save, tmp_path)
    found = read_label_set(tmp_path / path, SIZE)
    check(found)
    assert found.names == ({} if save == "coco" else NAMES)


def test_own_yolo_comes_back_by_classes(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    write("yolo", tmp_path)
    found = read_label_set(tmp_path / "yolo", SIZE)
    assert found.names == {1: "dog", 2: "ring", 3: "cat"}  # classes count from 0, objects from 1
    for index, mask in found.masks.items():
        expected = np.where(labels_of(index) == 7, 3, labels_of(index))
        assert (mask.labels == expected).mean() > 0.99
        assert mask.labels[24, 45] == 0  # the hole


def test_objects_of_one_class_need_tracks(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    write("yolo", tmp_path, names={1: "thing", 2: "thing", 7: "thing"})
    with pytest.raises(InputError, match="frame 0 shows thing several times, and nothing says which is which"):
        read_label_set(tmp_path / "yolo", SIZE)
    for file in sorted((tmp_path / "yolo/labels/train").glob("*.txt"))[1:]:
        file.unlink()
    found = read_label_set(tmp_path / "yolo", SIZE)  # in a single frame they are counted
    assert found.masks[0].object_ids == (1, 2) and found.names == {1: "thing", 2: "thing"}


def test_yolo_of_another_tool(tmp_path: Path) -> None:
    (tmp_path / "frame_0012.txt").write_text("3 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5 0.9\n0 0.1 0.1 0.2 0.2\n")
    (tmp_path / "frame_0020.txt").write_text("")
    found = read_label_set(tmp_path, SIZE)
    assert {at: mask.object_ids for at, mask in found.masks.items()} == {12: (4,), 20: ()}
    assert (found.masks[12].labels[13:24, 17:32] == 4).all() and not found.masks[12].labels[26:].any()
    (tmp_path / "frame_0020.txt").write_text("dog 1 2 3 4 5 6")
    with pytest.raises(InputError, match="frame_0020.txt: 'dog 1 2 3 4 5 6' is no label of YOLO"):
        read_label_set(tmp_path, SIZE)


def coco_page(**annotation: object) -> dict[str, object]:
    square = [8.0, 4.0, 24.0, 4.0, 24.0, 20.0, 8.0, 20.0]
    other = [30.0, 4.0, 40.0, 4.0, 40.0, 20.0, 30.0, 20.0]
    return {
        "images": [{"id": i, "file_name": f"shot-{i}.jpg", "height": 48, "width": 64} for i in (4, 9, 10)],
        "categories": [{"id": 300, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 300, "segmentation": [square], **annotation},
            {"id": 2, "image_id": 4, "category_id": 300, "segmentation": [square, other], **annotation},
            {"id": 3, "image_id": 9, "category_id": 300, "bbox": [1, 1, 5, 5], "segmentation": []},
        ],
    }


def test_coco_polygons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco_page()))
    found = read_label_set(path, SIZE)
    assert "1 annotations without a segmentation are left out" in caplog.text
    assert list(found.masks) == [4, 9] and found.names == {1: "dog"}  # frame 10 says nothing; 300 cannot be a number
    square = coco_page()["annotations"][0]["segmentation"]
    expected = mask.decode(mask.frPyObjects(square, *SIZE))[..., 0]
    np.testing.assert_array_equal(found.masks[9].labels, expected)
    assert found.masks[4].labels[10, 35] == 1 and found.masks[9].labels[10, 35] == 0
    path.write_text(json.dumps(coco_page(attributes={"track_id": 5})))
    assert read_label_set(path, SIZE).masks[9].object_ids == (5,)
    doubled = read_label_set(path, (96, 128), resize=True)
    np.testing.assert_array_equal(doubled.masks[9].labels[::2, ::2], 5 * expected)


CVAT = """<annotations><version>1.1</version><meta><task><original_size><width>64</width><height>48</height>
</original_size></task></meta>
<track id="0" label="dog">
 <polygon frame="3" outside="0" keyframe="1" points="8.0,4.0;24.0,4.0;24.0,20.0;8.0,20.0" z_order="1"/>
 <polygon frame="4" outside="0" keyframe="0" points="8.0,4.0;24.0,4.0;24.0,20.0;8.0,20.0" z_order="1"/>
 <polygon frame="5" outside="1" keyframe="1" points="8.0,4.0;24.0,4.0;24.0,20.0;8.0,20.0" z_order="1"/>
</track>
<track id="1" label="dog">
 <polygon frame="3" outside="0" keyframe="1" points="0.0,0.0;64.0,0.0;64.0,48.0;0.0,48.0" z_order="0"/>
 <box frame="3" outside="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"/>
</track></annotations>"""


def test_cvat_tracks_of_polygons(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.xml").write_text(CVAT)
    found = read_label_set(tmp_path / "a.xml", SIZE)
    assert "1 of kind box" in caplog.text
    expected = np.full(SIZE, 1, np.uint8)
    expected[4:20, 8:24] = 2  # the higher layer lies over the lower one
    assert list(found.masks) == [3]  # neither what CVAT put between, nor what is outside
    assert sorted(found.masks[3].object_ids) == [1, 2]
    np.testing.assert_array_equal(found.masks[3].labels == found.masks[3].labels[0, 0], expected == 1)


def test_area_of_a_polygon_is_that_of_pixel_centres() -> None:
    found = draw_area(np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 5.0], [2.0, 5.0]]), SIZE)
    expected = np.zeros(SIZE, bool)
    expected[3:5, 2:6] = True
    np.testing.assert_array_equal(found, expected)
    assert not draw_area(np.array([[-9.0, -9.0], [-5.0, -9.0], [-5.0, -5.0]]), SIZE).any()


def test_files_by_names_of_frames(tmp_path: Path) -> None:
    """Numbers in colours mean the same in all files, frames are known by name, and empty ones say that all are gone."""
    (tmp_path / "shots").mkdir()
    (tmp_path / "masks").mkdir()
    for number in (7, 8, 30, 31):
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / "shots" / f"s{number}.png")
    for number, index in ((8, 0), (31, 3)):
        image = Image.fromarray(labels_of(index) if number == 8 else np.zeros(SIZE, np.uint8))
        image.putpalette(davis_palette().tobytes())
        image.save(tmp_path / "masks" / f"s{number}.png")
    names = frame_names_of(tmp_path / "shots")
    assert names == ["s7", "s8", "s30", "s31"] and frame_names_of(tmp_path / "clip.mp4") == []
    assert frame_names_of(tmp_path / "shots", 1, 2) == ["s8", "s31"]
    found = read_label_set(tmp_path / "masks", SIZE, frame_names=names)
    assert {at: mask.object_ids for at, mask in found.masks.items()} == {1: (1, 2), 3: ()}


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "none", "none: no such file or folder"),
        ({"a.json": "{}"}, "a.json", "is no file of COCO instances: it has no images"),
        ({"a.json": "[1"}, "a.json", "is no file of COCO instances"),
        ({"a.xml": "<annotations>"}, "a.xml", "is no file of CVAT 1.1"),
        ({"a.xml": "<annotations></annotations>"}, "a.xml", "holds no mask of an object"),
        ({"a.zip": ""}, "a.zip", "give a folder of masks or labels, or a file of COCO"),
        ({"d/readme.md": ""}, "d", "holds no masks"),
        ({"d/no-number.txt": "0 0 0 0 1 1 1"}, "d", "'no-number.txt' is no frame of the video, and has no number"),
        ({"d/0.txt": "0 0 0 0 1 1 1", "d/data.yaml": "names: [a"}, "d", "data.yaml: cannot be read as YAML"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, files: dict[str, str], path: str, message: str) -> None:
    if path.endswith(".json"):
        pytest.importorskip("pycocotools.mask")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_label_set(tmp_path / path, SIZE)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_frame(tmp_path: Path) -> None:
    for name in ("a1.png", "b1.png"):
        Image.fromarray(labels_of(0)).save(tmp_path / name)
    with pytest.raises(InputError, match="a1.png and b1.png are both of frame 1"):
        read_label_set(tmp_path, SIZE)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames that show the square and the ring."""
    folder = tmp_path_factory.mktemp("shots")
    for index in range(5):
        rgb = np.random.default_rng(0).integers(60, 90, (*SIZE, 3)).astype(np.uint8)
        rgb[labels_of(index) == 1] = (220, 60, 40)
        rgb[labels_of(index) == 2] = (40, 60, 220)
        rgb[labels_of(index) == 7] = (40, 220, 60)
        Image.fromarray(rgb).save(folder / f"{index:05d}.png")
    return folder


def test_given_frames_are_true_and_the_others_are_filled_in(shots: Path, tmp_path: Path) -> None:
    write("cvat", tmp_path)
    text = (tmp_path / "cvat.xml").read_text().splitlines()
    given = [f'<mask frame="{at}" keyframe="1" outside="0"' for at in (1, 3, 4)]
    kept = [each for each in text if "<track" not in each or any(mark in each for mark in given)]
    (tmp_path / "some.xml").write_text("\n".join(kept))
    out = tmp_path / "out"
    line = [
        str(shots),
        "--masks",
        str(tmp_path / "some.xml"),
        "--tracker",
        "persam",
        "--quiet",
        "--save",
        "masks,csv,cvat",
    ]
    assert main([*line, "-o", str(out)]) == 0
    masks = [np.array(Image.open(out / "masks" / f"{index:05d}.png")) for index in range(5)]
    assert not masks[0].any()  # before the first of them
    for index in (1, 3, 4):
        np.testing.assert_array_equal(masks[index], labels_of(index))
    assert set(np.unique(masks[2])) <= {0, 1, 2} and (masks[2] == 1).any()
    assert "<name>ring</name>" in (out / "cvat.xml").read_text()  # names come along
    assert main([*line, "-o", str(out), "--resume"]) == 0  # the same run is finished
    assert main([*line, "-o", str(tmp_path / "both"), "--both-ways"]) == 0
    first = np.array(Image.open(tmp_path / "both/masks/00000.png"))
    assert {1, 2, 7} >= set(np.unique(first).tolist()) - {0} != set()  # what is before is filled in, too


def test_masks_of_frames_beyond_the_end(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(labels_of(0)).save(tmp_path / "90.png")
    assert main([str(shots), "--masks", str(tmp_path), "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert "--masks 90: there are 5 frames to track" in capsys.readouterr().err


def test_masks_go_without_other_first_masks(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(labels_of(0)).save(tmp_path / "0.png")
    assert main([str(shots), "--masks", str(tmp_path), "--first-mask", str(tmp_path / "0.png")]) == 2
    assert "--masks: gives the first mask" in capsys.readouterr().err
