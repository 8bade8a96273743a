"""MiniRocket against plain loops over kernels, positions and quantiles, and what does not change its features."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from selfray.evaluation import compare, rocket
from selfray.evaluation.features import Samples
from selfray.probes.ridge import Ridge


def noise(count=7, steps=40, channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(count, steps, channels)).astype(np.float32)


def naive(fitted, series):
    """Features of one series (steps, channels) without missing values, feature by feature."""
    steps, found = len(series), []
    triples = list(itertools.combinations(range(9), 3))
    for turn, dilation in enumerate(fitted.dilations):
        for k, triple in enumerate(triples):
            made = []
            for at in range(steps):
                total = 0.0
                for tap in range(9):
                    place = at + (tap - 4) * dilation
                    if 0 <= place < steps:
                        used = series[place][fitted.weights[turn][k].abs().sum(1).numpy() > 0].sum()
                        total += (2 if tap in triple else -1) * float(used)
                made.append(total)
            inside = made[4 * dilation : steps - 4 * dilation]
            taken = inside if (turn + k) % 2 == 1 and inside else made
            found += [sum(value > bias for value in taken) / len(taken) for bias in fitted.biases[turn][k].tolist()]
    return np.array(found)


@pytest.mark.parametrize(("steps", "channels"), [(9, 1), (40, 1), (50, 3)])
def test_features_are_those_of_plain_loops(steps, channels):
    values = noise(steps=steps, channels=channels)
    fitted = rocket.fit(values, features=84 * 6)
    found = fitted(values)
    assert found.shape == (7, 84 * 6)
    for series, features in zip(values[:2], found[:2], strict=True):
        expected = naive(fitted, series)
        assert np.abs(expected - features).max() < 1.01 / 5  # one position more or less where a sum is at the bias
        assert (np.abs(expected - features) < 1e-6).mean() > 0.995


def test_a_bias_is_a_quantile_of_a_series_that_was_seen():
    values = noise(count=1, steps=16)  # too short for a second dilation
    shares = rocket.fit(values, features=84 * 3)(values).reshape(84, 3)[0::2]  # of kernels that keep the ends
    quantiles = (np.arange(1, 4) * rocket.GOLDEN) % 1
    assert np.abs(shares - (1 - quantiles)).max() <= 1 / 16


def test_dilations_reach_the_length_and_share_all_biases():
    assert rocket.spans(9, 119) == ([1], [119])
    dilations, counts = rocket.spans(500, 119)
    assert dilations[0] == 1
    assert dilations[-1] == int(499 / 8)
    assert sum(counts) == 119
    assert counts == sorted(counts, reverse=True)


def test_padding_after_the_last_value_changes_nothing_and_a_gap_is_the_mean():
    values = noise(channels=2)
    fitted = rocket.fit(values, features=84 * 6)
    longer = np.pad(values, ((0, 0), (0, 30), (0, 0)), constant_values=np.nan)
    assert np.array_equal(fitted(longer), fitted(values))
    gap, mean = values.copy(), values.copy()
    gap[:, 10:15], mean[:, 10:15] = np.nan, 0
    assert np.array_equal(fitted(gap), fitted(mean))


def test_series_of_any_length_have_features():
    values = noise()
    fitted = rocket.fit(values, features=84 * 6)
    for length in (0, 1, 5):
        short = np.full_like(values, np.nan)
        short[:, :length] = values[:, :length]
        assert np.isfinite(fitted(short)).all()


def test_the_seed_fixes_what_is_drawn():
    values = noise(channels=3)
    one, same, other = (rocket.fit(values, seed, features=84 * 6)(values) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_large_corpus_is_judged_on_some_of_its_series_and_the_name_says_so(monkeypatch):
    monkeypatch.setattr(compare, "ROCKETS", 30)
    steps, labels = np.arange(40), np.arange(60) % 2
    waves = np.sin(steps / (2 + 3 * labels[:, None]) + np.arange(60)[:, None])[:, :, None].astype(np.float32)
    split, scale = Samples(np.arange(60), waves, labels), SimpleNamespace(mean=(0.0,), std=(1.0,))
    asked = (Ridge(), split, split, np.arange(60))
    assert compare._rocket(*asked, scale, 0) == {"MiniRocket on up to 30 series": 1}
    monkeypatch.setattr(compare, "ROCKETS", 60)
    assert compare._rocket(*asked, scale, 0) == {"MiniRocket": 1}
