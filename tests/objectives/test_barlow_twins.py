"""Barlow Twins against its paper."""

import torch

from selfray.encoders.conv import Conv
from selfray.objectives.barlow_twins import EPSILON, BarlowTwins, cross_correlation, distance_from_identity


def naive(first, second):
    """Equation 2 entry by entry, with the variance of the paper's code."""
    matrix = torch.zeros(first.shape[1], second.shape[1], dtype=first.dtype)
    for i, one in enumerate(first.T):
        for j, other in enumerate(second.T):
            a, b = one - one.mean(), other - other.mean()
            deviations = (a.square().mean() + EPSILON).sqrt() * (b.square().mean() + EPSILON).sqrt()
            matrix[i, j] = sum(x * y for x, y in zip(a, b, strict=True)) / len(a) / deviations
    return matrix


def test_the_correlation_is_the_papers_equation_2():
    first, second = torch.randn(2, 9, 5, dtype=torch.double) * 3 + 1
    torch.testing.assert_close(cross_correlation(first, second), naive(first, second), rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_papers_equation_1():
    matrix = torch.randn(4, 4, dtype=torch.double)
    expected = sum((1 - matrix[i, i]) ** 2 for i in range(4))
    expected += 0.0051 * sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    torch.testing.assert_close(distance_from_identity(matrix, 0.0051), expected, rtol=1e-9, atol=0)


def test_views_that_agree_in_independent_units_cost_nothing():
    units = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert distance_from_identity(cross_correlation(units, units), 1.0) < 1e-8
    same = units[:, :1].expand(4, 2)
    assert abs(distance_from_identity(cross_correlation(same, same), 1.0) - 2.0) < 1e-3


def test_the_loss_of_the_model_is_that_of_its_projections_and_both_views_learn():
    torch.manual_seed(0)
    model = BarlowTwins(Conv(1, (8, 8), width=8, stages=1), hidden=6, width=5)
    first, second = torch.rand(2, 7, 1, 8, 8, requires_grad=True)
    loss, _ = model.loss(first, second)
    z = [model.projector(model.encoder.embed(view)) for view in (first, second)]
    torch.testing.assert_close(loss, distance_from_identity(naive(*z), 0.0051), rtol=1e-5, atol=1e-5)
    for gradient in torch.autograd.grad(loss, [first, second]):
        assert gradient.abs().sum() > 0
