"""MiniRocket: 84 fixed kernels and shares of positive values, the strong answer without learning for classes of series.

After Dempster, Schmidt and Webb 2021, arXiv:2012.08791, sections 3 and 4. N: series, T: steps, C: channels, K: kernels.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d

from .steps import Array, ends

WIDTH = 9
TRIPLES = np.array(list(combinations(range(WIDTH), 3)))  # where a kernel is 2; it is -1 elsewhere
FEATURES = 10_000
DILATIONS = 32
GOLDEN = (5**0.5 + 1) / 2
PART = 64  # series at once


@dataclass(frozen=True)
class Rocket:
    """Kernels with their dilations, channels and biases.

    Args:
        weights: of each dilation, (K, C, 9): the kernel in the channels it looks at, 0 in the others.
        biases: of each dilation, (K, biases).
        dilations: steps between a kernel's taps.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    dilations: list[int]

    def __call__(self, values: Array) -> NDArray[np.float32]:
        """Shares of positions at which a kernel exceeds a bias: (N, T, C) to (N, features).

        Args:
            values: scaled; missing ones are NaN. Steps after the last known one do not count.
        """
        found = []
        for at in range(0, len(values), PART):
            part, count = _tensor(values[at : at + PART]), torch.from_numpy(ends(values[at : at + PART]))
            shares = [
                _shares(_convolved(part, weights, dilation), biases, _counted(count, part.shape[2], dilation, i))
                for i, (weights, biases, dilation) in enumerate(
                    zip(self.weights, self.biases, self.dilations, strict=True)
                )
            ]
            found.append(torch.cat(shares, dim=1).numpy())
        return np.concatenate(found)


def fit(values: Array, seed: int = 0, features: int = FEATURES) -> Rocket:
    """Draw channels and biases; a bias is a quantile of what its kernel makes of a random series.

    Args:
        values: (N, T, C), scaled; missing ones are NaN.
        seed: fixes what is drawn.
        features: about as many are made.
    """
    draw = np.random.default_rng(seed)
    channels, lengths = values.shape[2], ends(values)
    kernels = np.full((len(TRIPLES), WIDTH), -1.0, np.float32)
    np.put_along_axis(kernels, TRIPLES, 2.0, axis=1)
    dilations, counts = spans(max(int(lengths.max()), 1), features // len(TRIPLES))
    weights, biases, used = list[Tensor](), list[Tensor](), 0
    for dilation, count in zip(dilations, counts, strict=True):
        looks = np.stack([_channels(channels, draw) for _ in TRIPLES])
        weights.append(torch.from_numpy(kernels[:, None, :] * looks[:, :, None]))
        chosen = draw.integers(len(values), size=len(TRIPLES))
        made = _convolved(_tensor(values[chosen]), weights[-1], dilation)
        own = made[torch.arange(len(TRIPLES)), torch.arange(len(TRIPLES))].numpy()
        places = ((used + 1 + np.arange(count)) * GOLDEN) % 1  # quantiles that spread evenly over all dilations
        quantiles = [np.quantile(row[: max(n, 1)], places) for row, n in zip(own, lengths[chosen], strict=True)]
        biases.append(torch.from_numpy(np.stack(quantiles).astype(np.float32)))
        used += count
    return Rocket(weights, biases, dilations)


def spans(length: int, each: int) -> tuple[list[int], list[int]]:
    """Dilations up to the length, spread evenly on a logarithmic scale, and how many biases of a kernel each gets."""
    most = np.log2(max((length - 1) / (WIDTH - 1), 1))
    drawn = np.logspace(0, most, min(each, DILATIONS), base=2).astype(np.int64)
    dilations, often = np.unique(drawn, return_counts=True)
    counts = (often * each / len(drawn)).astype(np.int64)
    counts[: each - counts.sum()] += 1
    return dilations.tolist(), counts.tolist()


def _channels(channels: int, draw: np.random.Generator) -> NDArray[np.float32]:
    most = min(channels, WIDTH)
    count = int(2 ** draw.uniform(0, np.log2(most + 1)))
    looks = np.zeros(channels, np.float32)
    looks[draw.choice(channels, count, replace=False)] = 1
    return looks


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.nan_to_num(values)).transpose(1, 2)


def _convolved(values: Tensor, weights: Tensor, dilation: int) -> Tensor:
    return conv1d(values, weights, padding=dilation * (WIDTH // 2), dilation=dilation)  # (N, K, T)


def _counted(count: Tensor, steps: int, dilation: int, turn: int) -> Tensor:
    """Positions whose share is taken, bool (N, K, T): every other kernel leaves out those that reach beyond an end."""
    margin = torch.zeros(len(TRIPLES), dtype=torch.long)
    margin[(turn + 1) % 2 :: 2] = dilation * (WIDTH // 2)
    margins = margin.expand(len(count), -1)
    margins = torch.where(count[:, None] > 2 * margins, margins, 0)[:, :, None]
    place = torch.arange(steps)
    return (place >= margins) & (place < count[:, None, None] - margins)


def _shares(made: Tensor, biases: Tensor, counted: Tensor) -> Tensor:
    ordered = made.masked_fill(~counted, float("-inf")).sort(dim=2).values
    below = torch.searchsorted(ordered, biases.expand(len(made), -1, -1).contiguous(), right=True)
    return ((made.shape[2] - below) / counted.sum(2, keepdim=True).clamp_min(1)).flatten(1)
