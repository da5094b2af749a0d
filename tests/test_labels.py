"""Tests the reader of mask files: what a person sees in a mask is what is read, or it is refused in one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from vos.command.options import parse_options
from vos.command.status import exit_status
from vos.errors import InputError
from vos.palette import davis_palette
from vos.readers.first_mask import load_first_mask
from vos.readers.labels import Labels, read_labels
from vos.readers.mask_size import Resize

SIZE = (120, 160)

COLOURS = np.zeros((256, 3), np.uint8)
COLOURS[1], COLOURS[2] = (10, 200, 30), (255, 60, 0)


def blobs() -> np.ndarray:
    """Two objects, a disc and a rectangle, (H, W) uint8."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = (np.hypot(y - 55, x - 50) < 33).astype(np.uint8)
    labels[30:101, 90:141] = 2
    return labels


LABELS = blobs()
INSIDE = LABELS > 0
BLACK_AND_WHITE = INSIDE * np.uint8(255)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Labels]:
    """Save an image and read its labels; keywords that ``read_labels`` does not know are for Pillow."""

    def saved_and_read(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> Labels:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        path = tmp_path / "mask.png"
        own = {name: options.pop(name) for name in ("threshold", "like", "max_pixels") if name in options}
        picture.save(path, kind, **options)
        labels = read_labels(path, **own)
        assert labels.object_ids == tuple(np.unique(labels.values[labels.values > 0]).tolist())
        assert all(note.startswith(f"{path}: ") and "\n" not in note for note in labels.notes)
        return labels

    return saved_and_read


def compressed(image: Image.Image | np.ndarray, quality: int = 90, kind: str = "JPEG") -> Image.Image:
    """Save as JPEG and open again."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    content = io.BytesIO()
    picture.save(content, kind, quality=quality)
    return Image.open(content)


def indexed(indices: np.ndarray, palette: np.ndarray | list[tuple[int, int, int]]) -> Image.Image:
    """Make an indexed image."""
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(np.asarray(palette, np.uint8).tobytes())
    return image


def assert_one_object(labels: Labels, inside: np.ndarray = INSIDE, tolerance: int = 0) -> None:
    """Check that there is one object, number 1, with at most so many wrong pixels."""
    assert labels.object_ids == (1,)
    assert np.count_nonzero((labels.values == 1) != inside) <= tolerance


# -- black and white ----------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [30, 50, 75, 85, 90, 95, 98, 100])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_mask_that_was_once_a_jpeg(read: Callable[..., Labels], quality: int, mode: str) -> None:
    image = compressed(BLACK_AND_WHITE, quality).convert(mode)
    assert len(np.unique(np.array(image.convert("L")))) > 2
    labels = read(image)
    assert_one_object(labels, tolerance=20)
    assert "black and white with soft or compressed edges" in labels.notes[0]
    assert "`threshold`" in labels.notes[0]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_jpeg_file(read: Callable[..., Labels], mode: str, quality: int) -> None:
    assert_one_object(read(Image.fromarray(BLACK_AND_WHITE).convert(mode), "JPEG", quality=quality), tolerance=5)


@pytest.mark.parametrize("colours", [8, 16, 64])
def test_a_compressed_mask_with_a_palette(read: Callable[..., Labels], colours: int) -> None:
    assert_one_object(read(compressed(BLACK_AND_WHITE, 85).quantize(colours)), tolerance=5)
    assert_one_object(read(compressed(BLACK_AND_WHITE, 85).convert("RGB").quantize(colours)), tolerance=5)


def test_large_and_small_masks_that_were_jpegs(read: Callable[..., Labels]) -> None:
    for size in ((40, 30), (1280, 720)):
        inside = np.array(Image.fromarray(BLACK_AND_WHITE).resize(size, Image.Resampling.NEAREST)) > 0
        for quality in (75, 95):
            assert_one_object(read(compressed(inside * np.uint8(255), quality)), inside, tolerance=20)


@pytest.mark.parametrize("radius", [0.5, 1, 3, 6])
def test_soft_mattes(read: Callable[..., Labels], radius: float) -> None:
    soft = Image.fromarray(BLACK_AND_WHITE).filter(ImageFilter.GaussianBlur(radius))
    inside = np.array(soft) >= 128
    assert_one_object(read(soft), inside)
    assert_one_object(read(soft.convert("RGB")), inside)
    assert_one_object(read(np.array(soft).astype(np.uint16) * 257), inside)
    assert_one_object(read(np.array(soft).astype(np.uint16) * 16), np.array(soft).astype(int) * 16 * 255 // 4095 >= 128)


@pytest.mark.parametrize(
    "levels", [(0, 7, 255), (0, 1, 255), (0, 255, 1), (0, 254, 255), (0, 7, 200), (0, 128, 255), (0, 30, 240)]
)
@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
def test_flat_values_stay_numbers(read: Callable[..., Labels], levels: tuple[int, ...], mode: str) -> None:
    values = np.array(levels, np.uint8)[LABELS]
    labels = read(Image.fromarray(values).convert(mode))
    np.testing.assert_array_equal(labels.values, values)
    assert labels.notes == ()


def test_numbers_with_a_white_contour(read: Callable[..., Labels]) -> None:
    edge = np.array(Image.fromarray(LABELS * np.uint8(100)).filter(ImageFilter.FIND_EDGES)) > 0
    values = np.where(edge, np.uint8(255), LABELS)
    assert read(values).object_ids == (1, 2, 255)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for palette in (ramp, davis_palette()):
        labels = read(indexed(values, palette))
        np.testing.assert_array_equal(labels.values, np.where(edge, 0, LABELS))
        np.testing.assert_array_equal(labels.void, edge)


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 100, 200), (0, 2, 5)])
def test_several_grey_values_that_were_compressed_are_refused(
    read: Callable[..., Labels], levels: tuple[int, ...]
) -> None:
    image = compressed(np.array(levels, np.uint8)[LABELS], 90)
    with pytest.raises(InputError, match="soft edges or compression.*`threshold=128`"):
        read(image)
    with pytest.raises(InputError, match="JPEG image that is not black and white|soft edges or compression"):
        read(np.array(levels, np.uint8)[LABELS], "JPEG")


@pytest.mark.parametrize("threshold", [1, 60, 200])
def test_threshold(read: Callable[..., Labels], threshold: int) -> None:
    values = np.array([0, 60, 200], np.uint8)[LABELS]
    inside = values >= threshold
    assert_one_object(read(values, threshold=threshold), inside)
    assert_one_object(read(values.astype(np.uint16) * 257, threshold=threshold), inside)
    assert_one_object(read(np.repeat(values[..., None], 3, axis=2), threshold=threshold), inside)
    assert_one_object(read(indexed(LABELS, [(0, 0, 0), (0, 60, 0), (200, 0, 0)]), threshold=threshold), inside)
    assert_one_object(read(compressed(values), threshold=threshold), np.array(compressed(values)) >= threshold)
    assert_one_object(read(np.dstack([values] * 3 + [values]), threshold=threshold), inside)


# -- indexed ------------------------------------------------------------------------------------------


def test_palettes_in_any_order(read: Callable[..., Labels]) -> None:
    davis = davis_palette()
    labels = read(indexed(2 - LABELS, [tuple(davis[2]), tuple(davis[1]), (0, 0, 0)]))
    np.testing.assert_array_equal(labels.values, LABELS)
    assert "its palette does not begin with the background" in labels.notes[0]
    labels = read(indexed(np.uint8([1, 2, 0])[LABELS], [tuple(COLOURS[2]), (0, 0, 0), tuple(COLOURS[1])]))
    np.testing.assert_array_equal(labels.values, LABELS)
    assert_one_object(read(indexed(~INSIDE, [(255, 255, 255), (0, 0, 0)])))


@pytest.mark.parametrize(
    "palette",
    [
        [(0, 0, 0), (0, 0, 0), (0, 0, 0)],
        [(0, 0, 0), (255, 255, 255), (128, 128, 128)],
        [(255, 255, 255), (255, 0, 0), (0, 0, 255)],
        [(5, 5, 5), (9, 200, 7), (200, 0, 0)],
    ],
)
def test_indices_are_numbers_after_a_background(
    read: Callable[..., Labels], palette: list[tuple[int, int, int]]
) -> None:
    labels = read(indexed(LABELS, palette))
    np.testing.assert_array_equal(labels.values, LABELS)
    assert labels.notes == ()


def test_an_index_that_is_transparent(read: Callable[..., Labels]) -> None:
    image = indexed(LABELS, davis_palette())
    np.testing.assert_array_equal(read(image, transparency=0).values, LABELS)
    np.testing.assert_array_equal(read(image, transparency=2).values, LABELS == 1)


# -- colours ------------------------------------------------------------------------------------------


def test_any_flat_colours_are_objects(read: Callable[..., Labels]) -> None:
    labels = read(COLOURS[LABELS])
    np.testing.assert_array_equal(labels.values, LABELS)
    assert labels.notes[0].endswith("its colours are the objects #0ac81e = 1, #ff3c00 = 2")


def test_255_colours_and_more(read: Callable[..., Labels]) -> None:
    y, x = np.mgrid[:160, :170]
    tiles = y // 10 * 17 + x // 10
    colours = np.stack([np.arange(272) // 8 + 60, 255 - np.arange(272) % 97, np.arange(272) % 251], axis=1)
    colours[0] = 0
    assert read(colours[np.minimum(tiles, 255)].astype(np.uint8)).object_ids == tuple(range(1, 256))
    with pytest.raises(InputError, match="colours"):
        read(colours[tiles].astype(np.uint8))


@pytest.mark.parametrize("quality", [75, 90, 95])
@pytest.mark.parametrize("palette", [COLOURS, davis_palette()])
def test_compressed_colours(read: Callable[..., Labels], quality: int, palette: np.ndarray) -> None:
    for labels in (
        read(palette[LABELS], "JPEG", quality=quality),
        read(compressed(palette[LABELS], quality)),
        read(compressed(palette[LABELS], quality).quantize(256)),
    ):
        assert labels.object_ids == (1, 2)
        assert np.count_nonzero(labels.values != LABELS) <= 120
        assert any("nearest of its flat colours" in note for note in labels.notes)


def test_colours_with_soft_edges(read: Callable[..., Labels]) -> None:
    labels = read(Image.fromarray(COLOURS[LABELS]).filter(ImageFilter.GaussianBlur(1)))
    assert labels.object_ids == (1, 2)
    assert np.count_nonzero(labels.values != LABELS) <= 60


def test_colours_without_black_are_refused(read: Callable[..., Labels]) -> None:
    with pytest.raises(InputError, match="#0ac81e, #ff3c00, #ffffff without a black background"):
        read(np.where(INSIDE[..., None], COLOURS[LABELS], np.uint8(255)))


def test_photographs_are_refused(read: Callable[..., Labels]) -> None:
    small = np.random.default_rng(1).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    for image in (photo, photo.convert("L"), photo.quantize(64), photo.quantize(256)):
        with pytest.raises(InputError, match="mask.png: .*`threshold"):
            read(image)
    with pytest.raises(InputError, match="mask.png: .*`threshold"):
        read(photo, "JPEG")


# -- transparency -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("radius", [0, 2])
def test_a_cut_out_is_its_opacity(read: Callable[..., Labels], mode: str, radius: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    alpha = np.array(Image.fromarray(BLACK_AND_WHITE).filter(ImageFilter.GaussianBlur(radius)))
    labels = read(Image.fromarray(np.dstack([photo, alpha])).convert(mode))
    assert_one_object(labels, alpha >= 128)
    assert "a cut-out" in labels.notes[0]


@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("shown", [0, 255])
def test_one_colour_on_transparency(read: Callable[..., Labels], shown: int, hidden: int) -> None:
    grey = np.where(INSIDE, np.uint8(shown), np.uint8(hidden))
    assert_one_object(read(np.dstack([grey] * 3 + [BLACK_AND_WHITE])))


def test_colours_on_transparency(read: Callable[..., Labels]) -> None:
    labels = read(np.dstack([COLOURS[LABELS], BLACK_AND_WHITE]))
    np.testing.assert_array_equal(labels.values, LABELS)


@pytest.mark.parametrize("background", [0, 255])
def test_a_transparent_grey_value_is_the_background(read: Callable[..., Labels], background: int) -> None:
    grey = np.where(INSIDE, np.uint8(255 - background), np.uint8(background))
    assert_one_object(read(grey, transparency=background))


# -- 16 bits, orientation, sequences ------------------------------------------------------------------


def test_16_bits(read: Callable[..., Labels]) -> None:
    assert_one_object(read(INSIDE * np.uint16(65535)))
    kept = read(LABELS.astype(np.uint16) * 100)
    assert kept.object_ids == (100, 200) and kept.values.dtype == np.uint8
    large = read(LABELS.astype(np.uint16) * 1000)
    assert large.object_ids == (1000, 2000) and large.values.dtype == np.uint16


def test_a_mask_is_turned_as_its_exif_data_say(read: Callable[..., Labels]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.rot90(INSIDE, -1)
    assert_one_object(read(BLACK_AND_WHITE, "JPEG", exif=exif), upright, tolerance=5)
    assert_one_object(read(BLACK_AND_WHITE, exif=exif), upright)


def test_an_empty_mask_has_no_objects(read: Callable[..., Labels]) -> None:
    for image in (np.zeros(SIZE, np.uint8), np.zeros((*SIZE, 3), np.uint8), np.zeros((*SIZE, 4), np.uint8)):
        assert read(image).object_ids == ()


def test_files_of_a_sequence_are_read_alike(read: Callable[..., Labels]) -> None:
    numbers = read(np.array([0, 2, 5], np.uint8)[LABELS])
    second_alone = np.where(LABELS == 2, np.uint8(5), np.uint8(0))
    assert read(second_alone).object_ids == (1,)
    assert read(second_alone, like=numbers).object_ids == (5,)
    colours = read(COLOURS[LABELS])
    second_alone = COLOURS[np.where(LABELS == 2, 2, 0)]
    assert read(second_alone, like=colours).object_ids == (2,)


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("values", [COLOURS, np.array([0, 2, 5], np.uint8), np.array([0, 1000, 2000], np.uint16)])
def test_a_later_mask_shares_the_numbers_of_the_first(tmp_path: Path, values: np.ndarray) -> None:
    first = save(tmp_path / "first.png", values[LABELS])
    second_alone = save(tmp_path / "later.png", values[np.where(LABELS == 2, 2, 0)])
    ids = load_first_mask([first], SIZE).object_ids
    later = load_first_mask([second_alone], SIZE, like=first)
    assert later.object_ids == ids[1:]
    np.testing.assert_array_equal(later.labels > 0, LABELS == 2)


def test_new_objects_of_a_later_mask_have_new_numbers(tmp_path: Path) -> None:
    first = save(tmp_path / "first.png", np.array([0, 1000, 2000], np.uint16)[LABELS])
    later = save(tmp_path / "later.png", np.array([0, 300, 2000], np.uint16)[LABELS])
    mask = load_first_mask([later], SIZE, like=first)
    np.testing.assert_array_equal(mask.labels, np.uint8([0, 3, 2])[LABELS])
    colours = COLOURS.copy()
    colours[1] = (0, 0, 250)
    first, later = save(tmp_path / "first.png", COLOURS[LABELS]), save(tmp_path / "later.png", colours[LABELS])
    mask = load_first_mask([later], SIZE, like=first)
    np.testing.assert_array_equal(mask.labels, np.uint8([0, 3, 2])[LABELS])


@pytest.mark.parametrize(
    "arguments, resize",
    [
        (["v.mp4"], False),
        (["--resize-mask", "v.mp4"], True),
        (["v.mp4", "--resize-mask", "--quiet"], True),
        (["v.mp4", "--resize-mask", "pad"], "pad"),
        (["--resize-mask", "crop", "v.mp4"], "crop"),
        (["v.mp4", "--resize-mask=stretch"], "stretch"),
    ],
)
def test_the_option_resize_mask_takes_no_other_argument(arguments: list[str], resize: Resize) -> None:
    options = parse_options([*arguments, "--first-mask", "m.png", "--threshold", "9"])
    assert (options.video, options.resize_mask, options.threshold) == ("v.mp4", resize, 9)


@pytest.mark.parametrize("wrong", ["--resize-mask=squash", "--threshold=0", "--threshold=256"])
def test_wrong_values_of_the_options(wrong: str) -> None:
    with pytest.raises(SystemExit):
        parse_options(["v.mp4", "--first-mask", "m.png", wrong])


def test_the_command_tells_how_a_mask_was_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "soft.png"
    compressed(BLACK_AND_WHITE).save(path, "PNG")

    def action() -> int:
        load_first_mask([path], SIZE)
        return 0

    assert exit_status("vos-track", action, False, "") == 0
    told = capsys.readouterr().err
    assert told.startswith(f"vos-track: {path}: black and white") and told.endswith("--threshold cuts it elsewhere\n")
    assert told.count("\n") == 1


# -- what one file says of another --------------------------------------------------------------------


def test_1_bit_is_white_and_no_number(read: Callable[..., Labels]) -> None:
    assert_one_object(read(INSIDE))
    numbers = read(np.array([0, 2, 5], np.uint8)[LABELS])
    assert read(INSIDE, like=numbers).kind == "one object"
    assert_one_object(read(INSIDE, threshold=200))
    assert_one_object(read(~INSIDE, transparency=1))


def anti_aliased(colours: np.ndarray, scale: int, how: Image.Resampling) -> np.ndarray:
    """Discs of the colours 1 and so on, on transparency, drawn finer and scaled down, (H, W, 4) uint8."""
    height, width = SIZE[0] * scale, SIZE[1] * scale
    y, x = np.mgrid[:height, :width] / scale
    rgba = np.zeros((height, width, 4), np.uint8)
    for place, colour in enumerate(colours[1:]):
        rgba[np.hypot(y - 60, x - 30 - 50 * place) < 22] = (*colour, 255)
    return np.array(Image.fromarray(rgba).resize(SIZE[::-1], how))


@pytest.mark.parametrize("how", [Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("colours", [[(0, 0, 0), (230, 40, 30), (40, 200, 60), (30, 80, 220)], davis_palette()[:4]])
def test_anti_aliased_colours_on_transparency(
    read: Callable[..., Labels], how: Image.Resampling, colours: list[tuple[int, int, int]]
) -> None:
    rgba = anti_aliased(np.array(colours, np.uint8), 4, how)
    labels = read(rgba)
    assert labels.object_ids == (1, 2, 3)
    np.testing.assert_array_equal(labels.values > 0, rgba[..., 3] >= 128)
    for left in (0, 1, 2):  # the discs lie side by side
        assert len(np.unique(labels.values[:, 5 + 50 * left : 55 + 50 * left])) == 2
    assert not any("cut-out" in note for note in labels.notes)


@pytest.mark.parametrize("patch", [0, 12])
def test_a_photograph_on_transparency_is_one_object(read: Callable[..., Labels], patch: int) -> None:
    """Also with some pixels of one colour, such as where it is too bright, and with most of the picture empty."""
    small = np.random.default_rng(1).integers(60, 200, (15, 20, 1), dtype=np.uint8).repeat(3, axis=2)
    photo = np.array(Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC))
    photo[40 : 40 + patch, 40 : 40 + patch] = 255
    alpha = np.array(Image.fromarray((LABELS == 1) * np.uint8(255)).filter(ImageFilter.GaussianBlur(1)))
    labels = read(np.dstack([photo, alpha]))
    assert_one_object(labels, alpha >= 128)
    assert "a cut-out" in labels.notes[0]


@pytest.mark.parametrize("ids", [(5,), (1, 2)])
@pytest.mark.parametrize("white", [INSIDE, BLACK_AND_WHITE, np.dstack([BLACK_AND_WHITE] * 3)])
def test_white_after_numbers_is_their_only_object(tmp_path: Path, ids: tuple[int, ...], white: np.ndarray) -> None:
    first, later = tmp_path / "first.png", save(tmp_path / "later.png", white)
    indexed(np.array([0, *ids, ids[0]])[LABELS], davis_palette()).save(first)
    if len(ids) > 1:
        with pytest.raises(
            InputError, match=r"later\.png: one object in a single colour, but the other masks have sev"
        ):
            load_first_mask([later], SIZE, like=first)
    else:
        mask = load_first_mask([later], SIZE, like=first)
        np.testing.assert_array_equal(mask.labels, INSIDE * np.uint8(ids[0]))


def test_white_after_colours_is_one_of_them_only_if_it_is_known(tmp_path: Path) -> None:
    first, white = tmp_path / "first.png", save(tmp_path / "white.png", np.dstack([BLACK_AND_WHITE] * 3))
    save(first, COLOURS[LABELS])
    with pytest.raises(InputError, match=r"white\.png: one object in a single colour"):
        load_first_mask([white], SIZE, like=first)
    save(first, np.array([(0, 0, 0), (255, 60, 0), (255, 255, 255)], np.uint8)[LABELS])
    np.testing.assert_array_equal(load_first_mask([white], SIZE, like=first).labels, 2 * INSIDE)


@pytest.mark.parametrize("values", [(2, 1), (200, 100), (2000, 1000)])
def test_the_grey_of_a_first_mask_is_object_1_in_later_ones(
    tmp_path: Path, values: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    dtype = np.uint16 if values[0] > 255 else np.uint8
    first = save(tmp_path / "first.png", np.array([0, values[0], 0], dtype)[LABELS])
    both = save(tmp_path / "both.png", np.array([0, *values], dtype)[LABELS])
    assert load_first_mask([first], SIZE).object_ids == (1,)
    np.testing.assert_array_equal(load_first_mask([both], SIZE, like=first).labels, LABELS)
    assert f"both.png: {values[0]}, the only value of the first mask, is object 1" in caplog.text
    assert f"2 (was {values[1]}), 1 (was {values[0]})" in caplog.text


def test_other_greys_than_that_of_the_first_mask_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = save(tmp_path / "first.png", np.array([0, 127, 0], np.uint8)[LABELS])
    indexed(LABELS, davis_palette()).save(tmp_path / "later.png")
    np.testing.assert_array_equal(load_first_mask([tmp_path / "later.png"], SIZE, like=first).labels, LABELS)
    told = "the only value of the first mask is 127, which does not occur here"
    assert f"later.png: {told}" in caplog.text
    other = save(tmp_path / "other.png", INSIDE * np.uint8(90))
    assert load_first_mask([other], SIZE, like=first).object_ids == (1,) and f"other.png: {told}" in caplog.text
    caplog.clear()
    for values in (INSIDE * np.uint8(127), INSIDE, BLACK_AND_WHITE):
        assert load_first_mask([save(other, values)], SIZE, like=first).object_ids == (1,)
    assert not caplog.records


def test_a_later_number_above_255_leaves_those_of_the_first_mask(tmp_path: Path) -> None:
    first = save(tmp_path / "first.png", np.array([0, 2, 5], np.uint8)[LABELS])
    later = save(tmp_path / "later.png", np.array([0, 1000, 5], np.uint16)[LABELS])
    np.testing.assert_array_equal(load_first_mask([later], SIZE, like=first).labels, np.uint8([0, 1, 5])[LABELS])
