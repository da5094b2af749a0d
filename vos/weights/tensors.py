"""Reads tensors from weight files of any origin, without unpickling anything else.

Used for files that ``transformers`` did not write: checkpoints of SAM, Cutie and PIPS.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a ``.safetensors`` file or a checkpoint of torch, by name.

    Raises:
        WeightsError: unreadable, or unsafe to unpickle.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about unusual pickles, which are refused anyway
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes is the same to a user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: cannot be read as weights: {reason}") from error
    for nested in ("model", "model_state_dict"):  # training code often nests them so
        if isinstance(tensors, dict) and isinstance(tensors.get(nested), dict):
            tensors = tensors[nested]
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise WeightsError(f"{path}: holds no plain dictionary of tensors")
    return tensors
