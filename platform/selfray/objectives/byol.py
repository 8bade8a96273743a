"""BYOL: one network predicts what a slowly following one makes of the other view (arXiv:2006.07733)."""

import torch
from torch import Tensor

from ..bounds import Fraction, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import unit
from ..parts.momentum import Embed, Momentum, cosine_momentum
from ..parts.precision import full_precision
from .objective import Objective


class BYOL(Objective):
    """Symmetrised squared distance to a momentum network's projections, without negatives.

    Args:
        momentum: Share of its old weights that the target network keeps in the first step; 0.996 in the paper for
            1000 epochs, 0.99 for 100 to 300, 0.97 for 40.
        momentum_end: The same in the last step, along half a cosine.
        hidden: Width of the hidden layer of projector and predictor.
        width: Width of the projection and of the prediction.
    """

    views = "pair"

    def __init__(
        self,
        encoder: Encoder,
        momentum: Fraction = 0.996,
        momentum_end: Fraction = 1.0,
        hidden: PositiveInt = 4096,
        width: PositiveInt = 256,
    ):
        super().__init__(encoder)
        self.momentum, self.momentum_end = momentum, momentum_end
        self.projector = mlp([encoder.width, hidden, width], last_bias=False)
        self.predictor = mlp([width, hidden, width], last_bias=False)
        self.target_encoder, self.target_projector = Momentum(Embed(encoder)), Momentum(self.projector)

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of both directions; 0 is perfect agreement, 8 the opposite."""
        one, other = (self.predictor(self.projector(self.encoder.embed(view))) for view in (first, second))
        with torch.no_grad():
            targets = [self.target_projector(self.target_encoder(view)) for view in (first, second)]
        return squared_distance(one, targets[1]) + squared_distance(other, targets[0]), {}

    def after_step(self, progress: float) -> None:
        """Move the target network, after the online network has moved."""
        momentum = cosine_momentum(self.momentum, self.momentum_end, progress)
        self.target_encoder.follow(self.encoder, momentum)
        self.target_projector.follow(self.projector, momentum)


@full_precision
def squared_distance(prediction_BD: Tensor, target_BD: Tensor) -> Tensor:
    """Mean squared distance of unit vectors, 2 - 2 cos, with no gradient to the target (equation 2)."""
    return 2 - 2 * (unit(prediction_BD) * unit(target_BD).detach()).sum(1).mean()
