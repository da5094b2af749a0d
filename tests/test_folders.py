"""Tests folders of images: pictures of any depth, files that do not belong, and outputs named after the pictures."""

from __future__ import annotations

import csv
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.errors import InputError
from vos.readers.open import open_reader
from vos.readers.seek import Timeline

SIZE = (48, 64)


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A textured frame that uses all of 0 to 255, with a bright square that moves."""
    rgb = np.random.default_rng(number).integers(0, 90, (*size, 3)).astype(np.uint8)
    rgb[10:30, 20 + number : 40 + number] = (250, 40, 90)
    rgb[0, 0], rgb[0, 1] = 0, 255
    return rgb


def make_folder(folder: Path, count: int = 3, name: str = "{:05d}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(picture(index)).save(folder / name.format(index))
    return folder


def mask_image() -> Image.Image:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 20:40] = 1
    return Image.fromarray(labels)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    mask_image().save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def track(video: Path, mask: Path, out: Path, *more: object) -> int:
    return main([*map(str, (video, "--first-mask", mask, "-o", out, "--tracker", "persam", "--quiet", *more))])


def read(folder: Path) -> list[np.ndarray]:
    with open_reader(folder) as reader:
        return [frame.rgb for frame in reader]


def names(folder: Path) -> list[str | None]:
    with open_reader(folder) as reader:
        return [frame.name for frame in reader]


def write_png_16(path: Path, values: np.ndarray) -> None:
    """Write a PNG of 16 bits: (H, W) or (H, W, 2 to 4) uint16."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = 1 if values.ndim == 2 else values.shape[2]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line.tobytes() for line in values.astype(">u2")))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def write_tiff(
    path: Path,
    values: np.ndarray,
    order: str = "<",
    turn: int = 1,
    more: dict[int, list[int]] | None = None,
    big: bool = False,
) -> None:
    """Write an uncompressed TIFF of any type: (H, W) or (H, W, C); ``more`` are tags, left out if empty."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    offset, room = ("Q", 8) if big else ("I", 4)
    tags = {
        256: [values.shape[1]],
        257: [values.shape[0]],
        258: [8 * values.dtype.itemsize] * channels,
        259: [1],
        262: [2 if channels >= 3 else 1],
        273: [2 * room],
        274: [turn],
        277: [channels],
        278: [values.shape[0]],
        279: [len(data)],
        338: [2] if channels in (2, 4) else [],
        339: [kind] * channels,
        **(more or {}),
    }
    tags = {tag: numbers for tag, numbers in sorted(tags.items()) if numbers}
    start = 2 * room + len(data)
    outside, entries = b"", b""
    place = start + (8 if big else 2) + (20 if big else 12) * len(tags) + room
    for tag, numbers in tags.items():
        wide = tag in (273, 279, 324, 325)
        packed = struct.pack(f"{order}{len(numbers)}{'I' if wide else 'H'}", *numbers)
        if len(packed) > room:
            packed, outside = struct.pack(f"{order}{offset}", place + len(outside)), outside + packed
        entries += struct.pack(f"{order}HH{offset}", tag, 4 if wide else 3, len(numbers)) + packed.ljust(room, b"\0")
    header = struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI", 42, start)
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    path.write_bytes({"<": b"II", ">": b"MM"}[order] + header + data + count + entries + bytes(room) + outside)


# -- depth ----------------------------------------------------------------------------------------

GREY = [picture(index)[..., 0] for index in range(3)]
COLOUR = [picture(index) for index in range(3)]


def with_opacity(values: np.ndarray, opaque: int) -> np.ndarray:
    return np.dstack([values, np.full(SIZE, opaque, values.dtype)])


DEEP: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray], bool]] = {
    "grey 16 repeated": ("png", lambda grey: grey.astype(np.uint16) * 257, False),
    "grey 16 shifted": ("png", lambda grey: grey.astype(np.uint16) << 8, False),
    "grey 12 in 16": ("png", lambda grey: grey.astype(np.uint16) << 4, False),
    "grey 10 in 16": ("png", lambda grey: grey.astype(np.uint16) << 2, False),
    "grey 8 in 16": ("png", lambda grey: grey.astype(np.uint16), False),
    "grey and opacity": ("png", lambda grey: with_opacity(grey.astype(np.uint16) * 257, 65535), False),
    "colour 16": ("png", lambda rgb: rgb.astype(np.uint16) * 257, True),
    "colour 12 in 16": ("png", lambda rgb: rgb.astype(np.uint16) << 4, True),
    "colour and opacity": ("png", lambda rgb: with_opacity(rgb.astype(np.uint16) << 8, 65535), True),
    "tiff 8": ("tif", lambda rgb: rgb, True),
    "tiff 16": ("tif", lambda grey: grey.astype(np.uint16) * 257, False),
    "tiff colour 16": ("tiff", lambda rgb: rgb.astype(np.uint16) * 257, True),
    "tiff colour 12": ("tiff", lambda rgb: rgb.astype(np.uint16) << 4, True),
    "tiff grey and opacity": ("tif", lambda grey: with_opacity(grey.astype(np.uint16) * 257, 65535), False),
    "tiff unsigned 32": ("TIF", lambda grey: grey.astype(np.uint32) << 24, False),
    "tiff signed 32": ("tif", lambda grey: grey.astype(np.int32) * 257, False),
    "tiff signed 32, all of it": ("tif", lambda grey: grey.astype(np.int32) << 23, False),
    "tiff signed 16": ("tif", lambda grey: grey.astype(np.int16) * 16, False),
    "tiff signed 16, all of it": ("tif", lambda grey: grey.astype(np.int16) << 7, False),
    "tiff signed 8": ("tif", lambda grey: (grey.astype(int) - 128).astype(np.int8), False),
    "tiff float": ("tif", lambda grey: grey.astype(np.float32) / 255, False),
    "tiff float to 255": ("tif", lambda grey: grey.astype(np.float32), False),
    "tiff float of any range": ("tif", lambda grey: grey.astype(np.float32) * 3.7 - 12.3, False),
    "tiff colour float": ("tif", lambda rgb: rgb.astype(np.float32) / 255, True),
}


@pytest.mark.parametrize("kind", DEEP)
def test_pictures_of_any_depth_look_as_they_do_in_8_bits(kind: str, tmp_path: Path) -> None:
    suffix, convert, colour = DEEP[kind]
    for index, pixels in enumerate(COLOUR if colour else GREY):
        path = tmp_path / f"{index}.{suffix}"
        (write_png_16 if suffix == "png" else write_tiff)(path, convert(pixels))
    for frame, rgb, grey in zip(read(tmp_path), COLOUR, GREY, strict=True):
        assert np.array_equal(frame, rgb if colour else np.dstack([grey] * 3))


@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_folders_of_other_formats(suffix: str, tmp_path: Path) -> None:
    for index, rgb in enumerate(COLOUR):
        Image.fromarray(rgb).save(tmp_path / f"{index}.{suffix}", lossless=True)
    assert all(np.array_equal(frame, rgb) for frame, rgb in zip(read(tmp_path), COLOUR, strict=True))


def test_a_dark_clip_of_16_bits_stays_dark(tmp_path: Path) -> None:
    for index, grey in enumerate(GREY):
        write_png_16(tmp_path / f"{index}.png", (grey // 8).astype(np.uint16) * 257)
    assert [int(frame.max()) for frame in read(tmp_path)] == [31, 31, 31]


def test_values_far_from_0_are_spread_by_the_first_picture_and_clipped_by_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index, grey in enumerate(GREY):  # as thermal cameras write them
        write_png_16(tmp_path / f"{index}.png", 7000 + 4 * grey.astype(np.uint16) + 40 * (index == 1))
    first, second, third = read(tmp_path)
    assert np.array_equal(first[..., 0], GREY[0]) and np.array_equal(third[..., 0], GREY[2])
    assert np.array_equal(second[..., 0], np.minimum(GREY[1].astype(int) + 10, 255))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: numbers of 16 bits, of which 7000 to 8020 become 0 to 255"
    ]


def test_a_picture_far_brighter_than_the_first_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index, factor in enumerate((1, 100, 200)):
        write_png_16(tmp_path / f"{index}.png", GREY[index].astype(np.uint16) * factor)
    read(tmp_path)
    assert len(caplog.records) == 2 and "1.png: much of it is brighter" in caplog.text


def test_opacity_of_deep_pictures_lies_on_black(tmp_path: Path) -> None:
    write_png_16(tmp_path / "0.png", with_opacity(COLOUR[0].astype(np.uint16) * 257, 0))
    assert not read(tmp_path)[0].any()


def test_float_pictures_with_holes(tmp_path: Path) -> None:
    values = GREY[0].astype(np.float32) / 255
    values[5, 5], values[6, 6], values[7, 7] = np.nan, np.inf, -np.inf
    write_tiff(tmp_path / "0.tif", values)
    frame = read(tmp_path)[0]
    assert frame[5, 5, 0] == 0 and frame[6, 6, 0] == 255 and frame[7, 7, 0] == 0
    assert frame[0, 1, 0] == 255


@pytest.mark.parametrize("values", [GREY[0].astype(np.uint16) * 257, COLOUR[0].astype(np.uint16) * 257])
@pytest.mark.parametrize("turn", range(1, 9))
def test_deep_pictures_are_turned_upright(turn: int, values: np.ndarray, tmp_path: Path) -> None:
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    methods = [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM]
    methods += [Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE]
    methods += [Image.Transpose.ROTATE_90]
    stored = (values // 257).astype(np.uint8)
    if turn > 1:
        stored = np.asarray(Image.fromarray(stored).transpose(methods[back[turn] - 2]))
    write_tiff(tmp_path / "0.tif", stored.astype(np.uint16) * 257, turn=turn)
    frame = read(tmp_path)[0]
    assert np.array_equal(frame if values.ndim == 3 else frame[..., 0], values // 257)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.float32])
def test_either_order_of_bytes(order: str, kind: type, tmp_path: Path) -> None:
    write_tiff(tmp_path / "0.tif", GREY[0].astype(kind), order)
    assert np.array_equal(read(tmp_path)[0][..., 0], GREY[0])


def test_mixed_depths(tmp_path: Path) -> None:
    write_png_16(tmp_path / "0.png", GREY[0].astype(np.uint16) * 257)
    Image.fromarray(GREY[1]).save(tmp_path / "1.png")  # as programs save it that make PNGs smaller
    assert [int(frame.max()) for frame in read(tmp_path)] == [255, 255]
    os.rename(tmp_path / "0.png", tmp_path / "2.png")
    assert [int(frame.max()) for frame in read(tmp_path)] == [255, 255]
    write_png_16(tmp_path / "2.png", GREY[0].astype(np.uint16) * 16)
    with pytest.raises(InputError, match=r"2.png: has numbers of 16 bits, but the first picture has 8 bits"):
        read(tmp_path)


TILE = {273: [], 278: [], 279: [], 322: [SIZE[1]], 323: [SIZE[0]], 324: [8], 325: [8 * SIZE[0] * SIZE[1]]}
"""Tags of a TIFF that is one tile."""

REFUSED: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "floats of 64 bits": (GREY[0].astype(np.float64), {}, "TIFF of 1 channel, floats of 64 bits, is"),
    "floats of 16 bits": (GREY[0].astype(np.float16), {}, "TIFF of 1 channel, floats of 16 bits, is"),
    "colour of 32 bits": (COLOUR[0].astype(np.uint32), {}, "TIFF of 3 channels, numbers of 32 bits, is"),
    "colour of 16 bits in tiles": (COLOUR[0].astype(np.uint16), {"more": TILE}, "numbers of 16 bits, in tiles, is"),
    "colour floats in tiles": (COLOUR[0].astype(np.float32), {"more": TILE}, "floats of 32 bits, in tiles, is"),
    "big-endian colour floats": (COLOUR[0].astype(np.float32), {"order": ">"}, "floats of 32 bits, big-endian, is"),
    "colour floats in planes": (COLOUR[0].astype(np.float32), {"more": {284: [2]}}, "32 bits, in planes, is"),
    "colour floats, predicted": (COLOUR[0].astype(np.float32), {"more": {317: [3]}}, "32 bits, with a predictor, is"),
    "big-endian 32 bits": (GREY[0].astype(np.uint32), {"order": ">"}, "numbers of 32 bits, big-endian, is"),
    "big-endian, 0 as white": (GREY[0].astype(np.uint16), {"order": ">", "more": {262: [0]}}, ", with 0 as white, is"),
    "BigTIFF": (COLOUR[0].astype(np.uint16), {"big": True}, "BigTIFF of 3 channels, numbers of 16 bits, is"),
    "BigTIFF of floats": (COLOUR[0].astype(np.float32), {"big": True}, "BigTIFF of 3 channels, floats of 32 bits, is"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tiffs_that_are_not_decoded_are_refused(kind: str, tmp_path: Path) -> None:
    values, how, told = REFUSED[kind]
    write_tiff(tmp_path / "0.tif", values, **how)
    with pytest.raises(InputError, match=f"0.tif: cannot be read as an image .*{told} not decoded; save it as PNG"):
        read(tmp_path)


@pytest.mark.parametrize("order", "<>")
def test_cmyk_of_16_bits_looks_as_it_does_in_8_bits(order: str, tmp_path: Path) -> None:
    inks = np.random.default_rng(0).integers(0, 256, (*SIZE, 4)).astype(np.uint8)
    write_tiff(tmp_path / "0.tif", inks.astype(np.uint16) * 257, order, more={262: [5], 338: []})
    expected = np.asarray(Image.frombytes("CMYK", SIZE[::-1], inks.tobytes()).convert("RGB"))
    assert np.abs(read(tmp_path)[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("meaning", "opaque"), [(0, 0), (0, 128), (1, 128), (2, 128)])
def test_a_fourth_channel_of_16_bits_means_what_it_does_in_8_bits(
    meaning: int, opaque: int, order: str, tmp_path: Path
) -> None:
    for name in ("deep", "plain"):
        (tmp_path / name).mkdir()
    rgba = with_opacity(COLOUR[0] // 2, opaque)
    write_tiff(tmp_path / "deep/0.tif", rgba.astype(np.uint16) * 257, order, more={338: [meaning]})
    write_tiff(tmp_path / "plain/0.tif", rgba, order, more={338: [meaning]})
    (deep,), (plain,) = read(tmp_path / "deep"), read(tmp_path / "plain")
    assert np.abs(deep.astype(int) - plain).max() <= 1
    assert (deep.max() == 127) == (meaning < 2)


@pytest.mark.parametrize("meaning", [0, 1])
def test_a_second_channel_that_is_no_opacity_to_apply(meaning: int, tmp_path: Path) -> None:
    write_tiff(tmp_path / "0.tif", with_opacity(GREY[0].astype(np.uint16) * 257, 9), more={338: [meaning]})
    assert np.array_equal(read(tmp_path)[0][..., 0], GREY[0])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_given_as_a_video_is_read_as_in_a_folder(
    kind: type, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "0.tif"
    write_tiff(path, GREY[0].astype(kind), turn=6, more={**TILE, 325: [GREY[0].nbytes * kind().itemsize]})
    with open_reader(path) as reader:
        (frame,) = reader
    assert np.array_equal(frame.rgb, read(tmp_path)[0])
    assert frame.name is None and frame.size == reader.size == SIZE[::-1] and reader.length == 1
    assert Timeline(reader.source).times == [0.0] and list(reader.source.frames(1.0)) == []
    first, *others = (Image.fromarray(rgb) for rgb in COLOUR)
    first.save(path, save_all=True, append_images=others)
    assert np.array_equal(next(iter(open_reader(path))).rgb, COLOUR[0])
    assert "0.tif: holds several pictures; the first is used" in caplog.text
    write_tiff(path, COLOUR[0].astype(np.float64))
    with pytest.raises(InputError, match=r"0.tif: cannot be read as an image .* floats of 64 bits, is not decoded"):
        open_reader(path)


def test_numbers_of_8_bits_that_are_signed_and_not_below_0(tmp_path: Path) -> None:
    write_tiff(tmp_path / "0.tif", (GREY[0] // 2).astype(np.int8))
    assert np.abs(read(tmp_path)[0][..., 0].astype(int) - GREY[0]).max() <= 1


def test_a_file_of_several_pictures_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, *others = (Image.fromarray(rgb) for rgb in COLOUR)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    assert len(read(tmp_path)) == 1
    assert "stack.tif: holds several pictures; the first of each file is used" in caplog.text


def test_16_bits_give_the_masks_of_8_bits(tmp_path: Path, mask: Path) -> None:
    for index, grey in enumerate(GREY):
        for name in ("deep", "plain"):
            (tmp_path / name).mkdir(exist_ok=True)
        write_png_16(tmp_path / "deep" / f"{index}.png", grey.astype(np.uint16) * 257)
        Image.fromarray(grey).save(tmp_path / "plain" / f"{index}.png")
    for name in ("deep", "plain"):
        assert track(tmp_path / name, mask, tmp_path / f"{name}-out", "--save", "masks,csv") == 0
    for file in ("objects.csv", "masks/0.png", "masks/1.png", "masks/2.png"):
        assert (tmp_path / "deep-out" / file).read_bytes() == (tmp_path / "plain-out" / file).read_bytes()


# -- files that do not belong ---------------------------------------------------------------------


def stray_cover(folder: Path) -> list[str]:
    Image.fromarray(picture(9)).save(folder / "cover.jpg")
    return ["cover.jpg"]


def stray_covers_of_any_size(folder: Path) -> list[str]:
    Image.fromarray(picture(9, (200, 300))).save(folder / "cover.jpg")
    Image.fromarray(picture(9, (20, 30))).save(folder / "thumb.webp")
    mask_image().save(folder / "mask.png")
    return ["cover.jpg", "mask.png", "thumb.webp"]


def stray_thumbs(folder: Path) -> list[str]:
    made = [f"thumb_{index:05d}.jpg" for index in range(4)]
    for name in made:
        Image.fromarray(picture(9, (20, 30))).save(folder / name)
    return made


def stray_first_mask(folder: Path) -> list[str]:
    mask_image().save(folder / "00000.png")
    return ["00000.png"]


def stray_indexed_masks(folder: Path) -> list[str]:
    made = [f"{index:05d}.png" for index in range(4)]
    for name in made:
        indexed = mask_image()
        indexed.putpalette([0, 0, 0, 128, 0, 0])
        indexed.save(folder / name)
    return made


def stray_colour_masks(folder: Path) -> list[str]:
    mask_image().point(lambda value: 255 * value).convert("RGB").save(folder / "00002.png")
    return ["00002.png"]


def stray_named_masks(folder: Path) -> list[str]:
    made = [f"{index:05d}_mask.png" for index in range(4)]
    for name in made:
        mask_image().save(folder / name)
    return made


def stray_broken(folder: Path) -> list[str]:
    (folder / "broken.jpg").write_text("text")
    (folder / "folder.png").mkdir()
    return ["broken.jpg", "folder.png"]


@pytest.mark.parametrize(
    "add",
    [
        stray_cover,
        stray_covers_of_any_size,
        stray_thumbs,
        stray_first_mask,
        stray_indexed_masks,
        stray_colour_masks,
        stray_named_masks,
        stray_broken,
    ],
)
def test_stray_files_are_told_and_left_out(
    add: Callable[[Path], list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path / "frames", 4, "{:05d}.jpg")
    plain = read(folder)
    strays = add(folder)
    frames = read(folder)
    assert len(frames) == 4 and all(map(np.array_equal, frames, plain))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{folder}: left out, as no part of the series 00000.jpg to 00003.jpg: {strays[0]}")
    more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
    assert line.endswith(", ".join(strays[:3]) + more)


def test_a_mask_before_the_first_picture_is_left_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "frames", 3, "1{:04d}.jpg")
    mask_image().save(folder / "00000.png")
    assert names(folder) == ["10000", "10001", "10002"]


@pytest.mark.parametrize(
    ("made", "order"),
    [
        (["cat.jpg", "dog.png", "ant.webp"], ["ant", "cat", "dog"]),
        (["b7f.png", "a3e1.png", "77.png", "c.jpg"], ["77", "a3e1", "b7f", "c"]),
        (["f_2.png", "f_10.png", "f_1.jpg"], ["f_1", "f_2", "f_10"]),
        (["12-5-1.png", "12-5-10.png", "12-4-2.png"], ["12-4-2", "12-5-1", "12-5-10"]),
        (["a.png", "b.JPEG", "c.tif"], ["a", "b", "c"]),
    ],
)
def test_names_of_any_kind_are_one_series(made: list[str], order: list[str], tmp_path: Path) -> None:
    for name in made:
        Image.fromarray(picture(1)).save(tmp_path / name)
    assert names(tmp_path) == order


def test_two_series_are_read_as_one_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(tmp_path, 3, "left_{}.png")
    make_folder(tmp_path, 3, "right_{}.png")
    assert names(tmp_path) == ["left_0", "left_1", "left_2", "right_0", "right_1", "right_2"]
    assert "several kinds of name, which are read one after the other: left_0.png, right_0.png" in caplog.text


@pytest.mark.parametrize("count", [1, 4])
def test_two_pictures_of_one_name_are_refused(count: int, tmp_path: Path) -> None:
    make_folder(tmp_path, 4, "{:05d}.jpg")
    make_folder(tmp_path, count, "{:05d}.png")
    with pytest.raises(InputError, match=r"00000.jpg and 00000.png have one name"):
        open_reader(tmp_path)


# -- names ----------------------------------------------------------------------------------------


def test_outputs_carry_the_names_of_the_pictures(tmp_path: Path, mask: Path) -> None:
    pytest.importorskip("pycocotools")
    folder, out = make_folder(tmp_path / "frames", 4, "img_{:04d}5.jpg"), tmp_path / "out"
    assert track(folder, mask, out, "--save", "masks,csv,cutout,npz,coco", "--debug", "1") == 0
    stems = [f"img_{index:04d}5" for index in range(4)]
    for kind, expected in (("masks", stems), ("cutout", stems), ("debug", stems[1:])):
        assert sorted(file.name for file in (out / kind).iterdir()) == [f"{stem}.png" for stem in expected]
    with (out / "objects.csv").open(newline="") as table:
        records = list(csv.DictReader(table))
    assert [record["name"] for record in records] == stems and list(records[0])[-1] == "name"
    assert json.loads((out / "coco.json").read_text())["videos"][0]["file_names"] == [f"{stem}.jpg" for stem in stems]
    with np.load(out / "masks.npz") as arrays:
        assert arrays["name"].tolist() == stems and "labels_00003" in arrays
    assert json.loads((out / "run.json").read_text())["names"] == stems


def test_names_follow_start_and_stride(tmp_path: Path, mask: Path) -> None:
    folder, out = make_folder(tmp_path / "frames", 6), tmp_path / "out"
    assert track(folder, mask, out, "--save", "masks", "--start", 1, "--stride", 2) == 0
    assert sorted(file.name for file in (out / "masks").iterdir()) == ["00001.png", "00003.png", "00005.png"]


def test_a_new_run_removes_the_masks_of_the_earlier_one_and_nothing_else(tmp_path: Path, mask: Path) -> None:
    out = tmp_path / "out"
    assert track(make_folder(tmp_path / "one", 3, "a{}.png"), mask, out, "--save", "masks") == 0
    (out / "masks" / "b.png").write_bytes(b"mine")
    (out / "masks" / "a7.png").write_bytes(b"mine")
    assert track(make_folder(tmp_path / "two", 2, "x{}.png"), mask, out, "--save", "masks", "--overwrite") == 0
    assert sorted(file.name for file in (out / "masks").iterdir()) == ["a7.png", "b.png", "x0.png", "x1.png"]


@pytest.mark.parametrize("save", ["masks,csv", "csv"])
def test_a_stopped_run_goes_on_with_names(
    save: str, tmp_path: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vos.command.frame_log.EVERY_S", 0.0)
    monkeypatch.setattr("vos.command.frame_log.SHARE", 1e9)
    folder = make_folder(tmp_path / "frames", 6, "img {}.png")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert track(folder, mask, whole, "--save", save) == 0
    good = (folder / "img 4.png").read_bytes()
    (folder / "img 4.png").write_bytes(bytes(len(good)))
    assert track(folder, mask, out, "--save", save) == 2
    assert (out / ".resume").is_dir()
    (out / "run.json").unlink()
    (folder / "img 4.png").write_bytes(good)
    monkeypatch.setattr("vos.command.journal.check_same", lambda *_: None)  # the picture was another
    assert track(folder, mask, out, "--save", save, "--resume") == 0
    assert json.loads((out / "run.json").read_text())["resumed_after"] is not None
    for file in [each for each in whole.rglob("*") if each.suffix in (".png", ".csv")]:
        assert (out / file.relative_to(whole)).read_bytes() == file.read_bytes()


def test_a_stopped_run_that_begins_anew_leaves_no_mask_of_before(tmp_path: Path, mask: Path) -> None:
    folder, out = make_folder(tmp_path / "frames", 4, "a{}.png"), tmp_path / "out"
    (folder / "a3.png").write_text("broken")
    assert track(folder, mask, out, "--save", "masks") == 2
    (out / "run.json").unlink()
    (out / "masks" / "a9.png").write_bytes(b"mine")
    assert track(folder, mask, out, "--save", "masks", "--max-frames", 1, "--overwrite") == 0
    assert sorted(file.name for file in (out / "masks").iterdir()) == ["a0.png", "a9.png"]


def test_frames_of_a_video_have_no_names(tmp_path: Path, mask: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    Image.fromarray(picture(0)).save(
        tmp_path / "a.gif",
        save_all=True,
        append_images=[Image.fromarray(picture(index)) for index in (1, 2)],
        duration=40,
    )
    assert track(tmp_path / "a.gif", mask, tmp_path / "out", "--save", "masks,csv,npz") == 0
    assert sorted(file.name for file in (tmp_path / "out/masks").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert "name" not in (tmp_path / "out/objects.csv").read_text().splitlines()[0]
    assert "names" not in json.loads((tmp_path / "out/run.json").read_text())
