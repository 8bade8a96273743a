"""Forecasting: the next steps of a series from what was before, by one linear layer on the embedding of the past."""

import torch
from torch import Tensor, nn

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.decoders import channels_of
from ..parts.precision import full_precision
from ..parts.ragged import lengths, masked_mean, part, shifted
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class Forecasting(Objective):
    """The squared error of the next `horizon` steps, for a random end of the past in each series.

    Targets are the differences from the last known value of each channel, so that 0 is the forecast "it stays".
    Missing values and padding are no targets.

    Args:
        horizon: Steps that are predicted; no more than the longest series less `past`.
        past: Fewest steps of a past, where a series has them.
    """

    views = "single"

    def __init__(self, encoder: Encoder, horizon: PositiveInt = 8, past: PositiveInt = 8):
        super().__init__(encoder)
        encoder.needs_rows("forecasting")
        if encoder.size[0] < horizon + past:
            raise UserError(
                f"objective.horizon {horizon} and objective.past {past} need series of {horizon + past} steps, these "
                f"have {encoder.size[0]}; lower them"
            )
        self.horizon, self.past = horizon, past
        self.head = nn.Linear(encoder.width, horizon * channels_of(encoder))

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over known values, in units of the corpus's variance, beside that of the last value."""
        rows = self.encoder.rows(images)
        length = lengths(rows)
        least = torch.minimum(length - 1, torch.full_like(length, self.past)).clamp_min(1)
        room = (length - least - self.horizon + 1).clamp_min(1)
        end = least + (uniform(keys, OBJECTIVE, 1)[:, 0] * room).floor().long().minimum(room - 1)
        before = part(rows, torch.zeros_like(end), end)
        target = shifted(rows, end)[:, : self.horizon] - last_values(before)
        behind = end[:, None] + torch.arange(self.horizon, device=end.device) >= length[:, None]
        counted = ~target.isnan() & ~behind[:, :, None]
        embedding = self.encoder.pool(self.encoder.encode(before))
        predicted = self.head(embedding).unflatten(1, (self.horizon, -1))
        loss = squared_errors(predicted, target, counted)
        stays = squared_errors(torch.zeros_like(predicted), target, counted)
        return loss, {"error_of_the_last_value": stays.detach()}


def last_values(rows_BTC: Tensor) -> Tensor:
    """Each channel's last known value, 0 where there is none: (B, 1, C)."""
    steps = torch.arange(rows_BTC.shape[1], device=rows_BTC.device)[None, :, None]
    last = torch.where(rows_BTC.isnan(), 0, steps).amax(1, keepdim=True)
    return rows_BTC.gather(1, last).nan_to_num()


@full_precision
def squared_errors(predicted: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The mean over the counted values of all workers."""
    return masked_mean((predicted - target.nan_to_num().detach()).square(), counted)
