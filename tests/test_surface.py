"""What callers hand over in Python: pictures, masks and states in every form, the names of the package, and copies."""

from __future__ import annotations

import copy
import io
import itertools
import os
import pickle
import subprocess
import sys
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from PIL import Image

import vos
from vos import state_file
from vos.arrays import bool_mask
from vos.encoders.same import SameEncoder
from vos.engine.device import pick_device, pick_dtype
from vos.engine.session import Session
from vos.errors import InputError, PluginError, TruncatedVideoError
from vos.structures import FirstMask, first_mask_from_array
from vos.testing.clip import clip, disc_labels
from vos.trackers.persam import PerSAM

SIZE = (48, 80)
RGB = np.arange(48 * 80 * 3, dtype=np.uint8).reshape(*SIZE, 3)
LEFT = np.arange(80)[None] < np.full((48, 1), 30)
"""A mask: the left of the frame."""


def refused(action) -> str:
    """The message of an InputError."""
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


def test_frames_whose_channels_were_turned_give_the_same_results(lite):
    """``bgr[..., ::-1]`` counts backwards in memory, which torch does not take."""
    frames = list(itertools.islice(clip(SIZE), 2))
    results = []
    for turned in (False, True):
        session = Session(PerSAM(), lite, SameEncoder())
        for number, frame in enumerate(frames):
            rgb = frame.rgb[..., ::-1].copy()[..., ::-1] if turned else frame.rgb
            given = vos.Frame(number, number / 24, rgb)
            result = session.step(given) if number else session.start(given, disc_labels(SIZE, 1))
        results.append(result.labels)
    assert np.array_equal(*results) and results[0].any()


def test_a_frame_holds_the_array_itself_but_where_it_counts_backwards():
    assert vos.Frame(0, 0.0, RGB).rgb is RGB
    across = RGB.transpose(2, 0, 1).copy().transpose(1, 2, 0)
    assert vos.Frame(0, 0.0, across).rgb is across
    for turned in (RGB[::-1], RGB[:, ::-1], RGB[..., ::-1]):
        held = vos.Frame(0, 0.0, turned).rgb
        assert np.array_equal(held, turned) and min(held.strides) > 0
        assert min(vos.Reference(turned, LEFT).rgb.strides) > 0


def test_a_frame_that_cannot_be_written_is_taken_without_a_warning(lite):
    frozen = RGB.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = Session(PerSAM(), lite, SameEncoder())
        session.start(vos.Frame(0, 0.0, frozen), first_mask_from_array(LEFT))
        session.step(vos.Frame(1, 0.1, frozen))


@pytest.mark.parametrize(
    ("rgb", "told"),
    [
        (None, "of type NoneType"),
        (RGB.tolist(), "of type list"),
        (Image.fromarray(RGB), 'of type Image; give np.array(image.convert("RGB"))'),
        (torch.from_numpy(RGB), "of type Tensor; give rgb.cpu().numpy()"),
        (RGB / 255, "(48, 80, 3) float64; make bytes of values in [0, 1] by (rgb * 255).round().astype(np.uint8)"),
        (RGB.transpose(2, 0, 1), "(3, 48, 80) uint8; put the channels last by rgb.transpose(1, 2, 0)"),
        (np.dstack([RGB, RGB[..., :1]]), "(48, 80, 4) uint8; leave out the opacity by rgb[..., :3]"),
        (RGB[..., 0], "(48, 80) uint8; make three channels of grey by np.dstack([rgb] * 3)"),
        (RGB.astype(np.int64), "(48, 80, 3) int64"),
        (RGB[:0], "(0, 80, 3) uint8"),
    ],
    ids=["none", "list", "PIL", "tensor", "float", "chw", "rgba", "grey", "int64", "empty"],
)
def test_other_pictures_are_refused_and_told_how_to_convert_them(rgb, told):
    wanted = f"must be an array (H, W, 3) uint8, not {told}"
    assert refused(lambda: vos.Frame(3, 0.0, rgb)) == f"frame 3: rgb {wanted}"
    assert refused(lambda: vos.Reference(rgb, LEFT, name="a.png")) == f"a.png: the picture {wanted}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": np.stack([LEFT] * 3)}, r"reference: the mask: must be \(H, W\) of bool.*not \(3, 48, 80\) bool"),
        ({"mask": "a.png"}, "not of type str"),
        ({"mask": LEFT * 2.0}, r"must be in \[0, 1\]"),
        ({"mask": LEFT[:20]}, "the mask is 80 x 20, but its picture is 80 x 48"),
        ({"mask": LEFT, "object_id": 0}, "numbers are 1 to 255"),
        ({"mask": LEFT, "object_id": "1"}, "numbers are 1 to 255"),
        ({"hint": (1, 2, 30, 40)}, "the hint must be a vos.Hint, not of type tuple"),
    ],
)
def test_references_of_another_form_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        vos.Reference(RGB, **options)


SOFT = np.where(LEFT, 0.9, 0.02)


@pytest.mark.parametrize(
    "mask",
    [
        LEFT,
        LEFT.astype(np.uint8) * 7,
        LEFT.astype(np.int64) * 2 - 1,
        SOFT,
        SOFT.astype(np.float16),
        torch.from_numpy(LEFT),
        torch.from_numpy(SOFT).to(torch.bfloat16).requires_grad_(),
        Image.fromarray(LEFT),
        LEFT.tolist(),
    ],
    ids=["bool", "uint8", "int64", "float64", "float16", "tensor", "bfloat16", "PIL", "list"],
)
def test_one_rule_says_what_is_inside_a_mask(mask):
    inside = bool_mask(mask)
    assert inside.dtype == np.bool_ and np.array_equal(inside, LEFT) and inside is not mask
    assert np.array_equal(vos.Reference(RGB, mask).mask, LEFT)
    assert np.array_equal(vos.Hint(mask=mask).mask, LEFT)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (LEFT[None], r"\(1, 48, 80\) bool"),
        (LEFT[:0], r"\(0, 80\) bool"),
        (LEFT.astype(complex), "complex128"),
        (LEFT.astype(object), "object"),
        (np.full(SIZE, np.nan), r"float64 values must be in \[0, 1\]"),
        (SOFT * 255, r"float64 values must be in \[0, 1\]"),
        (None, "of type NoneType"),
        (FirstMask(LEFT.astype(np.uint8), (1,)), "of type FirstMask"),
        ([[True], [True, False]], "an array is wanted, not a list"),
    ],
)
def test_other_masks_are_refused(mask, told):
    with pytest.raises(InputError, match=told):
        bool_mask(mask, "the mask")


def test_first_masks_are_taken_of_tensors_and_pictures():
    labels = disc_labels(SIZE, 2)
    for given in (torch.from_numpy(labels), Image.fromarray(labels)):
        assert np.array_equal(first_mask_from_array(given).labels, labels)


def test_devices_and_precisions_that_there_are_not():
    cpu = torch.device("cpu")
    for name in ("fp16", torch.float32, None, ["float16"]):
        assert "choose auto, float32, bfloat16 or float16" in refused(lambda name=name: pick_dtype(name, cpu))
    for name in (None, 1.5, "abacus"):
        assert "pass auto, cpu, cuda or mps" in refused(lambda name=name: pick_device(name))
    assert pick_device(cpu) == cpu


def test_references_of_a_session():
    reference = vos.Reference(RGB, LEFT)
    for given in (reference, [reference], iter([reference])):
        assert vos.open_session(tracker="persam", references=given).referred_ids == (1,)
    for given in (5, [None], "photo.jpg=mask.png"):
        told = refused(lambda given=given: vos.open_session(references=given))
        assert "`references`: give a list of vos.Reference" in told


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(TruncatedVideoError("clip.mp4: breaks off", 7)))
    assert isinstance(error, TruncatedVideoError) and str(error) == "clip.mp4: breaks off" and error.frames == 7


def test_a_session_can_be_copied_before_its_model_is_loaded():
    session = vos.open_session(tracker="persam", device="cpu")
    for other in (copy.deepcopy(session), pickle.loads(pickle.dumps(session))):
        assert not other.segmenter.files
        frame = next(iter(clip(SIZE)))
        assert other.start(frame, disc_labels(SIZE, 1)).areas.all() and other.segmenter.files
    assert not session.segmenter.files and not hasattr(session.segmenter, "__array__")


@pytest.mark.parametrize(
    "value",
    [
        np.array(5.0),
        np.array(True),
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.arange(6, dtype=np.uint16),
        np.zeros((0, 3), np.float32),
        np.array([1 + 2j], np.complex64),
    ],
    ids=["0-d", "0-d bool", "backwards", "uint16", "empty", "complex64"],
)
def test_arrays_come_back_from_a_state_as_they_were(value):
    value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = state_file.from_bytes(state_file.to_bytes({"a": [value]}))["a"][0]
    assert isinstance(back, np.ndarray) and back.shape == value.shape and back.dtype == value.dtype
    assert np.array_equal(back, value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (1j, "complex"),
        (b"x", "bytes"),
        (object(), "object"),
        (torch.float32, "dtype"),
        (np.longdouble(1), "longdouble"),
        (np.arange(4).astype(">f4"), "ndarray >f4"),
        (np.array(["a"]), "ndarray <U1"),
        (np.array([None]), "ndarray object"),
        (np.array([1j]), "ndarray complex128"),
        (torch.zeros(1, dtype=torch.complex128), "Tensor torch.complex128"),
        (torch.eye(2).to_sparse(), "Tensor torch.float32"),
    ],
)
def test_what_a_state_cannot_hold_is_named_by_its_key(value, kind):
    with pytest.raises(PluginError) as caught:
        state_file.to_bytes({"tracker": {"points": [0, value]}})
    assert f"tracker.points[1] is of type {kind}" in str(caught.value)


def test_the_package_shows_its_names_before_it_imports_them():
    lines = (
        "import sys, vos",
        "assert set(vos.__all__) <= set(dir(vos))",
        "assert vos.errors.InputError and not hasattr(vos, 'nonesuch')",
        "assert not {'torch', 'numpy'} & set(sys.modules)",
        "assert vos.structures.Frame is vos.Frame and vos.state_file.to_bytes and vos.interfaces.Tracker",
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_help_tells_all_public_names():
    shown = io.StringIO()
    with redirect_stdout(shown):
        help(vos)
    for name in set(vos.__all__) - {"__version__"}:
        assert f" {name}(" in shown.getvalue()
    assert vos.__version__ in shown.getvalue()
    assert "Follow the objects of ``first_mask``" in shown.getvalue()


def test_a_module_that_lacks_another_says_which(monkeypatch):
    monkeypatch.delitem(sys.modules, "vos.finder", raising=False)
    monkeypatch.delattr(vos, "finder", raising=False)
    monkeypatch.setitem(sys.modules, "vos.boxes", None)
    with pytest.raises(ModuleNotFoundError, match=r"vos\.boxes"):
        _ = vos.finder
