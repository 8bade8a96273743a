"""What every objective must keep, walked over all that are found on disk."""

import copy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from selfray import objectives
from selfray import views as view_families
from selfray.corpus.kinds.text import Text
from selfray.encoders.conv import Conv
from selfray.encoders.dilated import Dilated
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.parts.momentum import Momentum
from selfray.signature import model
from selfray.train.build import asks_for_ids
from selfray.train.optimizers import build

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds
import texts

ENCODERS = [
    *(partial(Conv, channels, (16, 16), width=16, stages=1) for channels in (1, 3)),
    *(partial(ViT, channels, (16, 16), shape="tiny", patch=4, layers=1) for channels in (1, 3)),
    partial(texts.encoder, "bert"),
    partial(texts.encoder, "gpt"),
    partial(sounds.encoder, "cpc"),
    partial(sounds.encoder, "wav2vec2"),
    partial(sounds.encoder, "meltransformer"),
    partial(Dilated, 2, (24,), width=16, hidden=8, depth=3, dropout=0.0),
]
"""Of every data type; an objective is tried on the first that it accepts."""


def images(encoder, seed):
    """Smooth pictures as a corpus stores them, and their ids."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(16, len(encoder.mean), 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 16, mode="bilinear")
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1), torch.arange(16)


def rows_of_text(encoder, seed):
    """Tokens, each row of another document."""
    return texts.rows(16, encoder.facts, encoder.size[0], seed), torch.arange(16) * Text.pieces


def series(encoder, seed):
    """Random walks of two channels; one is shorter and one has a gap."""
    rows = torch.randn(16, 24, 2, generator=torch.Generator().manual_seed(seed)).cumsum(1) / 5
    rows[1, 18:], rows[2, 4:7, 0] = torch.nan, torch.nan
    return rows, torch.arange(16)


def recordings(encoder, seed):
    """Chirps, each of its own length."""
    return sounds.waves(4, seed=seed), torch.arange(4)


SAMPLES = {"image": images, "text": rows_of_text, "series": series, "audio": recordings}
VIEWS = {"image": {"blur": 0.0, "local_crops": 2}, "audio": {"clip": None}}


def small(name):
    """Settings that cut a paper's sizes down to what a test can afford: every default above 64."""
    fields = model(objectives.find(name)).model_fields.items()
    return {key: 64 for key, field in fields if type(field.default) is int and field.default > 64}


def made(name, **settings):
    """The objective on the first of these encoders that it accepts: some need colours, some positions to leave out."""
    refusals = []
    for encoder in ENCODERS:
        torch.manual_seed(0)
        try:
            return objectives.find(name)(encoder(), **(small(name) | settings))
        except UserError as refusal:
            refusals.append(str(refusal))
    raise AssertionError(f"{name} refuses every encoder: {refusals}")


def views_of(objective, seed=0):
    from selfray.views.random import sample_keys

    encoder = objective.encoder
    samples, ids = SAMPLES[encoder.kind](encoder, seed)
    views = view_families.find(encoder.kind)(**VIEWS.get(encoder.kind, {}))
    views.use(encoder.facts)
    made = views.make(objective.views, samples, sample_keys(ids, seed, 0))
    return made | ({"ids": ids} if asks_for_ids(objective) else {})


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
