"""Masked reconstruction: values that were hidden in runs, from the others (TST, Zerveas et al., arXiv:2010.02803)."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, pad

from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.decoders import channels_of
from ..parts.precision import full_precision
from ..parts.ragged import masked_mean
from ..parts.runs import geometric_runs
from ..views.random import OBJECTIVE
from .objective import Objective


class Masked(Objective):
    """Hidden values are set to 0, the mean; one linear layer predicts them from the features of their position.

    Only values that were hidden and are known count: neither padding nor missing values are targets.

    Args:
        ratio: Share of the values that are hidden; 0.15 in the paper.
        run: Mean number of steps that are hidden in a row, geometrically distributed; 3 in the paper.
        each: Whether every `value` of a step is hidden by itself, as in the paper, or whole `step`s are.
        distance: `squared`, as in the paper, or `absolute`.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        ratio: Annotated[float, Gt(0), Lt(1)] = 0.15,
        run: Annotated[float, Ge(1)] = 3.0,
        each: Literal["value", "step"] = "value",
        distance: Literal["squared", "absolute"] = "squared",
    ):
        super().__init__(encoder)
        encoder.needs_rows("masked")
        if run < 1 / (1 - ratio):
            raise UserError(
                f"objective.run {run} is too short to hide a share of {ratio}; set it to {1 / (1 - ratio):.2f} or more"
            )
        self.ratio, self.run, self.each, self.distance = ratio, run, each, distance
        self.head = nn.Linear(encoder.width, self._values() * encoder.row_stride)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean error of the hidden values, in units of the corpus's variance."""
        rows, hidden, predicted = self._predicted(images, keys)
        counted = hidden & ~rows.isnan()
        error = hidden_error(predicted, rows, counted, self.distance)
        trivial = hidden_error(torch.zeros_like(predicted), rows, counted, self.distance)
        return error, {"error_of_the_mean": trivial.detach(), "hidden": counted.float().mean()}

    def _predicted(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised values, which of them are hidden, and what is predicted: (batch, time, values) each."""
        rows = self.encoder.rows(images)
        columns = 1 if self.each == "step" else rows.shape[2]
        hidden = geometric_runs(keys, OBJECTIVE, rows.shape[1], columns, self.ratio, self.run).expand(rows.shape)
        seen = torch.where(hidden & ~rows.isnan(), 0.0, rows)
        features = self.encoder.encode(seen)[:, self.encoder.extra :]
        predicted = self.head(features).unflatten(2, (self.encoder.row_stride, -1)).flatten(1, 2)
        return rows, hidden, pad(predicted, (0, 0, 0, max(0, rows.shape[1] - predicted.shape[1])))[:, : rows.shape[1]]

    def _values(self) -> int:
        values: int = getattr(self.encoder, "row_width", channels_of(self.encoder))
        return values


@full_precision
def hidden_error(predicted: Tensor, target: Tensor, counted: Tensor, distance: str) -> Tensor:
    """The mean distance over the counted values of all workers (equation 3)."""
    measure = mse_loss if distance == "squared" else l1_loss
    return masked_mean(measure(predicted, target.nan_to_num().detach(), reduction="none"), counted)
