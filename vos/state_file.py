"""Saved states as safetensors files: the tensors as they are, the rest as JSON in the file's metadata.

The command's journal writes them, so that a run can be resumed. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .errors import InputError

State = dict[str, Any]
"""State of a tracker, a point tracker or a session.

The values are dictionaries with texts as keys, lists, tuples, numbers, texts, None, tensors and NumPy
arrays, nested at will. From a file, tuples come back as lists, and tensors on the CPU.
"""

_TENSOR = "__tensor__"
"""Key that marks the JSON description of a tensor or an array."""


def to_bytes(state: Mapping[str, object]) -> bytes:
    """Write a state as the content of a safetensors file."""
    tensors: dict[str, Tensor] = {}
    described = json.dumps(_described(state, tensors))
    return safetensors.torch.save(tensors, {"state": described})


def from_bytes(content: bytes) -> State:
    """Read a state from the content of such a file.

    Every tensor gets the strides that it had, so that sums over it are the same to the last bit.

    Raises:
        InputError: the content is damaged, or of another kind.
    """
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        described = json.loads(content[8 : 8 + length])["__metadata__"]["state"]
        restored = _restored(json.loads(described), tensors)
        if not isinstance(restored, dict):
            raise ValueError("it holds no dictionary")
        return restored
    except Exception as error:  # whatever damage provokes is the same to a user
        raise InputError(f"a saved state cannot be read: {error}") from error


def _described(value: object, tensors: dict[str, Tensor]) -> object:
    """Copy a value with a description in place of each tensor or array, which goes to ``tensors``."""
    if isinstance(value, Mapping):
        return {str(key): _described(each, tensors) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(each, tensors) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, (Tensor, np.ndarray)):
        return value
    tensor = torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value.detach().cpu()
    name = str(len(tensors))
    tensors[name] = tensor.contiguous().clone()  # safetensors refuses tensors that share memory
    return {_TENSOR: name, "stride": tensor.stride(), "array": isinstance(value, np.ndarray)}


def _restored(value: object, tensors: Mapping[str, Tensor]) -> object:
    """Copy a value with the tensor or array in place of each description."""
    if isinstance(value, list):
        return [_restored(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR not in value:
        return {key: _restored(each, tensors) for key, each in value.items()}
    saved, stride = tensors[value[_TENSOR]], value["stride"]
    if 0 in stride:  # of an expanded tensor, which cannot be written to
        stride = saved.stride()
    tensor = torch.empty_strided(saved.shape, stride, dtype=saved.dtype).copy_(saved)
    return tensor.numpy() if value["array"] else tensor
