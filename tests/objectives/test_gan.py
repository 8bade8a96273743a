"""The bidirectional GAN: one backward pass gives each part the gradient of its own loss."""

import copy

import pytest
import torch
from torch.nn.functional import softplus

from selfray.encoders.conv import Conv
from selfray.objectives.gan import GAN
from selfray.views.random import OBJECTIVE, normal, sample_keys

KEYS = sample_keys(torch.arange(6), 0, 0)


def made(**settings):
    torch.manual_seed(0)
    return GAN(Conv(1, (8, 8), width=8, stages=1), latent=4, width=16, critic_width=8, **settings)


def pairs(model, images):
    real = model.encoder.normalise(images), model.code(model.encoder.embed(images))
    drawn = normal(KEYS, OBJECTIVE, 4)
    return real, (model.generator(drawn), drawn)


def test_every_part_gets_the_gradient_of_its_own_loss_alone():
    """Against two backward passes, each through the whole network, as alternating training would do them."""
    model, images = made(spectral=False), torch.rand(6, 1, 8, 8)
    critic_side, other_side = copy.deepcopy(model), copy.deepcopy(model)
    loss, logged = model.loss(images, KEYS)
    loss.backward()

    (x, code), (made_x, drawn) = pairs(critic_side, images)
    says = critic_side.critic(x, code), critic_side.critic(made_x, drawn)
    critic = sum(-torch.log(r.sigmoid()) - torch.log(1 - f.sigmoid()) for r, f in zip(*says, strict=True)) / 6
    critic.backward()
    (x, code), (made_x, drawn) = pairs(other_side, images)
    fooling = softplus(other_side.critic(x, code)).mean() + softplus(-other_side.critic(made_x, drawn)).mean()
    fooling.backward()

    torch.testing.assert_close(loss, critic + fooling, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logged["critic"], critic.detach(), rtol=1e-5, atol=1e-6)
    expected = dict(other_side.named_parameters()) | {
        name: p for name, p in critic_side.named_parameters() if name.startswith("critic.")
    }
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-7)


def test_the_penalty_reaches_the_critic_only():
    plain, penalised = made(spectral=False), made(spectral=False, penalty=10.0)
    images = torch.rand(6, 1, 8, 8)
    for model in (plain, penalised):
        model.loss(images, KEYS)[0].backward()
    for (name, one), other in zip(plain.named_parameters(), penalised.parameters(), strict=True):
        sloped = name.startswith("critic.") and name.endswith("weight")  # no slope depends on a bias
        assert torch.allclose(one.grad, other.grad) != sloped, name


def test_the_cycle_reaches_encoder_and_generator_by_the_error_of_what_is_rebuilt():
    plain, cyclic = made(), made(cycle=0.5)
    images = torch.rand(6, 1, 8, 8)
    without, with_cycle = (model.loss(images, KEYS)[0] for model in (plain, cyclic))
    (real, code), _ = pairs(cyclic, images)
    error = (cyclic.generator(code) - real).square().mean()
    torch.testing.assert_close(with_cycle, without + 0.5 * error, rtol=1e-5, atol=1e-6)
    without.backward()
    with_cycle.backward()
    for (name, one), other in zip(plain.named_parameters(), cyclic.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad) == name.startswith("critic."), name


def test_spectral_normalisation_bounds_every_layer():
    model = made()
    for _ in range(50):  # the power iteration goes on with each pass
        model.critic(torch.rand(2, 1, 8, 8), torch.rand(2, 4))
    layers = [m for m in model.critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("settings", [{"spectral": True}, {"spectral": False, "penalty": 1.0}])
def test_the_generator_learns_where_the_data_are(settings):
    """The samples are bright, the untrained generator's are not."""
    model = made(**settings)
    model.encoder.set_statistics((0.5,), (0.25,))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for step in range(150):
        keys = sample_keys(torch.arange(16), 0, step)
        images = 0.8 + 0.1 * torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        loss, _ = model.loss(images, keys)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shown = model.pictures({"images": images[:6], "keys": KEYS})
    assert shown["generated"].mean() > 0.7
    assert torch.isfinite(loss)


def test_pictures_are_images():
    shown = made().eval().pictures({"images": torch.rand(6, 1, 8, 8), "keys": KEYS})
    assert list(shown) == ["reconstructed", "generated"]
    assert all(p.shape == (6, 1, 8, 8) and p.min() >= 0 and p.max() <= 1 for p in shown.values())
