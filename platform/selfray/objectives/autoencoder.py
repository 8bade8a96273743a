"""Autoencoder: from the features back to the input, which may have been damaged before (Vincent et al. 2008)."""

from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn

from ..bounds import Fraction, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts import rebuild
from .objective import Objective


class Autoencoder(Objective):
    """Mean squared error between the input, normalised over the corpus, and what a decoder makes of its code.

    Without noise the code has to be narrow for anything to be learned. With noise it is the denoising autoencoder
    (Vincent, Larochelle, Bengio, Manzagol, *Extracting and composing robust features with denoising autoencoders*,
    ICML 2008, section 2): a share of the input's positions is set to the corpus mean, the clean input is the target.
    What is missing in the input is no target.

    Args:
        code: What the decoder sees: the `vector` of the whole sample, or the features of all `positions`.
        latent: Width of a linear bottleneck before the decoder; none if left out.
        noise: Share of the input's positions (pixels, steps, frames) that are blotted out; drawn for each by itself.
        run: Mean number of positions in a row that are blotted out, geometrically distributed, of what has one side:
            with gaps that are long enough this is the inpainting of series and sounds.
        decoder: Of a vector of series or sounds, `convolutional` or `recurrent`.
        width: Width of the decoder's first layer, or of its state, when the code is a vector.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        code: Literal["vector", "positions"] = "vector",
        latent: PositiveInt | None = None,
        noise: Fraction = 0.0,
        run: Annotated[float, Ge(1)] = 1.0,
        decoder: Literal["convolutional", "recurrent"] = "convolutional",
        width: PositiveInt = 128,
    ):
        super().__init__(encoder)
        if run > 1 and len(encoder.size) > 1:
            raise UserError("objective.run is for what has one side, such as series and sounds; leave it out")
        if run > 1 and run < 1 / (1 - noise):
            raise UserError(
                f"objective.run {run} is too short to hide a share of {noise}; set it to {1 / (1 - noise):.2f} or more"
            )
        self.code, self.noise, self.run = code, noise, run
        self.bottleneck = nn.Linear(encoder.width, latent) if latent else nn.Identity()
        inner = latent or encoder.width
        self.decoder = (
            rebuild.vector_decoder(encoder, "autoencoder", inner, width, decoder)
            if code == "vector"
            else rebuild.decoder(encoder, "autoencoder", inner)
        )

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error over all known values, in units of the corpus's variance."""
        target, _, rebuilt = self._rebuilt(images, keys)
        return rebuild.squared_error(rebuilt, target), {}

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder saw, and what the decoder made of it."""
        _, seen, rebuilt = self._rebuilt(**views)
        made = {"damaged": seen, "reconstructed": rebuilt} if self.noise else {"reconstructed": rebuilt}
        return rebuild.shown(self.encoder, **made)

    def _rebuilt(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The target, what the encoder saw of it, and what was made of that: (batch, channels, *sides) each."""
        target = rebuild.values(self.encoder, images)
        seen = rebuild.damaged(target, keys, self.noise, self.run)
        features = rebuild.features(self.encoder, seen)
        code = self.encoder.pool(features) if self.code == "vector" else features[:, self.encoder.extra :]
        return target, seen, self.decoder(self.bottleneck(code))
