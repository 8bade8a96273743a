"""VICReg: two views agree, while every unit keeps varying and no two vary together (arXiv:2105.04906)."""

from torch import Tensor
from torch.nn.functional import mse_loss, relu

from ..bounds import NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.precision import full_precision
from ..train.distributed import gather
from .objective import Objective

EPSILON = 1e-4
"""Keeps the square root's gradient finite where a unit is constant (section 4.1)."""


class VICReg(Objective):
    """Variance, invariance and covariance, the first and the last over all workers' samples.

    Args:
        invariance: Weight of the squared distance of the views.
        variance: Weight of the hinge on each unit's deviation; without it everything collapses.
        covariance: Weight of the squared covariances of different units.
        hidden: Width of the expander's two hidden layers.
        width: Width of the embeddings that the loss compares.
    """

    views = "pair"

    def __init__(
        self,
        encoder: Encoder,
        invariance: NonNegative = 25.0,
        variance: NonNegative = 25.0,
        covariance: NonNegative = 1.0,
        hidden: PositiveInt = 8192,
        width: PositiveInt = 8192,
    ):
        super().__init__(encoder)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.expander = mlp([encoder.width, hidden, hidden, width], last_bias=False)

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.expander(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the three terms; each is logged unweighted."""
        one, other = (self.expander(self.encoder.embed(view)) for view in (first, second))
        distance = squared_distance(one, other)
        all_one, all_other = gather(one), gather(other)
        hinge = (variance_hinge(all_one) + variance_hinge(all_other)) / 2
        together = covariance_of_units(all_one) + covariance_of_units(all_other)
        loss = self.invariance * distance + self.variance * hinge + self.covariance * together
        terms = {"invariance": distance, "variance": hinge, "covariance": together}
        return loss, {name: term.detach() for name, term in terms.items()}


@full_precision
def squared_distance(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Squared distance of the views, as the mean over samples and units (equation 5; the code divides by D too)."""
    return mse_loss(first_BD, second_BD)


@full_precision
def variance_hinge(rows_ND: Tensor) -> Tensor:
    """How far each unit's deviation is below 1, as the mean over units (equations 1 and 2)."""
    return relu(1 - (rows_ND.var(dim=0) + EPSILON).sqrt()).mean()


@full_precision
def covariance_of_units(rows_ND: Tensor) -> Tensor:
    """Sum of squared covariances of different units, divided by their number (equations 3 and 4)."""
    centred_ND = rows_ND - rows_ND.mean(dim=0)
    covariance_DD = centred_ND.T @ centred_ND / (len(rows_ND) - 1)
    off = covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()
    return off / rows_ND.shape[1]
