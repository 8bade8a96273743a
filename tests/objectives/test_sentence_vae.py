"""The variational autoencoder of sentences against its bound written out, and what keeps its code in use."""

import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from selfray.errors import UserError
from selfray.objectives.sentence_vae import SentenceVAE
from selfray.views.random import OBJECTIVE, normal, sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
import texts


def made(**settings):
    torch.manual_seed(0)
    return SentenceVAE(texts.encoder("bert"), **({"latent": 4, "layers": 1} | settings))


def batch(count=6, epoch=0):
    return texts.rows(count).long(), sample_keys(torch.arange(count), 0, epoch)


def test_the_loss_is_minus_the_bound_over_the_number_of_words():
    model, (rows, drawn) = made(beta=0.5, rise=0.0, hidden=0.0).eval(), batch()
    with torch.no_grad():
        loss, logged = model.loss(rows, drawn)
        mean, log_variance = model.posterior(model.encoder.embed(rows)).chunk(2, 1)
        codes = model.spread(mean + (log_variance / 2).exp() * normal(drawn, OBJECTIVE, 4))
        nats, divergence, words = 0.0, 0.0, 0
        for row, code, m, v in zip(rows, codes, mean, log_variance, strict=True):
            for at in range(1, int((row != 0).sum())):
                features = model.decoder(code[None], row[None, :at], model.encoder.words)[0, -1]
                nats -= Categorical(logits=model.encoder.words.weight @ features).log_prob(row[at])
                words += 1
            divergence += kl_divergence(Normal(m, (v / 2).exp()), Normal(torch.zeros(4), 1.0)).sum()
    torch.testing.assert_close(loss, (nats + 0.5 * divergence) / words, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logged["kl"], divergence / 6, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logged["misfit_nats"], nats / 6, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logged["perplexity"], ((nats + divergence) / words).exp(), rtol=1e-3, atol=0)


def test_the_divergence_costs_more_and_more_and_its_factor_outlives_a_restart():
    model = made(beta=2.0, rise=0.5)
    assert model.factor == 0
    model.after_step(0.25)
    assert model.factor == 1.0
    again = made(beta=2.0, rise=0.5)
    again.load_state_dict(model.state_dict())
    assert again.factor == 1.0
    model.after_step(0.9)
    assert model.factor == 2.0
    assert made(rise=0.0).factor == 1.0


def test_a_divergence_below_the_free_bits_costs_a_constant_and_gets_no_gradient():
    def gradient(**settings):
        model = made(rise=0.0, hidden=0.0, **settings)
        loss, _ = model.loss(*batch())
        loss.backward()
        return loss.detach(), model.posterior.weight.grad

    free, nothing = gradient(free_nats=5.0), gradient(beta=0.0)
    torch.testing.assert_close(free[1], nothing[1])
    words = float((batch()[0] != 0).sum() - 6)
    torch.testing.assert_close(free[0] - nothing[0], torch.tensor(6 * 4 * 5.0 / words))


def test_the_decoder_sees_a_share_of_the_words_hidden_but_no_special_token():
    model, (rows, drawn) = made(hidden=0.4), batch(2000)
    seen, word = model._given(rows, drawn), rows > 4
    assert (seen[word] == 1).float().mean() == pytest.approx(0.4, abs=0.02)
    assert torch.equal(seen[~word], rows[~word])
    assert torch.equal(seen[seen != 1], rows[seen != 1])


def after(steps, **settings):
    model = made(rise=0.0, **settings)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        loss, logged = model.loss(*batch(16, step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, logged


def test_a_collapsed_code_is_seen_in_kl_and_one_in_use_tells_rows_apart():
    collapsed, logged = after(40, beta=50.0, hidden=0.0)
    assert logged["kl"] < 0.05
    assert logged["active_dimensions"] < 0.5
    used, logged = after(100, beta=0.01, hidden=0.5, latent=16)
    assert logged["kl"] > 5
    assert logged["active_dimensions"] > 0.5
    rows, drawn = batch(16)

    def right(model):
        said = model.eval().pictures({"tokens": rows, "keys": drawn})["rebuilt"]
        return (said == rows)[rows > 4].float().mean()

    assert right(collapsed) < 0.3
    assert right(used) > 0.7


def test_pictures_are_rows_as_the_corpus_has_them():
    shown = made().eval().pictures(dict(zip(("tokens", "keys"), batch(), strict=True)))
    assert list(shown) == ["rebuilt", "drawn from the prior"]
    for rows in shown.values():
        assert rows.shape == (6, texts.LENGTH)
        assert (rows[:, 0] == texts.FACTS["cls"]).all()
        ended = (rows == texts.FACTS["sep"]).int().cumsum(1).cumsum(1) > 1
        assert (rows[ended] == texts.FACTS["pad"]).all()


def test_an_encoder_that_sees_the_past_only_is_refused():
    with pytest.raises(UserError, match="objective 'sentence_vae' needs an encoder that reads text in both directions"):
        SentenceVAE(texts.encoder("gpt"))
