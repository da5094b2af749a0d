"""The discriminant of object and surroundings, held against NumPy's own least squares."""

from __future__ import annotations

import numpy as np
import torch

from vos.method import discriminant, prior


def random_case(objects: int = 2, channels: int = 6, size: tuple[int, int] = (5, 7)):
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(1, channels, *size, generator=generator)
    coverage = torch.rand(objects, *size, generator=generator).round(decimals=1)
    return embedding, coverage


def gather(embedding, coverage, inside=None, rivals=None):
    """Evidence of one frame from the share of each patch inside each object."""
    samples = discriminant.samples(embedding)
    inside = torch.ones(coverage.shape[1:]) if inside is None else inside.float()
    own, rest = (discriminant.moments(samples, (inside * share).flatten(1)) for share in (coverage, 1 - coverage))
    return discriminant.evidence(
        own, rest, None if rivals is None else discriminant.moments(samples, rivals.flatten(1))
    )


def maps(embedding, *evidences):
    return discriminant.maps(discriminant.samples(embedding), embedding.shape[2:], *evidences)


def test_it_is_the_ridge_regression_that_numpy_solves():
    embedding, coverage = random_case(objects=1)
    evidence = gather(embedding, coverage)
    (shown,) = maps(embedding, evidence)

    features = embedding[0].flatten(1).T.double().numpy()
    features = features / np.sqrt((features**2).sum(1).mean())
    features = np.hstack([features, np.full((len(features), 1), 0.3)])
    inside = coverage[0].flatten().double().numpy()
    sides = [(inside / inside.sum(), 1.0), ((1 - inside) / (1 - inside).sum(), -1.0)]
    rows = [np.sqrt(weight)[:, None] * features for weight, _ in sides]
    goals = [np.sqrt(weight) * side for weight, side in sides]
    squares = sum(row.T @ row for row in rows)
    penalty = np.sqrt(discriminant.RIDGE * np.trace(squares) / len(squares)) * np.eye(len(squares))
    weights, *_ = np.linalg.lstsq(np.vstack([*rows, penalty]), np.hstack([*goals, np.zeros(len(squares))]), rcond=None)
    expected = 1 / (1 + np.exp(-discriminant.STEEPNESS * features @ weights))
    np.testing.assert_allclose(shown[0].flatten().numpy(), expected, atol=1e-4)


def test_what_object_and_surroundings_share_does_not_count():
    """A look-alike differs in one weak channel: the prototype hardly tells it apart, this does."""
    generator = torch.Generator().manual_seed(1)
    embedding = 0.05 * torch.randn(1, 4, 6, 8, generator=generator)
    embedding[:, 0] += 1.0
    coverage = torch.zeros(1, 6, 8)
    coverage[:, 2:4, 2:5] = 1.0
    embedding[:, 1] += 0.3 * (coverage - 0.5)
    unit = torch.nn.functional.normalize(embedding, dim=1)
    cosine = prior.similarity(unit, prior.prototype(unit, coverage))
    shown = maps(embedding, gather(embedding, coverage))[:, 0]
    object_, rest = coverage > 0, coverage == 0
    assert cosine[rest].mean() > 0.9 * cosine[object_].mean()
    assert shown[object_].min() > 0.5 > shown[rest].max()


def test_objects_do_not_touch_each_other_and_padding_does_not_count():
    embedding, coverage = random_case()
    both = maps(embedding, gather(embedding, coverage))
    for row in range(2):
        alone = maps(embedding, gather(embedding, coverage[row : row + 1]))
        torch.testing.assert_close(both[row : row + 1], alone)
    inside = torch.zeros(5, 7, dtype=torch.bool)
    inside[:3] = True
    changed = torch.where(inside, coverage, 0.5)
    before, after = (gather(embedding, each, inside) for each in (coverage, changed))
    torch.testing.assert_close(before.gram, after.gram)
    torch.testing.assert_close(before.moment, after.moment)


def test_rivals_count_for_more_than_the_rest_of_the_background():
    """Two objects that differ little, in a frame full of something else."""
    generator = torch.Generator().manual_seed(2)
    embedding = 0.3 * torch.randn(1, 4, 12, 16, generator=generator)
    coverage = torch.zeros(2, 12, 16)
    coverage[0, 4:6, 2:4] = coverage[1, 4:6, 9:11] = 1.0
    embedding[:, 0] += coverage.sum(0)
    embedding[:, 1] += 0.5 * (coverage[0] - coverage[1])
    rivals = coverage.flip(0)
    plain = maps(embedding, gather(embedding, coverage))[0, 0]
    against = maps(embedding, gather(embedding, coverage, rivals=rivals))[0, 0]
    apart = [shown[coverage[0] > 0].mean() - shown[coverage[1] > 0].mean() for shown in (plain, against)]
    assert apart[1] > apart[0] + 0.1
    alone = gather(embedding, coverage[:1], rivals=torch.zeros(1, 12, 16))
    torch.testing.assert_close(alone.gram, gather(embedding, coverage[:1]).gram)


def test_an_object_smaller_than_a_patch_weighs_as_much_as_its_surroundings():
    embedding, _ = random_case()
    coverage = torch.zeros(1, 5, 7)
    coverage[0, 2, 3] = 0.02
    shown = maps(embedding, gather(embedding, coverage))[0, 0]
    assert shown.argmax() == 2 * 7 + 3 and shown[2, 3] > 0.9


def test_frames_are_blended_by_object():
    embedding, coverage = random_case()
    one, other = gather(embedding, coverage), gather(-embedding, coverage)
    mixed = one.blended(other, torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed.gram[0], one.gram[0]) and torch.equal(mixed.moment[0], one.moment[0])
    torch.testing.assert_close(mixed.moment[1], other.moment[1])
