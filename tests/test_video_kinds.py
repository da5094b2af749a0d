"""Tests many kinds of video: colours, HDR, interlacing, transparency, damage; PyAV makes every file here."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, features

from vos.command.cli import main
from vos.errors import InputError, TruncatedVideoError
from vos.readers.open import open_reader
from vos.readers.prefetch import prefetch

SIZE = (48, 64)
BT601, BT709, BT2020 = 6, 1, 9
LIMITED, FULL = 1, 2


def plain(pix_fmt: str, values: tuple[int, int, int], size: tuple[int, int] = SIZE) -> av.VideoFrame:
    """Make a frame of one colour; ``values`` are the stored values of its three planes."""
    frame = av.VideoFrame(size[1], size[0], pix_fmt)
    kind = np.uint16 if "10le" in pix_fmt else np.uint8
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind))
    return frame


def encode(
    path: Path,
    frames: list[av.VideoFrame],
    codec: str = "libx264",
    *,
    pix_fmt: str | None = None,
    options: dict[str, str] | None = None,
    colours: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Encode frames at 24 per second; ``colours`` are matrix, primaries, transfer and range to state."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = pix_fmt or frames[0].format.name
        context = stream.codec_context
        if colours:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = colours
        if aspect:
            context.sample_aspect_ratio = aspect
        for index, frame in enumerate(frames):
            if colours:
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = colours
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def middle(path: Path) -> list[int]:
    """Read the colour in the middle of the first frame."""
    rgb = next(iter(open_reader(path))).rgb
    return rgb[rgb.shape[0] // 2, rgb.shape[1] // 2].tolist()


RED = {  # pure red by the standards' own equations: limited, full
    BT601: ((81, 90, 240), (76, 85, 255)),
    BT709: ((63, 102, 240), (54, 99, 255)),
    BT2020: ((74, 97, 240), (67, 92, 255)),
}


@pytest.mark.parametrize("matrix", RED)
@pytest.mark.parametrize("extent", [LIMITED, FULL])
def test_matrix_and_range_as_stated(tmp_path: Path, matrix: int, extent: int) -> None:
    stored = plain("yuv444p", RED[matrix][extent - 1])
    path = encode(tmp_path / "red.mp4", [stored], options={"qp": "0"}, colours=(matrix, 2, 2, extent))
    assert middle(path) == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize(("size", "matrix"), [((576, 720), BT601), ((720, 1280), BT709)])
def test_an_unstated_matrix_goes_by_the_size(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    path = encode(tmp_path / "red.mp4", [plain("yuv444p", RED[matrix][0], size)], options={"qp": "0"})
    assert middle(path) == pytest.approx([255, 0, 0], abs=3)


def test_colours_that_ffmpeg_cannot_convert(tmp_path: Path) -> None:
    ycgco = encode(tmp_path / "odd.mp4", [plain("yuv444p", (90, 100, 110))], colours=(8, 2, 2, FULL))
    with pytest.raises(InputError, match="odd.mp4: its colours cannot be converted .yuvj444p, matrix 8"):
        list(open_reader(ycgco))


def test_ten_bit_sdr_is_reduced(tmp_path: Path) -> None:
    stored = plain("yuv444p10le", tuple(4 * value for value in RED[BT709][0]))
    path = encode(tmp_path / "ten.mp4", [stored], options={"qp": "0"}, colours=(BT709, 1, 1, LIMITED))
    assert middle(path) == pytest.approx([255, 0, 0], abs=3)


def hdr(path: Path, signal: float, transfer: int, options: str = "") -> list[int]:
    """Encode a grey as 10-bit BT.2020 video, ``signal`` in [0, 1], and read it back as RGB."""
    grey = plain("yuv420p10le", (round(64 + 876 * signal), 512, 512))
    encode(path, [grey] * 2, options={"x264-params": f"qp=0{options}"}, colours=(BT2020, 9, transfer, LIMITED))
    return middle(path)


def pq(nits: float) -> float:
    """Compute the signal of ST 2084 for a luminance."""
    y = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def test_pq_is_tone_mapped(tmp_path: Path) -> None:
    greys = {nits: hdr(tmp_path / f"{nits}.mp4", pq(nits), 16) for nits in (0, 26, 80, 203, 400, 1000, 4000)}
    assert all(max(grey) - min(grey) <= 2 for grey in greys.values())
    level = {nits: grey[0] for nits, grey in greys.items()}
    assert level[0] == 0
    for nits in (26, 80):  # below the knee: as bright as in SDR with a white of 203 nits, gamma 2.4
        assert level[nits] == pytest.approx(255 * (nits / 203) ** (1 / 2.4), abs=2)
    assert 220 <= level[203] <= 240 < level[400] < 255  # white is not grey, and highlights keep their steps
    assert level[1000] >= 254 and level[4000] == 255


def test_a_stated_peak_is_used(tmp_path: Path) -> None:
    stated = ":mastering-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50)"
    bright = [hdr(tmp_path / f"{nits}.mp4", pq(nits), 16, stated)[0] for nits in (400, 1000, 4000)]
    assert bright[0] < bright[1] < bright[2] and bright[2] >= 254


def test_hlg_is_tone_mapped(tmp_path: Path) -> None:
    # BT.2408: HLG's reference white, 203 nits on a display of 1000, is at 75 % of the signal.
    white = hdr(tmp_path / "white.mp4", 0.75, 18)
    assert white == pytest.approx([230] * 3, abs=3)
    assert hdr(tmp_path / "peak.mp4", 1.0, 18)[0] >= 254 and hdr(tmp_path / "black.mp4", 0.0, 18)[0] <= 1


def test_hdr_red_is_red(tmp_path: Path) -> None:
    # BT.709's red at 100 nits in BT.2020: light (62.7, 6.9, 1.6) nits; as PQ, by the matrix of BT.2020.
    r, g, b = (pq(nits) for nits in (62.74, 6.91, 1.64))
    luma = 0.2627 * r + 0.678 * g + 0.0593 * b
    planes = (round(64 + 876 * luma), round(512 + 896 * (b - luma) / 1.8814), round(512 + 896 * (r - luma) / 1.4746))
    red = [plain("yuv444p10le", planes)] * 2
    encode(tmp_path / "red.mp4", red, options={"qp": "0"}, colours=(BT2020, 9, 16, LIMITED))
    assert middle(tmp_path / "red.mp4") == pytest.approx([round(255 * (100 / 203) ** (1 / 2.4)), 0, 0], abs=16)


def bar(left: float) -> np.ndarray:
    """A bright bar on dark grey, (96, 128, 3)."""
    rgb = np.full((96, 128, 3), 40, np.uint8)
    rgb[:, round(left) : round(left) + 24] = 220
    return rgb


def combing(rgb: np.ndarray) -> float:
    """Measure how much pixel lines differ from both their neighbours."""
    grey = rgb[..., 0].astype(int)
    return float(np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean())


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"x264-params": "tff=1:qp=8"}),
        ("a.mpg", "mpeg2video", {"flags": "+ilme+ildct", "b": "5M"}),
    ],
)
def test_interlaced_is_made_progressive(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    frames = []
    for index in range(12):
        woven = bar(8 * index)
        woven[1::2] = bar(8 * index + 4)[1::2]  # the second field is half a frame later
        frames.append(av.VideoFrame.from_ndarray(woven))
    path = encode(tmp_path / name, frames, codec, pix_fmt="yuv420p", options=options)
    with av.open(str(path)) as container:
        stored = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in stored)
    read = list(open_reader(path))
    assert [frame.time_s for frame in read] == pytest.approx([index / 24 for index in range(12)], abs=1e-3)
    before = combing(stored[6].to_ndarray(format="rgb24"))
    assert before > 10 and combing(read[6].rgb) < before / 3
    assert abs(read[6].rgb[48, :, 0].astype(int) - bar(48)[48, :, 0]).mean() < 15  # the first field's moment


def test_progressive_is_left_alone(tmp_path: Path) -> None:
    stripes = np.zeros((*SIZE, 3), np.uint8)
    stripes[::2] = 200  # looks like combing, but is not flagged as interlaced
    path = encode(tmp_path / "a.mp4", [av.VideoFrame.from_ndarray(stripes)], pix_fmt="yuv444p", options={"qp": "0"})
    assert np.abs(next(iter(open_reader(path))).rgb.astype(int) - stripes).max() < 5


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a9.webm", "libvpx-vp9", "yuva420p"),
        ("a8.webm", "libvpx", "yuva420p"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.apng", "apng", "rgba"),
    ],
)
def test_transparency_lies_on_black(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    rgba = np.full((*SIZE, 4), 200, np.uint8)
    rgba[:, :32, 3], rgba[:, 32:48, 3], rgba[:, 48:, 3] = 0, 128, 255
    options = {"auto-alt-ref": "0"} if codec.startswith("libvpx") else {}
    frames = [av.VideoFrame.from_ndarray(rgba, format="rgba") for _ in range(3)]
    read = list(open_reader(encode(tmp_path / name, frames, codec, pix_fmt=pix_fmt, options=options)))
    assert len(read) == 3
    assert read[1].time_s == pytest.approx(1 / 24, abs=2e-3)
    for frame in read:
        assert frame.rgb[20, [8, 40, 56], 0].tolist() == pytest.approx([0, 100, 200], abs=4)


def test_transparent_images_lie_on_black(tmp_path: Path) -> None:
    rgba = np.full((*SIZE, 4), 200, np.uint8)
    rgba[:, :32, 3], rgba[:, 32:, 3] = 0, 255
    Image.fromarray(rgba).save(tmp_path / "0.png")
    assert next(iter(open_reader(tmp_path))).rgb[0, [0, 40]].tolist() == [[0] * 3, [200] * 3]


def test_pixels_that_are_not_square_stay_as_stored(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [plain("yuv420p", (90, 128, 128))], aspect=Fraction(16, 11))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert open_reader(path).size == SIZE


def test_one_frame_and_odd_sides(tmp_path: Path) -> None:
    odd = av.VideoFrame.from_ndarray(np.full((47, 63, 3), 120, np.uint8))
    path = encode(tmp_path / "odd.webm", [odd], "libvpx", pix_fmt="yuv420p")
    (frame,) = open_reader(path)
    assert frame.size == (47, 63) and abs(int(frame.rgb[-1, -1, 0]) - 120) < 4


def test_four_k_is_read_a_few_frames_at_a_time(tmp_path: Path) -> None:
    pictures = [plain("yuv420p", (90, 128, 128), (2160, 3840)) for _ in range(12)]
    path = encode(tmp_path / "uhd.mp4", pictures, options={"preset": "ultrafast"})
    reader, alive, most = open_reader(path), [], 0

    class Counted:
        def __iter__(self):
            nonlocal most
            for frame in reader:
                alive.append(frame.index)
                most = max(most, len(alive))
                yield frame

    for frame in prefetch(Counted(), depth=2):
        assert frame.rgb.shape == (2160, 3840, 3)
        alive.remove(frame.index)
    assert most <= 3 and not alive  # two waiting, one on its way


def overwrite(path: Path, numbers: list[int], share: float = 1.0) -> Path:
    """A copy with the payload of some packets overwritten by zeros."""
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole)
    for number in numbers:
        place, size = whole.index(packets[number]), int(len(packets[number]) * share)
        data[place : place + size] = bytes(size)
    damaged = path.with_name(f"damaged-{path.name}")
    damaged.write_bytes(data)
    return damaged


def noisy(path: Path, codec: str = "libx264", count: int = 36) -> Path:
    rng = np.random.default_rng(0)
    frames = [av.VideoFrame.from_ndarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)) for _ in range(count)]
    return encode(path, frames, codec, pix_fmt="yuv420p")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")]
)
def test_damage_in_the_middle_is_skipped_and_counted(tmp_path: Path, name: str, codec: str) -> None:
    reader = open_reader(overwrite(noisy(tmp_path / name, codec), [10, 20]))
    frames = list(reader)
    assert len(frames) == 34
    assert reader.faults == {"damaged_packets": 2}
    assert frames[-1].time_s == pytest.approx(35 / 24, abs=0.05)  # the others keep their times
    list(reader)
    assert reader.faults == {"damaged_packets": 2}  # of the last pass


def test_damage_up_to_the_end_is_an_end(tmp_path: Path) -> None:
    path = overwrite(noisy(tmp_path / "a.mp4"), list(range(20, 36)))
    with pytest.raises(TruncatedVideoError, match=r"breaks off after 1\d frames of 36"):
        list(open_reader(path))


def test_damage_is_one_line_and_in_the_record(tmp_path: Path, square: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = overwrite(noisy(tmp_path / "a.mp4", count=8), [3]), tmp_path / "out"
    assert main([str(path), "--first-mask", str(square), "-o", str(out), "--tracker", "persam", "--save", "csv"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert lines == [f"vos-track: {path}: damaged packets: 1"]
    assert json.loads((out / "run.json").read_text())["input"] == {"damaged_packets": 1}


def test_times_of_the_source_in_table_and_overlay(tmp_path: Path, square: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.01]
    path, out = tmp_path / "variable.mp4", tmp_path / "out"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_s in times:
            frame = plain("yuv420p", (90, 128, 128))
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert main([str(path), "--first-mask", str(square), "-o", str(out), "--tracker", "persam", "--quiet"]) == 0
    with (out / "objects.csv").open() as file:
        assert [float(row["time_s"]) for row in csv.DictReader(file)] == pytest.approx(times, abs=1e-3)
    with av.open(str(out / "overlay.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-3)


# -- pictures given as a video ----------------------------------------------------------------------


def corner(size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture that shows how it is turned: no two of its quarters are alike."""
    rgb = np.full((*size, 3), 30, np.uint8)
    rgb[: size[0] // 2, : size[1] // 2], rgb[: size[0] // 2, size[1] // 2 :] = 220, (200, 40, 60)
    return rgb


def with_exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", turn
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_with_exif_is_turned_as_in_a_folder(tmp_path: Path, suffix: str, turn: int) -> None:
    path = tmp_path / f"0.{suffix}"
    Image.fromarray(corner()).save(path, exif=with_exif(turn), quality=95, lossless=True)
    (alone,), (in_folder,) = open_reader(path), open_reader(tmp_path)
    assert alone.size == in_folder.size == open_reader(path).size
    assert np.abs(alone.rgb.astype(int) - in_folder.rgb).mean() < 3


def test_motion_jpeg_whose_frames_carry_exif(tmp_path: Path) -> None:
    Image.fromarray(corner()).save(tmp_path / "a.jpg", exif=with_exif(6), quality=95)
    (tmp_path / "a.mjpeg").write_bytes((tmp_path / "a.jpg").read_bytes() * 3)
    frames = list(open_reader(tmp_path / "a.mjpeg"))
    assert len(frames) == 3
    assert all(np.abs(frame.rgb.astype(int) - np.rot90(corner(), -1)).mean() < 3 for frame in frames)


def animated(path: Path, count: int = 5, duration_ms: int = 100) -> Path:
    """Save pictures of growing brightness with Pillow, as an animation."""
    first, *others = [Image.fromarray(np.full((*SIZE, 3), 40 * index, np.uint8)) for index in range(count)]
    first.save(path, save_all=True, append_images=others, duration=duration_ms, lossless=True)
    return path


@pytest.mark.skipif(not features.check("avif"), reason="needs a Pillow that writes AVIF")
def test_of_an_animated_avif_the_animation_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = list(open_reader(animated(tmp_path / "a.avif")))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert [round(float(frame.rgb.mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4]
    assert "has 2 video streams; the one that plays longest is read (number 1)" in caplog.text


def test_an_animated_webp_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.webp: is an animated WebP, which FFmpeg does not decode; save it as"):
        open_reader(animated(tmp_path / "a.webp"))
    Image.fromarray(corner()).save(tmp_path / "still.webp")
    assert len(list(open_reader(tmp_path / "still.webp"))) == 1
