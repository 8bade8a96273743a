"""Spectra of sound: power, mel bands and cepstral coefficients, batched and with gradients.

B: batch, T: samples of the waveform, N: frames, F: frequencies of the Fourier transform, M: mel bands. A frame is
`hop` samples long and its window is centred on it, so that a waveform has ceil(T / hop) frames; beyond both ends there
is silence.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .precision import full_precision

LINEAR_STEP, LOGARITHMIC_START = 200 / 3, 1000.0  # hertz a mel, and where it becomes logarithmic: Slaney 1998
LOGARITHMIC_STEP = math.log(6.4) / 27
SMALLEST_POWER = 1e-10  # -100 dB, as of librosa's power_to_db


def to_mel(hertz: Tensor) -> Tensor:
    """Frequencies on the mel scale of Slaney's Auditory Toolbox (1998): linear to 1 kHz, logarithmic above."""
    above = LOGARITHMIC_START / LINEAR_STEP + (hertz / LOGARITHMIC_START).log() / LOGARITHMIC_STEP
    return torch.where(hertz < LOGARITHMIC_START, hertz / LINEAR_STEP, above)


def to_hertz(mels: Tensor) -> Tensor:
    """The inverse of `to_mel`."""
    above = LOGARITHMIC_START * (LOGARITHMIC_STEP * (mels - LOGARITHMIC_START / LINEAR_STEP)).exp()
    return torch.where(mels < LOGARITHMIC_START / LINEAR_STEP, mels * LINEAR_STEP, above)


def mel_matrix(rate: int, fft: int, mels: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangles of equal area, evenly spaced in mels: float32, (F, M).

    Args:
        rate: hertz of the waveform.
        fft: points of the Fourier transform; F is fft // 2 + 1.
        mels: number of bands.
        low, high: hertz between which they lie; `high` is half of the rate if left out.
    """
    first, last = to_mel(torch.tensor([low, rate / 2 if high is None else high], dtype=torch.float64))
    edges = to_hertz(first + (last - first) * torch.linspace(0, 1, mels + 2, dtype=torch.float64))
    frequency = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * 2 / (edges[2:] - edges[:-2])).float()


def cosine_matrix(mels: int, coefficients: int) -> Tensor:
    """The orthonormal cosine transform of type II, of which the first coefficients are kept: (M, coefficients)."""
    places = (torch.arange(mels, dtype=torch.float64) + 0.5) * math.pi / mels
    matrix = (places[:, None] * torch.arange(coefficients)).cos() * math.sqrt(2 / mels)
    matrix[:, 0] = 1 / math.sqrt(mels)
    return matrix.float()


def frames_of(samples: int, hop: int) -> int:
    """Frames of a waveform of that many samples."""
    return -(-samples // hop)


def framed(waves_BT: Tensor, window: int, hop: int) -> Tensor:
    """The stretch of the waveform around each frame: (B, N, window)."""
    count = frames_of(waves_BT.shape[1], hop)
    before = (window - hop) // 2
    after = (count - 1) * hop + window - before - waves_BT.shape[1]
    return pad(waves_BT, (before, after)).unfold(1, window, hop)


@full_precision
def power(waves_BT: Tensor, window_W: Tensor, hop: int) -> Tensor:
    """Squared magnitudes of the short-time Fourier transform: (B, N, F)."""
    spectrum = torch.fft.rfft(framed(waves_BT, len(window_W), hop) * window_W)
    return spectrum.real.square() + spectrum.imag.square()


def valid_frames(length_B: Tensor, frames: int, hop: int) -> Tensor:
    """Frames that begin before their waveform ends, the first one always: bool, (B, N)."""
    starts = torch.arange(frames, device=length_B.device) * hop
    return starts < length_B.clamp_min(1)[:, None]


class LogMel(nn.Module):
    """The natural logarithm of the power in mel bands.

    Args:
        rate: hertz of the waveform.
        window: samples that a frame's Fourier transform looks at.
        hop: samples from frame to frame.
        mels: number of bands.
    """

    window: Tensor
    matrix: Tensor

    def __init__(self, rate: int, window: int, hop: int, mels: int):
        super().__init__()
        self.hop = hop
        # made anew with the module, so that a checkpoint is no larger for them
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("matrix", mel_matrix(rate, window, mels), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, N, M)."""
        return log_mel(waves, self.window, self.hop, self.matrix)


@full_precision
def log_mel(waves_BT: Tensor, window_W: Tensor, hop: int, matrix_FM: Tensor) -> Tensor:
    """Log power in mel bands: (B, N, M)."""
    return (power(waves_BT, window_W, hop) @ matrix_FM).clamp_min(SMALLEST_POWER).log()


@full_precision
def mfcc(log_mel_BNM: Tensor, coefficients: int = 13) -> Tensor:
    """Mel-frequency cepstral coefficients, of decibels as in librosa: (B, N, coefficients)."""
    matrix = cosine_matrix(log_mel_BNM.shape[2], coefficients).to(log_mel_BNM.device)
    return log_mel_BNM * (10 / math.log(10)) @ matrix


def deltas(values_BND: Tensor, reach: int = 2) -> Tensor:
    """Slopes over time by least squares over `reach` frames on each side, the outermost repeated: (B, N, D)."""
    padded = torch.cat([values_BND[:, :1]] * reach + [values_BND] + [values_BND[:, -1:]] * reach, dim=1)
    count = values_BND.shape[1]
    steps = range(1, reach + 1)
    rise = [k * (padded[:, reach + k :][:, :count] - padded[:, reach - k :][:, :count]) for k in steps]
    return torch.stack(rise).sum(0) / (2 * sum(k * k for k in steps))


def statistics(waves: Tensor, rate: int, coefficients: int = 20) -> Tensor:
    """Mean and deviation over time of each waveform's MFCCs: what a probe can do without any network.

    Args:
        waves: (B, T), silence behind their ends.

    Returns:
        (B, 2 x coefficients).
    """
    hop = max(1, rate // 100)
    values = mfcc(LogMel(rate, 2 * hop + hop // 2, hop, 40).to(waves.device)(waves), coefficients)
    counted = valid_frames(lengths(waves), values.shape[1], hop)[:, :, None]
    count = counted.sum(1)
    mean = (values * counted).sum(1) / count
    deviation = ((values - mean[:, None]).square() * counted).sum(1).div(count).sqrt()
    return torch.cat([mean, deviation], dim=1)


def lengths(waves_BT: Tensor) -> Tensor:
    """Samples of each waveform up to the last that is not exactly 0, which is how padding enters: int64, (B,)."""
    # int32: the largest of int64 took ten times as long on a processor
    places = torch.arange(1, waves_BT.shape[1] + 1, dtype=torch.int32, device=waves_BT.device)
    return torch.where(waves_BT != 0, places, 0).amax(1).long()


def levelled(waves_BT: Tensor, length_B: Tensor) -> Tensor:
    """Each waveform at mean 0 and deviation 1 over its own length, silence behind it: (B, T)."""
    inside = torch.arange(waves_BT.shape[1], device=waves_BT.device) < length_B[:, None]
    count = length_B.clamp_min(1)[:, None]
    mean = waves_BT.sum(1, keepdim=True) / count
    centred = (waves_BT - mean) * inside
    deviation = (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()  # 1e-7: as wav2vec 2.0's extractor
    return centred / deviation
