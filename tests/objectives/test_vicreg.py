"""VICReg against its paper and its code's constants."""

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.objectives.vicreg import VICReg, covariance_of_units, squared_distance, variance_hinge


def test_the_variance_term_is_the_papers_equation_1():
    rows = torch.randn(9, 5, dtype=torch.double) * 0.8
    deviations = [((unit - unit.mean()).square().sum() / 8 + 1e-4).item() ** 0.5 for unit in rows.T]
    expected = sum(max(0.0, 1 - deviation) for deviation in deviations) / 5
    assert expected > 0.05
    assert variance_hinge(rows).item() == pytest.approx(expected, rel=1e-9)


def test_the_covariance_term_is_the_papers_equations_3_and_4():
    rows = torch.randn(9, 5, dtype=torch.double)
    total = 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                a, b = rows[:, i] - rows[:, i].mean(), rows[:, j] - rows[:, j].mean()
                total += ((a * b).sum() / 8) ** 2
    torch.testing.assert_close(covariance_of_units(rows), total / 5, rtol=1e-9, atol=0)


def test_terms_are_weighted_as_in_the_paper():
    torch.manual_seed(0)
    model = VICReg(Conv(1, (8, 8), width=8, stages=1), hidden=6, width=5)
    first, second = torch.rand(2, 7, 1, 8, 8)
    loss, terms = model.loss(first, second)
    z = [model.expander(model.encoder.embed(view)) for view in (first, second)]
    hinge = (variance_hinge(z[0]) + variance_hinge(z[1])) / 2
    expected = 25 * squared_distance(*z) + 25 * hinge + covariance_of_units(z[0]) + covariance_of_units(z[1])
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert terms["variance"].item() == pytest.approx(hinge.item(), rel=1e-4)


def test_a_constant_unit_has_a_finite_gradient_that_spreads_it():
    rows = torch.zeros(4, 2, requires_grad=True)
    variance_hinge(rows).backward()
    assert torch.isfinite(rows.grad).all()
    nearly = (torch.randn(4, 2) / 100).requires_grad_()
    variance_hinge(nearly).backward()
    centred = nearly - nearly.mean(0)
    assert (nearly.grad * centred).sum() < 0  # a step against the gradient moves samples apart
