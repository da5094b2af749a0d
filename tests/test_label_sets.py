"""Masks of many frames from labelling tools: what our own outputs, pycocotools and hand-written labels hold is read."""

from __future__ import annotations

import json
from functools import partial
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


def write(
    save: str, out: Path, names: dict[int, str] | None = None, count: int = 5, start: int = 0, stride: int = 1
) -> None:
    results = []
    for index in range(count):
        frame = Frame(index, index / 25, np.full((*SIZE, 3), 90, np.uint8))
        ids = (1, 2) if index < 2 else (1, 2, 7)
        results.append(result_of_labels(frame, ids, labels_of(index), np.ones(len(ids))))
    first = results[0]
    extras = Extras(NAMES if names is None else names, start=start, stride=stride)
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


@pytest.mark.parametrize("save", ["cvat", "cvat-images"])
def test_cvat_counts_the_frames_of_the_video(tmp_path: Path, save: str) -> None:
    write(save, tmp_path, start=1, stride=2)
    read = partial(read_label_set, tmp_path / f"{save}.xml", SIZE)
    check(read(start=1, stride=2))
    assert sorted(read().masks) == [1, 3, 5, 7, 9]
    assert sorted(read(start=5, stride=4).masks) == [0, 1]


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


# -- folders of masks: what one file cannot tell ------------------------------------------------------


def folder_of(path: Path, **masks: np.ndarray) -> Path:
    """Write masks, named ``f0`` and so on for their frames."""
    path.mkdir(exist_ok=True)
    for name, values in masks.items():
        Image.fromarray(values).save(path / f"{name}.png")
    return path


def ids_of(found: LabelSet) -> dict[int, tuple[int, ...]]:
    return {at: mask.object_ids for at, mask in found.masks.items()}


BOTH, FIRST, SECOND = labels_of(0), labels_of(0) * (labels_of(0) == 1), labels_of(0) * (labels_of(0) == 2)
WHITE = (BOTH > 0) * np.uint8(255)


@pytest.mark.parametrize("values", [(1, 2), (2, 1), (100, 200)])
@pytest.mark.parametrize("order", [(SECOND, BOTH, FIRST), (FIRST, SECOND), (SECOND, FIRST)])
def test_a_single_grey_is_the_number_that_other_files_have(
    tmp_path: Path, values: tuple[int, int], order: tuple[np.ndarray, ...]
) -> None:
    lut = np.array([0, *values], np.uint8)
    found = read_label_set(
        folder_of(tmp_path / "m", **{f"f{at}": lut[labels] for at, labels in enumerate(order)}), SIZE
    )
    for at, labels in enumerate(order):
        np.testing.assert_array_equal(found.masks[at].labels, lut[labels])


def test_white_is_a_number_where_a_file_with_several_has_it(tmp_path: Path) -> None:
    lut = np.array([0, 2, 255], np.uint8)
    found = read_label_set(folder_of(tmp_path / "m", f0=lut[SECOND], f1=lut[BOTH]), SIZE)
    assert ids_of(found) == {0: (255,), 1: (2, 255)}


def test_one_grey_in_all_files_is_one_object(tmp_path: Path) -> None:
    for at, other in enumerate((FIRST * np.uint8(200), FIRST > 0, (FIRST > 0) * np.uint8(255))):
        folder = folder_of(tmp_path / str(at), f3=FIRST * np.uint8(200), f5=other)
        assert ids_of(read_label_set(folder, SIZE)) == {3: (1,), 5: (1,)}


@pytest.mark.parametrize("white", [WHITE, WHITE > 0, np.dstack([WHITE] * 3)])
@pytest.mark.parametrize("colours", [None, davis_palette(), np.array([(0, 0, 0), (250, 0, 0), (0, 250, 0)], np.uint8)])
def test_white_is_one_of_several_objects_in_no_file(
    tmp_path: Path, white: np.ndarray, colours: np.ndarray | None
) -> None:
    several = BOTH if colours is None else colours[BOTH]
    for at, folder in enumerate(
        (folder_of(tmp_path / "a", f0=white, f1=several), folder_of(tmp_path / "b", f0=several, f1=white))
    ):
        with pytest.raises(InputError, match=rf"f{at}\.png: one object in a single colour, but the other masks have"):
            read_label_set(folder, SIZE)


def test_white_is_the_only_object(tmp_path: Path) -> None:
    for at, white in enumerate((WHITE, WHITE > 0, np.dstack([WHITE] * 3))):
        folder = folder_of(tmp_path / str(at), f0=white)
        image = Image.fromarray(FIRST * np.uint8(5))
        image.putpalette(davis_palette().tobytes())
        image.save(folder / "f1.png")
        assert ids_of(read_label_set(folder, SIZE)) == {0: (5,), 1: (5,)}


def test_colours_have_one_number_in_all_files(tmp_path: Path) -> None:
    """Also the colours of the DAVIS palette, grey and white, and those that come up in different later files."""
    palette = np.array([(0, 0, 0), (0, 250, 0), (250, 0, 0), (128, 0, 0), (255, 255, 255)], np.uint8)
    shown = [(3,), (1, 2), (1, 4), (2, 3), (4,)]
    masks = {f"f{at}": palette[np.array([0, *ids, ids[0]])[BOTH]] for at, ids in enumerate(shown)}
    found = read_label_set(folder_of(tmp_path / "m", **masks), SIZE)
    numbers: dict[int, int] = {}
    for at, ids in enumerate(shown):
        for value, colour in ((1, ids[0]), (2, (*ids, ids[0])[1])):
            [number] = np.unique(found.masks[at].labels[value == BOTH])
            assert numbers.setdefault(colour, int(number)) == number
    assert sorted(numbers.values()) == [1, 2, 3, 4]


def test_grey_of_the_davis_palette_is_a_colour_beside_others(tmp_path: Path) -> None:
    grey = davis_palette()[7 * (BOTH > 0)]  # (128, 128, 128)
    folder = folder_of(tmp_path / "m", f0=grey, f1=davis_palette()[BOTH * np.uint8(3)])
    assert ids_of(read_label_set(folder, SIZE)) == {0: (7,), 1: (3, 6)}


def test_numbers_beside_strange_colours_are_refused(tmp_path: Path) -> None:
    palette = np.array([(0, 0, 0), (0, 250, 0), (250, 0, 0)], np.uint8)
    folder = folder_of(tmp_path / "m", f0=BOTH, f1=palette[BOTH])
    with pytest.raises(InputError, match=r"f1\.png: its colours are not in the DAVIS palette"):
        read_label_set(folder, SIZE)


def test_numbers_above_255_are_renumbered_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown = [(SECOND, 500), (BOTH, 500), (FIRST, 700)]
    values = {f"f{at}": labels * np.uint16(value) for at, (labels, value) in enumerate(shown)}
    assert ids_of(read_label_set(folder_of(tmp_path / "m", **values), SIZE)) == {0: (3,), 1: (1, 3), 2: (2,)}
    assert "f2.png: the folder has numbers above 255, so its objects are 2 (was 700)" in caplog.text


# -- which frame a label is of ------------------------------------------------------------------------

HASH = "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d"


@pytest.mark.parametrize("names", [[], ["00000", "00002", "00007"]])
def test_names_that_roboflow_makes(tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture) -> None:
    frame = 1 if names else 2
    for suffix in ("jpg", "png", "JPEG"):
        folder = tmp_path / suffix
        (folder / "labels").mkdir(parents=True)
        (folder / "labels" / f"00002_{suffix}.rf.{HASH}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5")
        assert list(read_label_set(folder, SIZE, frame_names=names).masks) == [frame]
        masks = folder_of(tmp_path / f"{suffix}-masks", **{f"00002_{suffix}.rf.{HASH}": BOTH})
        assert list(read_label_set(masks, SIZE, frame_names=names).masks) == [frame]
    masks = folder_of(tmp_path / "semantic", **{f"dog_mp4-0007_jpg.rf.{HASH}_mask": BOTH})
    assert list(read_label_set(masks, SIZE).masks) == [7]
    assert not caplog.records


def test_a_picture_that_roboflow_has_changed_several_times(tmp_path: Path) -> None:
    one, other = f"00002_jpg.rf.{HASH}", f"00002_jpg.rf.{HASH[::-1]}"
    with pytest.raises(InputError, match=f"{one}.png and {other}.png are both of frame 2"):
        read_label_set(folder_of(tmp_path / "m", **{one: BOTH, other: BOTH}), SIZE)
    page = coco_page()
    page["images"][0]["file_name"] = "other/shot-9.jpg"
    pytest.importorskip("pycocotools.mask")
    (tmp_path / "a.json").write_text(json.dumps(page))
    with pytest.raises(InputError, match=r"shot-9\.jpg and other/shot-9\.jpg are both of frame 9"):
        read_label_set(tmp_path / "a.json", SIZE)


def test_numbers_in_place_of_names_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path / "m", **{"label-1": BOTH, "label-2": BOTH})
    assert list(read_label_set(folder, SIZE, frame_names=["s7", "s8", "s9"]).masks) == [1, 2]
    assert "no label has the name of a frame" in caplog.text and "label-2.png is of frame 2" in caplog.text
    caplog.clear()
    assert list(read_label_set(folder, SIZE, frame_names=["label-1", "s8", "s9"]).masks) == [0, 2]
    assert list(read_label_set(folder, SIZE).masks) == [1, 2]
    (tmp_path / "a.xml").write_text(CVAT)
    read_label_set(tmp_path / "a.xml", SIZE, frame_names=["s7", "s8", "s9", "s10"])  # has numbers alone
    assert "no label" not in caplog.text


# -- COCO and YOLO ------------------------------------------------------------------------------------


def run_text(labels: np.ndarray) -> dict[str, object]:
    coder = pytest.importorskip("pycocotools.mask")
    runs = coder.encode(np.asfortranarray((labels > 0).astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def test_runs_are_those_of_pycocotools(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    noise = np.random.default_rng(0).random(SIZE) < 0.5
    for inside in (BOTH > 0, noise, np.ones(SIZE, bool), np.roll(BOTH, 7) > 0):
        turned = inside.T.ravel()
        edges = np.flatnonzero(np.diff(np.concatenate([[False], turned]).astype(int)))
        counts = np.diff(np.concatenate([[0], edges, [turned.size]])).tolist()
        for segmentation in (run_text(inside), {"size": list(SIZE), "counts": counts}):
            path.write_text(json.dumps(coco_page(segmentation=segmentation)))
            np.testing.assert_array_equal(read_label_set(path, SIZE).masks[9].labels > 0, inside)


FLAT, NESTED = [[10, 10, 60, 10]], [[[10, 10], [60, 10], [60, 40]]]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [48, 64], "counts": [1000, 20]}, "annotation 1 has damaged runs, which do not fill .* 64 x 48"),
        ({"size": [48, 64], "counts": [1000, 20, 9999]}, "annotation 1 has damaged runs"),
        ({"size": [48, 64], "counts": [-72, 3144]}, "annotation 1 has damaged runs"),
        ({"size": [48, 64], "counts": [[3072]]}, "annotation 1 has damaged runs"),
        ({"size": [48, 64], "counts": "abc"}, "annotation 1 has damaged runs"),
        ({"size": [48, 64], "counts": "é"}, "is no file of COCO"),
        ({"size": [48, 64], "counts": [2**70]}, "is no file of COCO"),
        ({"size": [24, 32], "counts": [768]}, "annotation 1 has a mask of 32 x 24, but its picture is 64 x 48"),
        ({"size": [48], "counts": [3072]}, "is no file of COCO"),
        ({"counts": [3072]}, "it lacks 'size'"),
        (FLAT, "annotation 1 has a polygon that is no flat list of x and y of three corners or more"),
        (NESTED, "annotation 1 has a polygon that is no flat list"),
        ([10, 10, 60, 10, 60, 40], "annotation 1 has a polygon that is no flat list"),
        ([[10, 10, 60, None, 60, 40]], "annotation 1 has a polygon that is no flat list"),
        ([{"x": 1}], "is no file of COCO"),
        ("abc", "is no file of COCO"),
    ],
)
@pytest.mark.parametrize("layout", ["pictures", "video"])
def test_damaged_segmentations_of_coco(tmp_path: Path, segmentation: object, message: str, layout: str) -> None:
    pytest.importorskip("pycocotools.mask")
    page = coco_page(segmentation=segmentation)
    if layout == "video":
        annotation = {"id": 1, "video_id": 1, "category_id": 300, "segmentations": [None, segmentation]}
        page = {"videos": [{"id": 1, "height": 48, "width": 64}], "annotations": [annotation]}
    (tmp_path / "a.json").write_text(json.dumps(page))
    with pytest.raises(InputError, match=rf"a\.json: .*{message}") as caught:
        read_label_set(tmp_path / "a.json", SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"videos": []}, "it has no video"),
        ({"images": []}, "annotation 2 is of picture 4, which is not listed|annotation 1 is of picture 9"),
        ({"images": [{"id": 4, "height": 48}, {"id": 9, "height": 48}]}, "it lacks 'width'"),
        ({"images": [{"id": each, "height": 0, "width": 64, "file_name": "1"} for each in (4, 9)]}, "no certain size"),
        (
            {"images": [{"id": each, "height": 4 * each, "width": 64, "file_name": "1"} for each in (4, 9)]},
            "64 x 16, 64",
        ),
        ({"categories": [{"name": "dog"}]}, "it lacks 'id'"),
    ],
)
def test_damaged_files_of_coco(tmp_path: Path, change: dict[str, object], message: str) -> None:
    pytest.importorskip("pycocotools.mask")
    (tmp_path / "a.json").write_text(json.dumps(coco_page() | change))
    with pytest.raises(InputError, match=rf"a\.json: .*({message})"):
        read_label_set(tmp_path / "a.json", SIZE)


def test_coco_with_a_byte_order_mark_and_without_ids(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools.mask")
    page = coco_page()
    for annotation in page["annotations"]:
        del annotation["id"]
    (tmp_path / "a.json").write_text(json.dumps(page), encoding="utf-8-sig")
    assert ids_of(read_label_set(tmp_path / "a.json", SIZE)) == {4: (1,), 9: (1,)}


def test_one_track_in_two_classes_is_two_objects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pycocotools.mask")
    page = coco_page(track_id=5)
    page["categories"].append({"id": 301, "name": "cat"})
    page["annotations"][0]["category_id"] = 301
    page["annotations"][1]["image_id"] = 9
    page["annotations"][1]["segmentation"] = [[30.0, 4.0, 40.0, 4.0, 40.0, 20.0, 30.0, 20.0]]
    (tmp_path / "a.json").write_text(json.dumps(page))
    found = read_label_set(tmp_path / "a.json", SIZE)
    assert ids_of(found) == {9: (1, 2)} and found.names == {1: "cat", 2: "dog"}
    assert "a track in several classes is an object in each" in caplog.text


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("data.yaml", "names: {1: cat, 0: dog}", {1: "dog", 2: "cat"}),
        ("data.yaml", "names: {'1': cat}", {2: "cat"}),
        ("data.yaml", "names: [dog, cat]", {1: "dog", 2: "cat"}),
        ("labels/classes.txt", "dog\ncat \n", {1: "dog", 2: "cat"}),
        ("classes.txt", "dog\n", {1: "dog"}),
    ],
)
def test_names_of_classes_of_yolo(tmp_path: Path, file: str, text: str, names: dict[int, str]) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/00000.txt").write_text("0 0.1 0.1 0.3 0.1 0.3 0.3\n1 0.5 0.5 0.7 0.5 0.7 0.7")
    (tmp_path / file).write_text(text)
    found = read_label_set(tmp_path, SIZE)
    assert ids_of(found) == {0: (1, 2)} and found.names == names
