"""Measures the cells of :mod:`vos.benchmarks.gpu`: an encoder alone, whole steps, one precision against another.

A model is loaded when a cell first needs it and dropped when the next cell does not, so that the memory of a cell is
its own. The device is waited for before and after everything that is timed.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from ..encoders.same import SameEncoder
from ..engine.models import load_segmenter, new_tracker
from ..engine.session import Session
from ..errors import InputError
from ..interfaces import PriorEncoder, Segmenter
from ..private_api import FAST_DTYPE
from ..structures import FirstMask, Frame, first_mask_from_array
from ..testing.clip import COLUMNS, ROWS, clip, disc_labels
from .gpu_encoders import PLAIN, Ahead, AheadDinov2, AheadSam, compile_blocks, run_in
from .gpu_table import Cell, Measured, in_one_line
from .random_models import DINOV2S, SAMS, random_dinov2, random_sam

LITE = "lite"
"""The bundled model, whose weights are trained."""

SAME = "same"
"""The prior that compares the segmenter's own features."""

LOOP = 31
"""Frames of the drawn clip after which it begins anew: one period of its movement."""

WARM_UP, FEWEST, MOST = 2, 3, 100
"""Calls before the timed ones, the fewest timed ones, and the most."""

AGREEMENT_FRAMES = 4
"""Frames after the first whose masks are compared."""


class Bench:
    """Measures cells on one device, one after the other.

    Args:
        device: the device.
        dtype: the precision of all but the agreement.
        size: (H, W) of the frames.
        seconds: for how long a cell repeats what it times.
        backend: of ``torch.compile``.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, size: tuple[int, int], seconds: float, backend: str
    ) -> None:
        self._device, self._dtype, self._size = device, dtype, size
        self._seconds, self._backend = seconds, backend
        self._frames = list(itertools.islice(clip(size), LOOP))
        self._models: dict[tuple[str, torch.dtype, bool], Ahead | Segmenter] = {}
        self._compiled_for: tuple[str, int] | None = None

    @torch.inference_mode()
    def measure(self, cell: Cell) -> Measured:
        """Measure a cell; whatever goes wrong in it becomes its remark, and its models are dropped."""
        remark = ""
        try:
            return getattr(self, f"_{cell.kind}")(cell)
        except Exception as error:
            remark = in_one_line(error)
        self._models.clear()  # only here, where the error no longer holds what it was raised from
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return Measured(remark=remark)

    def _input(self, cell: Cell) -> Measured:
        """Measure how long frames in main memory take to become an encoder's input on the device."""
        model, frames = self._model(cell, cell.model, self._dtype), self._frames[: cell.batch]
        assert isinstance(model, Ahead)
        return Measured(ms=self._median_ms(lambda: partial(model.batch, frames), cell.batch))

    def _encoder(self, cell: Cell) -> Measured:
        """Measure an image encoder alone, on input that lies on the device."""
        model = self._model(cell, cell.model, self._dtype)
        self._start_memory()
        ms = self._bare(cell, model)
        return Measured(ms=ms, memory_mb=self._most_memory())

    def _steps(self, cell: Cell) -> Measured:
        """Measure whole steps, from frames in main memory to labels there, and the segmenter's encoder alone."""
        session = self._session(cell, self._dtype)
        self._start_memory()
        bare = self._bare(cell, session.segmenter)
        by_itself = cell.batch == 1 and cell.mode == PLAIN
        parts = (session.segmenter, session.encoder)
        ahead = [part for part in parts if isinstance(part, Ahead) and not by_itself]
        for part in ahead:
            run_in(cell.mode, part, self._frames[: cell.batch])
        state, following = session.state(), itertools.cycle(self._frames[1:])

        def steps(frames: Sequence[Frame]) -> None:
            for part in ahead:
                part.encode_ahead(frames)
            for frame in frames:
                session.step(frame)

        def prepared() -> Callable[[], object]:
            session.restore(self._frames[0], state)  # so that objects keep their size, whatever random weights find
            return partial(steps, list(itertools.islice(following, cell.batch)))

        ms = self._median_ms(prepared, cell.batch)
        return Measured(ms=ms, encoder_share=bare / ms, memory_mb=self._most_memory())

    def _agreement(self, cell: Cell) -> Measured:
        """Compare the labels of the frames after the first in both precisions."""
        labels = []
        for dtype in (torch.float32, torch.bfloat16):
            with lite_in(dtype):
                session = self._session(cell, dtype)
            labels.append(np.stack([session.step(frame).labels for frame in self._frames[1 : AGREEMENT_FRAMES + 1]]))
        return Measured(agreement=agreement(*labels))

    def _bare(self, cell: Cell, model: Ahead | Segmenter) -> float:
        """Measure the milliseconds a frame of an image encoder alone."""
        if isinstance(model, Ahead):
            pixels = run_in(cell.mode, model, self._frames[: cell.batch])
            return self._median_ms(lambda: partial(model.run, pixels), cell.batch)
        return self._median_ms(lambda: partial(model.embed, self._frames[0].rgb), 1)

    def _session(self, cell: Cell, dtype: torch.dtype) -> Session:
        """Start a session of the training-free tracker on the clip's first frame."""
        segmenter = self._model(cell, cell.model, dtype)
        prior: object = SameEncoder() if cell.prior == SAME else self._model(cell, cell.prior, dtype)
        assert isinstance(segmenter, Segmenter) and isinstance(prior, SameEncoder | AheadDinov2)
        encoder: PriorEncoder = prior
        session = Session(new_tracker("persam"), segmenter, encoder)
        session.start(self._frames[0], first_mask(cell.objects, self._size))
        return session

    def _model(self, cell: Cell, name: str, dtype: torch.dtype) -> Ahead | Segmenter:
        """Return one of the cell's models; load it if need be, and drop what the cell does not need."""
        wanted = {(each, dtype, cell.compiled) for each in (cell.model, cell.prior)}
        self._models = {key: model for key, model in self._models.items() if key in wanted}
        if cell.compiled and self._compiled_for != (cell.model, cell.batch):
            torch.compiler.reset()  # torch compiles for eight kinds of input at most, then runs without it
            self._compiled_for = cell.model, cell.batch
        key = name, dtype, cell.compiled
        if key not in self._models:
            with torch.inference_mode(False):
                self._models[key] = self._load(*key)
        model = self._models[key]
        if isinstance(model, Ahead):
            model.run = model.encode  # and not as a graph of the last cell, which takes memory
        return model

    def _load(self, name: str, dtype: torch.dtype, compiled: bool) -> Ahead | Segmenter:
        """Make a model with random weights, or load the bundled one."""
        if name in SAMS:
            model: Ahead = random_sam(AheadSam, name, self._device, dtype)
        elif name in DINOV2S:
            model = random_dinov2(AheadDinov2, name, self._device, dtype)
        else:
            return load_segmenter(name, self._device, dtype)
        if compiled:
            compile_blocks(model.network, self._backend)
        return model

    def _median_ms(self, prepared: Callable[[], Callable[[], object]], frames: int) -> float:
        """Time calls until the seconds of a cell are over.

        Args:
            prepared: makes what is called; its own time does not count.
            frames: frames of a call.

        Returns:
            Median milliseconds a frame, without the first calls.
        """
        times: list[float] = []
        until = math.inf
        for call in range(WARM_UP + MOST):
            action = prepared()
            self._wait()
            began = time.perf_counter()
            action()
            self._wait()
            ended = time.perf_counter()
            if call >= WARM_UP:
                times.append(ended - began)
            elif call == WARM_UP - 1:
                until = ended + self._seconds
            if len(times) >= FEWEST and ended > until:
                break
        return 1e3 * statistics.median(times) / frames

    def _wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _start_memory(self) -> None:
        """Forget the most memory that was taken before."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _most_memory(self) -> float | None:
        """Return the most memory taken since, in MB; None where torch does not count it."""
        return torch.cuda.max_memory_allocated(self._device) / 1e6 if self._device.type == "cuda" else None


def first_mask(count: int, size: tuple[int, int]) -> FirstMask:
    """Draw the masks of the drawn clip's first ``count`` discs; if there are not so many, of halves of them.

    Args:
        count: number of objects, at most twice that of the discs.
        size: (H, W) of the frames.

    Raises:
        InputError: so many halves are not drawn.
    """
    if not 1 <= count <= 2 * COLUMNS * ROWS:
        raise InputError(f"{count} objects: the clip shows 1 to {2 * COLUMNS * ROWS} discs and halves of discs")
    if count <= COLUMNS * ROWS:
        return first_mask_from_array(disc_labels(size, count))
    whole = disc_labels(size, math.ceil(count / 2)).astype(int)
    row_height = size[0] / ROWS
    lower = np.arange(size[0])[:, None] % row_height >= row_height / 2
    halves = np.where(whole > 0, 2 * whole - 1 + lower, 0)
    return first_mask_from_array(np.where(halves <= count, halves, 0).astype(np.uint8))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the share of the pixels inside a mask of either to which both give the same object.

    Args:
        one: labels (T, H, W).
        other: labels likewise.

    Raises:
        ValueError: there is no mask in either.
    """
    inside = (one > 0) | (other > 0)
    if not inside.any():
        raise ValueError("no object was found in either precision")
    return float((one == other)[inside].mean())


@contextmanager
def lite_in(dtype: torch.dtype) -> Iterator[None]:
    """Let ``lite`` load in a precision, which it otherwise chooses by the device."""
    before = os.environ.get(FAST_DTYPE)
    os.environ[FAST_DTYPE] = str(dtype).removeprefix("torch.")
    try:
        yield
    finally:
        os.environ.pop(FAST_DTYPE)
        if before is not None:
            os.environ[FAST_DTYPE] = before
