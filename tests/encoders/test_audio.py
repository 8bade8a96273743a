"""What every encoder of sound must keep, walked over all that are found on disk."""

import sys
from pathlib import Path

import pytest
import torch

from selfray import encoders
from selfray.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds

OF_AUDIO = [name for name in encoders.names() if encoders.find(name).kind == "audio"]


@pytest.fixture(params=OF_AUDIO)
def encoder(request):
    torch.manual_seed(0)
    return sounds.encoder(request.param)


def test_features_and_embeddings_have_the_stated_width_and_stride(encoder):
    features = encoder(encoders.inputs.audio(sounds.waves(3), ()))
    assert features.shape == (3, -(-sounds.LENGTH // encoder.stride), encoder.width)
    assert features.shape[1:2] == encoder.grid
    assert torch.isfinite(encoder.embed(sounds.waves(3))).all()


def test_a_sound_is_the_same_beside_longer_ones_and_with_more_padding(encoder):
    encoder.eval()
    samples = sounds.waves(4, ragged=False)
    samples[0, 3000:] = sounds.FACTS["pad"]
    longer = torch.nn.functional.pad(samples, (0, 1700), value=sounds.FACTS["pad"])
    with torch.inference_mode():
        alone = encoder.embed(samples[:1, :3000])
        torch.testing.assert_close(encoder.embed(samples)[:1], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder.embed(longer)[:1], alone, rtol=1e-4, atol=1e-5)


def test_no_gradient_comes_from_padding(encoder):
    waves = encoders.inputs.audio(sounds.waves(3), ()).requires_grad_()
    encoder(waves)[:, :2].square().sum().backward()
    assert torch.isfinite(waves.grad).all()


def test_silence_has_a_finite_embedding_and_gradient(encoder):
    samples = sounds.waves(2)
    samples[0] = 0
    embedding = encoder.embed(samples)
    assert torch.isfinite(embedding).all()
    embedding.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_every_weight_gets_a_gradient(encoder):
    encoder.embed(sounds.waves(2)).square().sum().backward()
    assert not [name for name, parameter in encoder.named_parameters() if parameter.grad is None]


def test_stereo_is_mixed_down(encoder):
    encoder.eval()
    samples = sounds.waves(2, ragged=False)
    with torch.inference_mode():
        both = encoder.embed(torch.stack([samples, samples], dim=2))
        torch.testing.assert_close(both, encoder.embed(samples), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["melconv", "meltransformer"])
def test_a_corpus_of_another_rate_is_refused(name):
    encoder = sounds.encoder(name)
    encoder.facts = {"rate": 8000}
    with pytest.raises(UserError, match=r"encoder\.rate is 16000, but the corpus has 8000 Hz; set encoder\.rate=8000"):
        encoder.embed(sounds.waves(1))


def test_cpc_sees_no_more_of_the_future_than_its_convolutions_reach():
    encoder = sounds.encoder("cpc").eval()
    first = torch.randn(1, 4800)
    second = first.clone()
    second[:, 3200:] = torch.randn(1, 1600)
    local = [encoder.local(wave)[0] for wave in (first, second)]
    same = torch.arange(30)[None] < 18
    counted = torch.ones(1, 30, dtype=torch.bool)
    cut = [encoder.context(torch.where(same[:, :, None], one, other), counted) for one in local[:1] for other in local]
    assert torch.equal(cut[0][:, :18], cut[1][:, :18])
    assert not torch.equal(cut[0][:, 18:], cut[1][:, 18:])


@pytest.mark.parametrize("name", OF_AUDIO)
def test_an_encoder_can_be_looked_at_without_memory(name):
    with torch.device("meta"):
        made = sounds.encoder(name)
        assert made(torch.zeros(2, sounds.LENGTH)).shape == (2, *made.grid, made.width)
