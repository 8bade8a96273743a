"""SimCLR: two views of one sample agree more than views of different samples (arXiv:2002.05709)."""

import torch
from torch import Tensor

from ..bounds import Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import nt_xent
from .objective import Objective


class SimCLR(Objective):
    """NT-Xent over the projections of all workers' views, with gradient through the gather.

    The loss is the paper's mean over 2N rows (the official code reports twice that).

    Args:
        temperature: Divides the cosine similarities. The paper's appendix B.7 finds 0.1 best for long training with
            large batches and 0.5 on CIFAR-10.
        hidden: Width of the projector's hidden layers; the encoder's own width if left out.
        width: Width of the projection.
        layers: Linear layers of the projector: 2 in the paper, 3 in SimCLR v2.
    """

    views = "pair"

    def __init__(
        self,
        encoder: Encoder,
        temperature: Positive = 0.1,
        hidden: PositiveInt | None = None,
        width: PositiveInt = 128,
        layers: PositiveInt = 2,
    ):
        super().__init__(encoder)
        self.temperature = temperature
        widths = [encoder.width] + [hidden or encoder.width] * (layers - 1) + [width]
        self.projector = mlp(widths, last_norm=True)

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """NT-Xent of two views; batch statistics are taken over both at once, as in the paper's code."""
        projection = self.projector(self.encoder.embed(torch.cat([first, second])))
        one, other = projection.chunk(2)
        loss, accuracy = nt_xent(one, other, self.temperature)
        return loss, {"contrastive_accuracy": accuracy}
