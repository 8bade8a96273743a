"""Over how long a stretch a series looks stationary: the augmented Dickey-Fuller test, for many stretches at once.

N: stretches, S: steps, C: channels. Statistics are computed in fp64: they are differences of large sums.
"""

import torch
from torch import Tensor

CRITICAL = (-3.43035, -6.5393, -16.786, -79.433)
"""The 1 % value with a constant over 1, n, n^2 and n^3 (MacKinnon 2010, Critical Values for Cointegration Tests)."""

LEAST_ROWS = 6


def dickey_fuller(rows_NSC: Tensor) -> tuple[Tensor, Tensor]:
    """The test's statistic with a constant and one lag, and how many rows its regression had: (N, C) each.

    The change to a step is regressed on a constant, the value before, and the change before; the statistic is that of
    the value's coefficient. Steps without a known past of two steps do not enter; too few rows or a constant series
    give 0, by which nothing is stationary.
    """
    values = rows_NSC.double()
    change = values[:, 2:] - values[:, 1:-1]
    before, change_before = values[:, 1:-1], values[:, 1:-1] - values[:, :-2]
    there = ~(change.isnan() | change_before.isnan())
    count = there.sum(1)

    def centred(x: Tensor) -> Tensor:
        x = torch.where(there, x, 0.0)
        return torch.where(there, x - x.sum(1, keepdim=True) / count.clamp_min(1)[:, None], 0.0)

    y, a, b = centred(change), centred(before), centred(change_before)
    aa, bb, ab, ay, by, yy = ((u * v).sum(1) for u, v in ((a, a), (b, b), (a, b), (a, y), (b, y), (y, y)))
    determinant = aa * bb - ab * ab
    usable = (count >= LEAST_ROWS) & (determinant > 1e-12 * aa * bb) & (aa > 0) & (bb > 0)
    safe = torch.where(usable, determinant, 1.0)
    slope_a, slope_b = (ay * bb - by * ab) / safe, (by * aa - ay * ab) / safe
    residual = (yy - slope_a * ay - slope_b * by).clamp_min(0) / (count - 3).clamp_min(1)
    error = (residual * bb / safe).sqrt()
    return torch.where(usable & (error > 0), slope_a / error.clamp_min(1e-300), 0.0), count


def is_stationary(rows_NSC: Tensor) -> Tensor:
    """Whether a unit root is refused at 1 % by the mean over channels of statistic less critical value: bool, (N,)."""
    statistic, count = dickey_fuller(rows_NSC)
    n = count.clamp_min(1).double()
    critical = CRITICAL[0] + CRITICAL[1] / n + CRITICAL[2] / n**2 + CRITICAL[3] / n**3
    return (statistic - critical).mean(1) < 0
