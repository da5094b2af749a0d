"""``vos.method.matching.read_out``: attention to the blocks of memory, by look and by place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vos.method import matching
from vos.method.guidance import Guidance
from vos.segmenters.lite_network import LiteConfig, LiteNetwork


def places(height: int, width: int) -> Tensor:
    """Centres of patches of 8 pixels, (1, 2, h, w) xy."""
    lines, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, lines])[None] * 8.0 + 3.5


def random_features(height: int, width: int, seed: int = 0) -> Tensor:
    """Unit features (1, 16, h, w)."""
    return F.normalize(torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def written_out(
    features: Tensor, where: Tensor, first: matching.Memory, last: matching.Memory, spread: Tensor, row: int
) -> Tensor:
    """The share of attention on an object's foreground, (3, P), of features (C, P) at places (2, P)."""
    read = []
    for memory, near in ((first, False), (last, False), (last, True)):
        keys = torch.cat([memory.foreground[row], memory.background[row]])
        weight = torch.cat([memory.foreground_weight[row], memory.background_weight[row]])
        scores = matching.SHARPNESS * F.normalize(features, dim=0).T @ keys.T + weight.clamp_min(1e-6).log()
        if near:
            blocks = torch.cat([memory.foreground_place[row], memory.background_place[row]])
            scores = scores - 0.5 * (torch.cdist(where.T, blocks) / spread[row]).square()
        read.append(scores.softmax(1)[:, : memory.foreground.shape[1]].sum(1))
    return torch.stack(read)


def test_it_is_the_attention_of_blocks_and_at_edges_of_patches_written_out() -> None:
    features, where = random_features(8, 12), places(8, 12)
    coverage = torch.zeros(2, 8, 12)
    coverage[0, 2:6, 3:7], coverage[1, 0:2, 8:12] = 1, 0.7
    first = matching.remember(random_features(8, 12, seed=1), coverage, where)
    last = matching.remember(random_features(8, 12, seed=2), coverage, where, background_block=2)
    spread = torch.tensor([9.0, 40.0])
    read = matching.read_out(features.expand(2, -1, -1, -1), first, last, where, spread)
    for row in range(2):
        blocks, block_places = (F.avg_pool2d(each, 2)[0].flatten(1) for each in (features, where))
        coarse = written_out(blocks, block_places, first, last, spread, row).unflatten(1, (4, 6))
        expected = F.interpolate(coarse[None], (8, 12), mode="bilinear")[0].flatten(1)
        unclear = (expected[2] - 0.5).abs().argsort()[: int(matching.CLOSELY * 8 * 12)]
        by_patch = written_out(features[0].flatten(1), where[0].flatten(1), first, last, spread, row)
        assert (by_patch - expected)[:, unclear].abs().max() > 0.05
        expected[:, unclear] = by_patch[:, unclear]
        torch.testing.assert_close(read[row].flatten(1), expected, atol=1e-4, rtol=1e-3)


def test_of_two_that_look_alike_the_near_one_is_it() -> None:
    """Both have the same features; one of them was the object in the last frame, two patches further left."""
    features = torch.zeros(1, 3, 16, 32)
    features[:, 0] = 1
    before, now = features.clone(), features.clone()
    for frame, left in ((before, 4), (now, 6)):
        for column in (left, 24):
            frame[:, :, 6:10, column : column + 4] = torch.tensor([0.0, 1, 0])[:, None, None]
    coverage = torch.zeros(1, 16, 32)
    coverage[:, 6:10, 4:8] = 1
    where = places(16, 32)
    last = matching.remember(before, coverage, where, background_block=2)
    box = torch.tensor([[32.0, 48, 63, 79]])
    found = torch.tensor([True])
    read = matching.read_out(now, last, last, where, matching.spread(box, found, (128, 256)))[0]
    own, twin = read[:, 7:9, 7:9].mean((1, 2)), read[:, 7:9, 25:27].mean((1, 2))
    torch.testing.assert_close(own[:2], twin[:2])  # by look alone there is no telling
    assert own[2] > 0.95 and twin[2] < 0.05
    misplaced = matching.out_of_place(torch.cat([torch.zeros(1, 6, 16, 32), read[None]], dim=1))[0]
    assert misplaced[7:9, 7:9].min() == 0 and misplaced[7:9, 25:27].max() < -0.3  # nor as near the middle
    anywhere = matching.read_out(now, last, last, where, matching.spread(box, ~found, (128, 256)))[0]
    assert (anywhere[2] - anywhere[1]).abs().max() < 0.1  # one that was lost may be anywhere


def test_spread_is_a_share_of_the_box() -> None:
    boxes = torch.tensor([[10.0, 10, 29, 29], [0, 0, 39, 9]])
    torch.testing.assert_close(
        matching.spread(boxes, torch.tensor([True, True]), (100, 200)), torch.full((2,), 20 * matching.STRAY)
    )
    assert matching.spread(boxes, torch.tensor([False, False]), (100, 200)).tolist() == [300, 300]


def test_where_places_mean_nothing_nothing_is_read() -> None:
    features, where = random_features(8, 12), places(8, 12)
    coverage = torch.zeros(1, 8, 12)
    coverage[0, 2:6, 3:7] = 1
    memory = matching.remember(features, coverage, where)
    read, unread = (
        matching.matching_maps(features, coverage, memory, memory, coverage, where, spread)
        for spread in (torch.tensor([9.0]), None)
    )
    assert read.shape == unread.shape == (1, matching.MATCHING_MAPS, 8, 12)
    assert torch.equal(read[:, : matching.READ_OUT.start], unread[:, : matching.READ_OUT.start])
    assert (read[:, matching.READ_OUT] > 0).any() and not unread[:, matching.READ_OUT].any()


def test_weights_that_do_not_know_it_do_without() -> None:
    torch.manual_seed(0)
    network = LiteNetwork(LiteConfig(prior_channels=8)).eval()
    embedding, fine = network.embed(torch.randn(1, 3, 64, 96))
    maps = torch.rand(1, 11, 8, 12)
    changed = maps.clone()
    changed[:, matching.READ_OUT] = 0

    def decode(prior_maps: Tensor) -> Tensor:
        points, labels = torch.tensor([[[40.0, 30.0]]]), torch.ones(1, 1)
        return network.decode(
            embedding, fine, network.positions(8, 12), points, labels, None, None, prior_maps, Guidance()
        )[0]

    torch.testing.assert_close(decode(maps), decode(changed))
    assert not torch.equal(decode(maps), decode(maps.flip(1)))
