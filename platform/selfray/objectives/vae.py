"""Variational autoencoder: a code with noise and a prior (Kingma and Welling 2013, arXiv:1312.6114)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..bounds import NonNegative, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts import rebuild
from ..parts.precision import full_precision
from ..train.distributed import all_sum, rows_of_all
from ..views.random import OBJECTIVE, normal
from .objective import Objective

ACTIVE_NATS = 0.01  # a dimension of the code that tells less about the input than this is unused
LARGEST_LOG_VARIANCE = 10.0  # exp of it stays far from the end of fp32, and of bf16's precision


class VAE(Objective):
    """Minus the evidence lower bound, divided by the number of input values.

    The negative log likelihood is summed over the input's values and the divergence over the code's dimensions, so
    that their proportion is the paper's; dividing the sum changes the step size only.

    Args:
        latent: Dimensions of the code.
        beta: Factor of the divergence (beta-VAE, Higgins et al. 2017); 1 is the paper's bound.
        free_nats: Divergence of each dimension, averaged over the batch of all workers, below which it costs a
            constant (free bits, Kingma et al. 2016, arXiv:1606.04934, appendix C.8); 0 for none.
        likelihood: `bernoulli` takes values in [0, 1] as probabilities, as the paper does for digits; `gaussian`
            has a fixed deviation, and is the one for series and sounds, where missing values do not count.
        deviation: That deviation, in deviations of the corpus.
        decoder: Of series and sounds, `convolutional` or `recurrent`.
        width: Width of the decoder's first layer, or of its state.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        latent: PositiveInt = 64,
        beta: NonNegative = 1.0,
        free_nats: NonNegative = 0.0,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        deviation: Positive = 0.3,
        decoder: Literal["convolutional", "recurrent"] = "convolutional",
        width: PositiveInt = 128,
    ):
        super().__init__(encoder)
        if likelihood == "bernoulli" and encoder.kind in ("audio", "series"):
            raise UserError(
                f"objective.likelihood bernoulli is for values in [0, 1], which {encoder.kind} has not; "
                "set objective.likelihood=gaussian"
            )
        self.beta, self.free_nats, self.likelihood, self.deviation = beta, free_nats, likelihood, deviation
        self.posterior = nn.Linear(encoder.width, 2 * latent)
        self.decoder = rebuild.vector_decoder(encoder, "vae", latent, width, decoder)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The bound for each value; logged in nats a sample, with the divergence of each dimension of the code."""
        target = images if self.likelihood == "bernoulli" else rebuild.values(self.encoder, images)
        mean, log_variance = self._posterior(images)
        output = self.decoder(sampled(mean, log_variance, normal(keys, OBJECTIVE, mean.shape[1])))
        if self.likelihood == "bernoulli":
            misfit = bernoulli_nats(output, target)
        else:
            misfit = gaussian_nats(output, target, self.deviation)
        divergence_BD = divergence(mean, log_variance)
        priced = divergence_BD.sum(1).mean() if not self.free_nats else free_bits(divergence_BD, self.free_nats)
        loss = (misfit + self.beta * priced) / math.prod(target.shape[1:])
        each = divergence_BD.detach().mean(0)
        return loss, {
            "misfit_nats": misfit.detach(),
            "divergence_nats": each.sum(),
            "divergence_per_dimension": each.mean(),
            "active_dimensions": (each > ACTIVE_NATS).float().mean(),
        }

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Reconstructions from the mean code, and what codes drawn from the prior decode to."""
        mean, _ = self._posterior(views["images"])
        drawn = normal(views["keys"], OBJECTIVE, mean.shape[1])
        made = {"reconstructed": self.decoder(mean), "drawn from the prior": self.decoder(drawn)}
        if self.likelihood == "bernoulli":
            return {name: logits.sigmoid() for name, logits in made.items()}
        return rebuild.shown(self.encoder, **made)

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.encoder.embed(images)).chunk(2, dim=1)
        return mean, log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)


@full_precision
def sampled(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """The reparameterised code (section 2.4): mean + deviation x noise."""
    return mean + (log_variance / 2).exp() * noise.to(mean.dtype)


@full_precision
def divergence(mean_BD: Tensor, log_variance_BD: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each dimension, in nats (appendix B)."""
    return (mean_BD.square() + log_variance_BD.exp() - 1 - log_variance_BD) / 2


@full_precision
def free_bits(divergence_BD: Tensor, free_nats: float) -> Tensor:
    """The sum over dimensions of the divergence averaged over all workers' samples, or `free_nats` if it is less."""
    return (all_sum(divergence_BD.sum(0)) / sum(rows_of_all(len(divergence_BD)))).clamp(min=free_nats).sum()


@full_precision
def bernoulli_nats(logits: Tensor, target: Tensor) -> Tensor:
    """Minus the log likelihood of a sample, averaged over the batch; cross entropy where values are between 0 and 1."""
    return binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)


@full_precision
def gaussian_nats(mean: Tensor, target: Tensor, deviation: float) -> Tensor:
    """Minus the log likelihood of a sample under a Gaussian of fixed deviation, known values only; the batch's mean."""
    known, constant = ~target.isnan(), math.log(deviation) + math.log(2 * math.pi) / 2
    nats = ((mean - target.nan_to_num()) / deviation).square() / 2 + constant
    return torch.where(known, nats, 0.0).sum() / len(target)
