"""What is used of torch beyond its public interface, with and without it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vos import private_api
from vos.errors import InputError
from vos.segmenters.lite import fuse_activations

CPU = torch.device("cpu")


@pytest.fixture
def layers() -> nn.Sequential:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.ReLU6())
    return plain.requires_grad_(False)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fused_convolution_is_the_convolution_and_relu6(layers, monkeypatch, dtype, fused):
    if not fused:
        monkeypatch.setattr(private_api, "_pointwise", lambda: None.missing)
    elif not private_api.can_fuse_relu6(dtype):
        pytest.skip("not with this processor, torch and oneDNN")
    layers.to(dtype)
    pixels = 8 * torch.rand(2, 3, 20, 30, dtype=torch.float32).to(dtype)
    expected = layers(pixels)
    fuse_activations(layers)
    assert all(layer._fused == fused for layer in layers[::2])
    assert expected.max() > 0 and torch.equal(copy.deepcopy(layers)(pixels), layers(pixels))
    torch.testing.assert_close(layers(pixels), expected)


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_the_environment_decides_the_fast_precision(monkeypatch, chosen):
    monkeypatch.setenv("VOS_LITE_DTYPE", chosen)
    assert private_api.fast_dtype(CPU) is getattr(torch, chosen)
    monkeypatch.setenv("VOS_LITE_DTYPE", "int8")
    with pytest.raises(InputError, match="VOS_LITE_DTYPE=int8: choose float32 or bfloat16"):
        private_api.fast_dtype(CPU)


def test_without_the_private_functions_it_is_float32(monkeypatch):
    monkeypatch.delenv("VOS_LITE_DTYPE", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert private_api.fast_dtype(CPU) is torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert private_api.fast_dtype(CPU) is (
        torch.bfloat16 if private_api.can_fuse_relu6(torch.bfloat16) else torch.float32
    )
    monkeypatch.setattr(private_api, "_pointwise", lambda: None.missing)
    assert private_api.fast_dtype(CPU) is torch.float32
