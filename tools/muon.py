"""Muon: gradient descent whose step for a weight matrix is the nearest orthogonal one to its momentum.

A decoder that learns from nothing gets as far in half the steps that Adam takes. PyTorch's own takes
no weights of convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic polynomial that, five times over, takes singular values to about 1."""
ADAM_SIZE = 0.2
"""Root mean square of an entry's step at a learning rate of 1: about Adam's."""
SMALLEST_SIDE = 16


class Muon(torch.optim.Optimizer):
    """The optimiser of Jordan et al. (2024), scaled as by Liu et al. (2025), for convolutions too.

    Args:
        weights: float tensors of two or more dimensions; the first is the rows, all others together
            the columns of the matrix.
        lr: a step moves each entry by about ``ADAM_SIZE * lr``, whatever the gradient's size.
        weight_decay: share of the weights, times ``lr``, that each step takes away.
    """

    def __init__(self, weights: list[nn.Parameter], lr: float, weight_decay: float = 0.1):
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                direction = orthogonal(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
                size = ADAM_SIZE * max(direction.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction.view_as(weight), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of a matrix (rows, columns)."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    linear, cubic, quintic = NEWTON_SCHULZ
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = linear * x + (cubic * square + quintic * square @ square) @ x
    return x


def matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of a network that Muon is for: of its layers' products, unless these are narrow."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            rows, columns = module.weight.flatten(1).shape
            if min(rows, columns) >= SMALLEST_SIDE:
                yield module.weight
