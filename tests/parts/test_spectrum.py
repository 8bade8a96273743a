"""Spectra beside those of transformers' audio utilities and of SciPy."""

import numpy as np
import pytest
import scipy.fft
import torch
from transformers import audio_utils

from selfray.parts.spectrum import LogMel, framed, lengths, levelled, mel_matrix, mfcc, statistics, to_hertz, to_mel


@pytest.fixture
def waves():
    torch.manual_seed(0)
    time = torch.arange(4000) / 16_000
    return torch.stack([(2 * torch.pi * hertz * time).sin() for hertz in (300, 2500)]) + 0.1 * torch.randn(2, 4000)


def theirs(wave, window, hop, mels):
    matrix = audio_utils.mel_filter_bank(window // 2 + 1, mels, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    before = (window - hop) // 2
    count = -(-len(wave) // hop)
    padded = np.pad(wave, (before, (count - 1) * hop + window - before - len(wave)))
    return audio_utils.spectrogram(
        padded,
        np.hanning(window + 1)[:-1],
        window,
        hop,
        power=2.0,
        center=False,
        mel_filters=matrix,
        mel_floor=1e-10,
        log_mel="log",
    ).T


def test_the_mel_scale_is_slaneys_and_has_an_inverse():
    hertz = torch.tensor([0.0, 440, 1000, 4000, 8000], dtype=torch.float64)
    expected = audio_utils.hertz_to_mel(hertz.numpy(), mel_scale="slaney")
    np.testing.assert_allclose(to_mel(hertz), expected, rtol=1e-12)
    torch.testing.assert_close(to_hertz(to_mel(hertz)), hertz)


@pytest.mark.parametrize(("rate", "fft", "mels"), [(16_000, 400, 80), (8000, 200, 40), (44_100, 2048, 128)])
def test_mel_bands_are_those_of_transformers(rate, fft, mels):
    expected = audio_utils.mel_filter_bank(fft // 2 + 1, mels, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_matrix(rate, fft, mels), expected, atol=1e-7)


@pytest.mark.parametrize(("window", "hop", "mels"), [(400, 160, 40), (1024, 160, 64)])
def test_log_mel_frames_are_those_of_transformers(waves, window, hop, mels):
    ours = LogMel(16_000, window, hop, mels)(waves)
    for row, wave in zip(ours, waves, strict=True):
        np.testing.assert_allclose(row, theirs(wave.numpy(), window, hop, mels), atol=2e-4)


def test_cepstral_coefficients_are_the_cosine_transform_of_decibels(waves):
    bands = LogMel(16_000, 400, 160, 40)(waves)
    expected = scipy.fft.dct(10 * np.log10(bands.exp().numpy()), type=2, norm="ortho")[..., :13]
    np.testing.assert_allclose(mfcc(bands, 13), expected, atol=1e-3)


def test_frames_have_their_hop_in_the_middle():
    wave = torch.arange(1.0, 11.0)[None]
    assert framed(wave, 4, 2)[0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9], [8, 9, 10, 0]]


def test_lengths_and_levels_ignore_the_silence_behind():
    wave = torch.tensor([[1.0, 0, 3, 0, 0], [0, 0, 0, 0, 0]])
    assert lengths(wave).tolist() == [3, 0]
    out = levelled(wave, lengths(wave))
    assert out[0, 3:].tolist() == [0, 0]
    torch.testing.assert_close(out[0, :3], torch.tensor([-0.2673, -1.0690, 1.3363]), atol=1e-3, rtol=0)
    assert torch.isfinite(out).all()


def test_statistics_do_not_see_padding(waves):
    longer = torch.nn.functional.pad(waves, (0, 3000))
    torch.testing.assert_close(statistics(waves, 16_000), statistics(longer, 16_000), rtol=1e-4, atol=1e-3)
