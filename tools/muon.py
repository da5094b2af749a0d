"""Muon: an optimiser that steps along the orthogonal matrix nearest to a weight matrix's momentum.

Used by ``train_lite.py``. A decoder trained from scratch needs half the steps that it needs with Adam.
PyTorch's own Muon does not take the weights of convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
"""Share of the old momentum that a step keeps."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic polynomial that, applied five times, takes singular values to about 1."""

ADAM_SIZE = 0.2
"""Root mean square of an entry's step at a learning rate of 1: about Adam's."""

SMALLEST_SIDE = 16
"""Least number of rows and of columns of a matrix that Muon is used for."""


class Muon(torch.optim.Optimizer):
    """The optimiser of Jordan et al. (2024), scaled as by Liu et al. (2025), for convolutions too.

    Args:
        weights: float tensors of two or more dimensions. The first dimension makes the rows of the
            matrix, all others together make the columns.
        lr: learning rate; a step moves each entry by about ``ADAM_SIZE * lr``, whatever the gradient's
            size.
        weight_decay: each step subtracts this share of the weights, times ``lr``.
    """

    def __init__(self, weights: list[nn.Parameter], lr: float, weight_decay: float = 0.1) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients there are."""
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
    """Approximate U V^T of the singular value decomposition U S V^T of a matrix."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    linear, cubic, quintic = NEWTON_SCHULZ
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = linear * x + (cubic * square + quintic * square @ square) @ x
    return x


def matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights that Muon is used for: those of linear and convolution layers, unless they are narrow."""
    for module in network.modules():
        has_matrix = isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        if has_matrix and min(module.weight.flatten(1).shape) >= SMALLEST_SIDE:
            yield module.weight
