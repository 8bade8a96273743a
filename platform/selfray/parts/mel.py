"""Log-mel frames of sounds of unequal length, normalised: what encoders on the mel scale see."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .precision import full_precision
from .spectrum import LogMel, lengths, valid_frames

LEAST_DEVIATION = 1e-3


class MelRows(nn.Module):
    """Waveforms to log-mel frames at mean 0 and deviation 1 over each sound, NaN behind its end.

    Args:
        rate: hertz; a corpus of another rate is refused.
        window, hop: milliseconds.
        mels: number of bands.
    """

    def __init__(self, rate: int, window: float, hop: float, mels: int):
        super().__init__()
        self.rate, self.hop = rate, max(1, round(rate * hop / 1000))
        self.log_mel = LogMel(rate, max(2, round(rate * window / 1000)), self.hop, mels)

    def forward(self, waves: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """(batch, time) or (batch, time, channels) -> (batch, frames, mels).

        Raises:
            UserError: the corpus's sampling rate is not that of the bands.
        """
        same_rate(facts, self.rate)
        waves = one_channel(waves)
        rows = self.log_mel(waves)
        return standardised(rows, valid_frames(lengths(waves), rows.shape[1], self.hop))


def same_rate(facts: Mapping[str, Any], rate: int) -> None:
    """Raise a UserError if the corpus says that it has another sampling rate."""
    found = int(facts.get("rate", rate))
    if found != rate:
        raise UserError(f"encoder.rate is {rate}, but the corpus has {found} Hz; set encoder.rate={found}")


def one_channel(waves: Tensor) -> Tensor:
    """Waveforms mixed down where they have several channels: (batch, time)."""
    return waves if waves.ndim == 2 else waves.mean(2)


@full_precision
def standardised(rows_BNM: Tensor, counted_BN: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over all bands of the counted frames of each sample, NaN elsewhere."""
    counted = counted_BN[:, :, None]
    count = counted.sum((1, 2), keepdim=True) * rows_BNM.shape[2]
    mean = (rows_BNM * counted).sum((1, 2), keepdim=True) / count
    centred = (rows_BNM - mean) * counted
    deviation = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    return torch.where(counted, centred / deviation.clamp_min(LEAST_DEVIATION), torch.nan)
