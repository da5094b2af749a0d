"""Choice of device and precision, and memory settings for models on a CPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import InputError, parameter

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions by name, as given to :func:`vos.open_session`."""


def pick_device(name: str = "auto") -> torch.device:
    """Pick a device by name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(f"{parameter('device', name)}: not usable here; pass auto, cpu, cuda or mps") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Pick a precision by name; ``auto`` takes bfloat16 on CUDA, and float32 elsewhere.

    Raises:
        InputError: there is no such precision.
    """
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    if not isinstance(name, str) or name not in DTYPES:
        raise InputError(f"{parameter('dtype', str(name))}: choose auto, float32, bfloat16 or float16")
    return DTYPES[name]


@contextmanager
def computing_threads(count: int | None) -> Iterator[None]:
    """Let torch compute on so many threads of the CPU within the block; None: as it would."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of returning it, for a process that runs models on a CPU.

    By default every large tensor is mapped and cleared anew, which takes a fifth of the decoder's time.
    Without glibc, nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3  # as numbered in malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)
