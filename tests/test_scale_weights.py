"""The fit of PerSAM-F's weights against automatic differentiation and PyTorch's own AdamW."""

from __future__ import annotations

import pytest
import torch

from vos.trackers.persam.scale_weights import Slopes, dice, fit, focal


@pytest.fixture(scope="module")
def drawn():
    """Logits (2, 3, 24, 40) of three masks each, settled for the most part, and a soft truth (2, 24, 40)."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(40.0), indexing="ij")
    rounds = [9 - ((x - 16 - 2 * m) ** 2 + (y - 11) ** 2).sqrt() for m in range(3)]
    logits = torch.stack([3 * torch.stack(rounds), 4 * torch.stack(rounds[::-1])])
    logits += 0.5 * torch.randn(logits.shape, generator=generator)
    truth = (9.5 - ((x - 17) ** 2 + (y - 11) ** 2).sqrt()).clamp(0, 1)
    return logits, truth.repeat(2, 1, 1)


def test_slopes_are_those_of_the_losses(drawn):
    logits, target = drawn[0][:, 0].flatten(1).double().requires_grad_(), drawn[1].flatten(1).double()
    settled = torch.tensor([5.0, 0.0], dtype=torch.float64)
    loss = dice(logits, target, settled) + focal(logits, target, 2000)
    (expected,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(Slopes(target, settled, 2000)(logits.detach()), expected)


@pytest.mark.parametrize("remainder", [0, 2])
def test_weights_are_those_of_adamw_on_all_pixels(drawn, remainder):
    logits, truth = drawn
    masks, target = logits.flatten(2), truth.flatten(1)
    learned = [index for index in range(3) if index != remainder]
    pair = torch.full((2, 2), 1 / 3, requires_grad=True)
    optimizer = torch.optim.AdamW([pair], lr=4e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _ in range(100):
        mixed = (1 - pair.sum(1, keepdim=True)) * masks[:, remainder] + torch.einsum(
            "nk,nkp->np", pair, masks[:, learned]
        )
        optimizer.zero_grad()
        (dice(mixed, target) + focal(mixed, target, target.shape[1])).sum().backward()
        optimizer.step()
        schedule.step()
    weights = fit(logits, truth, epochs=100, lr=4e-3, remainder=remainder)
    torch.testing.assert_close(weights[:, learned], pair.detach(), atol=2e-4, rtol=0)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights - 1 / 3).abs().max() > 0.05
