"""Ratios of signal to distortion, orders of sources, and spectra that come back as they were."""

from itertools import permutations

import pytest
import torch

from selfray.parts.unmix import Spectra, best_order, si_sdr


def test_the_ratio_is_the_papers_equation_and_ignores_the_scale():
    torch.manual_seed(0)
    estimate, target = torch.randn(2, 3, 500, dtype=torch.double)
    estimate = estimate + 2 * target
    every = torch.ones(3, 500, dtype=torch.bool)
    for row in range(3):
        e, s = estimate[row] - estimate[row].mean(), target[row] - target[row].mean()
        along = (e @ s) / (s @ s) * s
        expected = 10 * torch.log10((along @ along) / ((e - along) @ (e - along)))
        torch.testing.assert_close(si_sdr(estimate, target, every)[row], expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(si_sdr(7 * estimate, target, every), si_sdr(estimate, target, every))


def test_padding_does_not_count_and_silence_is_finite():
    estimate, target = torch.randn(2, 1, 400)
    whole = si_sdr(estimate, target, torch.ones(1, 400, dtype=torch.bool))
    longer = [torch.nn.functional.pad(wave, (0, 100), value=3.0) for wave in (estimate, target)]
    torch.testing.assert_close(si_sdr(*longer, torch.arange(500)[None] < 400), whole, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(si_sdr(estimate, torch.zeros(1, 400), torch.ones(1, 400, dtype=torch.bool))).all()


@pytest.mark.parametrize("sources", [2, 3])
def test_the_best_order_is_that_of_trying_all(sources):
    ratio = torch.randn(20, sources, sources)
    mean, order = best_order(ratio)
    for row in range(20):
        tried = {o: sum(ratio[row, o[s], s] for s in range(sources)) / sources for o in permutations(range(sources))}
        assert tuple(order[row].tolist()) == max(tried, key=tried.get)
        torch.testing.assert_close(mean[row], max(tried.values()))


@pytest.mark.parametrize("samples", [256, 1000, 4096])
def test_a_spectrum_comes_back_as_the_sound(samples):
    waves = torch.randn(2, samples)
    spectra = Spectra(64)
    found = spectra.of(waves)
    assert found.shape == (2, spectra.frames(samples), spectra.frequencies)
    torch.testing.assert_close(spectra.back(found, samples), waves, rtol=1e-4, atol=1e-5)
