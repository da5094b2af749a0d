"""Uses of torch beyond its public interface, each with a fallback for versions and processors without it.

Nothing else in the package calls a private function of a library. ``lite`` takes its precision and its fused layers
from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .errors import InputError

FAST_DTYPE = "VOS_LITE_DTYPE"
"""Environment variable that overrides :func:`fast_dtype`: ``float32`` or ``bfloat16``."""

_FAST_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Values of the environment variable."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """Choose the precision in which a device multiplies matrices and convolves fastest.

    It is bfloat16 on CUDA, and on processors with AVX-512 BF16 if oneDNN may use it (``ONEDNN_MAX_CPU_ISA``); float32
    elsewhere. The environment variable ``VOS_LITE_DTYPE`` overrides it, for example to repeat a run of another
    machine.

    Raises:
        InputError: the environment variable holds something else than ``float32`` or ``bfloat16``.
    """
    chosen = os.environ.get(FAST_DTYPE, "")
    if chosen:
        if chosen not in _FAST_DTYPES:
            raise InputError(f"{FAST_DTYPE}={chosen}: choose float32 or bfloat16, or leave it unset")
        return _FAST_DTYPES[chosen]
    half = device.type == "cuda" or (device.type == "cpu" and _processor_has_bfloat16())
    return torch.bfloat16 if half else torch.float32


def _processor_has_bfloat16() -> bool:
    """Tell whether this processor multiplies in bfloat16 and oneDNN makes use of it; False if torch cannot tell."""
    has_it = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(has_it and has_it()) and can_fuse_relu6(torch.bfloat16)


def can_fuse_relu6(dtype: torch.dtype) -> bool:
    """Tell whether :func:`convolution_relu6` works for a precision on the CPU, by trying it on one pixel."""
    pixel = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        _pointwise()(pixel, pixel, None, [0, 0], [1, 1], [1, 1], 1, "hardtanh", [0.0, 6.0], "")
    except (AttributeError, RuntimeError):  # built without oneDNN, or a processor that it does not support
        return False
    return True


def convolution_relu6(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution and ReLU6 in one pass over memory; only where :func:`can_fuse_relu6` holds.

    On a CPU a separate clamp takes as long as the convolutions: half of the encoder's time.

    Args:
        convolution: on the CPU.
        x: (N, C, h, w) of the same precision.
    """
    shape = (list(convolution.padding), list(convolution.stride), list(convolution.dilation), convolution.groups)
    return _pointwise()(x, convolution.weight, convolution.bias, *shape, "hardtanh", [0.0, 6.0], "")


def _pointwise() -> Callable[..., Tensor]:
    """Return oneDNN's convolution with an element-wise function after it, which torch's compiler uses."""
    return torch.ops.mkldnn._convolution_pointwise.default
