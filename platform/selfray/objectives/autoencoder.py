"""Autoencoder: from the features back to the input, which may have been damaged before (Vincent et al. 2008)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ..bounds import Fraction, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.decoders import Decoder, VectorDecoder, channels_of, denormalise
from ..parts.precision import full_precision
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class Autoencoder(Objective):
    """Mean squared error between the input, normalised over the corpus, and what a decoder makes of its code.

    Without noise the code has to be narrow for anything to be learned. With noise it is the denoising autoencoder
    (Vincent, Larochelle, Bengio, Manzagol, *Extracting and composing robust features with denoising autoencoders*,
    ICML 2008, section 2): a share of the input's positions is set to the corpus mean, the clean input is the target.

    Args:
        code: What the decoder sees: the `vector` of the whole sample, or the features of all `positions`.
        latent: Width of a linear bottleneck before the decoder; none if left out.
        noise: Share of the input's positions (pixels) that are blotted out; drawn for each of them by itself.
        width: Width of the decoder's first layer when the code is a vector.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        code: Literal["vector", "positions"] = "vector",
        latent: PositiveInt | None = None,
        noise: Fraction = 0.0,
        width: PositiveInt = 128,
    ):
        super().__init__(encoder)
        self.code, self.noise = code, noise
        self.bottleneck = nn.Linear(encoder.width, latent) if latent else nn.Identity()
        inner, channels = latent or encoder.width, channels_of(encoder)
        self.decoder = (
            VectorDecoder(encoder, inner, channels, width) if code == "vector" else Decoder(encoder, inner, channels)
        )

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error over all values, in units of the corpus's variance."""
        _, rebuilt = self._rebuilt(images, keys)
        return squared_error(rebuilt, self.encoder.normalise(images)), {}

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder saw, and what the decoder made of it."""
        seen, rebuilt = self._rebuilt(**views)
        shown = {"reconstructed": denormalise(self.encoder, rebuilt).clamp(0, 1)}
        return {"damaged": seen.clamp(0, 1), **shown} if self.noise else shown

    def _rebuilt(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        seen = damaged(images, keys, self.noise, denormalise(self.encoder, torch.zeros_like(images)))
        if self.code == "vector":
            return seen, self.decoder(self.bottleneck(self.encoder.embed(seen)))
        return seen, self.decoder(self.bottleneck(self.encoder(seen)[:, self.encoder.extra :]))


def damaged(inputs: Tensor, keys: Tensor, share: float, blank: Tensor) -> Tensor:
    """Inputs (batch, channels, *sides) with that share of the positions, all channels at once, taken from `blank`."""
    if not share:
        return inputs
    draws = uniform(keys, OBJECTIVE, math.prod(inputs.shape[2:])).view(len(inputs), 1, *inputs.shape[2:])
    return torch.where(draws < share, blank, inputs)


@full_precision
def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over all values; none of the target's gradient."""
    return (prediction - target.detach()).square().mean()
