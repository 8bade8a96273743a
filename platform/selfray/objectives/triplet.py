"""T-Loss: a series' part is near a part within it and far from parts of others (Franceschi 2019, arXiv:1901.10738)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..bounds import NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.precision import full_precision
from ..parts.ragged import lengths, part
from ..train.distributed import gather_detached, rows_before
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class Triplet(Objective):
    """Time-based negative sampling: lengths and places of all parts are drawn for each series (algorithm 1).

    Embeddings are not normalised. Negatives are parts of other series of the batch, of all workers.

    Args:
        negatives: Their number for each series; the paper uses 1, 2, 5 and 10, and combines them.
        penalty: Factor of the negatives' mean; 1 in the paper's code.
    """

    views = "single"

    def __init__(self, encoder: Encoder, negatives: PositiveInt = 10, penalty: NonNegative = 1.0):
        super().__init__(encoder)
        encoder.needs_rows("triplet")
        self.negatives, self.penalty = negatives, penalty

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 1, with the mean over the negatives as in the paper's code."""
        rows, K = self.encoder.rows(images), self.negatives
        anchor, positive = parts(lengths(rows), uniform(keys, OBJECTIVE, 4))
        everyone = gather_detached(rows)
        others = other_rows(uniform(keys, OBJECTIVE + 1, K), rows_before(len(rows)), len(everyone)).flatten()
        draws = uniform(keys, OBJECTIVE + 2, 2 * K).unflatten(1, (K, 2)).flatten(0, 1)
        foreign = everyone[others]
        seen = torch.cat(
            [part(rows, *anchor), part(rows, *positive), part(foreign, *any_part(lengths(foreign), draws))]
        )
        embedding = self.encoder.pool(self.encoder.encode(seen))
        first, second, third = embedding.split([len(rows), len(rows), K * len(rows)])
        near, far = triplet_terms(first, second, third.unflatten(0, (-1, K)))
        return near + self.penalty * far, {"near": near.detach(), "far": far.detach()}


def parts(length_B: Tensor, draws_B4: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Start and length of the reference and of the positive, which lies within it (algorithm 1, lines 2 to 4)."""
    positive = 1 + _below(length_B, draws_B4[:, 0])
    reference = positive + _below(length_B - positive + 1, draws_B4[:, 1])
    start = _below(length_B - reference + 1, draws_B4[:, 2])
    within = start + _below(reference - positive + 1, draws_B4[:, 3])
    return (start, reference), (within, positive)


def any_part(length_B: Tensor, draws_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Start and length of a random part (algorithm 1, lines 5 to 7)."""
    length = 1 + _below(length_B, draws_B2[:, 0])
    return _below(length_B - length + 1, draws_B2[:, 1]), length


def other_rows(draws_BK: Tensor, before: int, total: int) -> Tensor:
    """Row numbers of all workers' rows but the row's own; its own only if there is no other: int64, (B, K)."""
    own = before + torch.arange(len(draws_BK), device=draws_BK.device)[:, None]
    others = max(1, total - 1)
    drawn = (draws_BK * others).floor().long().clamp_max(others - 1)
    return (drawn + (drawn >= own)).clamp_max(total - 1)


def _below(limit: Tensor, draw: Tensor) -> Tensor:
    """A whole number from 0 to limit - 1."""
    return (limit * draw).floor().long().minimum(limit - 1)


@full_precision
def triplet_terms(reference_BD: Tensor, positive_BD: Tensor, negative_BKD: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the log sigmoids of equation 1: of the positive, and the mean over the negatives."""
    near = -logsigmoid((reference_BD * positive_BD).sum(1)).mean()
    far = -logsigmoid(-(reference_BD[:, None] * negative_BKD).sum(2)).mean()
    return near, far
