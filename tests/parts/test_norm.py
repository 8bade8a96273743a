"""Batch normalisation over all workers."""

import sys
from pathlib import Path

import torch
from torch import nn

from selfray.parts.norm import SyncBatchNorm, synchronise

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together


def test_for_one_worker_it_is_ordinary_batch_norm_bit_for_bit():
    inputs, plain, ours = torch.randn(6, 4, 3, 3), nn.BatchNorm2d(4), SyncBatchNorm(4)
    assert torch.equal(plain(inputs), ours(inputs))
    assert torch.equal(plain.running_var, ours.running_var)


def test_conversion_keeps_weights_state_and_settings():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Sequential(nn.BatchNorm1d(4)))
    network[1].running_mean.fill_(3.0)
    state = set(network.state_dict())
    converted = synchronise(network)
    assert isinstance(converted[1], SyncBatchNorm)
    assert isinstance(converted[2][0], SyncBatchNorm)
    assert set(converted.state_dict()) == state
    assert converted[1].running_mean.eq(3.0).all()


def normalised(rank, share):
    norm = SyncBatchNorm(3).double()
    inputs = inputs_of()[rank * share : (rank + 1) * share].requires_grad_()
    output = norm(inputs)
    (output * weights_of()[rank * share : (rank + 1) * share]).sum().backward()
    return output.detach(), inputs.grad, norm.running_mean, norm.running_var


def inputs_of():
    return torch.randn(8, 3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0)) * 2 + 1


def weights_of():
    return torch.randn(8, 3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def test_two_workers_normalise_by_the_statistics_of_both():
    plain, inputs = nn.BatchNorm1d(3).double(), inputs_of().requires_grad_()
    expected = plain(inputs)
    (expected * weights_of()).sum().backward()
    parts = together(2, normalised, 4)
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), expected.detach())
    torch.testing.assert_close(torch.cat([p[1] for p in parts]), inputs.grad)
    torch.testing.assert_close(parts[0][2], plain.running_mean)
    torch.testing.assert_close(parts[1][3], plain.running_var)
