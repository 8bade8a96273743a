"""Causal convolutions over time and a recurrent network over their results: CPC for sensors (arXiv:2012.05333)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ..bounds import Fraction, PositiveInt
from ..errors import UserError
from ..parts.ragged import Pooling, inside, pooled, standardised
from .encoder import Encoder


class CPC1d(Encoder):
    """A position every few steps, which knows those steps and the ones before them.

    Neighbouring positions share few steps: with convolutions that move step by step, as in the paper, the next features
    are told from values that both have seen. Each position is normalised over its channels: features that may grow
    saturate the recurrent network (docs/experiments.md). Missing values are the mean; a step without any value enters
    as zero. Features of padding are zeros.

    Args:
        width: Width of the recurrent network and of a feature vector; 256 in the paper.
        inner: Channels of the last convolution, the local features; they double from stage to stage.
        stages: Convolutions; 3 in the paper.
        kernel: Taps of a convolution; 3 in the paper.
        step: By how much a convolution moves, at most its taps; 1 in the paper. A position covers step ** stages.
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
        stages: PositiveInt = 2,
        kernel: PositiveInt = 4,
        step: PositiveInt = 2,
        layers: PositiveInt = 1,
        dropout: Fraction = 0.2,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        if step > kernel:
            raise UserError(
                f"encoder.step {step} is more than encoder.kernel {kernel}, so that steps would be left out"
            )
        self.width, self.local_width, self.stride = width, inner, step**stages
        self.pooling, self.instance, self.before = pooling, instance, kernel - step
        widths = [channels] + [max(1, inner >> (stages - 1 - stage)) for stage in range(stages)]
        self.convolutions = nn.ModuleList(nn.Conv1d(widths[i], widths[i + 1], kernel, step) for i in range(stages))
        self.norms = nn.ModuleList(nn.LayerNorm(after) for after in widths[1:])
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(inner, width, layers, batch_first=True)

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions make of the steps of each position and a few before, and which are no padding."""
        return self._local(self.rows(inputs))

    def _local(self, rows: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        counted, shown = inside(rows)[:, :: self.stride], ~rows.isnan().all(2)
        if mask is not None:
            shown = shown & ~mask.repeat_interleave(self.stride, dim=1)[:, : rows.shape[1]]
        found = (rows.nan_to_num() * shown[:, :, None]).transpose(1, 2)
        found = pad(found, (0, -rows.shape[1] % self.stride))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            made = convolution(pad(found, (self.before, 0)))
            found = self.dropout(relu(norm(made.transpose(1, 2)))).transpose(1, 2)
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
        """(batch, time, channels), NaN where missing -> (batch, positions, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the positions that are no padding."""
        return pooled(features, self.pooling)
