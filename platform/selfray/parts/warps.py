"""Changes of a series' time axis and spectrum, each series with its own parameters and its own length.

B: batch, T: time, C: channels, K: knots of a curve. Missing values are NaN and stay missing.
"""

import torch
from torch import Tensor

NAN = float("nan")


def progress(length_B: Tensor, steps: int) -> Tensor:
    """Where a step lies in its series, from 0 at the first to 1 at the last: (B, T); 1 behind it."""
    last = (length_B - 1).clamp_min(1)[:, None]
    return (torch.arange(steps, device=length_B.device) / last).clamp_max(1.0)


def curve(knots_BKC: Tensor, at_BT: Tensor) -> Tensor:
    """A piecewise linear curve through evenly spaced knots: (B, T, C)."""
    pieces = knots_BKC.shape[1] - 1
    place = at_BT * pieces
    left = place.floor().clamp(0, pieces - 1)
    part = (place - left)[:, :, None]
    index = left.long()[:, :, None].expand(-1, -1, knots_BKC.shape[2])
    before, after = knots_BKC.gather(1, index), knots_BKC.gather(1, index + 1)
    return before + (after - before) * part


def resampled(rows_BTC: Tensor, start_B: Tensor, kept_B: Tensor, length_B: Tensor, speeds_BK: Tensor) -> Tensor:
    """The steps from `start` on, `kept` of them, stretched over `length` steps, faster where the speed is higher.

    Values between steps are interpolated; where one neighbour is missing, the nearer one decides.
    """
    T = rows_BTC.shape[1]
    steps = torch.arange(T, device=rows_BTC.device)
    outside = steps >= length_B[:, None]
    rate = curve(speeds_BK[:, :, None], progress(length_B, T))[:, :, 0].masked_fill(outside | (steps == 0), 0.0)
    gone = rate.double().cumsum(1)  # in fp32 an even speed would miss the steps of a long series
    share = gone / gone[:, -1:].clamp_min(1e-9)
    place = start_B[:, None] + share * (kept_B[:, None] - 1)
    near = place.round()
    place = torch.where((place - near).abs() < 1e-6, near, place)
    left = place.floor().long().clamp(0, T - 1)
    part = (place - left).float()[:, :, None]
    index = left[:, :, None].expand(-1, -1, rows_BTC.shape[2])
    before, after = rows_BTC.gather(1, index), rows_BTC.gather(1, (index + 1).clamp_max(T - 1))
    between = before + (after - before) * part
    nearer = torch.where(part < 0.5, before, after)
    values = torch.where(part == 0, before, torch.where(between.isnan(), nearer, between))
    return values.masked_fill(outside[:, :, None], NAN)


def permuted(rows_BTC: Tensor, length_B: Tensor, draws_BN: Tensor) -> Tensor:
    """Each series cut into pieces at random places and put together in random order, all channels alike.

    Args:
        draws_BN: uniform; N is twice the largest number of pieces. The number of pieces is 1 to that.
    """
    cuts, order = draws_BN.chunk(2, dim=1)
    most, T = cuts.shape[1], rows_BTC.shape[1]
    pieces = (cuts[:, :1] * most).floor().clamp_max(most - 1)  # cuts between them
    used = torch.arange(most - 1, device=rows_BTC.device) < pieces
    places = (cuts[:, 1:] * length_B[:, None]).masked_fill(~used, float("inf"))
    steps = torch.arange(T, device=rows_BTC.device)
    piece = (steps[None, :, None] >= places[:, None]).sum(2)
    rank = order.argsort(1).argsort(1).gather(1, piece)
    rank = rank.masked_fill(steps >= length_B[:, None], most)  # padding stays at the end
    index = (rank * T + steps).argsort(1)
    return rows_BTC.gather(1, index[:, :, None].expand(-1, -1, rows_BTC.shape[2]))


def without_frequencies(rows_BTC: Tensor, gone_BT: Tensor) -> Tensor:
    """Without the frequencies 1, 2, ... marked in the columns 0, 1, ...; missing values count as the channel's mean."""
    there = ~rows_BTC.isnan()
    count = there.sum(1, keepdim=True).clamp_min(1)
    mean = rows_BTC.nan_to_num().sum(1, keepdim=True) / count
    spectrum = torch.fft.rfft(torch.where(there, rows_BTC - mean, 0.0), dim=1)
    hidden = gone_BT[:, : spectrum.shape[1] - 1, None]
    kept = torch.cat([spectrum[:, :1], spectrum[:, 1:].masked_fill(hidden, 0.0)], dim=1)
    changed = torch.fft.irfft(kept, n=rows_BTC.shape[1], dim=1) + mean
    return torch.where(there, changed, NAN)
