"""95 % intervals of what probes measure, from resampled test samples (percentile bootstrap, Efron 1979)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
AT_ONCE = 4_000_000  # weights in memory, draws x samples

Interval = tuple[float, float]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums over samples, (draws, parts), to a number of each draw."""


def of_share(right: NDArray[np.bool_], draws: int = DRAWS) -> Interval:
    """Of the share of the samples that are right: resampling them is drawing from a binomial distribution."""
    random = np.random.default_rng(0)
    return _ends(random.binomial(len(right), right.mean(), size=draws) / len(right))


def of_sums(parts: NDArray[np.float64], statistic: Statistic, draws: int = DRAWS) -> Interval:
    """Of a function of sums over samples, such as the F1 of hits and misses.

    Args:
        parts: (samples, parts), what each sample adds to each sum. Values that depend on each other, as the errors
            within one series do, belong into one row.
        statistic: from sums, (draws, parts), to (draws).
        draws: how many.
    """
    random, count = np.random.default_rng(0), len(parts)
    step = max(1, AT_ONCE // count)
    found = []
    for first in range(0, draws, step):
        weights = random.multinomial(count, np.full(count, 1 / count), size=min(step, draws - first))
        found.append(statistic(weights @ parts))
    return _ends(np.concatenate(found))


def of_cells(
    cells: NDArray[np.int64], statistic: Callable[[NDArray[np.int64]], float], bounds: Interval, draws: int = DRAWS
) -> Interval:
    """Of a function of counts in cells, such as the agreement of two partitions.

    A sample that is drawn twice agrees with itself, which lifts every draw; the draws are moved back to have their mean
    at the value.

    Args:
        cells: how many samples each cell holds.
        statistic: from such counts to a number.
        bounds: the least and the largest number there can be.
        draws: how many.
    """
    random, total = np.random.default_rng(0), cells.sum()
    found = np.array([statistic(drawn) for drawn in random.multinomial(total, cells / total, size=draws)])
    return _ends(np.clip(found - found.mean() + statistic(cells), *bounds))


def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first sum by the second: a mean whose samples count differently."""
    found: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)
    return found


def _ends(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
