"""The contract: protocols of trackers, plugins by name, and messages that name parameters rather than flags."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vos import plugins
from vos.boxes import tight_box, tight_boxes
from vos.command.status import with_flags
from vos.encoders.same import SameEncoder
from vos.engine.device import pick_device
from vos.engine.given import read_first_mask
from vos.engine.models import defer_encoder, defer_segmenter, new_tracker
from vos.engine.session import Session
from vos.errors import InputError, PluginError
from vos.interfaces import (
    ClosableTracker,
    EditableTracker,
    FrameContext,
    ResumableTracker,
    Segmenter,
    Tracker,
    can_edit,
)
from vos.pipeline import follow
from vos.structures import FirstMask, Frame, Hint
from vos.testing.still import Still
from vos.trackers.persam import PerSAM

SIZE = (24, 32)


class Growing(Still):
    """A tracker that can add objects, but neither correct nor remove them."""

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        self.masks = torch.cat([self.masks, torch.tensor(first_mask.masks())])


def frame(index: int = 0) -> Frame:
    return Frame(index, index / 24, np.zeros((*SIZE, 3), np.uint8))


def square(left: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[4:12, left : left + 6] = True
    return mask


def started(tracker: Tracker) -> Session:
    segmenter = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
    session = Session(tracker, segmenter, SameEncoder())
    session.start(frame(), square(2))
    return session


def test_the_protocols_tell_trackers_apart() -> None:
    kinds = Tracker, EditableTracker, ResumableTracker, ClosableTracker
    assert [isinstance(Still(), kind) for kind in kinds] == [True, False, False, False]
    assert [isinstance(Growing(), kind) for kind in kinds] == [True, False, False, False]
    assert [isinstance(PerSAM(), kind) for kind in kinds] == [True, True, True, False]
    assert [can_edit(Growing(), edit) for edit in ("add", "correct", "remove")] == [True, False, False]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda session: session.add_object(square(20)), "Still: this tracker cannot add objects in mid-video"),
        (lambda session: session.correct(1, square(20)), "Still: this tracker cannot correct objects in mid-video"),
        (lambda session: session.remove(1), "Still: this tracker cannot remove objects in mid-video"),
        (lambda session: session.state(), "Still: this tracker cannot be saved"),
        (lambda session: session.restore(frame(), {}), "Still: this tracker cannot be restored"),
    ],
)
def test_a_tracker_without_optional_methods_says_so(action: Callable[[Session], object], message: str) -> None:
    session = started(Still())
    with pytest.raises(PluginError, match=f"^{message}$"):
        action(session)
    assert np.array_equal(session.step(frame(1)).labels, square(2))
    session.close()


def test_a_tracker_may_have_one_of_the_editing_methods() -> None:
    session = started(Growing())
    assert session.add_object(square(20)).object_ids == (1, 2)
    assert np.array_equal(session.step(frame(1)).labels, square(2) + 2 * square(20))
    with pytest.raises(PluginError, match="Growing: this tracker cannot correct"):
        session.correct(1, square(4))


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install entry points, each given as the package's name, the plugin's name and its value."""

    def install(*points: tuple[str, str, str]) -> None:
        entries = []
        for package, name, value in points:
            entry = EntryPoint(name, value, "vos.trackers")
            vars(entry)["dist"] = SimpleNamespace(name=package)
            entries.append(entry)
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == "vos.trackers" else [])

    return install


def test_two_packages_with_one_plugin_name(offered: Callable[..., None]) -> None:
    offered(("zebra", "shift", "zebra:Tracker"), ("aardvark", "shift", "aardvark.main:Tracker"))
    assert plugins.names("vos.trackers") == ["shift"]
    with pytest.raises(PluginError, match="shift: several packages offer this tracker: aardvark, zebra; remove one"):
        plugins.load("vos.trackers", "shift")


def test_one_package_that_is_found_twice_is_no_conflict(offered: Callable[..., None]) -> None:
    offered(("vos", "persam", "vos.trackers.persam:PerSAM"), ("vos", "persam", "vos.trackers.persam:PerSAM"))
    assert plugins.load("vos.trackers", "persam") is PerSAM


def test_a_plugin_that_fails_names_its_package(offered: Callable[..., None]) -> None:
    offered(("zebra", "shift", "vos.no_such_module:Tracker"))
    with pytest.raises(PluginError, match="shift: this tracker of zebra fails to load: No module"):
        plugins.load("vos.trackers", "shift")
    with pytest.raises(PluginError, match="other: no such tracker; installed are: shift"):
        plugins.load("vos.trackers", "other")
    with pytest.raises(PluginError, match="other: no such segmenter; installed are: none"):
        plugins.load("vos.segmenters", "other")


def test_a_plugin_that_leaves_the_program_fails_like_others(
    offered: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_plugin.py").write_text("raise SystemExit('goodbye')\n")
    monkeypatch.syspath_prepend(tmp_path)
    offered(("zebra", "shift", "leaving_plugin:Tracker"))
    with pytest.raises(PluginError, match="shift: this tracker of zebra fails to load: goodbye"):
        plugins.load("vos.trackers", "shift")


def test_a_plugin_that_is_no_tracker_says_what_it_lacks(
    offered: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_plugin.py").write_text(
        "class Half:\n    def start(self, context, first_mask): pass\n    def step(self, context): pass\n"
        "class Needy:\n    def __init__(self, wanted): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    offered(("zebra", "half", "half_a_plugin:Half"), ("zebra", "needy", "half_a_plugin:Needy"))
    with pytest.raises(PluginError, match="half: this tracker lacks observe"):
        new_tracker("half")
    with pytest.raises(PluginError, match="needy: this tracker cannot be made as .* 'wanted'"):
        new_tracker("needy")


def test_models_that_are_loaded_later_follow_the_protocols() -> None:
    segmenter = defer_segmenter("lite", torch.device("cpu"), torch.float32)
    encoder = defer_encoder("same", torch.device("cpu"), torch.float32)
    assert segmenter.files == () and encoder.files == ()
    assert encoder.name == "same" and encoder.load("same", torch.device("cpu"), torch.float32).name == "same"
    assert segmenter.name == "lite" and segmenter.files
    assert isinstance(segmenter, Segmenter)


def refused(action: Callable[[], object]) -> str:
    """The message of an InputError."""
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


def test_messages_name_parameters_that_the_command_turns_into_flags() -> None:
    mask = FirstMask(square(2).astype(np.uint8), (1,))
    for action, message, shown in (
        (lambda: pick_device("abacus"), "`device=abacus`: not usable", "--device abacus: not usable"),
        (
            lambda: list(follow(started(Still()), (each for each in ()), mask)),
            "look at `start`",
            "look at --start",
        ),
        (
            lambda: list(follow(started(Still()), (frame(i) for i in range(2)), mask, {7: mask})),
            "`masks_at` 7: the video ended after frame 1",
            "--mask-at 7: the video ended",
        ),
        (lambda: read_first_mask(["m.png", Hint()], SIZE), "`first_mask`: files and hints", "--first-mask: files"),
    ):
        told = refused(action)
        assert message in told and shown in with_flags(told)


def test_tight_boxes_are_the_same_of_arrays_and_tensors() -> None:
    generator = np.random.default_rng(0)
    masks = generator.random((20, 9, 13)) > 0.97
    masks[0], masks[1, 0, 0], masks[2, -1, -1] = False, True, True
    fallback = torch.full((20, 4), -1.0)
    for mask, box in zip(masks, tight_boxes(torch.from_numpy(masks), fallback).tolist(), strict=True):
        ys, xs = np.nonzero(mask)
        expected = (xs.min(), ys.min(), xs.max(), ys.max()) if mask.any() else None
        assert tight_box(mask) == expected
        assert tuple(box) == (expected or (-1, -1, -1, -1))
