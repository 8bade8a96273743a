"""Gated recurrent units over time (arXiv:1406.1078), both ways within each series' own length."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..bounds import PositiveInt
from ..parts.ragged import Pooling, backwards, inside, pooled, standardised
from .encoder import Encoder


class Recurrent(Encoder):
    """One feature vector a time step: what was seen before it and, if bidirectional, what comes after it.

    Missing values are the mean; a step without any value enters as zero. Features of padding are zeros.

    Args:
        width: Width of a feature vector; half of it is of each direction if there are two.
        layers: Recurrent layers of a direction.
        bidirectional: Whether a second network reads each series backwards.
        pooling: The vector of a series is the `max` or the `mean` over time.
        instance: Normalise every series by its own mean and deviation instead of the corpus's.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 128,
        layers: PositiveInt = 1,
        bidirectional: bool = True,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        self.width, self.stride, self.pooling, self.instance = width, 1, pooling, instance
        first = (width + 1) // 2 if bidirectional else width
        self.enter = nn.Linear(channels, first)
        self.forth = nn.GRU(first, first, layers, batch_first=True)
        self.back = nn.GRU(first, width - first, layers, batch_first=True) if width > first else None

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised values; see `forward`."""
        counted = inside(rows)
        shown = ~rows.isnan().all(2)
        if mask is not None:
            shown = shown & ~mask
        steps = self.enter(rows.nan_to_num()) * shown[:, :, None]
        features: Tensor = self.forth(steps)[0]  # what comes after a series cannot change what was before
        if self.back is not None:
            length = counted.sum(1)
            later = backwards(self.back(backwards(steps, length))[0], length)
            features = torch.cat([features, later], dim=2)
        return features * counted[:, :, None]

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time, channels), NaN where missing -> (batch, time, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the steps that are no padding."""
        return pooled(features, self.pooling)
