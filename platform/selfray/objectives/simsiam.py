"""SimSiam: one view's prediction meets the other view's projection, without negatives (arXiv:2011.10566)."""

import torch
from torch import Tensor

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import unit
from ..parts.precision import full_precision
from .objective import Objective


class SimSiam(Objective):
    """Symmetrised negative cosine similarity; the stop-gradient on the projection is what prevents collapse.

    Args:
        width: Width of the projector and of the prediction; 2048 in the paper.
        bottleneck: Hidden width of the predictor; a quarter of `width` in the paper.
    """

    views = "pair"

    def __init__(self, encoder: Encoder, width: PositiveInt = 2048, bottleneck: PositiveInt = 512):
        super().__init__(encoder)
        self.projector = mlp([encoder.width, width, width, width], last_norm=True)
        self.predictor = mlp([width, bottleneck, width])

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over both directions; -1 is perfect agreement."""
        projections = [self.projector(self.encoder.embed(view)) for view in (first, second)]
        one, other = [self.predictor(projection) for projection in projections]
        loss = (negative_cosine(one, projections[1]) + negative_cosine(other, projections[0])) / 2
        return loss, {}


@full_precision
def negative_cosine(prediction_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Minus the mean cosine similarity, with no gradient to the target (equations 1 and 3)."""
    return -torch.mean(torch.sum(unit(prediction_BD) * unit(target_BD).detach(), dim=1))
