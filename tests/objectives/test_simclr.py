"""SimCLR against its paper and against a trusted peer."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from selfray.parts.losses import nt_xent


def double_loop(first, second, temperature):
    """Equation 1 of the paper as it is written; rows 2k and 2k + 1 are partners."""
    z, total = torch.stack([first, second], 1).flatten(0, 1), 0.0
    z = [row / row.norm() for row in z]
    for i in range(len(z)):
        others = sum(torch.exp(z[i] @ z[k] / temperature) for k in range(len(z)) if k != i)
        total += -torch.log(torch.exp(z[i] @ z[i ^ 1] / temperature) / others)
    return total / len(z)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_is_the_papers_double_loop(temperature):
    first, second = torch.randn(2, 7, 8, dtype=torch.double)
    loss, _ = nt_xent(first, second, temperature)
    torch.testing.assert_close(loss, double_loop(first, second, temperature), rtol=1e-6, atol=0)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_nt_xent_equals_pytorch_metric_learning_in_value_and_gradient(temperature):
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    first = torch.randn(16, 8, dtype=torch.double, requires_grad=True)
    second = torch.randn(16, 8, dtype=torch.double)
    ours, _ = nt_xent(first, second, temperature)
    theirs = SelfSupervisedLoss(NTXentLoss(temperature))(first, second)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    mine, peer = torch.autograd.grad(ours, first)[0], torch.autograd.grad(theirs, first)[0]
    torch.testing.assert_close(mine, peer, rtol=1e-6, atol=1e-12)


def test_identical_embeddings_cost_the_log_of_the_other_rows():
    loss, _ = nt_xent(torch.ones(6, 4), torch.ones(6, 4), 0.3)
    assert loss.item() == pytest.approx(math.log(11), rel=1e-6)


def test_perfect_partners_among_orthogonal_rows_are_all_found():
    unit = torch.eye(5)
    loss, accuracy = nt_xent(unit, unit, 0.5)
    assert accuracy == 1
    assert loss.item() == pytest.approx(math.log(1 + 8 * math.exp(-2)), rel=1e-5)


def test_length_of_the_projection_does_not_matter():
    first, second = torch.randn(2, 5, 8)
    torch.testing.assert_close(nt_xent(first * 7, second, 0.2)[0], nt_xent(normalize(first), second * 3, 0.2)[0])
