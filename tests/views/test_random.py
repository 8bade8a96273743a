"""The generator against its own definition in plain integers, and against chance."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from selfray.views.random import sample_keys, uniform

MASK = 2**64 - 1


def splitmix(x: int) -> int:
    """The finaliser of Steele, Lea and Flood (2014), in Python's unbounded integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_mix_is_splitmix64():
    """Of seed 1234567 the published generator's first number is 6457827717110365317."""
    golden = 0x9E3779B97F4A7C15
    assert splitmix(1234567 + golden) == 6457827717110365317
    ids = torch.tensor([0, 1, 7, 2**40 + 3])
    seed, epoch = 123, 4
    base = splitmix((splitmix(seed + golden) + epoch + golden) & MASK)
    expected = [splitmix((base + i + golden) & MASK) for i in ids.tolist()]
    assert [k & MASK for k in sample_keys(ids, seed, epoch).tolist()] == expected

    start = splitmix((expected[2] + 6 * golden) & MASK)
    draws = [(splitmix(start ^ j) >> 40) / 2**24 for j in range(5)]
    assert uniform(sample_keys(ids, seed, epoch), 5, 5)[2].tolist() == draws


def test_numbers_are_uniform_on_24_bits():
    draws = uniform(sample_keys(torch.arange(20_000), 0, 0), stream=0, count=10)
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.equal((draws * 2**24).round(), draws * 2**24)
    assert kstest(draws.flatten().numpy(), "uniform").pvalue > 0.01
    for column in draws.T:  # and so is the same number of every sample
        assert chisquare(np.histogram(column.numpy(), 256, (0, 1))[0]).pvalue > 1e-3


def test_every_bit_of_a_key_is_even():
    keys = sample_keys(torch.arange(40_000), 7, 3)
    ones = torch.stack([(keys >> bit) & 1 for bit in range(64)]).double().mean(1)
    assert (ones - 0.5).abs().max() < 4.5 * 0.5 / 40_000**0.5


@pytest.mark.parametrize("changed", ["id", "seed", "epoch", "stream", "position"])
def test_neighbours_have_nothing_in_common(changed):
    """Pairs of numbers that differ in one input fill the unit square evenly."""
    ids = torch.arange(50_000)
    left = uniform(sample_keys(ids, 5, 1), 2, 2)[:, 0]
    right = {
        "id": lambda: uniform(sample_keys(ids + 1, 5, 1), 2, 1)[:, 0],
        "seed": lambda: uniform(sample_keys(ids, 6, 1), 2, 1)[:, 0],
        "epoch": lambda: uniform(sample_keys(ids, 5, 2), 2, 1)[:, 0],
        "stream": lambda: uniform(sample_keys(ids, 5, 1), 3, 1)[:, 0],
        "position": lambda: uniform(sample_keys(ids, 5, 1), 2, 2)[:, 1],
    }[changed]()
    cells = np.histogram2d(left.numpy(), right.numpy(), 16, [(0, 1), (0, 1)])[0]
    assert chisquare(cells.ravel()).pvalue > 1e-3
    assert abs(np.corrcoef(left, right)[0, 1]) < 4.5 / 50_000**0.5


def test_no_two_samples_share_a_key():
    ids = torch.arange(50_000)
    keys = torch.cat([sample_keys(ids, seed, epoch) for seed in (0, 1) for epoch in (0, 1)])
    assert len(keys.unique()) == len(keys)


def test_a_samples_numbers_do_not_depend_on_its_batch():
    ids = torch.tensor([3, 14, 15, 92])
    together = uniform(sample_keys(ids, 0, 0), 1, 6)
    alone = torch.cat([uniform(sample_keys(ids[i : i + 1], 0, 0), 1, 6) for i in range(4)])
    turned = uniform(sample_keys(ids.flip(0), 0, 0), 1, 6).flip(0)
    assert torch.equal(together, alone)
    assert torch.equal(together, turned)


def test_a_larger_count_only_appends():
    keys = sample_keys(torch.arange(5), 0, 0)
    assert torch.equal(uniform(keys, 0, 3), uniform(keys, 0, 9)[:, :3])


def test_an_epoch_may_be_a_number_or_a_tensor():
    ids = torch.arange(6)
    assert torch.equal(sample_keys(ids, 0, 3), sample_keys(ids, 0, torch.tensor(3)))
    spanning = sample_keys(ids, 0, torch.tensor([3, 3, 3, 4, 4, 4]))
    assert torch.equal(spanning, torch.cat([sample_keys(ids[:3], 0, 3), sample_keys(ids[3:], 0, 4)]))


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**64 + 5])
def test_any_whole_number_is_a_seed(seed):
    assert torch.equal(sample_keys(torch.arange(3), seed, 0), sample_keys(torch.arange(3), seed + 2**64, 0))


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    uniform(sample_keys(torch.arange(3), 0, 0), 0, 4)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_compiled_numbers_are_the_same():
    keys = sample_keys(torch.arange(100), 11, 2)
    compiled = torch.compile(lambda ids: uniform(sample_keys(ids, 11, 2), 3, 7), fullgraph=True)
    assert torch.equal(compiled(torch.arange(100)), uniform(keys, 3, 7))
