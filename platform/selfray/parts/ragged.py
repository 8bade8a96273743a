"""Series of unequal length with gaps: which steps count, and sums that only these enter.

B: batch, T: time, C: channels, D: width of features, L: a sample's own length. Missing values are NaN; a series ends at
its last step with a value, and what follows is padding. Shapes never depend on values, so nothing waits for the device.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ..train.distributed import all_sum, weight, world
from .precision import full_precision

Pooling = Literal["max", "mean"]
LEAST_DEVIATION = 1e-3
BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-5, 0.1  # torch's own


def inside(rows_BTC: Tensor) -> Tensor:
    """True up to a series' last step with a value, and at the first step always: bool, (B, T)."""
    there = ~rows_BTC.isnan().all(2)
    later = there.flip(1).long().cummax(1).values.flip(1).bool()
    first = torch.arange(there.shape[1], device=there.device) == 0
    return later | first


def lengths(rows_BTC: Tensor) -> Tensor:
    """Each series' length, at least 1: int64, (B,)."""
    return inside(rows_BTC).sum(1)


def part(rows_BTC: Tensor, start_B: Tensor, length_B: Tensor) -> Tensor:
    """Steps `start` to `start + length` of each series moved to its front; NaN follows. (B, T, C)."""
    moved = shifted(rows_BTC, start_B)
    after = torch.arange(rows_BTC.shape[1], device=rows_BTC.device) >= length_B[:, None]
    return moved.masked_fill(after[:, :, None], float("nan"))


def shifted(rows_BTD: Tensor, start_B: Tensor) -> Tensor:
    """Rows from `start` on at the front; the last row repeated fills the end. (B, T, D)."""
    T = rows_BTD.shape[1]
    index = (torch.arange(T, device=rows_BTD.device) + start_B[:, None]).clamp(0, T - 1)
    return rows_BTD.gather(1, index[:, :, None].expand(-1, -1, rows_BTD.shape[2]))


def backwards(rows_BTD: Tensor, length_B: Tensor) -> Tensor:
    """Each series turned round within its own length; what lies behind it means nothing. Its own inverse."""
    index = (length_B[:, None] - 1 - torch.arange(rows_BTD.shape[1], device=rows_BTD.device)).clamp_min(0)
    return rows_BTD.gather(1, index[:, :, None].expand(-1, -1, rows_BTD.shape[2]))


@full_precision
def moments(rows_BTC: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over time of each series' channels, of the values that are there: (B, 1, C) each."""
    there = ~rows_BTC.isnan()
    values, count = rows_BTC.nan_to_num(), there.sum(1, keepdim=True).clamp_min(1)
    mean = values.sum(1, keepdim=True) / count
    variance = ((values - mean) * there).square().sum(1, keepdim=True) / count
    return mean, variance.sqrt()


def standardised(rows_BTC: Tensor, mean_C: Tensor, std_C: Tensor, each: bool) -> Tensor:
    """Rows at mean 0 and deviation 1 over the corpus or, with `each`, over every series by itself; NaN stays."""
    if not each:
        return (rows_BTC - mean_C) / std_C
    mean, deviation = moments(rows_BTC)
    return (rows_BTC - mean) / deviation.clamp_min(LEAST_DEVIATION)


def pooled(features_BTD: Tensor, how: Pooling) -> Tensor:
    """The maximum or the mean over positions, but for rows of zeros, which encoders return for padding: (B, D)."""
    outside = (features_BTD == 0).all(2, keepdim=True)
    if how == "mean":
        return features_BTD.sum(1) / (~outside).sum(1).clamp_min(1)
    lowest = features_BTD.detach().amin((1, 2), keepdim=True)  # finite, and below every maximum that counts
    return torch.where(outside, lowest, features_BTD).amax(1)


@full_precision
def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """This worker's part of the mean over all workers' entries where `counted` is true; 0 where there is none.

    The workers' parts, averaged as the loop does, are the mean of one worker with the whole batch, however the counted
    entries are spread.
    """
    total = torch.where(counted, values, 0.0).sum()
    count = all_sum(counted.sum().to(total.dtype))
    return total / count.clamp_min(1) * (world() / weight())


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over the steps that count, of all workers; without padding it is `nn.BatchNorm1d`."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, features_BTD: Tensor, counted_BT: Tensor) -> Tensor:
        """(B, T, D) -> the same."""
        half = features_BTD.dtype in (torch.bfloat16, torch.float16)
        values = features_BTD.float() if half else features_BTD
        if self.training:
            counts = counted_BT[:, :, None].to(values.dtype)
            count = all_sum(counts.sum())
            mean = all_sum((values * counts).sum((0, 1))) / count
            variance = all_sum(((values - mean).square() * counts).sum((0, 1))) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, BATCH_NORM_MOMENTUM)
                self.running_var.lerp_(variance * count / (count - 1).clamp_min(1), BATCH_NORM_MOMENTUM)
        else:
            mean, variance = self.running_mean, self.running_var
        scaled = (values - mean) * torch.rsqrt(variance + BATCH_NORM_EPS) * self.weight + self.bias
        return scaled.to(features_BTD.dtype)
