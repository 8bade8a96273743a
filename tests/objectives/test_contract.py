"""What every objective must keep, walked over all that are found on disk."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from selfray import objectives
from selfray.parts.momentum import Momentum
from selfray.signature import model
from selfray.train.optimizers import build
from selfray.views import random

sys.path.insert(0, str(Path(__file__).parents[1]))
from specimens import made, views_of


@pytest.fixture(params=objectives.names())
def objective(request):
    return made(request.param)


def test_loss_is_a_finite_scalar_and_its_scalars_are_detached(objective):
    loss, scalars = objective(views_of(objective))
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert all(value.ndim == 0 and not value.requires_grad for value in scalars.values())


def test_the_smallest_and_the_largest_random_numbers_are_harmless(objective, monkeypatch):
    """Each is one of 16 million, and some objectives draw more than a million a step."""
    usual = random._draws

    def ends(start, count):
        draws = usual(start, count)
        return torch.where(draws < 0.1, 0.0, torch.where(draws > 0.9, 1 - 2.0**-24, draws))

    monkeypatch.setattr(random, "_draws", ends)
    loss, _ = objective(views_of(objective))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_the_gradient_reaches_every_trained_parameter(objective):
    objective(views_of(objective))[0].backward()
    for name, parameter in objective.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert sum(p.grad.abs().sum() for p in objective.encoder.parameters()) > 0


def test_twenty_steps_lower_the_loss(objective):
    optimizer, views = build("adamw", [objective], lr=3e-3), views_of(objective)
    losses = []
    for step in range(20):
        loss, _ = objective(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if not any(isinstance(part, Momentum) for part in objective.modules()):  # a moving target's loss may rise
            objective.after_step((step + 1) / 20)
    assert losses[-1] < losses[0] or objective.adversarial


def test_state_saved_scrambled_and_loaded_continues_bit_for_bit(objective):
    def continued(model, first):
        optimizer, losses = build("sgd", [model], lr=0.05, momentum=0.0), []
        for step in range(first, first + 3):
            loss, _ = model(views_of(model, step))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            model.after_step((step + 1) / 6)
            losses.append(loss.item())
        return losses

    continued(objective, 0)
    state = copy.deepcopy(objective.state_dict())
    expected = continued(objective, 3)
    scrambled = made(type(objective).__module__.rpartition(".")[2])
    with torch.no_grad():
        for tensor in scrambled.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.randint(9, tensor.shape))
    scrambled.load_state_dict(state)
    assert continued(scrambled, 3) == expected


def test_bf16_changes_the_loss_little(objective):
    other = copy.deepcopy(objective)
    views = views_of(objective)
    exact, _ = objective(views)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = other(views)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("temperature", [0.005, 0.07, 2.0])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name", [n for n in objectives.names() if "temperature" in model(objectives.find(n)).model_fields]
)
def test_every_temperature_that_a_search_may_try_is_finite(name, temperature, precision):
    objective = made(name, temperature=temperature)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss, _ = objective(views_of(objective))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
