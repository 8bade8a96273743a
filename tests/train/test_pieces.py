"""Small parts of training: schedule, optimizers, health measures, heads, devices."""

import math

import pytest
import torch
from torch import nn

from selfray.errors import UserError
from selfray.parts.heads import mlp
from selfray.train import health, optimizers, rules
from selfray.train.schedule import learning_rate_factor


def test_the_learning_rate_rises_linearly_and_falls_along_half_a_cosine():
    factors = [learning_rate_factor(s, 100, 0.1, 0.0) for s in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] < 0.001
    assert learning_rate_factor(0, 10, 0.0, 0.2) == 1.0
    assert learning_rate_factor(10, 10, 0.0, 0.2) == pytest.approx(0.2)


def test_lars_is_its_papers_update():
    weight, bias = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(3))
    w, b = weight.detach().clone(), bias.detach().clone()
    optimizer = optimizers.lars(
        [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], lr=0.3, weight_decay=0.1
    )
    velocity, bias_velocity = torch.zeros(3, 2), torch.zeros(3)
    for step in range(3):
        g, gb = torch.full((3, 2), 0.1 + step), torch.full((3,), 0.2)
        weight.grad, bias.grad = g.clone(), gb.clone()
        optimizer.step()
        update = g + 0.1 * w
        velocity = 0.9 * velocity + 1e-3 * w.norm() / update.norm() * update
        bias_velocity = 0.9 * bias_velocity + gb
        w, b = w - 0.3 * velocity, b - 0.3 * bias_velocity
    torch.testing.assert_close(weight.detach(), w)
    torch.testing.assert_close(bias.detach(), b)


def test_only_weights_are_decayed():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    decayed, plain = optimizers.build("sgd", [network], weight_decay=0.5).param_groups
    assert [p.ndim for p in decayed["params"]] == [2]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert len(plain["params"]) == 3


def test_health_measures_know_collapse_from_health():
    healthy, torch_random = torch.randn(256, 32), torch.Generator().manual_seed(0)
    point = torch.ones(256, 32) + 1e-3 * torch.randn(256, 32, generator=torch_random)
    line = torch.randn(256, 1, generator=torch_random) * torch.ones(1, 32)
    assert health.feature_std(healthy) == pytest.approx(1.0, abs=0.05)
    assert health.feature_std(point) < 0.01
    assert health.rankme(healthy) > 28
    assert health.rankme(line) == pytest.approx(1.0, abs=0.01)
    assert health.uniformity(healthy) < -3.5
    assert health.uniformity(point) > -0.01
    assert health.alignment(healthy, healthy) == pytest.approx(0.0, abs=1e-6)


def test_uniformity_and_rankme_are_their_formulas():
    rows = torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, -1.0]])
    pairs = [2.0, 2.0, 4.0]  # squared distances of the unit vectors
    expected = math.log(sum(math.exp(-2 * d) for d in pairs) / 3)
    assert health.uniformity(rows).item() == pytest.approx(expected, rel=1e-5)
    shares = [3 / (3 + math.sqrt(5)), math.sqrt(5) / (3 + math.sqrt(5))]
    assert health.rankme(rows).item() == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-4)


def test_each_kind_of_collapse_is_warned_of_in_words():
    fine = {"health/feature_std": 0.4, "health/rankme": 20.0, "health/uniformity": -0.5}
    assert rules.warnings(fine, 128) == []
    assert "same way" in rules.warnings({**fine, "health/feature_std": 0.01}, 128)[0]
    assert "coincide" in rules.warnings({**fine, "health/uniformity": -0.01}, 128)[0]
    assert "line" in rules.warnings({**fine, "health/rankme": 1.1}, 128)[0]
    assert "what the loss compares" in rules.warnings({**fine, "health/projection_uniformity": -0.02}, 128)[0]
    assert rules.warnings({**fine, "health/projection_uniformity": -0.9}, 128) == []
    assert rules.warnings({}, 128) == []
    with pytest.raises(UserError, match="infinite or not a number"):
        rules.stop_if_not_finite(0.1, 30)


def test_a_head_has_no_bias_that_normalisation_cancels():
    head = mlp([4, 8, 2], last_norm=True)
    assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert head[0].bias is None
    assert head[3].bias is None
    assert not head[4].affine
    assert mlp([4, 8, 2], norm=False)[0].bias is not None


def test_threads_are_shared_between_the_workers_of_a_machine(recipe, monkeypatch):
    from selfray.train import device

    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert device.threads(recipe(threads=None, workers=1).pretrain) == 8
    assert device.threads(recipe(threads=None, workers=4).pretrain) == 2
    assert device.threads(recipe(threads=3).pretrain) == 3
