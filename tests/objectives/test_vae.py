"""The variational autoencoder against its paper, and two workers against one."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.parallel import DistributedDataParallel

from selfray.encoders.conv import Conv
from selfray.objectives.vae import VAE, bernoulli_nats, divergence, free_bits, gaussian_nats, sampled
from selfray.views.random import OBJECTIVE, normal, sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together


def made(**settings):
    torch.manual_seed(0)
    return VAE(Conv(1, (8, 8), width=8, stages=1), latent=4, width=16, **settings)


def keys(count):
    return sample_keys(torch.arange(count), 0, 0)


def test_the_divergence_is_that_of_torchs_distributions():
    mean, log_variance = torch.randn(2, 5, 7, dtype=torch.double)
    posterior, prior = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), 1.0)
    torch.testing.assert_close(divergence(mean, log_variance), kl_divergence(posterior, prior))


def test_likelihoods_are_those_of_torchs_distributions():
    output, target = torch.randn(3, 2, 4, 4, dtype=torch.double), torch.rand(3, 2, 4, 4, dtype=torch.double)
    bits = target.round()
    expected = -Bernoulli(logits=output).log_prob(bits).sum((1, 2, 3)).mean()
    torch.testing.assert_close(bernoulli_nats(output, bits), expected)
    expected = -Normal(output, 0.3).log_prob(target).sum((1, 2, 3)).mean()
    torch.testing.assert_close(gaussian_nats(output, target, 0.3), expected)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_loss_is_minus_the_bound_over_the_number_of_values(likelihood):
    model, images = made(beta=0.5, likelihood=likelihood).eval(), torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        loss, logged = model.loss(images, keys(6))
        mean, log_variance = model.posterior(model.encoder.embed(images)).chunk(2, 1)
        output = model.decoder(mean + (log_variance / 2).exp() * normal(keys(6), OBJECTIVE, 4))
        total = 0.0
        for i in range(6):
            seen = Bernoulli(logits=output[i]) if likelihood == "bernoulli" else Normal(output[i], 0.3)
            if likelihood == "bernoulli":
                total -= (
                    images[i] * seen.logits.sigmoid().log() + (1 - images[i]) * (-seen.logits).sigmoid().log()
                ).sum()
            else:
                total -= seen.log_prob(images[i]).sum()
            posterior = Normal(mean[i], (log_variance[i] / 2).exp())
            total += 0.5 * kl_divergence(posterior, Normal(torch.zeros(4), 1.0)).sum()
        torch.testing.assert_close(loss, total / 6 / 64, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            loss * 64, logged["misfit_nats"] + 0.5 * logged["divergence_nats"], rtol=1e-4, atol=0
        )


def test_the_code_has_the_posteriors_mean_and_deviation():
    mean, log_variance = torch.tensor([[2.0]]), torch.tensor([[math.log(9.0)]])
    codes = sampled(mean, log_variance, normal(keys(20_000), 0, 1))
    assert codes.mean().item() == pytest.approx(2.0, abs=0.1)
    assert codes.std().item() == pytest.approx(3.0, abs=0.1)


def test_dimensions_below_the_free_bits_cost_a_constant_and_get_no_gradient():
    each = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    priced = free_bits(each, 0.5)
    assert priced.item() == pytest.approx(0.5 + 3.0)
    priced.backward()
    assert each.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_an_unused_code_has_no_active_dimension():
    model = made()
    torch.nn.init.zeros_(model.posterior.weight)
    torch.nn.init.zeros_(model.posterior.bias)
    _, logged = model.loss(torch.rand(6, 1, 8, 8), keys(6))
    assert logged["active_dimensions"] == 0
    assert logged["divergence_per_dimension"] == 0


def test_huge_variances_stay_finite():
    model = made()
    torch.nn.init.constant_(model.posterior.bias, 1e4)
    loss, _ = model.loss(torch.rand(6, 1, 8, 8), keys(6))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def trained(rank, world):
    from selfray.parts.norm import synchronise

    model = made(free_nats=0.05).double()
    if world > 1:
        synchronise(model)
    wrapped = DistributedDataParallel(model, forward_sync_buffers=False) if world > 1 else model
    images = torch.rand(8, 1, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    loss, _ = wrapped({"images": images.chunk(world)[rank], "keys": keys(8).chunk(world)[rank]})
    loss.backward()
    return loss.item(), {n: p.grad for n, p in model.named_parameters()}


def test_two_workers_equal_one_with_free_bits_over_all_samples():
    loss, gradients = trained(0, 1)
    workers = together(2, trained, 2)
    assert sum(other for other, _ in workers) / 2 == pytest.approx(loss, rel=1e-9)
    for _, theirs in workers:
        for name, gradient in gradients.items():
            torch.testing.assert_close(theirs[name], gradient, rtol=1e-7, atol=1e-10)


def test_pictures_are_reconstructions_and_samples():
    for likelihood in ("bernoulli", "gaussian"):
        shown = made(likelihood=likelihood).eval().pictures({"images": torch.rand(6, 1, 8, 8), "keys": keys(6)})
        assert list(shown) == ["reconstructed", "drawn from the prior"]
        assert all(p.shape == (6, 1, 8, 8) and p.min() >= 0 and p.max() <= 1 for p in shown.values())
