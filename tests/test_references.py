"""References: how they are read, what PerSAM learns of them, and objects that are found in a video by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vos
from vos.command.cli import main as track
from vos.encoders.same import SameEncoder
from vos.engine.models import new_tracker
from vos.engine.session import Session
from vos.errors import InputError, PluginError
from vos.finder import Finder
from vos.method import prior
from vos.readers.references import files_of, read_references
from vos.references import Reference
from vos.segmenters.lite import LiteSegmenter
from vos.structures import Frame
from vos.trackers.persam import PerSAM, search
from vos.trackers.persam.decoded import Decoded
from vos.trackers.persam.looks import View
from vos.trackers.persam.objects import Objects
from vos.weights.presence import Calibration, calibration_of

SIZE = (120, 160)


def ground() -> np.ndarray:
    """A softly shaded picture without any object, (120, 160, 3)."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(90, 170, (4, 6, 3)).astype(np.uint8))
    return np.array(coarse.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))


def disc(x: int, y: int, radius: int = 24) -> np.ndarray:
    """A mask of a disc, (120, 160) bool."""
    ys, xs = np.ogrid[: SIZE[0], : SIZE[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def picture(x: int | None = 60, y: int = 60, colour: tuple[int, int, int] = (220, 30, 40)) -> np.ndarray:
    """The ground with a striped disc; without one for None."""
    rgb = ground()
    if x is not None:
        inside = disc(x, y)
        rgb[inside] = colour
        rgb[inside & (np.arange(SIZE[0]) % 12 < 4)[:, None]] = (250, 240, 60)
    return rgb


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with a photo and some masks of it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("photo.png")
    Image.fromarray(disc(60, 60).astype(np.uint8)).save("mask.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save("empty.png")
    Image.fromarray(np.ones((60, 80), np.uint8)).save("small.png")
    labels = np.where(disc(60, 60), 2, 0) + np.where(disc(130, 20, 9), 5, 0)
    two = Image.fromarray(labels.astype(np.uint8), "P")
    two.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    two.save("two.png")
    return tmp_path


def test_a_photo_with_a_mask(files: Path) -> None:
    (one,) = read_references("photo.png=mask.png")
    assert one.object_id == 1
    np.testing.assert_array_equal(one.mask, disc(60, 60))
    np.testing.assert_array_equal(one.rgb, picture())


def test_numbers_of_objects(files: Path) -> None:
    assert [each.object_id for each in read_references("photo.png=two.png")] == [2, 5]
    assert [each.object_id for each in read_references(["photo.png=mask.png#7", "photo.png@10,10,90,90#3"])] == [3, 7]
    assert files_of("photo.png=mask.png#7") == ["photo.png", "mask.png"]
    assert files_of("photo.png@1,2,3,4") == ["photo.png"]


def test_a_sign_in_a_name(files: Path) -> None:
    Path("photo.png").rename("a=b.png")
    Path("mask.png").rename("c=d#1.png")
    (one,) = read_references("a=b.png=c=d#1.png")
    assert one.object_id == 1


def test_a_sign_in_the_name_of_a_photograph_with_a_box(files: Path) -> None:
    Path("photo.png").rename("v=2.png")
    assert files_of("v=2.png@20,20,41,39") == ["v=2.png"]
    (one,) = read_references("v=2.png@20,20,41,39#5")
    assert one.object_id == 5 and one.hint is not None and one.hint.box == (20, 20, 41, 39)
    Path("v").touch()  # the longer name is there, too
    assert files_of("v=2.png@20,20,41,39") == ["v=2.png"]
    Path("v=2.png").rename("v@1=2.png")
    assert files_of("v@1=2.png=mask.png") == ["v@1=2.png", "mask.png"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("photo.png", "needs the object's mask or box"),
        ("photo.png=", "needs the object's mask or box"),
        ("photo.png=none.png", "none.png: no such file"),
        ("none.png=mask.png", "none.png: no such file"),
        ("photo.png=small.png", "small.png: 80 x 60, but its picture photo.png is 160 x 120"),
        ("photo.png=empty.png", "empty.png: the mask is empty"),
        ("photo.png@1,2,3", "'1,2,3' is no box of four numbers"),
        ("photo.png=mask.png#300", "object numbers are 1 to 255, not 300"),
        ("photo.png=two.png#3", "#3 names none"),
    ],
)
def test_what_is_wrong_is_one_line(files: Path, text: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_references(text)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_references_in_memory() -> None:
    rgb = picture()
    with pytest.raises(InputError, match="80 x 60, but its picture is 160 x 120"):
        Reference(rgb, np.ones((60, 80), bool))
    with pytest.raises(InputError, match="empty"):
        Reference(rgb, np.zeros(SIZE, bool))
    with pytest.raises(InputError, match="neither a mask nor a box"):
        Reference(rgb)
    with pytest.raises(InputError, match="1 to 255"):
        Reference(rgb, disc(60, 60), 0)
    with pytest.raises(InputError, match="none was given"):
        read_references([])


def test_a_box_that_fits_no_picture_names_it(files: Path, lite: LiteSegmenter) -> None:
    with pytest.raises(InputError, match="photo.png: object 1"):
        Finder(new_tracker("persam"), lite, SameEncoder(), read_references("photo.png@500,500,600,600"))


def test_other_trackers_take_no_references() -> None:
    reference = Reference(picture(), disc(60, 60))
    with pytest.raises(PluginError, match="choose persam or persam-f"):
        vos.open_session(tracker="sam2", references=[reference])


def finder(lite: LiteSegmenter, *references: Reference, tracker: str = "persam") -> Finder:
    """A finder that always shows its best candidate."""
    return Finder(new_tracker(tracker), lite, SameEncoder(), references, threshold=0)


def test_the_reference_itself_is_found(lite: LiteSegmenter) -> None:
    """Its features are those of the reference, so that nothing can be more similar."""
    rgb = picture()
    found = finder(lite, Reference(rgb, disc(60, 60), 4)).find(Frame(0, 0.0, rgb))
    assert found.object_ids == found.numbers == (4,)
    assert found.present.tolist() == [True]
    assert set(np.unique(found.labels)) == {0, 4}
    mask = found.labels == 4
    assert (mask & disc(60, 60)).sum() / (mask | disc(60, 60)).sum() > 0.5
    assert found.areas.tolist() == [mask.sum()]


def test_surroundings_are_those_of_the_picture_that_is_searched(
    lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near by, the object is known from the reference and its background from the picture, whatever the reference's."""
    used: list[tuple[bool, Objects]] = []
    decode = PerSAM._decode

    def seen(tracker: PerSAM, view: View, objects: Objects, *arguments: object, **options: object) -> Decoded:
        used.append((view.context.region is None, objects))
        return decode(tracker, view, objects, *arguments, **options)

    monkeypatch.setattr(PerSAM, "_decode", seen)
    made = finder(lite, Reference(picture(60), disc(60, 60, 10)))
    made.find(Frame(0, 0.0, picture(110)[::-1].copy()))
    reference = made.session.tracker._referred.objects.appearance
    assert used[0][0]
    near = [objects.appearance for _, objects in used[1:]]
    assert near
    for known in near:
        assert known.first.foreground is reference.first.foreground and known.given is reference.given
        assert known.first.background is known.last.background
        assert known.first.background is not reference.first.background


def test_a_mask_that_fits_something_wins_over_one_that_looks_a_little_more_alike(lite: LiteSegmenter) -> None:
    geometry = lite.geometry(SIZE)
    disc_like, smoke_like = (
        search.Candidate(torch.ones(1, 8, 8), geometry, likeness, score) for likeness, score in ((0.5, 0.6), (0.6, 0.2))
    )
    assert disc_like.rank() > smoke_like.rank()
    assert replace(smoke_like, likeness=0.9).rank() > disc_like.rank()


@pytest.mark.parametrize("drawn", [True, False])
def test_an_object_that_fills_the_picture_is_encoded_once(
    drawn: bool, lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The region around it is hardly smaller than the picture, so what is encoded serves, and a mask found there."""
    made = finder(lite, Reference(picture(60), disc(60, 60)))
    whole = torch.tensor([[10.0, 10.0, 95.0, 100.0]])
    monkeypatch.setattr(
        search, "proposals_for", lambda view, one, logits, taken: [search.Proposal(whole, logits, drawn=drawn)]
    )
    regions, hints = [], []
    embed, hinted = type(lite).embed, search.HintedObject
    monkeypatch.setattr(type(lite), "embed", lambda self, *given: (regions.append(given[1]), embed(self, *given))[1])
    monkeypatch.setattr(search, "HintedObject", lambda *given, **how: (hints.append(given), hinted(*given, **how))[1])
    made.find(Frame(0, 0.0, picture(70)))
    assert regions == [None]
    assert len(hints) == (not drawn)


def test_a_small_object_is_also_learned_as_it_will_be_followed(lite: LiteSegmenter) -> None:
    """From near by as it is and mirrored; the region that is encoded to follow a small one is much larger than that."""
    large = finder(lite, Reference(picture(60), disc(60, 60, 40)))
    small = finder(lite, Reference(picture(60), disc(60, 60, 5)))
    assert [len(made.session.tracker._referred.near[0]) for made in (large, small)] == [2, 3]


def test_several_references_give_the_largest_confidence(lite: LiteSegmenter) -> None:
    """D.3: one map for each reference, of which the pixel-wise maximum counts."""
    references = [Reference(picture(60), disc(60, 60)), Reference(picture(100, 50, (20, 60, 200)), disc(100, 50))]
    both = finder(lite, *references)
    objects = both.session.tracker._referred.objects
    context = both.session.context(Frame(0, 0.0, picture(90)))
    features = context.features.values
    maps = [prior.similarity(features, objects.prototypes[:, index]) for index in range(objects.prototypes.shape[1])]
    assert len(maps) >= 2
    torch.testing.assert_close(objects.confidence(View(context)), torch.stack(maps).amax(0))


def test_weights_are_fitted_on_all_references(lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    from vos.trackers.persam import scale_weights

    seen = []

    def fit(logits: torch.Tensor, truth: torch.Tensor, **_: object) -> torch.Tensor:
        seen.append((logits.shape, truth.shape))
        return torch.tensor([[0.2, 0.3, 0.5]])

    monkeypatch.setattr(scale_weights, "fit", fit)
    references = [Reference(picture(60), disc(60, 60)), Reference(picture(100), disc(100, 60))]
    made = finder(lite, *references, tracker="persam-f")
    (logits, truth) = seen[0]
    assert len(seen) == 1 and logits[:2] == (1, 3) and logits[2] == truth[1]
    assert logits[2] >= 2 * 4 * 4 * 64 * 48  # of both pictures, 512 x 384 at stride 8
    torch.testing.assert_close(made.session.tracker._referred.objects.weights, torch.tensor([[0.2, 0.3, 0.5]]))


def frames() -> list[np.ndarray]:
    """A disc that is not there at first, and for a frame in the middle."""
    return [picture(x) for x in (None, 60, 62, None, 90)]


def test_an_object_that_was_never_seen_begins_absent(lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The presence of the disc is given here, so that this does not depend on the weights."""
    given = iter([0.1, 0.9, 0.2, 0.9])
    tracker = new_tracker("persam")
    monkeypatch.setattr(tracker, "_presence", lambda view, candidates: torch.tensor([next(given)]))
    monkeypatch.setattr(tracker, "_still_there", lambda view, referred, logits: (torch.tensor([0.8]), referred.look))
    with Session(tracker, lite, SameEncoder(), [Reference(picture(110), disc(110, 60), 3)]) as session:
        results = [session.start(Frame(0, 0.0, frames()[0]), vos.FirstMask(np.zeros(SIZE, np.uint8), ()))]
        assert results[0].object_ids == (3,) and results[0].areas.tolist() == [0]
        assert results[0].scores.tolist() == pytest.approx([0.1])
        results += [session.step(Frame(index, 0.0, rgb)) for index, rgb in enumerate(frames()[1:3], 1)]
    assert results[1].areas[0] > 0 and results[1].scores.tolist() == pytest.approx([0.9])
    assert results[2].areas[0] > 0 and results[2].scores.tolist() == pytest.approx([0.8])
    assert tracker.objects.course.velocity.abs().max() < 3  # it does not come from its place in the photograph


def test_what_shows_something_else_is_dropped_and_looked_for(
    lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = new_tracker("persam")
    monkeypatch.setattr(tracker, "_presence", lambda view, candidates: torch.tensor([0.9]))
    monkeypatch.setattr(tracker, "_still_there", lambda view, referred, logits: (torch.tensor([0.001]), referred.look))
    with Session(tracker, lite, SameEncoder(), [Reference(picture(60), disc(60, 60))]) as session:
        session.start(Frame(0, 0.0, picture(60)), vos.FirstMask(np.zeros(SIZE, np.uint8), ()))
        areas = [int(session.step(Frame(index, 0.0, picture(60))).areas[0]) for index in (1, 2, 3)]
    assert areas[0] == 0 and areas[1] > 0 and areas[2] == 0


def test_what_changes_little_by_little_is_still_the_object(
    lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends up unlike its reference, but always looks as it did of late; something else at once does not."""
    from vos.trackers.persam import search

    made = finder(lite, Reference(picture(60), disc(60, 60)))
    tracker, view = made.session.tracker, View(made.session.context(Frame(0, 0.0, picture(60))))
    known = tracker._referred
    start = torch.nn.functional.normalize(known.near[0, 0], dim=0)
    across = torch.nn.functional.normalize(torch.ones_like(start) - start.sum() * start, dim=0)
    logits = torch.ones(1, 8, 8)

    def seen_at(degrees: float) -> float:
        nonlocal known
        angle = torch.tensor(degrees).deg2rad()
        monkeypatch.setattr(search, "mean_inside", lambda *_: (angle.cos() * start + angle.sin() * across)[None])
        sure, looks = tracker._still_there(view, known, logits)
        known = known.followed([0], looks, sure) if sure >= 0.1 else known
        return float(sure)

    assert seen_at(150) < 0.1
    assert min(seen_at(degrees) for degrees in range(0, 151, 5)) > 0.5
    assert seen_at(30) > 0.5 and seen_at(260) < 0.1


def test_a_corrected_object_is_what_its_new_mask_shows(lite: LiteSegmenter) -> None:
    """Whatever its references look like: else it would be dropped at once where it does not look like them."""
    rgb, elsewhere = picture(50), disc(120, 60)
    rgb[elsewhere] = (20, 200, 40)
    tracker = new_tracker("persam")
    with Session(tracker, lite, SameEncoder(), [Reference(picture(60), disc(60, 60))]) as session:
        session.start(Frame(0, 0.0, rgb), disc(50, 60).astype(np.uint8))
        session.step(Frame(1, 0.0, rgb))
        before = tracker._referred
        session.correct(1, elsewhere)
        after = tracker._referred
        found = session.step(Frame(2, 0.0, rgb)).labels > 0
    assert after.sure.tolist() == [1] and (before.look * after.look).sum() < 0.9
    assert (found & elsewhere).sum() > 0.8 * (found | elsewhere).sum()


def test_an_object_that_is_said_to_be_gone_is_not_what_was_followed_last(lite: LiteSegmenter) -> None:
    tracker = new_tracker("persam")
    with Session(tracker, lite, SameEncoder(), [Reference(picture(60), disc(60, 60))]) as session:
        session.start(Frame(0, 0.0, picture(60)), disc(60, 60).astype(np.uint8))
        session.step(Frame(1, 0.0, picture(60)))
        known = tracker._referred
        assert not known.with_look(known.near)[0, -1].equal(known.near[0, 0])
        session.gone(1)
        assert tracker._referred.with_look(known.near)[0, -1].equal(known.near[0, 0])


def test_a_first_mask_and_a_reference_together(lite: LiteSegmenter) -> None:
    labels = np.where(disc(120, 100, 12), 1, 0).astype(np.uint8)
    references = [Reference(picture(60), disc(60, 60), 2)]
    with Session(new_tracker("persam"), lite, SameEncoder(), references) as session:
        first = session.start(Frame(0, 0.0, picture(60)), labels)
        assert first.object_ids == (1, 2)
        assert first.areas.tolist() == [int((labels == 1).sum()), 0]
        assert session.step(Frame(1, 0.0, picture(60))).object_ids == (1, 2)
        session.remove(1)
        assert session.step(Frame(2, 0.0, picture(60))).object_ids == (2,)


def test_both_ways_look_for_what_references_show(lite: LiteSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Object 1 has a mask on frame 2, object 2 a reference alone: it is looked for on the way back, too."""
    looked = []
    search_in = PerSAM._search

    def noted(tracker: PerSAM, view: View, *arguments: object) -> object:
        looked.append((tracker, int(view.frame.time_s)))
        return search_in(tracker, view, *arguments)

    monkeypatch.setattr(PerSAM, "_search", noted)
    labels = disc(130, 100, 12).astype(np.uint8)
    reference = Reference(picture(60), disc(60, 60), 2)
    pictures = [picture(None)] * 5
    options = {"masks_at": {2: labels}, "both_ways": True, "tracker": "persam", "fps": 1}
    results = list(vos.track(pictures, references=reference, **options))
    assert [result.object_ids for result in results] == [(1, 2)] * 5
    back, forth = dict.fromkeys(tracker for tracker, _ in looked)
    assert [at for tracker, at in looked if tracker is back] == [1, 0]
    assert [at for tracker, at in looked if tracker is forth] == [3, 4]
    with pytest.raises(InputError, match="`both_ways`: begins at a mask of the video"):
        list(vos.track(pictures, references=reference, both_ways=True))


def test_a_saved_session_goes_on_as_it_would(lite: LiteSegmenter) -> None:
    references = [Reference(picture(60), disc(60, 60), 2)]
    with Session(new_tracker("persam"), lite, SameEncoder(), references) as session:
        session.start(Frame(0, 0.0, picture(None)), vos.FirstMask(np.zeros(SIZE, np.uint8), ()))
        state = session.state()
        expected = session.step(Frame(1, 0.0, picture(60)))
    with Session(new_tracker("persam"), lite, SameEncoder()) as other:
        other.restore(Frame(0, 0.0, picture(None)), state)
        found = other.step(Frame(1, 0.0, picture(60)))
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_the_command(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = files / "frames"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(picture(60 + index)).save(folder / f"{index:05d}.png")
    arguments = ["frames", "--reference", "photo.png=mask.png", "--tracker", "persam", "--quiet", "-o", "out"]
    assert track([*arguments, "--max-frames", "2", "--save", "masks,csv"]) == 0
    lines = (files / "out" / "objects.csv").read_text().splitlines()
    assert len(lines) == 3
    assert track([*arguments, "--max-frames", "2", "--save", "masks,csv", "--resume"]) == 0
    assert "finished already" in capfd.readouterr().err
    assert track(["frames", "--reference", "photo.png", "-o", "other"]) == 2
    told = capfd.readouterr().err
    assert told.startswith("vos-track: --reference photo.png: a reference needs") and told.count("\n") == 1
    assert track(["frames", "--reference", "photo.png=mask.png", "--both-ways", "-o", "other"]) == 2
    assert "--both-ways begins at a mask of the video" in capfd.readouterr().err
    arguments = ["frames", "--reference", "photo.png=mask.png#2", "--mask-at", "1=second.png", "--tracker", "persam"]
    Image.fromarray(disc(130, 100, 12).astype(np.uint8)).save("second.png")
    assert track([*arguments, "--both-ways", "--quiet", "-o", "ways", "--save", "csv"]) == 0
    lines = (files / "ways" / "objects.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0::2][:2] for line in lines] == [[str(at), each] for at in range(3) for each in "12"]


def test_calibration() -> None:
    numbers = Calibration(0.5, 10.0)
    assert float(numbers.presence(torch.tensor(0.5))) == 0.5
    assert calibration_of("sam-vit-h", "dinov2-large") == Calibration(0.45, 40.0)  # E.5
    assert calibration_of("lite", "same") == calibration_of("lite:other.safetensors", "same")
    assert calibration_of("unheard of", "same") == calibration_of("another", "same")
