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

from .errors import InputError, PluginError

State = dict[str, Any]
"""State of a tracker, a point tracker or a session.

The values are dictionaries with texts as keys, lists, tuples, numbers, texts, None, tensors and NumPy
arrays, nested at will. From a file, tuples come back as lists, and tensors on the CPU.
"""

_TENSOR = "__tensor__"
"""Key that marks the JSON description of a tensor or an array."""

_UNKNOWN = (torch.complex32, torch.complex128)
"""Types of tensors that safetensors does not know."""


def to_bytes(state: Mapping[str, object]) -> bytes:
    """Write a state as the content of a safetensors file.

    Raises:
        PluginError: a value is of a kind that a state cannot hold; the message names its key.
    """
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


def _described(value: object, tensors: dict[str, Tensor], key: str = "") -> object:
    """Copy a value with a description in place of each tensor or array, which goes to ``tensors``.

    Args:
        value: the value.
        tensors: gets the tensors by name.
        key: where in the state the value lies, for messages.
    """
    if isinstance(value, Mapping):
        return {str(each): _described(own, tensors, f"{key}.{each}") for each, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(each, tensors, f"{key}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, int, float)):
        return value
    tensor = _as_tensor(value)
    if tensor is None:
        kind = f"{type(value).__name__} {getattr(value, 'dtype', '')}".rstrip()
        raise PluginError(
            f"the state cannot be saved: {key.lstrip('.')} is of type {kind}; a state holds dictionaries, lists, "
            "numbers, texts, None, and tensors and arrays of numbers"
        )
    name = str(len(tensors))
    tensors[name] = tensor.contiguous().clone()  # safetensors refuses tensors that share memory
    return {_TENSOR: name, "stride": tensor.stride(), "array": isinstance(value, np.ndarray)}


def _as_tensor(value: object) -> Tensor | None:
    """Return a tensor or an array as a tensor on the CPU; None: it is neither, or safetensors has no such type."""
    if isinstance(value, np.ndarray):
        try:
            value = torch.tensor(np.asarray(value, order="C"))
        except (TypeError, ValueError):  # of texts, objects, or bytes in another order
            return None
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype in _UNKNOWN:
        return None
    return value.detach().cpu()


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
