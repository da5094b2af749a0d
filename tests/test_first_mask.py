"""Tests the first mask: each kind of PNG that is accepted, and the error for each that is not."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.errors import InputError
from vos.readers.first_mask import load_first_mask
from vos.readers.mask_size import Resize
from vos.structures import first_mask_from_array

SIZE = (48, 64)


def voc_palette() -> np.ndarray:
    """The colour map of PASCAL VOC and DAVIS, (256, 3) uint8, from its definition."""
    palette = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                palette[index, channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return palette


@pytest.fixture
def labels() -> np.ndarray:
    """Two objects, 2 and 5, (H, W) uint8."""
    labels = np.zeros(SIZE, np.uint8)
    labels[5:25, 5:30] = 2
    labels[20:40, 28:60] = 5
    return labels


def save(path: Path, values: np.ndarray, *, mode: str | None = None) -> Path:
    """Save as PNG; ``P`` is indexed with the DAVIS palette."""
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(voc_palette().tobytes())
    elif mode:
        image = image.convert(mode)
    image.save(path)
    return path


def png_bytes(values: np.ndarray, bit_depth: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits per pixel, which the library cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    bits = np.unpackbits(values[..., None], axis=-1)[..., 8 - bit_depth :].reshape(len(values), -1)
    scanlines = b"".join(b"\0" + np.packbits(line).tobytes() for line in bits)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bit_depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b"")


def soft_disc(radius_px: float = 15, edge_px: float = 3) -> np.ndarray:
    """An anti-aliased white disc on black, (H, W) uint8."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(y - 24, x - 32)
    return (np.clip((radius_px - distance) / edge_px + 0.5, 0, 1) * 255).astype(np.uint8)


def assert_error(path: Path | list[Path], message: str, **options: object) -> None:
    """Check that loading fails with ``message`` (a regular expression), which names the file."""
    paths = path if isinstance(path, list) else [path]
    with pytest.raises(InputError, match=message) as caught:
        load_first_mask(paths, SIZE, **options)
    assert any(str(caught.value).startswith(f"{path}: ") for path in paths)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_numbers_are_kept(tmp_path: Path, labels: np.ndarray, mode: str) -> None:
    mask = load_first_mask([save(tmp_path / "m.png", labels, mode=mode)], SIZE)
    assert mask.object_ids == (2, 5)
    assert mask.labels.dtype == np.uint8
    np.testing.assert_array_equal(mask.labels, labels)
    assert mask.masks().shape == (2, *SIZE)


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_single_path_is_a_list_of_one(tmp_path: Path, labels: np.ndarray, as_type: type) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    assert load_first_mask(as_type(path), SIZE).object_ids == (2, 5)


@pytest.mark.parametrize("bit_depth", [2, 4])
def test_few_bits_are_not_stretched(tmp_path: Path, labels: np.ndarray, bit_depth: int) -> None:
    labels[labels == 5] = 3
    path = tmp_path / "m.png"
    path.write_bytes(png_bytes(labels, bit_depth))
    np.testing.assert_array_equal(load_first_mask([path], SIZE).labels, labels)


@pytest.mark.parametrize("low, high", [(0, 255), (0, 1), (0, 7), (16, 235)])
def test_grey_with_two_values_is_one_object(tmp_path: Path, labels: np.ndarray, low: int, high: int) -> None:
    values = np.where(labels == 2, np.uint8(high), np.uint8(low))
    mask = load_first_mask([save(tmp_path / "m.png", values)], SIZE)
    assert mask.object_ids == (1,)
    np.testing.assert_array_equal(mask.labels, labels == 2)


def test_one_bit(tmp_path: Path, labels: np.ndarray) -> None:
    mask = load_first_mask([save(tmp_path / "m.png", labels > 0)], SIZE)
    assert Image.open(tmp_path / "m.png").mode == "1"
    np.testing.assert_array_equal(mask.labels, labels > 0)


def test_indexed_0_and_255_is_one_object(tmp_path: Path, labels: np.ndarray) -> None:
    values = np.where(labels > 0, np.uint8(255), np.uint8(0))
    mask = load_first_mask([save(tmp_path / "m.png", values, mode="P")], SIZE)
    np.testing.assert_array_equal(mask.labels, labels > 0)


def test_indexed_255_beside_objects_is_void(tmp_path: Path, labels: np.ndarray) -> None:
    with_void = labels.copy()
    with_void[:3] = 255
    mask = load_first_mask([save(tmp_path / "m.png", with_void, mode="P")], SIZE)
    assert mask.object_ids == (2, 5)
    np.testing.assert_array_equal(mask.labels, labels)


def test_grey_255_beside_objects_is_an_object(tmp_path: Path, labels: np.ndarray) -> None:
    labels[:3] = 255
    assert load_first_mask([save(tmp_path / "m.png", labels)], SIZE).object_ids == (2, 5, 255)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_many_objects_are_not_soft_edges(tmp_path: Path, mode: str) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = (y // 6 * 16 + x // 4 + 1).astype(np.uint8)  # 128 tiles that touch
    mask = load_first_mask([save(tmp_path / "m.png", labels, mode=mode)], SIZE)
    assert mask.object_ids == tuple(range(1, 129))


@pytest.mark.parametrize("edge_px", [1, 3, 25])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
def test_soft_edges_are_cut_in_the_middle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, edge_px: float, mode: str
) -> None:
    disc = soft_disc(edge_px=edge_px)
    mask = load_first_mask([save(tmp_path / "m.png", disc, mode=mode)], SIZE)
    np.testing.assert_array_equal(mask.labels, disc >= 128)
    assert "m.png: black and white with soft or compressed edges" in caplog.text and "`threshold`" in caplog.text


def test_soft_edges_of_resampled_labels(tmp_path: Path, labels: np.ndarray) -> None:
    labels[labels == 5] = 30
    small = Image.fromarray(labels).resize((32, 24), Image.Resampling.BILINEAR)
    big = small.resize(SIZE[::-1], Image.Resampling.BILINEAR)
    assert_error(save(tmp_path / "m.png", np.array(big)), "soft edges")


def test_a_photograph(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    assert_error(save(tmp_path / "m.png", noise), r"\d+ colours, a photograph")
    assert_error(save(tmp_path / "g.png", noise[..., 0]), "soft edges")


def test_several_files_are_one_object_each(tmp_path: Path, labels: np.ndarray) -> None:
    first = np.zeros(SIZE, np.uint8)
    first[:, :40] = 255
    second = labels == 5
    paths = [save(tmp_path / "a.png", first), save(tmp_path / "b.png", second)]
    mask = load_first_mask(paths, SIZE)
    assert mask.object_ids == (1, 2)
    np.testing.assert_array_equal(mask.labels, np.where(second, 2, first > 0))


def test_several_files_with_several_objects(tmp_path: Path, labels: np.ndarray) -> None:
    single = save(tmp_path / "a.png", labels == 2)
    double = save(tmp_path / "b.png", labels, mode="P")
    with pytest.raises(InputError, match=rf"^{re.escape(str(double))}: 2 objects"):
        load_first_mask([single, double], SIZE)


def test_several_files_one_wholly_covered(tmp_path: Path, labels: np.ndarray) -> None:
    paths = [save(tmp_path / "a.png", labels == 2), save(tmp_path / "b.png", labels > 0)]
    assert_error(paths, "a.png: its object is wholly covered")


def test_no_files_or_too_many() -> None:
    with pytest.raises(InputError, match="no first mask"):
        load_first_mask([], SIZE)
    with pytest.raises(InputError, match="256 first masks"):
        load_first_mask(["m.png"] * 256, SIZE)


@pytest.mark.parametrize("high, ids", [(5, (2, 5)), (255, (2, 255))])
def test_16_bit_with_small_numbers(tmp_path: Path, labels: np.ndarray, high: int, ids: tuple[int, ...]) -> None:
    values = np.where(labels == 5, high, labels).astype(np.uint16)
    assert load_first_mask([save(tmp_path / "m.png", values)], SIZE).object_ids == ids


def test_16_bit_with_two_values(tmp_path: Path, labels: np.ndarray) -> None:
    mask = load_first_mask([save(tmp_path / "m.png", (labels > 0) * np.uint16(65535))], SIZE)
    np.testing.assert_array_equal(mask.labels, labels > 0)


def test_16_bit_numbers_that_do_not_fit_are_renumbered(
    tmp_path: Path, labels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    mask = load_first_mask([save(tmp_path / "m.png", labels * np.uint16(1000))], SIZE)
    np.testing.assert_array_equal(mask.labels, np.uint8([0, 0, 1, 0, 0, 2])[labels])
    assert mask.labels.dtype == np.uint8
    assert "1 (was 2000), 2 (was 5000)" in caplog.text


def test_300_objects(tmp_path: Path) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.minimum(y // 3 * 22 + x // 3, 300).astype(np.uint16)
    assert_error(save(tmp_path / "m.png", labels), "300 objects, but at most 255")
    with pytest.raises(InputError, match="300 objects"):
        first_mask_from_array(labels)


def test_palette_colours(tmp_path: Path, labels: np.ndarray) -> None:
    mask = load_first_mask([save(tmp_path / "m.png", voc_palette()[labels])], SIZE)
    assert mask.object_ids == (2, 5)
    np.testing.assert_array_equal(mask.labels, labels)


def test_palette_colour_of_a_single_object_keeps_its_number(tmp_path: Path, labels: np.ndarray) -> None:
    rgb = voc_palette()[np.where(labels == 2, labels, 0)]
    assert load_first_mask([save(tmp_path / "m.png", rgb)], SIZE).object_ids == (2,)


def test_any_single_colour_on_black(tmp_path: Path, labels: np.ndarray) -> None:
    rgb = (labels > 0)[..., None] * np.array([10, 200, 30], np.uint8)
    mask = load_first_mask([save(tmp_path / "m.png", rgb)], SIZE)
    np.testing.assert_array_equal(mask.labels, labels > 0)


def test_colours_outside_the_palette(tmp_path: Path, labels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[labels == 2] = (10, 200, 30)
    rgb[labels == 5] = (128, 0, 0)
    mask = load_first_mask([save(tmp_path / "m.png", rgb)], SIZE)
    np.testing.assert_array_equal(mask.labels, np.uint8([0, 0, 1, 0, 0, 2])[labels])
    assert "#0ac81e = 1, #800000 = 2" in caplog.text


def test_equal_channels_are_grey(tmp_path: Path, labels: np.ndarray) -> None:
    numbers = np.repeat(labels[..., None], 3, axis=-1)
    assert load_first_mask([save(tmp_path / "n.png", numbers)], SIZE).object_ids == (2, 5)
    mask = load_first_mask([save(tmp_path / "w.png", (numbers > 0) * np.uint8(255))], SIZE)
    assert mask.object_ids == (1,)


def test_opaque_alpha_is_ignored(tmp_path: Path, labels: np.ndarray) -> None:
    rgba = np.dstack([voc_palette()[labels], np.full(SIZE, 255, np.uint8)])
    assert load_first_mask([save(tmp_path / "m.png", rgba)], SIZE).object_ids == (2, 5)
    grey = save(tmp_path / "g.png", labels, mode="LA")
    assert load_first_mask([grey], SIZE).object_ids == (2, 5)


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_alpha_of_a_single_colour_is_the_mask(tmp_path: Path, labels: np.ndarray, colour: int) -> None:
    rgba = np.dstack([np.full((*SIZE, 3), colour, np.uint8), (labels > 0) * np.uint8(255)])
    mask = load_first_mask([save(tmp_path / "m.png", rgba)], SIZE)
    np.testing.assert_array_equal(mask.labels, labels > 0)


def test_soft_alpha(tmp_path: Path) -> None:
    rgba = np.dstack([np.full((*SIZE, 3), 255, np.uint8), soft_disc()])
    mask = load_first_mask([save(tmp_path / "m.png", rgba)], SIZE)
    np.testing.assert_array_equal(mask.labels, soft_disc() >= 128)


def test_transparent_pixels_are_background(tmp_path: Path, labels: np.ndarray) -> None:
    rgba = np.dstack([voc_palette()[labels], (labels == 2) * np.uint8(255)])
    assert load_first_mask([save(tmp_path / "m.png", rgba)], SIZE).object_ids == (2,)
    rgba[..., 3] //= 2
    assert load_first_mask([save(tmp_path / "m.png", rgba)], SIZE).object_ids == (2,)


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB"])
def test_empty(tmp_path: Path, mode: str) -> None:
    assert_error(save(tmp_path / "m.png", np.zeros(SIZE, np.uint8), mode=mode), "the mask is empty")


def test_only_void_is_left(tmp_path: Path) -> None:
    image = np.full(SIZE, 255, np.uint8)
    assert load_first_mask([save(tmp_path / "m.png", image, mode="P")], SIZE).object_ids == (1,)


def test_another_size(tmp_path: Path, labels: np.ndarray) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError) as caught:
        load_first_mask([path], (480, 854))
    assert str(caught.value) == f"{path}: 64 x 48, but the video is 854 x 480; pass `resize_mask=crop`, pad or stretch"
    with pytest.raises(InputError, match="64 x 48, but the video is 128 x 96; pass `resize_mask=True`"):
        load_first_mask([path], (96, 128))
    mask = load_first_mask([path], (96, 128), resize=True)
    np.testing.assert_array_equal(mask.labels, labels.repeat(2, axis=0).repeat(2, axis=1))


def test_an_object_lost_by_resizing(tmp_path: Path, labels: np.ndarray) -> None:
    labels[0, 0] = 9
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError, match=r"objects \[9\] vanish"):
        load_first_mask([path], (24, 32), resize=True)


def test_missing_file_folder_and_odd_names(tmp_path: Path) -> None:
    assert_error(tmp_path / "missing.png", "no such file")
    assert_error(tmp_path, "not a file")
    assert_error(tmp_path / ("x" * 300), "cannot be read|no such file")
    assert_error(tmp_path / "a\0b.png", "cannot be read|no such file")


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    for content, message in [(b"", "empty"), (b"hello", "not a PNG"), (b"GIF89a" + bytes(30), "not a PNG")]:
        path.write_bytes(content)
        assert_error(path, message)


def test_jpeg_whatever_its_name(tmp_path: Path, labels: np.ndarray) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(labels).save(path, format="JPEG")
    assert_error(path, "JPEG.*lossless PNG")


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_truncated(tmp_path: Path, labels: np.ndarray, mode: str) -> None:
    """Wherever a file is cut, it is refused, unless all of its pixels are there."""
    values = voc_palette()[labels] if mode == "RGB" else labels
    whole = save(tmp_path / "whole.png", values, mode=mode).read_bytes()
    path = tmp_path / "m.png"
    for length in range(1, len(whole), 3):
        path.write_bytes(whole[:length])
        try:
            mask = load_first_mask([path], SIZE)
        except InputError as error:
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(mask.labels, labels)
    path.write_bytes(whole[: len(whole) // 2])
    assert_error(path, "damaged or cut short|not a PNG")


def test_damaged(tmp_path: Path, labels: np.ndarray) -> None:
    """A damaged byte never leads to any other exception."""
    whole = save(tmp_path / "whole.png", labels, mode="P").read_bytes()
    path = tmp_path / "m.png"
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(8, len(whole))] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            load_first_mask([path], SIZE)
        except InputError as error:
            assert str(path) in str(error)


def test_a_bomb_is_refused_before_decoding(tmp_path: Path, labels: np.ndarray) -> None:
    path = tmp_path / "m.png"
    whole = bytearray(png_bytes(labels, 4))
    whole[16:24] = struct.pack(">II", 60_000, 60_000)
    path.write_bytes(whole)
    assert_error(path, "60000 x 60000, more than the 67108864 pixels", resize=True)
    assert_error(path, "too many pixels|damaged", resize=True, max_pixels=10**10)
    assert_error(save(path, labels), "64 x 48, more than the 100 pixels", max_pixels=100)


def test_array_of_numbers(labels: np.ndarray) -> None:
    for dtype in (np.uint8, np.int32, np.int64, np.uint16):
        mask = first_mask_from_array(labels.astype(dtype))
        assert mask.object_ids == (2, 5)
        assert mask.labels.dtype == np.uint8
        np.testing.assert_array_equal(mask.labels, labels)
    assert first_mask_from_array(labels // 2 * 127 + labels // 5).object_ids == (127, 255)


def test_array_is_copied(labels: np.ndarray) -> None:
    mask = first_mask_from_array(labels)
    labels[:] = 0
    assert mask.labels.any()


def test_bool_array_is_object_1(labels: np.ndarray) -> None:
    mask = first_mask_from_array(labels > 0)
    assert mask.object_ids == (1,)
    assert mask.labels.dtype == np.uint8


@pytest.mark.parametrize(
    "values, message",
    [
        (np.zeros((4, 4), np.uint8), "empty"),
        (np.zeros((4, 4), bool), "empty"),
        (np.full((4, 4), 2, np.float32), "float32"),
        (np.full((4, 4), np.nan), "float64"),
        (np.full((4, 4), "a"), "type must be bool"),
        (np.zeros((4, 4), np.float32), "empty"),
        (np.ones((1, 4, 4), np.uint8), r"\(1, 4, 4\)"),
        (np.ones((0, 4), np.uint8), "shape"),
        (np.full((4, 4), -1), "not -1"),
        (np.full((4, 4), 256), "not 256"),
    ],
)
def test_bad_arrays(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        first_mask_from_array(values)


def test_array_of_black_and_white_is_object_1(labels: np.ndarray) -> None:
    for white in (np.uint8(255), np.int64(255)):
        mask = first_mask_from_array((labels > 0) * white)
        np.testing.assert_array_equal(mask.labels, labels > 0)
    assert first_mask_from_array(np.full(SIZE, 255, np.uint8)).object_ids == (1,)
    assert first_mask_from_array((labels > 0) * np.uint8(7)).object_ids == (7,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_array_of_floats_is_a_matte(dtype: type) -> None:
    soft = (soft_disc() / 255).astype(dtype)
    np.testing.assert_array_equal(first_mask_from_array(soft).labels, soft >= 0.5)


def test_array_with_soft_edges_is_cut_and_told(caplog: pytest.LogCaptureFixture) -> None:
    np.testing.assert_array_equal(first_mask_from_array(soft_disc()).labels, soft_disc() >= 128)
    assert "cut in the middle" in caplog.text
    noise = np.random.default_rng(0).integers(0, 256, SIZE)
    with pytest.raises(InputError, match="soft edges"):
        first_mask_from_array(noise)


@pytest.mark.parametrize("covered, told", [(0.85, False), (0.97, True)])
def test_a_mask_of_nearly_all_of_the_frame_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, covered: float, told: bool
) -> None:
    inside = (np.arange(SIZE[0] * SIZE[1]) < covered * SIZE[0] * SIZE[1]).reshape(SIZE)
    assert load_first_mask([save(tmp_path / "m.png", inside)], SIZE).object_ids == (1,)
    assert ("m.png: covers 97 % of the frame; is it inverted?" in caplog.text) == told


@pytest.mark.parametrize("resize", [False, True, "crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(64, 48), (128, 96)])
def test_a_mask_on_its_side(tmp_path: Path, labels: np.ndarray, size: tuple[int, int], resize: Resize) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError, match="lies on its side; turn the mask by 90 degrees.*upright") as caught:
        load_first_mask([path], size, resize=resize)
    assert "resize" not in str(caught.value)


def test_another_shape_is_not_squashed(tmp_path: Path, labels: np.ndarray) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError, match="`resize_mask=crop`, `resize_mask=pad` or `resize_mask=stretch`"):
        load_first_mask([path], (50, 64), resize=True)
    stretched = load_first_mask([path], (96, 64), resize="stretch")
    np.testing.assert_array_equal(stretched.labels, labels.repeat(2, axis=0))


def test_pad_and_crop_by_a_few_lines(tmp_path: Path, labels: np.ndarray) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    padded = load_first_mask([path], (53, 64), resize="pad").labels
    np.testing.assert_array_equal(padded, np.pad(labels, ((2, 3), (0, 0))))
    cropped = load_first_mask([path], (43, 64), resize="crop").labels
    np.testing.assert_array_equal(cropped, labels[2:45])


def test_pad_and_crop_scale_evenly(tmp_path: Path, labels: np.ndarray) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    double = labels.repeat(2, axis=0).repeat(2, axis=1)
    padded = load_first_mask([path], (96, 148), resize="pad").labels
    np.testing.assert_array_equal(padded, np.pad(double, ((0, 0), (10, 10))))
    cropped = load_first_mask([path], (96, 108), resize="crop").labels
    np.testing.assert_array_equal(cropped, double[:, 10:118])


def test_an_object_outside_of_the_crop(tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[:1], labels[20:30, 20:30] = 1, 2
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError, match=r"objects \[1\] vanish"):
        load_first_mask([path], (40, 64), resize="crop")


def test_no_pixel_reaches_the_threshold(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", soft_disc() // 2)
    assert_error(path, "no pixel reaches `threshold=200`", threshold=200)
    with pytest.raises(InputError, match="must be 1 to 255"):
        load_first_mask([path], SIZE, threshold=0)


@pytest.mark.parametrize("size", [SIZE, (96, 128), (50, 64)])
@pytest.mark.parametrize("resize", ["Crop", "padding", 2])
def test_a_misspelt_way_of_resizing_is_refused(
    tmp_path: Path, labels: np.ndarray, resize: Resize, size: tuple[int, int]
) -> None:
    path = save(tmp_path / "m.png", labels, mode="P")
    with pytest.raises(InputError, match=f"`resize_mask={resize}`: must be False, True, crop, pad or stretch"):
        load_first_mask([path], size, resize=resize)
