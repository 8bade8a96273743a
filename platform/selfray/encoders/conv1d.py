"""Three convolution blocks over time, the encoder of TS-TCC (arXiv:2106.14112)."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad, relu

from ..bounds import Fraction, PositiveInt
from ..parts.ragged import MaskedBatchNorm, Pooling, inside, pooled, standardised
from .encoder import Encoder


class Conv1d(Encoder):
    """Convolution, batch normalisation, ReLU and a max pool that halves the resolution, from stage to stage.

    Missing values are the mean; a step without any value enters as zeros. Features of padding are zeros.

    Args:
        width: Width of the last stage and of a feature vector; it doubles from stage to stage.
        stages: How often the resolution halves.
        kernel: Taps of a convolution; 8 in the paper.
        dropout: Share of the first stage's features that are zero in training.
        pooling: The vector of a series is the `max` or the `mean` over positions.
        instance: Normalise every series by its own mean and deviation instead of the corpus's.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 128,
        stages: PositiveInt = 3,
        kernel: PositiveInt = 8,
        dropout: Fraction = 0.35,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        self.width, self.stride, self.pooling, self.instance = width, 2**stages, pooling, instance
        widths = [channels] + [max(1, width >> (stages - 1 - stage)) for stage in range(stages)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], kernel, bias=False) for i in range(stages)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(after) for after in widths[1:])
        self.dropout, self.reach = nn.Dropout(dropout), ((kernel - 1) // 2, kernel // 2)

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised values; see `forward`."""
        counted, features = inside(rows), rows.nan_to_num()
        if mask is not None:
            hidden = mask.repeat_interleave(self.stride, dim=1)[:, : rows.shape[1], None]
            features = features.masked_fill(hidden, 0.0)
        for stage, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            features = convolution(pad(features.transpose(1, 2), self.reach)).transpose(1, 2)
            features = relu(norm(features, counted)) * counted[:, :, None]
            # ReLU's values are 0 or more, so that padding never wins
            features = max_pool1d(features.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
            counted = max_pool1d(counted.float(), 2, ceil_mode=True) > 0
            features = self.dropout(features) if stage == 0 else features
        return features

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time, channels), NaN where missing -> (batch, positions, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the positions that are no padding."""
        return pooled(features, self.pooling)
