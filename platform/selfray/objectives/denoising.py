"""Denoising: the sound without the noise that was added to it, by a mask on its spectrum."""

import torch
from torch import Tensor

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.maskers import Masker
from ..parts.precision import full_precision
from ..parts.ragged import masked_mean
from ..parts.sound import at_ratio, inside
from ..parts.spectrum import lengths
from ..parts.unmix import si_sdr
from ..views.random import OBJECTIVE, normal, uniform
from .objective import Objective


class Denoising(Objective):
    """White noise is added at a random level; the loss is minus the scale-invariant ratio of signal to distortion.

    Args:
        lowest: Smallest ratio of sound to noise, in decibels.
        highest: Largest ratio of sound to noise, in decibels.
        hidden: Width of the layer between features and the mask.
    """

    views = "single"

    def __init__(self, encoder: Encoder, lowest: float = -5.0, highest: float = 15.0, hidden: PositiveInt = 256):
        super().__init__(encoder)
        if lowest > highest:
            raise UserError(f"objective.lowest {lowest} is above objective.highest {highest}; exchange them")
        self.lowest, self.highest = lowest, highest
        self.masker = Masker(encoder, 1, hidden, "denoising")

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the mean ratio in decibels, and how much better it is than that of the noisy sound."""
        noisy = self._noisy(images, keys)
        clean = self.masker(self.encoder(noisy), noisy)[:, 0]
        return denoised(clean, images, noisy, inside(lengths(images), images.shape[1]))

    def _noisy(self, images: Tensor, keys: Tensor) -> Tensor:
        decibels = self.lowest + (self.highest - self.lowest) * uniform(keys, OBJECTIVE, 1)[:, 0]
        noise = normal(keys, OBJECTIVE + 1, images.shape[1])
        return images + at_ratio(images, noise, lengths(images), decibels)

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sound with noise, and what is left of it."""
        noisy = self._noisy(**views)
        return {"noisy": noisy, "denoised": self.masker(self.encoder(noisy), noisy)[:, 0]}


@full_precision
def denoised(
    estimate_BT: Tensor, sound_BT: Tensor, noisy_BT: Tensor, counted_BT: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the mean ratio of signal to distortion over all workers' sounds, and its improvement."""
    ratio = si_sdr(estimate_BT, sound_BT, counted_BT)
    before = si_sdr(noisy_BT, sound_BT, counted_BT)
    loss = -masked_mean(ratio, torch.ones_like(ratio, dtype=torch.bool))
    return loss, {"si_sdr": ratio.detach().mean(), "si_sdr_improvement": (ratio - before).detach().mean()}
