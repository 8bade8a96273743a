"""TNC: windows near each other are told from distant ones (Tonekaboni et al. 2021, arXiv:2106.00750)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu

from ..bounds import Fraction, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.precision import full_precision
from ..parts.ragged import lengths, part
from ..parts.stationarity import is_stationary
from ..views.random import OBJECTIVE, normal, uniform
from .objective import Objective

REACHES = (1, 2, 3)  # in windows; the largest neighbourhood that the test may find
SHARE_OF_SERIES = 8  # a window is so many times shorter than the corpus's series unless it is set


class TNC(Objective):
    """A small network says whether two windows are neighbours; distant ones count as neighbours with a small weight.

    A window's neighbourhood reaches as far as the series stays stationary round it, 1 to 3 windows, by a
    Dickey-Fuller test with one lag on the device (the paper's code tests each sample on the CPU, with lags chosen by
    AIC). Neighbours lie normally round the window with this deviation, distant windows on the longer side of it.

    Args:
        window: Steps of a window; an eighth of the series if left out.
        neighbours: Neighbours, and distant windows, of each series in a step; 20 to 40 in the paper.
        unlabelled: Weight with which a distant window counts as a neighbour, as unlabelled data may be either; 0.05
            in the paper.
        distance: How many reaches away a distant window starts; 5 in the paper's code, which is more than a short
            series has.
        dropout: Share of the discriminator's hidden units that are zero.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        window: PositiveInt | None = None,
        neighbours: PositiveInt = 10,
        unlabelled: Fraction = 0.05,
        distance: Positive = 2.0,
        dropout: Fraction = 0.5,
    ):
        super().__init__(encoder)
        encoder.needs_rows("tnc")
        longest = encoder.size[0]
        self.window = min(window or max(4, longest // SHARE_OF_SERIES), longest)
        self.neighbours, self.unlabelled, self.distance = neighbours, unlabelled, distance
        self.dropout = dropout
        self.hidden, self.verdict = nn.Linear(2 * encoder.width, 4 * encoder.width), nn.Linear(4 * encoder.width, 1)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 2 with the weights of the code: positives and distant windows count half each."""
        rows, K, W = self.encoder.rows(images), self.neighbours, self.window
        length = lengths(rows)
        last = (length - W).clamp_min(0)  # where the last window starts
        start = _below(last + 1, uniform(keys, OBJECTIVE, 1)[:, 0])
        reach = self._reach(rows, start)
        shift = normal(keys, OBJECTIVE + 1, K) * (reach * W)[:, None]
        near = (start[:, None] + shift).round().long().clamp_min(0).minimum(last[:, None])
        far = distant(start, last, self.distance * reach * W, uniform(keys, OBJECTIVE + 2, K))
        starts = torch.cat([start[:, None], near, far], dim=1)
        windows = rows.repeat_interleave(1 + 2 * K, dim=0)
        seen = part(windows, starts.flatten(), torch.full_like(starts.flatten(), W))[:, :W]
        embedding = self.encoder.pool(self.encoder.encode(seen)).unflatten(0, (-1, 1 + 2 * K))
        pairs = torch.cat([embedding[:, :1].expand(-1, 2 * K, -1), embedding[:, 1:]], dim=2)
        logits = self._verdict(pairs, keys)
        loss = neighbourhood_loss(logits[:, :K], logits[:, K:], self.unlabelled)
        right = ((logits[:, :K] > 0).float().mean() + (logits[:, K:] < 0).float().mean()) / 2
        return loss, {"pair_accuracy": right.detach(), "reach": reach.mean()}

    def _reach(self, rows: Tensor, start: Tensor) -> Tensor:
        """The first of the reaches at which the series is not stationary, the largest if there is none: float, (B,)."""
        found = torch.full_like(start, REACHES[-1], dtype=torch.float32)
        middle = start + self.window // 2
        for reach in reversed(REACHES):
            extent = min(2 * reach * self.window, rows.shape[1])
            begin = (middle - reach * self.window).clamp_min(0)
            stretch = part(rows, begin, torch.full_like(begin, extent))[:, :extent]
            found = torch.where(is_stationary(stretch), found, float(reach))
        return found

    def _verdict(self, pairs: Tensor, keys: Tensor) -> Tensor:
        hidden = relu(self.hidden(pairs))
        if self.training and self.dropout:
            kept = uniform(keys, OBJECTIVE + 3, hidden.shape[2]) >= self.dropout
            hidden = hidden * kept[:, None] / max(1 - self.dropout, 1e-6)
        logits: Tensor = self.verdict(hidden)[:, :, 0]
        return logits


def distant(start_B: Tensor, last_B: Tensor, least_B: Tensor, draws_BK: Tensor) -> Tensor:
    """Starts at least so far away on the longer side, or at its end where it is shorter: int64, (B, K)."""
    least = least_B.ceil().long()
    left = start_B > last_B - start_B
    room = (torch.where(left, start_B, last_B - start_B) - least).clamp_min(0)[:, None]
    drawn = _below(room + 1, draws_BK)
    return torch.where(left[:, None], drawn, last_B[:, None] - drawn)


def _below(limit: Tensor, draw: Tensor) -> Tensor:
    """A whole number from 0 to limit - 1."""
    return (limit * draw).floor().long().minimum(limit - 1)


@full_precision
def neighbourhood_loss(near_BK: Tensor, far_BK: Tensor, unlabelled: float) -> Tensor:
    """Cross-entropy of neighbours with 1, and of distant windows with 1 and 0 by their weights (equation 2), halved."""
    ones, zeros = torch.ones_like(far_BK), torch.zeros_like(far_BK)
    positive = binary_cross_entropy_with_logits(near_BK, torch.ones_like(near_BK))
    maybe = binary_cross_entropy_with_logits(far_BK, ones)
    negative = binary_cross_entropy_with_logits(far_BK, zeros)
    return (positive + unlabelled * maybe + (1 - unlabelled) * negative) / 2
