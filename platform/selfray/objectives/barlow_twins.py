"""Barlow Twins: two views' projections correlate in each unit and in no other (arXiv:2103.03230)."""

from torch import Tensor

from ..bounds import NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.precision import full_precision
from ..train.distributed import all_sum, rows_of_all
from .objective import Objective

EPSILON = 1e-5
"""Added to variances; that of batch normalisation, which the paper's code takes for the division."""


class BarlowTwins(Objective):
    """Redundancy reduction over the cross-correlation of all workers' samples.

    Args:
        redundancy: Weight of the entries off the diagonal, lambda in the paper.
        hidden: Width of the projector's two hidden layers.
        width: Width of the projection; wider was better up to 16384 in the paper.
    """

    views = "pair"

    def __init__(
        self,
        encoder: Encoder,
        redundancy: NonNegative = 0.0051,
        hidden: PositiveInt = 8192,
        width: PositiveInt = 8192,
    ):
        super().__init__(encoder)
        self.redundancy = redundancy
        self.projector = mlp([encoder.width, hidden, hidden, width], last_bias=False)

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The paper's sum over the matrix, unscaled: it grows with `width`."""
        one, other = (self.projector(self.encoder.embed(view)) for view in (first, second))
        correlation = cross_correlation(one, other)
        loss = distance_from_identity(correlation, self.redundancy)
        return loss, {"diagonal": correlation.detach().diagonal().mean()}


@full_precision
def cross_correlation(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Correlation of each unit of one view with each of the other, over all workers' samples (equation 2): (D, D)."""
    return all_sum(_standardised(first_BD).T @ _standardised(second_BD)) / sum(rows_of_all(len(first_BD)))


def _standardised(rows_BD: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each unit over the samples of all workers."""
    count = sum(rows_of_all(len(rows_BD)))
    centred_BD = rows_BD - all_sum(rows_BD.sum(0)) / count
    return centred_BD * (all_sum(centred_BD.square().sum(0)) / count + EPSILON).rsqrt()


@full_precision
def distance_from_identity(correlation_DD: Tensor, redundancy: float) -> Tensor:
    """Invariance term plus `redundancy` times the redundancy-reduction term (equation 1)."""
    diagonal_D = correlation_DD.diagonal()
    off = correlation_DD.square().sum() - diagonal_D.square().sum()
    return (1 - diagonal_D).square().sum() + redundancy * off
