"""From features of positions to masks on the spectrum of what they were made of."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..encoders.encoder import Encoder
from ..errors import UserError
from .mel import one_channel
from .precision import full_precision
from .unmix import Spectra

HOP = 256  # samples; 16 ms at 16 kHz


class Masker(nn.Module):
    """Masks in [0, 1], one a source, for the mixture's short-time spectrum; its phase is kept.

    The features are spread over the spectrum's frames, and beside them each frame's own level in every frequency is
    seen: an encoder's positions may be coarser than what a mask needs.

    Args:
        encoder: Tells the width of the features.
        sources: Number of masks.
        hidden: Width of the inner layer.
        objective: Its name, for the sentence that refuses an encoder of another data type.
    """

    def __init__(self, encoder: Encoder, sources: int, hidden: int, objective: str):
        super().__init__()
        if encoder.kind != "audio":
            raise UserError(
                f"objective {objective!r} is for sound, which encoder {type(encoder).__module__.rpartition('.')[2]!r} "
                "does not read; use encoder.name=melconv"
            )
        self.sources, self.extra, self.spectra = sources, encoder.extra, Spectra(HOP)
        self.layers = nn.Sequential(
            nn.Linear(encoder.width + self.spectra.frequencies, hidden),
            nn.ReLU(),
            nn.Linear(hidden, sources * self.spectra.frequencies),
        )

    def forward(self, features: Tensor, mixture: Tensor) -> Tensor:
        """Features (batch, positions, width) of the waveforms (batch, time) -> (batch, sources, time)."""
        mixture = one_channel(mixture)
        spectrum = self.spectra.of(mixture)
        spread = interpolate(features[:, self.extra :].transpose(1, 2).float(), spectrum.shape[1], mode="linear")
        seen = torch.cat([spread.transpose(1, 2), levels(spectrum)], dim=2)
        masks = self.layers(seen).unflatten(2, (self.sources, -1)).float().sigmoid()
        return self.spectra.back(spectrum[:, None] * masks.transpose(1, 2), mixture.shape[1])


@full_precision
def levels(spectrum: Tensor) -> Tensor:
    """Logarithmic magnitudes at mean 0 and deviation 1 over each sample."""
    values = (spectrum.abs() + 1e-4).log()
    mean, deviation = values.mean((1, 2), keepdim=True), values.std((1, 2), keepdim=True)
    return (values - mean) / deviation.clamp_min(1e-3)
