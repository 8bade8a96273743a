"""Directions that projections are compared with, learned with the rest or held still for a while."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .losses import unit
from .precision import full_precision


class Prototypes(nn.Module):
    """`count` unit vectors; the scores of a projection of length 1 are its cosine similarities with them.

    The forward pass divides by the vectors' lengths, so that neither the optimizer nor weight decay changes anything
    but their directions: the last layer of DINO (arXiv:2104.14294, weight normalisation with gain 1), and the
    prototypes of SwAV (arXiv:2006.09882), which its code divides by their lengths in every step instead.
    """

    trained: Tensor

    def __init__(self, width: int, count: int, trained: bool = True):
        super().__init__()
        self.weight = nn.Parameter(normalize(torch.randn(count, width), dim=1))
        self.register_buffer("trained", torch.tensor(float(trained)))

    def forward(self, rows_BD: Tensor) -> Tensor:
        """Similarities with every prototype, in fp32: (rows, count)."""
        return _similarities(rows_BD, torch.lerp(self.weight.detach(), self.weight, self.trained))

    def train_when(self, due: bool) -> None:
        """Let gradients through from now on, or hold the prototypes; part of the state, and no change of the graph."""
        self.trained.fill_(float(due))


@full_precision
def _similarities(rows_BD: Tensor, prototypes_KD: Tensor) -> Tensor:
    return rows_BD @ unit(prototypes_KD).T
