"""Sinkhorn assignments: the paper's listing, without its overflow."""

import pytest
import torch

from selfray.parts.schedules import linear_rise
from selfray.parts.sinkhorn import sinkhorn


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_logarithms_change_nothing_but_the_range(iterations):
    scores = torch.randn(7, 4, dtype=torch.double)
    q = torch.exp(scores / 0.3)
    for _ in range(iterations):
        q = q / q.sum(dim=0, keepdim=True) / 4
        q = q / q.sum(dim=1, keepdim=True)
    torch.testing.assert_close(sinkhorn(scores, 0.3, iterations), q, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [1e-4, 0.005, 2.0])
def test_every_temperature_gives_every_sample_a_target(temperature):
    scores = torch.rand(64, 10) * 2 - 1
    assigned = sinkhorn(scores, temperature, 3)
    assert torch.isfinite(assigned).all()
    torch.testing.assert_close(assigned.sum(1), torch.ones(64))


def test_prototypes_get_equal_shares_of_samples_that_all_prefer_one():
    scores = torch.zeros(40, 4)
    scores[:, 0] = 1 + torch.rand(40) / 10
    assigned = sinkhorn(scores, 0.05, 30)
    torch.testing.assert_close(assigned.sum(0), torch.full((4,), 10.0), rtol=1e-3, atol=1e-3)


def test_samples_that_do_not_count_do_not_move_the_others():
    scores = torch.randn(9, 4)
    counted = torch.arange(9) < 6
    torch.testing.assert_close(sinkhorn(scores, 0.1, 3, counted)[:6], sinkhorn(scores[:6], 0.1, 3))
    torch.testing.assert_close(sinkhorn(scores, 0.1, 3, torch.ones(9, dtype=torch.bool)), sinkhorn(scores, 0.1, 3))


def test_a_linear_rise_ends_at_its_end_exactly():
    assert [linear_rise(0.04, 0.07, 0.5, p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert linear_rise(0.04, 0.07, 0.3, 0.3) == 0.07
    assert linear_rise(0.04, 0.07, 0.0, 0.0) == 0.07
