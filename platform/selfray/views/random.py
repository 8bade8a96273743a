"""Random numbers that are a pure function of who they are for: the same on any device, in any batch, after a resume."""

import math
from functools import partial

import torch
from torch import Tensor

from ..parts.rows import by_rows

# splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), section 5;
# torch has no complete uint64 arithmetic, so the constants are those of the paper as two's complement int64.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
SECOND_FACTOR = 0x94D049BB133111EB - 2**64

OBJECTIVE = 1 << 20
"""The first of the streams that objectives draw from; those before are for views."""


def sample_keys(ids: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
    """One key a sample, from which all of its randomness in this epoch follows.

    Args:
        ids: int64, (batch,), the samples' numbers in the corpus.
        seed: the run's seed.
        epoch: how often the corpus has been seen; a tensor () or (batch,) lets a batch span two epochs and keeps a
            compiled step from being compiled again for every epoch.

    Returns:
        int64, (batch,), evenly distributed over all 64 bits.
    """
    key = _mix(ids.new_full((), _wrap(seed)) + GOLDEN)
    key = _mix(key + epoch + GOLDEN)
    return _mix(key + ids + GOLDEN)


def uniform(keys: Tensor, stream: int, count: int) -> Tensor:
    """Numbers evenly distributed in [0, 1), multiples of 2**-24.

    Args:
        keys: int64, (batch,), of `sample_keys`.
        stream: which of a key's independent sequences, such as the number of the view.
        count: how many numbers of the sequence; a larger count only appends.

    Returns:
        float32, (batch, count). Row i depends on `keys[i]` and `stream` only.
    """
    draws = by_rows(partial(_draws, count=count), count, _mix(keys + _wrap((stream + 1) * GOLDEN)))
    # A view that the compiler cannot see through: it stores the numbers instead of hashing again for every pixel.
    return draws.as_strided(draws.shape, draws.stride())


def normal(keys: Tensor, stream: int, count: int) -> Tensor:
    """Numbers of the standard normal distribution, within 5.4 deviations; see `uniform` for the arguments.

    Returns:
        float32, (batch, count).
    """
    return torch.erfinv(2 * uniform(keys, stream, count) + (2.0**-24 - 1)) * math.sqrt(2)


def _draws(start: Tensor, count: int) -> Tensor:
    # Exclusive or, not a sum: the compiler takes sums of positions for addresses, and those must not overflow.
    bits = _mix(start[:, None] ^ torch.arange(count, device=start.device))
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64: a bijection of int64 in which each input bit flips every output bit evenly."""
    x = (x ^ _shift(x, 30)) * FIRST_FACTOR
    x = (x ^ _shift(x, 27)) * SECOND_FACTOR
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical right shift; the one of int64 would fill up with the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _wrap(number: int) -> int:
    """Any whole number, modulo 2**64, as an int64."""
    return (number + 2**63) % 2**64 - 2**63
