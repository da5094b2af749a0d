"""What a session remembers, as one safetensors file: tensors, and the rest as JSON in its metadata.

A state is a dictionary of dictionaries, lists, numbers, texts, None, tensors and NumPy arrays; tuples
come back as lists. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from .errors import InputError

_TENSOR = "__tensor__"


def to_bytes(state: Mapping[str, object]) -> bytes:
    """A state as the content of a safetensors file."""
    tensors: dict[str, Tensor] = {}
    described = json.dumps(_described(state, tensors))
    return safetensors.torch.save(tensors, {"state": described})


def from_bytes(content: bytes) -> dict:
    """The state of such a file; every tensor has the strides that it had, for the sums to be the same.

    Tensors are on the CPU.

    Raises:
        InputError: damaged, or not such a file.
    """
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        described = json.loads(content[8 : 8 + length])["__metadata__"]["state"]
        return _restored(json.loads(described), tensors)
    except Exception as error:  # whatever damage provokes is the same to a user
        raise InputError(f"a saved state cannot be read: {error}") from error


def _described(value: object, tensors: dict[str, Tensor]) -> object:
    """The value with a description in place of each tensor, which goes to ``tensors``."""
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
    tensors[name] = tensor.contiguous().clone()  # tensors that share memory are refused
    return {_TENSOR: name, "stride": tensor.stride(), "array": isinstance(value, np.ndarray)}


def _restored(value: object, tensors: Mapping[str, Tensor]) -> object:
    if isinstance(value, list):
        return [_restored(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR not in value:
        return {key: _restored(each, tensors) for key, each in value.items()}
    saved, stride = tensors[value[_TENSOR]], value["stride"]
    if 0 in stride:  # expanded; it cannot be written to
        stride = saved.stride()
    tensor = torch.empty_strided(saved.shape, stride, dtype=saved.dtype).copy_(saved)
    return tensor.numpy() if value["array"] else tensor
