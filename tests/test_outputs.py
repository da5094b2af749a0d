"""Outputs for other tools: a program of each tool reads them back, and the masks are compared with what was given."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vos.engine.merge import result_of_labels
from vos.errors import InputError, OutputError
from vos.structures import Frame, Result, Tracked
from vos.writers.encoded import VideoFile, h264
from vos.writers.label_names import channel_name
from vos.writers.open import open_writers
from vos.writers.outputs import Extras

SIZE = (48, 64)
FRAMES = 4
NAMES = {1: "dog", 2: "ring", 7: "dog"}


def labels_of(index: int) -> np.ndarray:
    """A moving square with a speck, a ring with a hole, and a bar that joins in frame 1 and leaves in frame 3."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:30, 10 + index : 20 + index] = 1
    labels[2:4, 2:4] = 1
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 24, columns - 45)
    labels[(distance < 11) & (distance > 5)] = 2
    if index in (1, 2):
        labels[40:44, 8:50] = 7
    return labels


def result_at(index: int, name: str | None = None) -> Result:
    rng = np.random.default_rng(index)
    rgb = rng.integers(0, 30, (*SIZE, 3)).astype(np.uint8) + np.uint8(100)
    ids = (1, 2) if index == 0 else (1, 2, 7)
    frame = Frame(index, index / 25, rgb, name=name)
    return result_of_labels(frame, ids, labels_of(index), np.full(len(ids), 0.9))


def write(
    save: str, out: Path, *, names: dict[int, str] | None = None, sound: Path | None = None, tag: str = ""
) -> None:
    """Write all frames; with a tag, frames have names."""
    results = [result_at(index, f"{tag}{index}" if tag else None) for index in range(FRAMES)]
    first = results[0]
    extras = Extras(names or {}, sound)
    writers = open_writers([save], out, fps=25, first_frame=first.frame, object_ids=first.object_ids, extras=extras)
    for result in results:
        for writer in writers:
            writer.write(result)
    for writer in writers:
        writer.close()
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def decoded(path: Path, layout: str = "gray") -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=layout) for frame in container.decode(video=0)]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_mask_video_is_read_by_pyav(tmp_path: Path) -> None:
    write("mask-video", tmp_path)
    with av.open(str(tmp_path / "mask.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("ffv1", "gray")
    with av.open(str(tmp_path / "mask.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.frames) == ("h264", 25, FRAMES)
        assert stream.duration * stream.time_base == Fraction(FRAMES, 25)
    for index, (exact, near) in enumerate(
        zip(decoded(tmp_path / "mask.mkv"), decoded(tmp_path / "mask.mp4", "rgb24"), strict=True)
    ):
        expected = (labels_of(index) > 0) * 255
        np.testing.assert_array_equal(exact, expected)
        assert ((near[..., 1] > 127) == (expected > 127)).mean() > 0.99
        assert near[24:27, 14:17].min() > 245 and near[8:16, 2:20].max() < 10  # black and white, not 16 and 235


def test_mask_video_of_each_object(tmp_path: Path) -> None:
    write("mask-videos", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"mask-{i}.{end}" for i in (1, 2, 7) for end in ("mp4", "mkv")
    }
    for object_id in (1, 2, 7):
        pictures = decoded(tmp_path / f"mask-{object_id}.mkv")
        for index, picture in enumerate(pictures):  # object 7 joins in frame 1, and is black before
            np.testing.assert_array_equal(picture, (labels_of(index) == object_id) * 255)
        assert len(pictures) == FRAMES == len(decoded(tmp_path / f"mask-{object_id}.mp4"))


def test_lossless_masks_of_odd_size(tmp_path: Path) -> None:
    result = result_at(0)
    labels = result.labels[:47, :63]
    frame = Frame(0, 0.0, result.frame.rgb[:47, :63])
    [writer] = open_writers(["mask-video"], tmp_path, fps=25, first_frame=frame, object_ids=(1, 2))
    writer.write(result_of_labels(frame, (1, 2), labels, np.ones(2)))
    writer.close()
    [picture] = decoded(tmp_path / "mask.mkv")
    np.testing.assert_array_equal(picture, (labels > 0) * 255)


def test_binary_is_read_by_pillow(tmp_path: Path) -> None:
    write("binary", tmp_path, tag="shot_")
    folder = tmp_path / "binary"
    assert {path.name for path in folder.iterdir()} == {"1", "2", "7"}
    assert sorted(path.name for path in (folder / "7").iterdir()) == ["shot_1.png", "shot_2.png", "shot_3.png"]
    for object_id in (1, 7):
        for index in range(1, FRAMES):
            with Image.open(folder / str(object_id) / f"shot_{index}.png") as image:
                assert image.mode == "L"
                np.testing.assert_array_equal(np.array(image), (labels_of(index) == object_id) * 255)


def soft_result(index: int) -> Result:
    """The same with logits whose edges are two pixels wide."""
    result = result_at(index)
    inside = torch.tensor(np.stack([result.labels == each for each in result.object_ids]))
    logits = torch.nn.functional.avg_pool2d(torch.where(inside, 9.0, -9.0)[None], 3, 1, 1, count_include_pad=False)[0]
    logits = torch.where(inside, logits.clamp_min(0.1), logits.clamp_max(-0.1))
    return dataclasses.replace(result, tracked=Tracked(logits, torch.ones(len(inside))))


def test_exr_is_read_by_openexr(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    first = result_at(0)
    extras = Extras({1: "red dog", 7: "7"})
    [writer] = open_writers(
        ["exr"], tmp_path, fps=25, first_frame=first.frame, object_ids=first.object_ids, extras=extras
    )
    for result in (first, soft_result(1)):
        writer.write(result)
    writer.close()
    given = openexr.File(str(tmp_path / "exr/00000.exr"), separate_channels=True).channels()
    assert set(given) == {"red_dog.A", "object2.A"}
    for channel, object_id in (("red_dog.A", 1), ("object2.A", 2)):
        np.testing.assert_array_equal(given[channel].pixels, labels_of(0) == object_id)
    file = openexr.File(str(tmp_path / "exr/00001.exr"), separate_channels=True)
    assert json.loads(file.header()["vos_objects"]) == {"1": "red_dog", "2": "object2", "7": "object7_7"}
    total = np.zeros(SIZE)
    for channel, object_id in (("red_dog.A", 1), ("object2.A", 2), ("object7_7.A", 7)):
        pixels = file.channels()[channel].pixels
        assert pixels.dtype == np.float16 and pixels.min() == 0 and pixels.max() == 1
        np.testing.assert_array_equal(pixels >= 0.5, labels_of(1) == object_id)
        assert ((pixels > 0) & (pixels < 1)).any()  # soft edges
        total += pixels
    assert total.max() <= 1.001


def test_exr_shares_pixels_where_objects_meet(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    logits = torch.full((2, *SIZE), -20.0)
    logits[0, :, :33] = 20.0
    logits[1, :, 31:] = 20.0
    logits[1, :, 31:33] = 10.0
    labels = np.full(SIZE, 2, np.uint8)
    labels[:, :33] = 1
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    result = result_of_labels(frame, (1, 2), labels, np.ones(2), Tracked(logits, torch.ones(2)))
    [writer] = open_writers(["exr"], tmp_path, fps=25, first_frame=frame, object_ids=(1, 2))
    writer.write(result)
    channels = openexr.File(str(tmp_path / "exr/00000.exr"), separate_channels=True).channels()
    one, two = channels["object1.A"].pixels, channels["object2.A"].pixels
    assert (one[:, 31:33] == 0.5).all() and (two[:, 31:33] == 0.5).all()
    assert (one[:, :31] == 1).all() and (two[:, 33:] == 1).all()


def test_exr_channels_have_names_that_compositors_take() -> None:
    names = {1: "Hund 1", 2: "Hund-1", 3: "3 mice", 4: "狗", 5: "object6"}
    found = [channel_name(each, names) for each in range(1, 7)]
    assert found == ["Hund_1_1", "Hund_1_2", "object3_3_mice", "object4", "object6_5", "object6"]


def test_yolo_is_read_by_supervision(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write("yolo", tmp_path, names=NAMES)
    folder = tmp_path / "yolo"
    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(folder / "images/train"),
        annotations_directory_path=str(folder / "labels/train"),
        data_yaml_path=str(folder / "data.yaml"),
        force_masks=True,
    )
    assert dataset.classes == ["dog", "ring"] and len(dataset) == FRAMES
    for index, (path, image, detections) in enumerate(sorted(dataset, key=lambda each: each[0])):
        assert Path(path).name == f"{index:05d}.jpg" and image.shape == (*SIZE, 3)
        labels = labels_of(index)
        labels[2:4, 2:4] = 0  # the largest piece only
        expected = [each for each in (1, 2, 7) if (labels == each).any()]
        assert detections.class_id.tolist() == [{1: 0, 2: 1, 7: 0}[each] for each in expected]
        for mask, object_id in zip(detections.mask, expected, strict=True):
            assert overlap(mask, labels == object_id) > 0.95
            if object_id == 2:
                assert not mask[24, 45]  # the hole is kept
                assert (mask ^ (labels == 2)).sum() <= 6  # nothing but the seam


def test_yolo_describes_its_data_as_yaml(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    yaml = pytest.importorskip("yaml")
    write("yolo", tmp_path, names={1: 'a "b": c', 2: "狗"})
    data = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert data == {"train": "images/train", "val": "images/train", "nc": 3, "names": ['a "b": c', "狗", "object 7"]}


def test_yolo_writes_a_single_pixel_as_a_polygon(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    labels = np.zeros(SIZE, np.uint8)
    labels[12, 16] = 1
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    [writer] = open_writers(["yolo"], tmp_path, fps=25, first_frame=frame, object_ids=(1,))
    writer.write(result_of_labels(frame, (1,), labels, np.ones(1)))
    writer.close()
    values = (tmp_path / "yolo/labels/train/00000.txt").read_text().split()
    assert [float(value) for value in values] == pytest.approx(
        [0, 16 / 64, 12 / 48, 17 / 64, 12 / 48, 17 / 64, 13 / 48, 16 / 64, 13 / 48], abs=1e-5
    )


def test_labelme_is_read_by_supervision(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write("labelme", tmp_path, names=NAMES)
    folder = str(tmp_path / "labelme")
    dataset = supervision.DetectionDataset.from_labelme(images_directory_path=folder, annotations_directory_path=folder)
    assert dataset.classes == ["dog", "ring"] and len(dataset) == FRAMES
    for index, (_, _, detections) in enumerate(sorted(dataset, key=lambda each: each[0])):
        for number, ids in ((0, (1, 7)), (1, (2,))):
            mask = detections.mask[detections.class_id == number].any(axis=0)
            assert overlap(mask, np.isin(labels_of(index), ids)) > 0.95
    page = json.loads((tmp_path / "labelme/00001.json").read_text())
    assert [shape["group_id"] for shape in page["shapes"]] == [1, 1, 2, 7]  # the square has a speck


def thin_labels() -> np.ndarray:
    """A square; a pixel, an upright pair, a row, both diagonals and an angle beside it."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:30, 20:30] = 1
    for ys, xs in (([0], [0]), ([3, 4], [9, 9]), ([47], [50, 51, 52, 53]), ([6, 7, 8], [40, 41, 42])):
        labels[ys, xs] = 1
    labels[[10, 11, 12], [52, 51, 50]] = 1
    labels[[40, 41, 41], [5, 5, 6]] = 1
    return labels


@pytest.mark.parametrize("square", [True, False])
def test_labelme_has_a_polygon_for_each_piece_however_thin(tmp_path: Path, square: bool) -> None:
    supervision = pytest.importorskip("supervision")
    labels = thin_labels()
    labels[20:30, 20:30] = square
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    [writer] = open_writers(["labelme"], tmp_path, fps=25, first_frame=frame, object_ids=(1,))
    writer.write(result_of_labels(frame, (1,), labels, np.ones(1)))
    writer.close()
    shapes = json.loads((tmp_path / "labelme/00000.json").read_text())["shapes"]
    assert {(each["shape_type"], each["group_id"]) for each in shapes} == {("polygon", 1)}
    assert len(shapes) == 6 + square and len({tuple(each) for each in shapes}) == 1  # all have the same keys
    folder = str(tmp_path / "labelme")
    [(_, _, read)] = supervision.DetectionDataset.from_labelme(folder, folder)
    np.testing.assert_array_equal(read.mask.any(axis=0), labels > 0)


@pytest.mark.parametrize("save", ["labelme", "yolo"])
def test_holes_in_pieces_that_hang_together_at_corners(tmp_path: Path, save: str) -> None:
    supervision = pytest.importorskip("supervision")
    labels = (np.random.default_rng(0).random(SIZE) < 0.6).astype(np.uint8)
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    [writer] = open_writers([save], tmp_path, fps=25, first_frame=frame, object_ids=(1,))
    writer.write(result_of_labels(frame, (1,), labels, np.ones(1)))
    writer.close()
    if save == "labelme":
        folder = str(tmp_path / "labelme")
        [(_, _, read)] = supervision.DetectionDataset.from_labelme(folder, folder)
        np.testing.assert_array_equal(read.mask.any(axis=0), labels > 0)


def test_coco_images_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    write("coco-images", tmp_path, names=NAMES)
    data = coco.COCO(str(tmp_path / "coco-images/annotations/instances_default.json"))
    assert [each["name"] for each in data.loadCats(data.getCatIds())] == ["dog", "ring"]
    assert len(data.getImgIds()) == FRAMES
    for index, image in enumerate(data.loadImgs(data.getImgIds())):
        with Image.open(tmp_path / "coco-images/images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == SIZE[::-1]
        found = {each["track_id"]: each for each in data.loadAnns(data.getAnnIds(image["id"]))}
        assert set(found) == set(np.unique(labels_of(index)).tolist()) - {0}
        for object_id, each in found.items():
            with warnings.catch_warnings(action="ignore"):
                np.testing.assert_array_equal(data.annToMask(each), labels_of(index) == object_id)
            assert each["area"] == (labels_of(index) == object_id).sum() and each["iscrowd"] == 0
            assert data.loadCats(each["category_id"])[0]["name"] == NAMES[object_id]


def cvat_mask(element: ElementTree.Element) -> np.ndarray:
    """A mask (H, W) bool as CVAT reads it: runs outside and inside by turns, row by row in the box."""
    runs = [int(run) for run in element.get("rle").split(",")]
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    left, top, width, height = (int(element.get(key)) for key in ("left", "top", "width", "height"))
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = values.reshape(height, width)
    return mask


def test_cvat_tracks_as_cvat_reads_them(tmp_path: Path) -> None:
    """CVAT takes the first mask of a track and drops the rest, so that each mask has to have a track."""
    write("cvat", tmp_path, names={1: "dog & <cat>", 2: 'a "ring"'})
    root = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/mode") == "interpolation"
    assert [label.findtext("name") for label in root.iter("label")] == ["dog & <cat>", 'a "ring"', "object 7"]
    assert (root.findtext("meta/task/size"), root.findtext("meta/task/original_size/width")) == ("4", "64")
    names = {"dog & <cat>": 1, 'a "ring"': 2, "object 7": 7}
    read = [np.zeros(SIZE, np.uint8) for _ in range(FRAMES)]
    tracks = root.findall("track")
    for track in tracks:
        first, last = track.findall("mask")
        assert first.get("outside") == "0" and first.get("keyframe") == "1" and last.get("outside") == "1"
        assert int(last.get("frame")) == int(first.get("frame")) + 1
        assert int(track.get("group_id")) == names[track.get("label")]
        read[int(first.get("frame"))][cvat_mask(first)] = names[track.get("label")]
    assert [int(track.get("id")) for track in tracks] == list(range(len(tracks)))
    for index in range(FRAMES):
        np.testing.assert_array_equal(read[index], labels_of(index))


@pytest.mark.parametrize(("save", "tag", "key"), [("cvat", "track/mask", "frame"), ("cvat-images", "image", "id")])
def test_cvat_numbers_frames_as_the_video_does(tmp_path: Path, save: str, tag: str, key: str) -> None:
    """CVAT does so in a task of the whole video as in one that has a start frame and a step."""
    first = result_at(0)
    extras = Extras(start=3, stride=2)
    [writer] = open_writers([save], tmp_path, fps=25, first_frame=first.frame, object_ids=(1, 2), extras=extras)
    for index in range(FRAMES):
        writer.write(result_at(index))
    writer.close()
    root = ElementTree.parse(tmp_path / f"{save}.xml").getroot()
    shown = [each for each in root.findall(tag) if each.get("outside", "0") == "0"]
    assert sorted({int(each.get(key)) for each in shown}) == [3, 5, 7, 9]
    task = {name: root.findtext(f"meta/task/{name}") for name in ("size", "start_frame", "stop_frame", "frame_filter")}
    assert task == {"size": "4", "start_frame": "3", "stop_frame": "9", "frame_filter": "step=2"}


def test_cvat_images_as_cvat_reads_them(tmp_path: Path) -> None:
    write("cvat-images", tmp_path, names=NAMES, tag="a_")
    root = ElementTree.parse(tmp_path / "cvat-images.xml").getroot()
    assert root.findtext("meta/task/mode") == "annotation"
    images = root.findall("image")
    assert [(image.get("id"), image.get("name")) for image in images] == [(str(i), f"a_{i}.jpg") for i in range(FRAMES)]
    for index, image in enumerate(images):
        labels = np.zeros(SIZE, np.uint8)
        for mask in image.findall("mask"):
            labels[cvat_mask(mask)] = int(mask.get("group_id"))
            assert mask.get("label") == NAMES[int(mask.get("group_id"))]
        np.testing.assert_array_equal(labels, labels_of(index))


def test_cvat_images_is_read_by_datumaro(tmp_path: Path) -> None:
    """datumaro wants an older OpenCV than ``constraints.txt`` has, so this runs where a user has installed it."""
    datumaro = pytest.importorskip("datumaro")
    write("cvat-images", tmp_path, names=NAMES)
    (tmp_path / "images").mkdir()
    for index in range(FRAMES):
        Image.fromarray(result_at(index).frame.rgb).save(tmp_path / "images" / f"{index:05d}.jpg")
    dataset = datumaro.Dataset.import_from(str(tmp_path / "cvat-images.xml"), "cvat")
    items = sorted(dataset, key=lambda item: item.id)
    assert len(items) == FRAMES
    for index, item in enumerate(items):
        labels = np.zeros(SIZE, np.uint8)
        for each in item.annotations:
            labels[each.image.astype(bool)] = each.group
        np.testing.assert_array_equal(labels, labels_of(index))


@pytest.mark.parametrize(
    ("save", "package"),
    [("exr", "OpenEXR"), ("yolo", "supervision"), ("labelme", "supervision"), ("coco-images", "pycocotools")],
)
def test_missing_package_is_one_clear_line(
    tmp_path: Path, save: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"`save={save}` needs {package}: pip install {package}"):
        write(save, tmp_path)


@pytest.mark.parametrize(
    ("save", "file"),
    [
        ("binary", "binary/1/00000.png"),
        ("exr", "exr/00000.exr"),
        ("yolo", "yolo/images/train/00000.jpg"),
        ("labelme", "labelme/00000.jpg"),
        ("coco-images", "coco-images/images/00000.jpg"),
    ],
)
def test_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path, save: str, file: str) -> None:
    if save in ("yolo", "labelme"):
        pytest.importorskip("supervision")
    if save == "exr":
        pytest.importorskip("OpenEXR")
    (tmp_path / file).mkdir(parents=True)  # a folder in the place of the file
    with pytest.raises(OutputError, match=f"{file}: cannot be written"):
        write(save, tmp_path)


def test_nothing_is_written_of_a_video_without_frames(tmp_path: Path) -> None:
    first = result_at(0)
    saves = ["mask-video", "mask-videos", "cvat", "cvat-images"]
    for writer in open_writers(saves, tmp_path, fps=25, first_frame=first.frame, object_ids=(1, 2)):
        writer.close()
        writer.close()
    assert not list(tmp_path.iterdir())


# --- sound ---------------------------------------------------------------------------------------------------------


def make_source(path: Path, video: str, audio: str, rate: int = 44100) -> Path:
    """Two seconds at 25 frames per second; a tone begins after one second."""
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate) * (np.arange(2 * rate) >= rate)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        sound = container.add_stream(audio, rate=rate)
        sound.layout = "mono"
        for index in range(50):
            grey = np.full((*SIZE, 3), index, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        wave = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
        wave.rate, wave.pts, wave.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            sound.codec_context.format.name, "mono", rate, sound.codec_context.frame_size or 1024
        )
        for part in [*resampler.resample(wave), *resampler.resample(None)]:
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return path


def onset(path: Path) -> tuple[str, float, float]:
    """Codec of the sound, second in which its tone begins, and second in which it ends."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        pieces = [
            (float(part.time), part.to_ndarray()[0])
            for frame in container.decode(stream)
            for part in resampler.resample(frame)
        ]
        begin = next(
            time + np.argmax(np.abs(wave) > 0.1) / stream.rate for time, wave in pieces if np.abs(wave).max() > 0.1
        )
        return stream.codec_context.name, begin, pieces[-1][0] + len(pieces[-1][1]) / stream.rate


def follow_source(source: Path, out: Path, start: int, frames: int) -> None:
    """Write ``frames`` frames of a source at 25 per second from ``start`` on, with its sound."""
    video = VideoFile(out, h264(), fps=25, size=SIZE, sound=source)
    for index in range(start, start + frames):
        video.write(np.zeros((*SIZE, 3), np.uint8), index / 25)
    video.close()


@pytest.mark.parametrize(
    ("file", "video", "audio", "kept"),
    [
        ("a.mp4", "libx264", "aac", "aac"),
        ("b.mp4", "mpeg4", "mp3", "mp3float"),
        ("a.mkv", "ffv1", "pcm_s16le", "aac"),
        ("a.ts", "mpeg2video", "aac", "aac"),
    ],
)
def test_sound_stays_beside_its_pictures(tmp_path: Path, file: str, video: str, audio: str, kept: str) -> None:
    source = make_source(tmp_path / file, video, audio)
    for start, frames in ((0, 50), (20, 20)):
        out = tmp_path / f"out-{start}.mp4"
        follow_source(source, out, start, frames)
        codec, begin, end = onset(out)
        assert codec == kept
        assert begin == pytest.approx(1 - start / 25, abs=0.02)
        assert end == pytest.approx(frames / 25, abs=0.05)
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            assert (stream.frames, stream.average_rate) == (frames, 25)


def test_copied_sound_is_the_same_to_the_byte(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.mp4", "libx264", "aac")
    follow_source(source, tmp_path / "out.mp4", 0, 50)
    packets = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert len(packets[1]) > 80
    assert packets[1] == packets[0][-len(packets[1]) :] or packets[1] == packets[0][1 : 1 + len(packets[1])]


def test_overlay_green_screen_and_masks_sound(tmp_path: Path) -> None:
    source = make_source(tmp_path / "a.mp4", "libx264", "aac")
    for save in ("overlay", "matte", "mask-video"):
        write(save, tmp_path / "loud", sound=source)
        write(save, tmp_path / "mute")
    for file in ("overlay.mp4", "green.mp4", "mask.mp4", "mask.mkv"):
        for folder, count in (("loud", 1), ("mute", 0)):
            with av.open(str(tmp_path / folder / file)) as container:
                assert len(container.streams.audio) == count


def test_source_without_sound_and_one_that_is_no_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    follow_source(tmp_path / "missing.mp4", tmp_path / "out.mp4", 0, 3)
    assert "missing.mp4: its sound cannot be read" in caplog.text
    follow_source(tmp_path / "out.mp4", tmp_path / "again.mp4", 0, 3)
    for name in ("out.mp4", "again.mp4"):
        with av.open(str(tmp_path / name)) as container:
            assert not container.streams.audio and container.streams.video[0].frames == 3


# --- frame rate and length -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "codec"), [("a.webm", "libvpx"), ("a.mkv", "ffv1"), ("a.wmv", "wmv2"), ("a.mp4", "libx264")]
)
@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(24000, 1001)])
def test_video_has_the_rate_and_length_of_its_source(tmp_path: Path, file: str, codec: str, rate: Fraction) -> None:
    with av.open(str(tmp_path / file), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for index in range(20):
            frame = av.VideoFrame(SIZE[1], SIZE[0], "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([100]) * plane.buffer_size)
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    from vos.readers.open import open_reader

    with open_reader(tmp_path / file) as reader:
        video = VideoFile(tmp_path / "out.mp4", h264(), fps=reader.fps, size=reader.size)
        for frame in reader:
            video.write(frame.rgb, frame.time_s)
    video.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.frames) == (rate, 20)
        assert stream.duration * stream.time_base == 20 / rate


def test_times_that_are_uneven_stay_uneven(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.085, 0.2, 0.21]  # frame 1 is on the grid of 25 per second, the others are not
    video = VideoFile(tmp_path / "out.mp4", h264(), fps=25, size=SIZE)
    for time_s in times:
        video.write(np.zeros((*SIZE, 3), np.uint8), time_s)
    video.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        found = [frame.time for frame in container.decode(video=0)]
    assert found == pytest.approx(times, abs=1e-4)
