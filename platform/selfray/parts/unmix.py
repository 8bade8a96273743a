"""Scale-invariant distances of waveforms, the best order of sources, and masks on spectra.

B: batch, S: sources, T: samples, N: frames, F: frequencies.
"""

from itertools import permutations

import torch
from torch import Tensor

from .precision import full_precision
from .spectrum import framed, frames_of

EPS = 1e-8
LIMIT = 60.0  # decibels


@full_precision
def si_sdr(estimate: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Scale-invariant ratio of signal to distortion in decibels, of zero-mean signals (arXiv:1811.02508, eq. 3).

    Within +-60 dB, so that a silent target gives a finite number.

    Args:
        estimate, target: (..., T), broadcast.
        inside: bool, (..., T), which samples count.

    Returns:
        (...).
    """
    count = inside.sum(-1, keepdim=True).clamp_min(1)
    estimate = (estimate - (estimate * inside).sum(-1, keepdim=True) / count) * inside
    target = (target - (target * inside).sum(-1, keepdim=True) / count) * inside
    scale = (estimate * target).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + EPS)
    signal = (scale * target).square().sum(-1)
    distortion = (estimate - scale * target).square().sum(-1)
    ratio: Tensor = 10 * ((signal + EPS) / (distortion + EPS)).log10()
    return ratio.clamp(-LIMIT, LIMIT)


def best_order(ratio_BSS: Tensor) -> tuple[Tensor, Tensor]:
    """The order of the estimates with the largest mean ratio over sources (arXiv:1607.00325).

    Args:
        ratio_BSS: of each estimate (axis 1) to each source (axis 2).

    Returns:
        That mean, (B,), and the number of each source's estimate, int64 (B, S).
    """
    count = ratio_BSS.shape[1]
    orders = torch.tensor(list(permutations(range(count))), device=ratio_BSS.device)
    means = ratio_BSS[:, orders, torch.arange(count, device=ratio_BSS.device)].mean(2)
    best = means.max(1)
    return best.values, orders[best.indices]


class Spectra:
    """Short-time spectra and back, with frames as those of `spectrum`: each centred on its own `hop` samples."""

    def __init__(self, hop: int):
        self.hop, self.length = hop, 2 * hop

    @property
    def frequencies(self) -> int:
        """F."""
        return self.hop + 1

    @full_precision
    def of(self, waves_BT: Tensor) -> Tensor:
        """Complex, (B, N + 1, F): one frame more, so that all samples lie in two."""
        return torch.fft.rfft(framed(self._shifted(waves_BT), self.length, self.hop) * self._window(waves_BT))

    @full_precision
    def back(self, spectra_BNF: Tensor, samples: int) -> Tensor:
        """(B, samples): windows, whose squares sum to 1, added where frames overlap."""
        frames = torch.fft.irfft(spectra_BNF, self.length)
        frames = frames * self._window(frames)
        first, second = frames[..., : self.hop], frames[..., self.hop :]
        whole = second[..., :-1, :] + first[..., 1:, :]
        return whole.flatten(-2)[..., :samples]

    def frames(self, samples: int) -> int:
        """N + 1."""
        return frames_of(samples, self.hop) + 1

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.length, device=like.device).sqrt()

    def _shifted(self, waves_BT: Tensor) -> Tensor:
        # `framed` begins half a hop before its frame; whole hops before and behind make the overlap complete
        half = self.hop - (self.length - self.hop) // 2
        samples = waves_BT.shape[-1]
        behind = self.frames(samples) * self.hop - half - samples
        return torch.nn.functional.pad(waves_BT, (half, behind))
