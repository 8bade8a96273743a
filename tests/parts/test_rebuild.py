"""Rebuilding values of every data type: what is a target, what is damaged, and what a person is shown."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.encoders.conv1d import Conv1d
from selfray.encoders.dilated import Dilated
from selfray.encoders.recurrent import Recurrent
from selfray.encoders.tst import TST
from selfray.errors import UserError
from selfray.objectives.autoencoder import Autoencoder
from selfray.objectives.gan import GAN
from selfray.objectives.vae import VAE
from selfray.parts import rebuild
from selfray.parts.decoders import RecurrentDecoder
from selfray.views.audio import waveform
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds
import texts

KEYS = sample_keys(torch.arange(6), 0, 0)
SOUNDS = ["melconv", "meltransformer", "cpc", "wav2vec2"]
SERIES = {
    "dilated": lambda: Dilated(2, (21,), width=8, hidden=8, depth=2, dropout=0.0),
    "recurrent": lambda: Recurrent(2, (21,), width=8),
    "tst": lambda: TST(2, (21,), width=8, heads=2, layers=1, hidden=8, patch=4, dropout=0.0),
    "conv1d": lambda: Conv1d(2, (21,), width=8, stages=2),
}


def series():
    """Two channels, a short series and gaps."""
    rows = torch.randn(6, 21, 2, generator=torch.Generator().manual_seed(0)).cumsum(1) + 5
    rows[1, 15:], rows[2, 3:6, 0], rows[3, :, 1] = torch.nan, torch.nan, torch.nan
    return rows


def encoder_and_inputs(name):
    torch.manual_seed(0)
    if name in SOUNDS:
        return sounds.encoder(name), waveform(sounds.waves(6))
    encoder = SERIES[name]()
    encoder.set_statistics((5.0, 5.0), (2.0, 3.0))
    return encoder, series()


MODELS = {
    "vector": partial(Autoencoder, noise=0.2, run=2.0, width=16),
    "recurrent": partial(Autoencoder, decoder="recurrent", width=16),
    "positions": partial(Autoencoder, code="positions", noise=0.2),
    "vae": partial(VAE, latent=4, likelihood="gaussian", width=16),
}
TRIED = [("vector", name) for name in (*SERIES, "melconv", "cpc")]
TRIED += [("recurrent", name) for name in ("recurrent", "melconv")]
TRIED += [("positions", name) for name in ("conv1d", "meltransformer", "wav2vec2")]
TRIED += [("vae", name) for name in ("recurrent", "melconv", "cpc")]


@pytest.mark.parametrize(("model", "name"), TRIED)
def test_every_family_learns_to_rebuild_its_batch(model, name):
    encoder, inputs = encoder_and_inputs(name)
    model, losses = MODELS[model](encoder), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(6):
        loss, _ = model.loss(inputs, KEYS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["dilated", "melconv"])
def test_a_gan_judges_what_is_as_long_as_the_real(name):
    encoder, inputs = encoder_and_inputs(name)
    model = GAN(encoder, latent=4, width=16, critic_width=4)
    real = rebuild.values(encoder, inputs)
    assert model.generator(torch.randn(6, 4)).shape == real.shape
    loss, _ = model.loss(inputs, KEYS)
    loss.backward()
    assert torch.isfinite(loss)


def test_the_error_is_that_of_the_known_values_in_units_of_the_corpus():
    encoder, inputs = encoder_and_inputs("dilated")
    model = Autoencoder(encoder, width=16).eval()
    with torch.no_grad():
        made = model.decoder(encoder.embed(inputs))
        total, count = 0.0, 0
        for sample in range(6):
            for step in range(21):
                for channel in range(2):
                    value = inputs[sample, step, channel]
                    if not value.isnan():
                        wanted = (value - 5) / (2.0, 3.0)[channel]
                        total, count = total + (made[sample, channel, step] - wanted) ** 2, count + 1
        torch.testing.assert_close(model.loss(inputs, KEYS)[0], total / count, rtol=1e-5, atol=0)


def test_silence_behind_a_sound_is_no_target():
    encoder, inputs = encoder_and_inputs("cpc")
    known = ~rebuild.values(encoder, inputs)[:, 0].isnan()
    ends = [int(wave.nonzero().max()) + 1 for wave in inputs]
    assert known.sum(1).tolist() == ends


def test_gaps_are_as_long_and_as_many_as_asked_and_what_is_missing_stays_missing():
    keys = sample_keys(torch.arange(200), 0, 0)
    values = torch.ones(200, 3, 400)
    values[:, 0, :50] = torch.nan
    seen = rebuild.damaged(values, keys, 0.2, 8.0)
    gone = (seen == 0)[:, 1]
    starts = gone[:, 1:] & ~gone[:, :-1]
    assert gone.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert gone.sum().item() / starts.sum().item() == pytest.approx(8, rel=0.1)
    assert torch.equal(seen.isnan(), values.isnan())
    assert torch.equal(gone, (seen == 0)[:, 2])


def test_a_recurrent_decoder_is_its_steps_one_after_the_other():
    torch.manual_seed(0)
    decoder, vector = RecurrentDecoder(3, 2, 5, steps=4), torch.randn(1, 3)
    cell = torch.nn.GRUCell(3, 5)
    for name, value in decoder.network.named_parameters():
        getattr(cell, name.removesuffix("_l0")).data = value.data
    state, expected = decoder.begin(vector).tanh(), []
    for _ in range(4):
        state = cell(vector, state)
        expected.append(decoder.leave(state))
    torch.testing.assert_close(decoder(vector), torch.stack(expected, dim=2))


@pytest.mark.parametrize("name", [*SERIES, *SOUNDS])
def test_pictures_are_views_of_the_data_type_and_frames_have_none(name):
    encoder, inputs = encoder_and_inputs(name)
    made = Autoencoder(encoder, noise=0.2, width=16).eval().pictures({"images": inputs, "keys": KEYS})
    if name.startswith("mel"):
        assert made == {}
    else:
        assert sorted(made) == ["damaged", "reconstructed"]
        assert all(one.shape == inputs.shape for one in made.values())


def test_undamaged_values_are_shown_as_they_were():
    for name in ("dilated", "cpc"):
        encoder, inputs = encoder_and_inputs(name)
        again = rebuild.shown(encoder, same=rebuild.values(encoder, inputs))["same"]
        torch.testing.assert_close(again, inputs, equal_nan=True)


def test_what_cannot_be_rebuilt_is_refused():
    with pytest.raises(UserError, match=r"objective\.name=tsdae"):
        Autoencoder(texts.encoder("bert"))
    with pytest.raises(UserError, match="likelihood=gaussian"):
        VAE(SERIES["dilated"]())
    with pytest.raises(UserError, match="decoder=convolutional"):
        Autoencoder(Conv(1, (8, 8), width=8, stages=1), decoder="recurrent")
    with pytest.raises(UserError, match=r"objective\.run"):
        Autoencoder(Conv(1, (8, 8), width=8, stages=1), noise=0.2, run=3.0)
    with pytest.raises(UserError, match="too short"):
        Autoencoder(SERIES["dilated"](), noise=0.9, run=2.0)
