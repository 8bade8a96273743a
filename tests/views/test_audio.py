"""Views of sound: what is cut, mixed and hidden, and that every sample has its own draw."""

import sys
from pathlib import Path

import pytest
import torch

from selfray.errors import UserError
from selfray.parts import sound
from selfray.parts.spectrum import lengths
from selfray.views.audio import AudioViews, waveform
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds

NOTHING = {"clip": None, "gain": 0.0, "mix": 0.0}
ALL = {"clip": 0.2, "speed": 0.1, "room": 0.2, "noise": (5, 20), "time_mask": 0.3, "frequency_mask": 0.3}


def made(kind, samples, seed=0, ids=None, **settings):
    views = AudioViews(**settings)
    views.use(sounds.FACTS)
    return views.make(kind, samples, sample_keys(torch.arange(len(samples)) if ids is None else ids, seed, 0))


def test_with_nothing_set_both_views_are_the_sound_and_padding_is_silence():
    samples = sounds.waves(6)
    views = made("pair", samples, **NOTHING)
    expected = torch.where(samples == -32768, 0, samples).float() / 32768
    assert torch.equal(views["first"], expected)
    assert torch.equal(views["second"], expected)
    assert torch.equal(made("plain", samples)["images"], expected)


def test_views_are_a_function_of_seed_and_id_and_every_sample_has_its_own():
    samples = sounds.waves(1).expand(8, -1)
    whole = made("pair", samples, mix=0.0, **ALL)
    part = made("pair", samples[2:5], ids=torch.arange(2, 5), mix=0.0, **ALL)
    for name in ("first", "second"):
        torch.testing.assert_close(whole[name][2:5], part[name], rtol=1e-4, atol=1e-6)
        assert whole[name].unique(dim=0).shape[0] == 8
    assert not torch.equal(whole["first"], whole["second"])
    assert not torch.equal(whole["first"], made("pair", samples, seed=1, mix=0.0, **ALL)["first"])


def test_crops_lie_within_each_sounds_own_length():
    samples = sounds.waves(64, ragged=True)
    views = made("single", samples, clip=0.1)
    assert views["images"].shape == (64, 1600)
    assert (lengths(views["images"]) >= 1590).all()  # all sounds are longer
    short = torch.where(torch.arange(4800) < 700, samples, -32768)
    crop = made("single", short, clip=0.1)["images"]
    assert (crop[:, 700:] == 0).all()
    assert torch.equal(crop[:, :700], waveform(short)[:, :700])


def test_speed_moves_the_pitch_as_much():
    wave = (2 * torch.pi * 1000 * torch.arange(8000) / 16_000).sin()[None]
    for speed in (0.8, 1.25):
        played = sound.resampled(wave, torch.zeros(1), torch.tensor([speed]), 4000)
        expected = (2 * torch.pi * 1000 * speed * torch.arange(4000) / 16_000).sin()
        torch.testing.assert_close(played[0, 50:], expected[50:], atol=0.01, rtol=0)


def test_noise_has_the_ratio_that_is_asked_for():
    wave = waveform(sounds.waves(16))
    length = lengths(wave)
    noise = sound.at_ratio(wave, torch.randn(wave.shape), length, torch.full((16,), 7.0))
    ratio = 10 * (sound.mean_power(wave, length) / sound.mean_power(noise, length)).log10()
    torch.testing.assert_close(ratio, torch.full((16, 1), 7.0), atol=1e-3, rtol=0)
    assert (noise[~sound.inside(length, wave.shape[1])] == 0).all()


def test_mixing_keeps_the_length_and_about_the_power():
    samples = sounds.waves(32)
    plain, mixed = made("pair", samples, **NOTHING)["first"], made("pair", samples, **(NOTHING | {"mix": 1.0}))["first"]
    assert torch.equal(lengths(plain), lengths(mixed))
    power = [sound.mean_power(wave, lengths(wave)).mean() for wave in (plain, mixed)]
    assert abs(power[1] / power[0] - 1) < 0.1


def test_a_band_is_gone_and_the_rest_stays():
    wave = torch.randn(4, 8000)
    out = sound.without_band(wave, 16_000, torch.full((4,), 0.25), torch.full((4,), 0.5))
    before, after = torch.fft.rfft(wave).abs(), torch.fft.rfft(out).abs()
    gone = after < 1e-2 * before.mean()
    assert 0.05 < gone.float().mean() < 0.35
    torch.testing.assert_close(after[~gone], before[~gone], rtol=1e-3, atol=1e-2)


def test_the_run_that_is_silenced_has_the_asked_share_of_each_sound():
    wave = torch.ones(3, 1000)
    length = torch.tensor([1000, 500, 10])
    out = sound.without_run(wave, length, torch.full((3,), 0.2), torch.tensor([0.0, 0.5, 0.999]))
    assert (out == 0).sum(1).tolist() == [200, 100, 2]


def test_an_echo_decays_by_sixty_decibels_in_its_time():
    click = torch.zeros(1, 16_000)
    click[0, 0] = 1
    torch.manual_seed(0)
    heard = sound.in_a_room(click, torch.randn(1, 16_000), 16_000, torch.tensor([0.5]))[0, 1:]
    levels = [10 * heard[start : start + 1600].square().mean().log10() for start in (0, 8000)]
    assert abs(levels[0] - levels[1] - 60) < 3


def test_multi_crop_has_short_views_of_their_own():
    views = made("multi_crop", sounds.waves(3), clip=0.2, local_crops=2, local_clip=0.05)
    assert views["local"].shape == (2, 3, 800)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"second": {"nois": (1, 2)}}, "second: no setting 'nois'"),
        ({"second": {"clip": 2.0}}, "second.clip must be what clip is"),
        ({"noise": (20, 5)}, "noise should have the smaller number first"),
        ({"mix": 2}, "mix should be less than or equal to 1, not 2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        AudioViews(**settings)
