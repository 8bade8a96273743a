"""TS2Vec against its paper, written out."""

import pytest
import torch
from torch.nn.functional import max_pool1d

from selfray.encoders.conv1d import Conv1d
from selfray.encoders.dilated import Dilated
from selfray.errors import UserError
from selfray.objectives.ts2vec import TS2Vec, crops, hierarchical
from selfray.parts.masks import random_order
from selfray.views.random import sample_keys


def naive(z1, z2, alpha):
    """Equations 1 to 3 with loops; all series have the same length."""
    total, scales = 0.0, 0
    while True:
        B, T, _ = z1.shape
        instance = temporal = 0.0
        both = torch.stack([z1, z2])
        for view in (0, 1):
            for i in range(B):
                for t in range(T):
                    anchor = both[view, i, t]
                    right = torch.exp(anchor @ both[1 - view, i, t])
                    across = sum(
                        torch.exp(anchor @ both[v, j, t]) for v in (0, 1) for j in range(B) if (v, j) != (view, i)
                    )
                    within = sum(
                        torch.exp(anchor @ both[v, i, s]) for v in (0, 1) for s in range(T) if (v, s) != (view, t)
                    )
                    instance -= torch.log(right / across) / (2 * B * T)
                    temporal -= torch.log(right / within) / (2 * B * T)
        total, scales = total + alpha * instance + (1 - alpha) * temporal, scales + 1
        if T == 1:
            return total / scales
        z1, z2 = (max_pool1d(z.transpose(1, 2), 2).transpose(1, 2) for z in (z1, z2))


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_the_loss_is_the_papers_double_loop(steps):
    z1, z2 = torch.randn(2, 3, steps, 4, dtype=torch.double)
    order = torch.arange(steps).expand(3, -1)
    instance, temporal = hierarchical(z1, z2, torch.ones(3, steps, dtype=torch.bool), order, 100)
    torch.testing.assert_close(0.3 * instance + 0.7 * temporal, naive(z1, z2, 0.3), rtol=1e-6, atol=1e-6)


def test_steps_behind_the_overlap_do_not_count():
    z1, z2 = torch.randn(2, 3, 8, 4, dtype=torch.double)
    valid = (torch.arange(8) < 5).expand(3, -1)
    order = torch.arange(8).expand(3, -1)
    instance, temporal = hierarchical(z1, z2, valid, order, 100)
    torch.testing.assert_close((instance + temporal) / 2, naive(z1[:, :5], z2[:, :5], 0.5), rtol=1e-6, atol=1e-6)


def test_fewer_sampled_steps_are_easier_to_tell_apart_and_finite():
    z1, z2 = torch.randn(2, 3, 64, 4)
    valid, order = torch.ones(3, 64, dtype=torch.bool), random_order(sample_keys(torch.arange(3), 0, 0), 0, 64)
    full, some = (hierarchical(z1, z2, valid, order, most)[1] for most in (64, 16))
    assert 0 < some < full


def test_crops_overlap_within_the_series_and_reach_everywhere():
    lengths = torch.tensor([24, 7, 2, 1]).repeat(500)
    starts = []
    for draw in range(40):
        generator = torch.Generator().manual_seed(draw)
        extents, place = torch.rand(4, generator=generator), torch.rand(2000, generator=generator)
        start, left, right, end = crops(lengths, extents, place)
        assert ((start >= 0) & (start <= left) & (left < right) & (right <= end) & (end <= lengths)).all()
        assert ((right - left) >= lengths.clamp_max(2)).all()
        starts.append(start)
    assert torch.cat(starts).max() > 15


def test_the_encoder_ends_with_the_mean_of_its_weights():
    model = TS2Vec(Dilated(1, (16,), width=8, hidden=4, depth=2))
    seen = []
    for step in range(3):
        with torch.no_grad():
            model.encoder.enter.weight.fill_(float(step))
        seen.append(float(step))
        model.after_step((step + 1) / 3)
    torch.testing.assert_close(model.encoder.enter.weight, torch.full((4, 1), sum(seen) / 3))


def test_an_encoder_that_skips_steps_is_refused():
    with pytest.raises(UserError, match=r"use encoder\.name=dilated"):
        TS2Vec(Conv1d(1, (16,)))
