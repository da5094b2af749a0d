"""The overlay: what it shows can be seen, whatever is under it, at any size of the frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos.command.cli import main
from vos.palette import bright_palette
from vos.structures import Frame
from vos.writers.contrast import Colours, palette_colours
from vos.writers.drawing import draw_overlay, label_texts, largest_piece, outline_thickness
from vos.writers.open import open_writers

RED, GREY, GRASS = (200, 25, 25), (128, 128, 128), (70, 120, 40)


def scene(under: tuple[int, int, int], around: tuple[int, int, int], size: tuple[int, int] = (120, 160)):
    """A square of one colour, with a third of dark windows, on another colour; as frame, labels and boxes."""
    rgb = np.full((*size, 3), around, np.uint8)
    labels = np.zeros(size, np.uint8)
    inside = np.s_[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3]
    labels[inside] = 1
    rgb[inside] = under
    rgb[inside][::3] = (20, 20, 20)
    return rgb, labels, [1], np.array([[size[1] // 3, size[0] // 3, 2 * size[1] // 3 - 1, 2 * size[0] // 3 - 1]])


@pytest.mark.parametrize(
    ("under", "around", "stays"),
    [(GREY, GREY, True), (GRASS, GREY, True), (RED, GREY, False), (GREY, RED, False), (RED, RED, False)],
)
def test_colour_stands_out_from_what_is_under_and_around_it(
    under: tuple[int, int, int], around: tuple[int, int, int], stays: bool
) -> None:
    rgb, labels, ids, boxes = scene(under, around)
    chosen = Colours().of(rgb, labels, ids, boxes)[1]
    assert (chosen == palette_colours([1])[1]) is stays
    for shown in {under, around}:
        assert np.abs(np.subtract(chosen, shown)).max() > 100  # one channel at least is quite another


def test_colour_is_kept_when_the_light_changes() -> None:
    colours = Colours()
    first = dict(colours.of(*scene(RED, GREY)))
    assert dict(colours.of(*scene(GREY, GREY))) == first
    assert dict(Colours().of(*scene(GREY, GREY))) != first


def test_objects_of_one_look_get_different_colours() -> None:
    rgb, labels, _, _ = scene(RED, GREY)
    labels[45:60, 60:80] = 2
    rgb[45:60, 60:80] = RED
    boxes = np.array([[53, 40, 105, 79], [60, 45, 79, 59]])
    one, two = (Colours().of(rgb, labels, [1, 2], boxes)[each] for each in (1, 2))
    assert np.abs(np.subtract(one, two)).max() > 100


def test_writer_keeps_the_colour_of_an_object(tmp_path: Path) -> None:
    from vos.engine.merge import result_of_labels

    rgb, labels, _, _ = scene(RED, GREY)
    first = result_of_labels(Frame(0, 0.0, rgb), (1,), labels, np.ones(1))
    [writer] = open_writers(["overlay"], tmp_path, fps=25, first_frame=first.frame, object_ids=(1,))
    writer.write(first)
    rgb, labels, _, _ = scene(GREY, GREY)
    writer.write(result_of_labels(Frame(1, 0.04, rgb), (1,), labels, np.ones(1)))
    writer.close()
    import av

    with av.open(str(tmp_path / "overlay.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    before, after = (picture[60, 80] for picture in pictures)
    assert (before[0] > before[1:].max()) == (after[0] > after[1:].max()) or before[1:].max() > before[0]
    assert after[0] < after[1:].max()  # not red, as grey alone would be


def test_label_is_beside_the_largest_piece_and_not_at_a_speck() -> None:
    rgb, labels, ids, _ = scene(GREY, GREY, (240, 320))
    labels[2:5, 2:5] = labels[230:233, 310:313] = 1
    box = np.array([[2, 2, 312, 232]])
    assert largest_piece(labels, 1, box[0]) == pytest.approx((106, 80, 212, 159), abs=2)
    drawn = draw_overlay(rgb, labels, ids, box)
    plate = (drawn == (255, 0, 0)).all(axis=2) & (labels == 0)
    rows, columns = np.nonzero(plate)
    assert rows.min() > 55 and rows.max() < 80 and columns.min() > 140 and columns.max() < 180  # above its middle


def test_label_moves_where_there_is_room() -> None:
    """At the top of the frame it goes below its object, and of two that would cover each other one goes elsewhere."""
    rgb = np.full((120, 160, 3), GREY, np.uint8)
    labels = np.zeros((120, 160), np.uint8)
    labels[0:40, 60:100] = 1
    red = (draw_overlay(rgb, labels, [1], np.array([[60, 0, 99, 39]])) == (255, 0, 0)).all(axis=2)
    rows = np.nonzero(red & (labels == 0))[0]
    assert rows.min() >= 40 and rows.max() < 62
    labels[:] = 0
    labels[60:80, 60:100], labels[80:100, 60:100] = 1, 2
    drawn = draw_overlay(rgb, labels, [1, 2], np.array([[60, 60, 99, 79], [60, 80, 99, 99]]))
    for colour, place in ((255, 0, 0), np.s_[:60]), ((0, 255, 0), np.s_[100:]):
        assert (drawn[place] == colour).all(axis=2).sum() > 50


@pytest.mark.parametrize(
    ("size", "thickness"), [((120, 160), 1), ((480, 854), 2), ((1080, 1920), 3), ((1920, 1080), 3)]
)
def test_outline_is_as_thick_as_the_frame_needs(size: tuple[int, int], thickness: int) -> None:
    assert outline_thickness(size) == thickness
    rgb, labels, ids, boxes = scene(GREY, GREY, size)
    line = draw_overlay(rgb, labels, ids, boxes)[size[0] // 2 + 1]
    assert (line == bright_palette()[1]).all(axis=1).sum() == 2 * thickness  # left and right
    dark = (line < 128).all(axis=1)
    assert dark.sum() >= 2 * thickness and not dark[labels[size[0] // 2 + 1] > 0].all()  # the rim around it


def test_texts_of_labels() -> None:
    names = {1: "dog", 2: "cat", 3: "dog"}
    assert label_texts([1, 2, 3, 4], names) == {1: "dog 1", 2: "cat", 3: "dog 3", 4: "4"}


def test_name_is_wider_than_a_number_and_one_that_the_font_lacks_gives_way_to_it() -> None:
    rgb, labels, ids, boxes = scene(GREY, GREY, (240, 320))
    numbered = draw_overlay(rgb, labels, ids, boxes)
    named = draw_overlay(rgb, labels, ids, boxes, names={1: "sausage dog"})
    unknown = draw_overlay(rgb, labels, ids, boxes, names={1: "\U00012000"})
    np.testing.assert_array_equal(unknown, numbered)
    wide = [np.ptp(np.nonzero((drawn[:70] != 128).any(axis=2))[1]) for drawn in (numbered, named)]
    assert wide[1] > 3 * wide[0]


def test_names_and_sound_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shots").mkdir()
    rgb, labels, _, _ = scene(GREY, (60, 90, 60))
    for index in range(2):
        Image.fromarray(rgb).save(tmp_path / "shots" / f"{index}.png")
    Image.fromarray(labels).save(tmp_path / "m.png")
    line = [str(tmp_path / "shots"), "--first-mask", str(tmp_path / "m.png"), "--tracker", "persam", "--quiet"]
    out = tmp_path / "out"
    assert main([*line, "-o", str(out), "--name", "1=sausage dog", "--no-audio", "--save", "masks,overlay,cvat"]) == 0
    options = json.loads((out / "run.json").read_text())["options"]
    assert options["name"] == [[1, "sausage dog"]] and options["audio"] is False
    assert "<name>sausage dog</name>" in (out / "cvat.xml").read_text()
    for wrong in ("dog", "0=dog", "1=", "256=dog", "1=a\nb"):
        with pytest.raises(SystemExit):
            main([*line, "--name", wrong])
        assert "give ID=NAME, such as 1=dog" in capsys.readouterr().err
