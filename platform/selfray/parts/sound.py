"""Changes of waveforms, each with its own parameters and its own length, all of a batch at once.

B: batch, T: samples of a waveform, L: a waveform's own length, behind which it is 0.
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from .rows import by_rows
from .spectrum import to_hertz, to_mel

REACH = 8  # samples on each side that an interpolated one is made of
TINY = 1e-8  # power of what is silent


def inside(length_B: Tensor, samples: int) -> Tensor:
    """True up to each waveform's length: bool, (B, T)."""
    return torch.arange(samples, device=length_B.device) < length_B[:, None]


def resampled(waves_BT: Tensor, start_B: Tensor, speed_B: Tensor | None, samples: int) -> Tensor:
    """The waveform from `start` on, played `speed` times as fast: (B, samples).

    Values between samples come from the nearest sixteen by a sine cardinal under a cosine window, whose cut-off falls
    with the speed, so that what cannot be represented is left out instead of folded back.

    Args:
        start_B: whole samples.
        speed_B: None plays as it is, without any interpolation.
    """
    if speed_B is None:
        index = start_B.long()[:, None] + torch.arange(samples, device=waves_BT.device)
        T = waves_BT.shape[1]
        return waves_BT.gather(1, index.clamp(0, T - 1)) * (index < T)
    return by_rows(partial(_interpolated, samples=samples), samples, waves_BT, start_B, speed_B)


def _interpolated(waves_BT: Tensor, start_B: Tensor, speed_B: Tensor, samples: int) -> Tensor:
    T = waves_BT.shape[1]
    # a position as whole part and rest of two float32 numbers would lose the rest after 2**24 samples
    place = start_B.double()[:, None] + torch.arange(samples, device=waves_BT.device) * speed_B.double()[:, None]
    left = place.floor()
    rest = (place - left).float()
    index = left.long().clamp_max(T + REACH - 1)
    silent = pad(waves_BT, (REACH - 1, 2 * REACH))
    cut = (1 / speed_B).clamp_max(1.0)[:, None]
    # The sine and the window of all taps follow from those of the rest by the addition theorems.
    turn, slow = math.pi * cut, math.pi / REACH
    sine, cosine = (turn * rest).sin(), (turn * rest).cos()
    window_sine, window_cosine = (slow * rest).sin() / 2, (slow * rest).cos() / 2
    total = torch.zeros_like(rest)
    for tap in range(1 - REACH, REACH + 1):
        distance = tap - rest
        if tap in (0, 1):  # where the distance may be next to 0
            near = distance.abs().clamp_min(TINY)
            weight = (turn * near).sin().div_(math.pi * near)
        else:
            angle = turn * tap
            weight = torch.addcmul(angle.sin() * cosine, angle.cos(), sine, value=-1).div_(math.pi * distance)
        window = (0.5 + math.cos(slow * tap) * window_cosine).add_(window_sine, alpha=math.sin(slow * tap))
        total = total.addcmul(weight * window, silent.narrow(1, tap + REACH - 1, T + REACH).gather(1, index))
    return total


def mean_power(waves_BT: Tensor, length_B: Tensor) -> Tensor:
    """Over each waveform's own length: (B, 1)."""
    return waves_BT.square().sum(1, keepdim=True) / length_B.clamp_min(1)[:, None]


def at_ratio(signal_BT: Tensor, other_BT: Tensor, length_B: Tensor, decibels_B: Tensor) -> Tensor:
    """`other`, made as loud as `signal` is over its own length, less so many decibels, and cut to that length."""
    other_BT = other_BT * inside(length_B, signal_BT.shape[1])
    wanted = mean_power(signal_BT, length_B) * 10 ** (-decibels_B[:, None] / 10)
    return other_BT * (wanted / mean_power(other_BT, length_B).clamp_min(TINY)).sqrt()


def without_run(waves_BT: Tensor, length_B: Tensor, share_B: Tensor, place_B: Tensor) -> Tensor:
    """Silence in one run of that share of each waveform; `place` in [0, 1) says where it begins."""
    run = share_B * length_B
    start = place_B * (length_B - run)
    steps = torch.arange(waves_BT.shape[1], device=waves_BT.device)
    return waves_BT.masked_fill((steps >= start[:, None]) & (steps < (start + run)[:, None]), 0.0)


def without_band(waves_BT: Tensor, rate: int, share_B: Tensor, place_B: Tensor) -> Tensor:
    """Each waveform without a band of frequencies: that share of the mel scale; `place` in [0, 1) says where."""
    samples = waves_BT.shape[1]
    top = to_mel(torch.tensor(rate / 2, device=waves_BT.device))
    width = share_B * top
    low = place_B * (top - width)
    edges = to_hertz(torch.stack([low, low + width]))
    frequency = torch.arange(samples // 2 + 1, device=waves_BT.device) * (rate / samples)
    hidden = (frequency >= edges[0][:, None]) & (frequency < edges[1][:, None])
    return torch.fft.irfft(torch.fft.rfft(waves_BT) * ~hidden, samples)


def in_a_room(waves_BT: Tensor, noise_BT: Tensor, rate: int, seconds_B: Tensor, level: float = 0.5) -> Tensor:
    """Each waveform with the decaying echo of a room: noise that falls by 60 dB in `seconds` (Polack's model).

    Args:
        noise_BT: normal noise, from which the echo is made.
        level: amplitude of the echo's power beside that of the direct sound.
    """
    samples = waves_BT.shape[1]
    decay = math.log(1000) / (seconds_B.clamp_min(1e-3) * rate)
    steps = torch.arange(samples, device=waves_BT.device)
    echo = noise_BT * (-decay[:, None] * steps).exp()
    echo = level * echo / echo.square().sum(1, keepdim=True).clamp_min(TINY).sqrt()
    echo = torch.where(steps == 0, 1.0, echo)
    double = 2 * samples  # else the end would come back at the beginning
    return torch.fft.irfft(torch.fft.rfft(waves_BT, double) * torch.fft.rfft(echo, double), double)[:, :samples]
