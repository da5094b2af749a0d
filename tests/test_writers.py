"""Writers: what they write is read back by other programs; and what happens when they cannot."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vos.errors import InputError, OutputError
from vos.files import atomic_path
from vos.io_interfaces import Writer
from vos.palette import bright_palette, davis_palette
from vos.structures import Frame, Result, Tracked
from vos.writers import drawing, encoded
from vos.writers.drawing import draw_overlay
from vos.writers.masks import MaskWriter
from vos.writers.open import open_writers
from vos.writers.outputs import FILES, OUTPUTS, PER_FRAME, Output, help_text
from vos.writers.overlay import OverlayWriter, open_overlay
from vos.writers.table import TableWriter
from vos.writers.thread import WriterThread

OBJECTS = (1, 7)


def make_result(index: int, time_s: float | None = None, size: tuple[int, int] = (48, 64)) -> Result:
    """Object 1 moves to the right; object 7 is absent in odd frames."""
    rgb = np.full((*size, 3), 60 + 10 * (index % 12), np.uint8)
    labels = np.zeros(size, np.uint8)
    boxes = np.full((2, 4), -1, np.int32)
    areas = np.zeros(2, np.int64)
    labels[20:30, 10 + index : 20 + index] = 1
    boxes[0], areas[0] = (10 + index, 20, 19 + index, 29), 100
    if index % 2 == 0:
        labels[2:6, 50:60] = 7
        boxes[1], areas[1] = (50, 2, 59, 5), 40
    scores = np.array([0.9, 0.5 if areas[1] else 0.0], np.float32)
    frame = Frame(index, index / 24 if time_s is None else time_s, rgb)
    return Result(frame, OBJECTS, labels, boxes, areas, scores)


def overlay_writer(out: Path, *, fps: float | None, size: tuple[int, int]) -> OverlayWriter:
    first = Frame(0, 0.0, np.zeros((*size, 3), np.uint8))
    return open_overlay(out, fps=fps, first_frame=first, object_ids=OBJECTS)


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_all_by_name(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    first = make_result(0)
    writers = open_writers(["masks", "overlay", "csv"], out, fps=24, first_frame=first.frame, object_ids=OBJECTS)
    with WriterThread(writers, depth=2) as thread:
        for index in range(12):
            thread.write(make_result(index))
    assert sorted(path.name for path in out.iterdir()) == ["masks", "objects.csv", "overlay.mp4"]
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{i:05d}.png" for i in range(12)]


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output gif is unknown; choose among masks, overlay, csv"):
        open_writers(["gif"], tmp_path, fps=24, first_frame=make_result(0).frame, object_ids=OBJECTS)


def test_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match="file"):
            open_writers(["csv"], out, fps=24, first_frame=make_result(0).frame, object_ids=OBJECTS)


def test_writers_already_open_are_closed(tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("in the way")
    with pytest.raises(OutputError, match="masks"):
        open_writers(["csv", "masks"], tmp_path, fps=24, first_frame=make_result(0).frame, object_ids=OBJECTS)
    assert not list(tmp_path.glob(".*"))


def test_palette() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    # The published colour map of PASCAL VOC.
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0)}
    expected |= {20: (0, 64, 128), 21: (128, 64, 128), 255: (224, 224, 192)}
    for index, colour in expected.items():
        assert tuple(palette[index]) == colour


def test_masks_round_trip(tmp_path: Path) -> None:
    writer = MaskWriter(tmp_path / "masks")
    for index in (0, 3):
        writer.write(make_result(index))
    writer.close()
    with Image.open(tmp_path / "masks" / "00003.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), make_result(3).labels)
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (256, 3)), davis_palette())
    again = MaskWriter(tmp_path / "again")
    again.write(make_result(3))
    assert (tmp_path / "again/00003.png").read_bytes() == (tmp_path / "masks/00003.png").read_bytes()


def test_masks_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MaskWriter(tmp_path)
    writer.write(make_result(0))

    def half(image: Image.Image, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"\x89PNG half")
        full_disk()

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OutputError, match=r"00001.png: cannot be written \(No space left on device\)"):
        writer.write(make_result(1))
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["00000.png"]


def test_atomic_path(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        assert partial.suffix == ".json" and partial.parent == tmp_path
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    with atomic_path(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "objects.csv"
    writer = TableWriter(path)
    writer.write(make_result(0))
    writer.write(make_result(1))
    partial = tmp_path / ".objects.partial.csv"
    assert len(partial.read_text().splitlines()) == 5 and not path.exists()  # there as it goes
    writer.close()
    writer.close()
    assert path.read_text().splitlines() == [
        "frame,time_s,object,x0,y0,x1,y1,area,confidence",
        "0,0.000000,1,10,20,19,29,100,0.9000",
        "0,0.000000,7,50,2,59,5,40,0.5000",
        "1,0.041667,1,11,20,20,29,100,0.9000",
        "1,0.041667,7,,,,,0,0.0000",
    ]
    with path.open(newline="") as file:
        assert [row["area"] for row in csv.DictReader(file)] == ["100", "40", "100", "0"]
    assert not partial.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_table_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / ".objects.partial.csv").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"objects.csv: cannot be written \(No space left on device\)"):
        TableWriter(tmp_path / "objects.csv")
    assert not list(tmp_path.iterdir())


def test_table_keeps_whole_frames_when_the_disk_fills(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "objects.csv")
    writer.write(make_result(0))

    class Filling:
        """A file that takes 10 bytes and then no more."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 10

        def __enter__(self) -> Filling:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, text: memoryview) -> int:
            if not self.room:
                full_disk()
            self.room, room = 0, self.room
            return self.file.write(text[:room])

    writer._file = Filling(writer._file)
    with pytest.raises(OutputError, match="No space left on device"):
        writer.write(make_result(1))
    writer.close()
    assert len((tmp_path / "objects.csv").read_text().splitlines()) == 3
    assert (tmp_path / "objects.csv").read_text().endswith("0.5000\n")


def test_table_whose_folder_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    writer = TableWriter(folder / "objects.csv")
    (folder / ".objects.partial.csv").unlink()
    folder.rmdir()
    with pytest.raises(OutputError, match="objects.csv: cannot be written .No such file"):
        writer.close()


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_overlay_read_back(tmp_path: Path, size: tuple[int, int]) -> None:
    times = [1.0, 1.04, 1.5, 1.5, 1.6, 3.0]  # neither even nor strictly rising; the first is not 0
    writer = overlay_writer(tmp_path, fps=24, size=size)
    drawn = []
    for index, time_s in enumerate(times):
        result = make_result(index, time_s, size)
        drawn.append(draw_overlay(result.frame.rgb, result.labels, OBJECTS, result.boxes))
        writer.write(result)
    assert not (tmp_path / "overlay.mp4").exists()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == (48, 64)
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.5, 0.5, 0.6, 2.0], abs=1e-3)
    assert all(np.diff([frame.pts for frame in frames]) > 0)
    for frame, expected in zip(frames, drawn, strict=True):
        pixels = frame.to_ndarray(format="rgb24").astype(int)[: size[0], : size[1]]
        assert np.abs(pixels - expected).mean() < 6
        assert abs(int(pixels[44, 5, 0]) - int(expected[44, 5, 0])) <= 3  # grey stays the same grey
    data = (tmp_path / "overlay.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads


def test_overlay_in_the_palette(tmp_path: Path) -> None:
    result = make_result(0)
    before = result.frame.rgb.copy()
    drawn = draw_overlay(result.frame.rgb, result.labels, OBJECTS, result.boxes)
    np.testing.assert_array_equal(result.frame.rgb, before)
    np.testing.assert_array_equal(drawn[25, 15], before[25, 15] // 2 + bright_palette()[1] // 2)
    np.testing.assert_array_equal(drawn[25, 10], (255, 0, 0))  # the outline
    np.testing.assert_array_equal(drawn[40:], before[40:])


@pytest.mark.parametrize("box", [(0, 0, 3, 3), (60, 0, 63, 3), (0, 44, 3, 47), (60, 44, 63, 47)])
def test_overlay_number_stays_inside(box: tuple[int, int, int, int]) -> None:
    rgb = np.full((48, 64, 3), 128, np.uint8)
    labels = np.zeros((48, 64), np.uint8)
    white = (255, 255, 255)
    drawn = draw_overlay(rgb, labels, [255], np.array([box], np.int32), colours={255: white})
    _, opacity = drawing._plate("255", "255", 10, white)
    assert (drawn != rgb).any(axis=2).sum() == (opacity > 0).sum()  # all of it
    assert drawn.max() > 240 and drawn.min() < 15


def test_overlay_number_on_a_tiny_frame() -> None:
    rgb = np.full((6, 8, 3), 128, np.uint8)
    assert draw_overlay(rgb, np.ones((6, 8), np.uint8), [1], np.array([[0, 0, 7, 5]])).shape == (6, 8, 3)


def test_overlay_of_nothing(tmp_path: Path) -> None:
    rgb = np.full((48, 64, 3), 128, np.uint8)
    empty = np.zeros((48, 64), np.uint8)
    np.testing.assert_array_equal(draw_overlay(rgb, empty, [1], np.full((1, 4), -1)), rgb)
    overlay_writer(tmp_path, fps=None, size=(48, 64)).close()
    assert not list(tmp_path.iterdir())


def test_overlay_one_frame(tmp_path: Path) -> None:
    writer = overlay_writer(tmp_path, fps=None, size=(48, 64))
    writer.write(make_result(0))
    writer.close()
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1


def test_overlay_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_h264_encoder", lambda: "mpeg4")  # holds no frames back
    writer = overlay_writer(tmp_path, fps=24, size=(48, 64))

    class Full:
        mux = staticmethod(full_disk)
        close = writer._video._container.close

    writer._video._container = Full()
    with pytest.raises(OutputError, match=r"overlay.mp4: cannot be written \(No space left on device\)"):
        for index in range(3):
            writer.write(make_result(index))
    writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_overlay_on_a_device_that_is_full(tmp_path: Path) -> None:
    (tmp_path / ".overlay.partial.mp4").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="overlay.mp4: cannot be written"):
        writer = overlay_writer(tmp_path, fps=24, size=(48, 64))
        try:
            for index in range(5):
                writer.write(make_result(index))
        finally:
            writer.close()
    assert not list(tmp_path.iterdir())


def test_overlay_without_h264(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(encoded, "_H264_ENCODERS", ("no_such_encoder",))
    with caplog.at_level(logging.WARNING):
        writer = overlay_writer(tmp_path, fps=24, size=(48, 64))
    for index in range(3):
        writer.write(make_result(index))
    writer.close()
    assert "no H.264 encoder" in caplog.text
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def tracked_result(index: int) -> Result:
    """The same with logits: soft edges two pixels wide, object 7 absent in odd frames."""
    result = make_result(index)
    inside = torch.tensor(np.stack([result.labels == object_id for object_id in OBJECTS]))
    logits = torch.where(inside, 9.0, -9.0)[None]
    logits = torch.nn.functional.avg_pool2d(logits, 3, 1, 1, count_include_pad=False)[0]
    logits = torch.where(inside, logits.clamp_min(0.1), logits.clamp_max(-0.1))
    return dataclasses.replace(result, tracked=Tracked(logits, torch.ones(2)))


NEEDS = {
    "coco": ("pycocotools.mask",),
    "coco-images": ("pycocotools.mask",),
    "exr": ("OpenEXR",),
    "yolo": ("supervision",),
    "labelme": ("supervision",),
}
"""Packages that outputs need."""


def write_all(name: str, out: Path, frames: int = 4) -> None:
    first = make_result(0)
    [writer] = open_writers([name], out, fps=24, first_frame=first.frame, object_ids=OBJECTS)
    for index in range(frames):
        writer.write(tracked_result(index) if index else first)
    writer.close()


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_write_what_their_records_say(tmp_path: Path, output: Output) -> None:
    for package in NEEDS.get(output.name, ()):
        pytest.importorskip(package)
    write_all(output.name, tmp_path)
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    stated = {re.escape(path).replace(r"\#", "[17]"): 1 for path in output.files}
    stated |= {re.escape(path).replace(r"\#", "[17]").replace(r"\*", r"\d{5}"): 4 for path in output.per_frame}
    for pattern, count in stated.items():
        found = [path for path in written if re.fullmatch(pattern, path)]
        assert len(found) == count * (2 if "[17]" in pattern else 1)  # one for each of the two objects
        written = [path for path in written if path not in found]
    assert not written
    assert output.name in help_text() and set(output.files) <= set(FILES) and set(output.per_frame) <= set(PER_FRAME)


def test_npz_is_read_by_numpy(tmp_path: Path) -> None:
    write_all("npz", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.npz"]
    with np.load(tmp_path / "masks.npz", allow_pickle=False) as file:
        for index in range(4):
            np.testing.assert_array_equal(file[f"labels_{index:05d}"], make_result(index).labels)
        assert file["object"].tolist() == [1, 7] * 4 and file["frame"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert file["box"][2].tolist() == [11, 20, 20, 29] and file["box"][3].tolist() == [-1] * 4
        assert file["time_s"][-1] == 3 / 24 and file["area"][:2].tolist() == [100, 40]


def test_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    first = make_result(0)
    [writer] = open_writers(["coco"], tmp_path, fps=24, first_frame=first.frame, object_ids=OBJECTS)
    for index in range(4):
        result = make_result(index)
        if index < 2:  # object 7 joins in frame 2
            labels = np.where(result.labels == 7, 0, result.labels).astype(np.uint8)
            result = Result(result.frame, (1,), labels, result.boxes[:1], result.areas[:1], result.scores[:1])
        writer.write(result)
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["coco.json"]
    page = json.loads((tmp_path / "coco.json").read_text())
    assert page["videos"][0]["length"] == 4 and page["videos"][0]["height"] == 48
    one, seven = page["annotations"]
    for index in range(4):
        np.testing.assert_array_equal(mask.decode(one["segmentations"][index]), make_result(index).labels == 1)
        assert mask.area(one["segmentations"][index]) == one["areas"][index] == 100
        assert mask.toBbox(one["segmentations"][index]).tolist() == one["bboxes"][index]
    assert [entry is None for entry in seven["segmentations"]] == [True, True, False, True]


def test_coco_without_pycocotools_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(InputError, match=r"pip install pycocotools"):
        open_writers(["coco"], tmp_path, fps=24, first_frame=make_result(0).frame, object_ids=OBJECTS)


def test_cutouts(tmp_path: Path) -> None:
    write_all("cutout", tmp_path)
    for index in range(4):
        pixels = np.asarray(Image.open(tmp_path / "cutout" / f"{index:05d}.png"))
        assert pixels.shape == (48, 64, 4)
        np.testing.assert_array_equal(pixels[..., 3] >= 128, make_result(index).labels > 0)
        assert (pixels[20:30, 10 + index : 20 + index, :3] == make_result(index).frame.rgb[0, 0]).all()
        assert not pixels[40:].any()
    assert 128 <= pixels[20, 16, 3] < 255  # a soft edge


@pytest.mark.parametrize(("name", "file"), [("matte", "matte.mov"), ("matte-webm", "matte.webm")])
def test_mattes_are_transparent(tmp_path: Path, name: str, file: str) -> None:
    write_all(name, tmp_path)
    with av.open(str(tmp_path / file)) as container:
        stream = container.streams.video[0]
        if name == "matte-webm":  # FFmpeg's own decoder leaves the transparency out, libvpx's keeps it
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            frames = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
        else:
            assert stream.codec_context.pix_fmt.startswith("yuva444p")
            frames = list(container.decode(stream))
    assert len(frames) == 4
    for index, frame in enumerate(frames):
        pixels = frame.to_ndarray(format="rgba")
        np.testing.assert_array_equal(pixels[22:28, 13 + index : 17 + index, 3] > 240, True)
        assert (pixels[34:, :, 3] < 10).all()
        assert abs(int(pixels[25, 15 + index, 0]) - (60 + 10 * index)) < 8


def test_the_same_picture_is_always_encoded_the_same(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (120, 200, 4)).astype(np.uint8)
    video = encoded.VideoFile(tmp_path / "matte.mov", encoded.PRORES_4444, fps=24, size=(120, 200))
    for index in range(40):
        video.write(rgba, index / 24)
    video.close()
    with av.open(str(tmp_path / "matte.mov")) as container:
        assert len({bytes(packet) for packet in container.demux(video=0) if packet.size}) == 1


def test_green_screen(tmp_path: Path) -> None:
    write_all("matte", tmp_path)
    with av.open(str(tmp_path / "green.mp4")) as container:
        pixels = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][-1].astype(int)
    assert np.abs(pixels[36:] - (0, 177, 64)).max() < 12
    assert np.abs(pixels[23:27, 15:20] - 90).max() < 20  # colours bleed in 4:2:0


def test_results_become_supervision_detections() -> None:
    supervision = pytest.importorskip("supervision")
    detections = make_result(3).to_supervision()
    assert isinstance(detections, supervision.Detections) and len(detections) == 1
    assert detections.xyxy.tolist() == [[13, 20, 23, 30]] and detections.tracker_id.tolist() == [1]
    np.testing.assert_array_equal(detections.mask[0], make_result(3).labels == 1)
    drawn = supervision.MaskAnnotator().annotate(make_result(3).frame.rgb.copy(), detections)
    assert (drawn != make_result(3).frame.rgb).any(axis=2).sum() == 100


class Recorder(Writer):
    """Notes what it is given; fails at a given frame."""

    def __init__(self, fail_at: int | None = None, fail_closing: bool = False, pause_s: float = 0.0) -> None:
        self.seen: list[int] = []
        self.closed = 0
        self.fail_at, self.fail_closing, self.pause_s = fail_at, fail_closing, pause_s

    def write(self, result: Result) -> None:
        time.sleep(self.pause_s)
        if result.frame.index == self.fail_at:
            raise OutputError("out.png: cannot be written")
        self.seen.append(result.frame.index)

    def close(self) -> None:
        self.closed += 1
        if self.fail_closing:
            raise OutputError("out.mp4: cannot be finished")


def writer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vos-writer"]


def test_thread_keeps_the_order_and_closes() -> None:
    recorders = Recorder(), Recorder(pause_s=0.002)
    with WriterThread(recorders, depth=1) as thread:
        for index in range(20):
            thread.write(make_result(index))
    for recorder in recorders:
        assert recorder.seen == list(range(20)) and recorder.closed == 1
    assert not writer_threads()
    with pytest.raises(ValueError, match="closed"):
        thread.write(make_result(0))


def test_thread_raises_at_the_next_write() -> None:
    recorders = Recorder(fail_at=2), Recorder()
    written = 0
    with pytest.raises(OutputError, match="out.png"), WriterThread(recorders, depth=1) as thread:
        for index in range(1000):
            thread.write(make_result(index))
            written += 1
    assert written < 10
    assert recorders[0].seen == [0, 1] and [recorder.closed for recorder in recorders] == [1, 1]
    assert not writer_threads()


def test_thread_raises_on_leaving() -> None:
    for recorder in (Recorder(fail_at=0), Recorder(fail_closing=True)):
        other = Recorder()
        with pytest.raises(OutputError, match="cannot be"), WriterThread([recorder, other]) as thread:
            thread.write(make_result(0))
        assert recorder.closed == other.closed == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_thread_finishes_after_an_error_of_the_caller(tmp_path: Path, interruption: type[BaseException]) -> None:
    first = make_result(0)
    writers = open_writers(["masks", "overlay", "csv"], tmp_path, fps=24, first_frame=first.frame, object_ids=OBJECTS)
    failing = Recorder(fail_closing=True)  # its error is less than the caller's
    with pytest.raises(interruption), WriterThread([failing, *writers]) as thread:
        for index in range(3):
            thread.write(make_result(index))
        raise interruption
    assert failing.seen == [0, 1, 2] and not writer_threads()
    assert len(list((tmp_path / "masks").glob("*.png"))) == 3
    assert len((tmp_path / "objects.csv").read_text().splitlines()) == 7
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_thread_survives_a_second_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(pause_s=0.05)
    thread = WriterThread([recorder], depth=4)
    for index in range(4):
        thread.write(make_result(index))
    finish, calls = thread._finish, []

    def interrupted() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        finish()

    monkeypatch.setattr(thread, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.close()
    assert recorder.closed == 1 and len(recorder.seen) < 4 and not writer_threads()
