"""CPC: what comes next is told from what comes elsewhere (van den Oord et al., arXiv:1807.03748)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.precision import full_precision
from ..parts.ragged import masked_mean
from ..train.distributed import gather, gather_detached, rows_before
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class CPC(Objective):
    """A linear map of the context for each step ahead scores the features of that step against negatives.

    Each sample draws its negatives once for all of its positions. The score is the mean over the features' entries of
    the product, as in the implementation of Riviere et al. (arXiv:2002.02848).

    Args:
        ahead: Steps that are predicted; 12 in the paper.
        negatives: Negatives of a sample; 128 in arXiv:2002.02848.
        source: Whether negatives are features of the `same` sample, of `other` samples, or of `all`, which are in the
            batch of all workers. A negative that is the positive itself does not count.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        ahead: PositiveInt = 12,
        negatives: PositiveInt = 128,
        source: Literal["same", "other", "all"] = "all",
    ):
        super().__init__(encoder)
        encoder.needs_local("cpc")
        if not encoder.causal:
            raise UserError(
                f"objective 'cpc' predicts the future, which encoder {type(encoder).__module__.rpartition('.')[2]!r} "
                "sees; use encoder.name=cpc, or encoder.name=cpc1d for series"
            )
        if encoder.grid[0] <= ahead:
            raise UserError(
                f"objective.ahead {ahead} needs views of more than {ahead} positions, these have {encoder.grid[0]}; "
                "lower it, or take longer ones"
            )
        self.ahead, self.negatives, self.source = ahead, negatives, source
        self.predict = nn.Linear(encoder.width, ahead * encoder.local_width, bias=False)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over steps ahead and positions, and how often the right step has the highest score."""
        local, counted = self.encoder.local(images)
        context = self.encoder.context(local, counted)
        predicted = self.predict(context).unflatten(2, (self.ahead, -1))
        rows, places = self._drawn(keys, gather_detached(counted.sum(1)), counted.shape[1])
        negatives = gather(local)[rows, places]
        mine = rows_before(len(keys)) + torch.arange(len(keys), device=keys.device)
        places = torch.where(rows == mine[:, None], places, -1)
        loss, right = info_nce_ahead(predicted, local, counted, negatives, places)
        return loss, {"accuracy": right.detach()}

    def _drawn(self, keys: Tensor, counts_N: Tensor, positions: int) -> tuple[Tensor, Tensor]:
        """The sample and the position of each negative: int64, (batch, negatives) each."""
        who, where = uniform(keys, OBJECTIVE, 2 * self.negatives).chunk(2, dim=1)
        total = len(counts_N)
        mine = (rows_before(len(keys)) + torch.arange(len(keys), device=keys.device))[:, None]
        if self.source == "same" or total == 1:
            rows = mine.expand(-1, self.negatives)
        elif self.source == "other":
            rows = (mine + 1 + (who * (total - 1)).floor().long().clamp_max(total - 2)) % total
        else:
            rows = (who * total).floor().long().clamp_max(total - 1)
        count = counts_N[rows]
        return rows, (where * count).floor().long().minimum(count - 1)


@full_precision
def info_nce_ahead(
    predicted_BPKD: Tensor, local_BPD: Tensor, counted_BP: Tensor, negatives_BND: Tensor, places_BN: Tensor
) -> tuple[Tensor, Tensor]:
    """InfoNCE for each step ahead (equation 4): the step itself against the negatives.

    P: positions, K: steps ahead, N: negatives.

    Args:
        places_BN: where in the same sample a negative is from, -1 if it is from another one.

    Returns:
        The mean over all workers' pairs of a position and a step ahead that are both no padding, and how often the
        positive has the highest score.
    """
    P, K, D = predicted_BPKD.shape[1:]
    ahead = torch.arange(P, device=local_BPD.device)[:, None] + 1 + torch.arange(K, device=local_BPD.device)
    there = ahead < P
    ahead = ahead.clamp_max(P - 1)
    future = local_BPD[:, ahead]
    positive = (predicted_BPKD * future).mean(-1)
    others = torch.einsum("bpkd,bnd->bpkn", predicted_BPKD, negatives_BND) / D
    others = others.masked_fill(places_BN[:, None, None] == ahead[None, :, :, None], float("-inf"))
    counted = counted_BP[:, :, None] & counted_BP[:, ahead] & there
    every = torch.cat([positive[..., None], others], dim=-1)
    loss = masked_mean(every.logsumexp(-1) - positive, counted)
    right = masked_mean((positive > others.amax(-1)).float(), counted)
    return loss, right
