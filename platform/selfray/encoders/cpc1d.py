"""Causal convolutions over time and a recurrent network over their results: CPC for sensors (arXiv:2012.05333)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ..bounds import Fraction, PositiveInt
from ..parts.ragged import Pooling, inside, pooled, standardised
from .encoder import Encoder


class CPC1d(Encoder):
    """One feature vector a time step, which knows that step and those before it.

    Missing values are the mean; a step without any value enters as zero. Features of padding are zeros.

    Args:
        width: Width of the recurrent network and of a feature vector; 256 in the paper.
        inner: Channels of the last convolution, the local features; they double from stage to stage.
        stages: Convolutions; 3 in the paper.
        kernel: Taps of a convolution; 3 in the paper.
        layers: Recurrent layers; 2 in the paper.
        dropout: Share of the convolutions' features that are zero in training; 0.2 in the paper.
        pooling: The vector of a series is the `max` or the `mean` over time.
        instance: Normalise every series by its own mean and deviation instead of the corpus's.
    """

    kind: ClassVar[str] = "series"
    causal: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 128,
        inner: PositiveInt = 128,
        stages: PositiveInt = 3,
        kernel: PositiveInt = 3,
        layers: PositiveInt = 1,
        dropout: Fraction = 0.2,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        self.width, self.local_width, self.stride = width, inner, 1
        self.pooling, self.instance, self.reach = pooling, instance, kernel - 1
        widths = [channels] + [max(1, inner >> (stages - 1 - stage)) for stage in range(stages)]
        self.convolutions = nn.ModuleList(nn.Conv1d(widths[i], widths[i + 1], kernel) for i in range(stages))
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(inner, width, layers, batch_first=True)

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions make of each step and the few before it, and which steps are no padding."""
        return self._local(self.rows(inputs))

    def _local(self, rows: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        counted, shown = inside(rows), ~rows.isnan().all(2)
        if mask is not None:
            shown = shown & ~mask
        found = (rows.nan_to_num() * shown[:, :, None]).transpose(1, 2)
        for convolution in self.convolutions:
            found = self.dropout(relu(convolution(pad(found, (self.reach, 0)))))
        return found.transpose(1, 2) * counted[:, :, None], counted

    def context(
        self, local: Tensor, counted: Tensor, mask: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """Features of the convolutions' results; see `forward`. A token has the local features' width."""
        if mask is not None:
            blank = torch.zeros_like(local[0, 0]) if token is None else token.to(local.dtype)
            local = torch.where(mask[:, :, None], blank, local)
        features: Tensor = self.recurrent(local)[0]  # what comes after a series cannot change what was before
        return features * counted[:, :, None]

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised values; see `forward`."""
        return self.context(*self._local(rows, mask))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time, channels), NaN where missing -> (batch, time, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the steps that are no padding."""
        return pooled(features, self.pooling)
