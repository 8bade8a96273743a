"""What every objective must keep, walked over all that are found on disk."""

import copy

import pytest
import torch

from selfray import objectives
from selfray.encoders.conv import Conv
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.parts.momentum import Momentum
from selfray.signature import model
from selfray.train.build import asks_for_ids
from selfray.train.optimizers import build


ENCODER = {Conv: {"width": 16, "stages": 1}, ViT: {"shape": "tiny", "patch": 4, "layers": 1}}


def small(name):
    """Settings that cut a paper's sizes down to what a test can afford: every default above 64."""
    fields = model(objectives.find(name)).model_fields.items()
    return {key: 64 for key, field in fields if type(field.default) is int and field.default > 64}


def made(name, **settings):
    """The objective on the first of these encoders that it accepts: some need colours, some positions to leave out."""
    refusals = []
    for encoder in (Conv, ViT):
        for channels in (1, 3):
            torch.manual_seed(0)
            try:
                return objectives.find(name)(
                    encoder(channels, (16, 16), **ENCODER[encoder]), **(small(name) | settings)
                )
            except UserError as refusal:
                refusals.append(str(refusal))
    raise AssertionError(f"{name} refuses every encoder: {refusals}")


def views_of(objective, seed=0):
    from selfray.views.image import ImageViews
    from selfray.views.random import sample_keys

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(16, len(objective.encoder.mean), 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 16, mode="bilinear")
    samples = (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1)
    ids = torch.arange(16)
    views = ImageViews(blur=0.0, local_crops=2).make(objective.views, samples, sample_keys(ids, seed, 0))
    return views | ({"ids": ids} if asks_for_ids(objective) else {})


@pytest.fixture(params=objectives.names())
def objective(request):
    return made(request.param)


def test_loss_is_a_finite_scalar_and_its_scalars_are_detached(objective):
    loss, scalars = objective(views_of(objective))
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert all(value.ndim == 0 and not value.requires_grad for value in scalars.values())


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
