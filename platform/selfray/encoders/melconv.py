"""Convolutions over the log-mel picture of a sound, as the encoder of BYOL-A (arXiv:2103.06695, table II)."""

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import max_pool1d, max_pool2d, relu

from ..bounds import Fraction, Positive, PositiveInt
from ..parts.mel import MelRows
from ..parts.ragged import MaskedBatchNorm, inside, pooled
from .encoder import Encoder


class MelConv(Encoder):
    """Convolution, batch normalisation, ReLU and a max pool of both axes, then a layer over what is left of the bands.

    The log-mel frames have mean 0 and deviation 1 over each sound, so that its level does not matter. Features of
    padding are zeros.

    Args:
        width: Width of a feature vector; 2048 in the paper.
        channels_inside: Channels of every convolution; 64 in the paper.
        stages: How often time and bands are halved; 3 in the paper.
        mels: Bands; 64 in the paper.
        rate: Sampling rate of the corpus in hertz.
        window: Milliseconds that a frame looks at; 64 in the paper.
        hop: Milliseconds from frame to frame; 10 in the paper.
        dropout: Share of a feature vector that is zero in training; 0.3 in the paper.
        pooling: The vector of a sound is the `mean` or the `max` over time or, as in the paper, the sum of `both`.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 2048,
        channels_inside: PositiveInt = 64,
        stages: PositiveInt = 3,
        mels: PositiveInt = 64,
        rate: PositiveInt = 16_000,
        window: Positive = 64.0,
        hop: Positive = 10.0,
        dropout: Fraction = 0.3,
        pooling: Literal["mean", "max", "both"] = "both",
    ):
        super().__init__(channels, size)
        self.front = MelRows(rate, window, hop, mels)
        self.row_width, self.width, self.pooling, self.stages = mels, width, pooling, stages
        self.stride = self.front.hop * 2**stages
        widths = [1] + [channels_inside] * stages
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False) for i in range(stages)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(channels_inside) for _ in range(stages))
        bands = -(-mels // 2**stages)
        self.leave = nn.Sequential(
            nn.Linear(channels_inside * bands, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    @property
    def row_stride(self) -> int:
        """Log-mel frames for each position."""
        return int(2**self.stages)

    def rows(self, inputs: Tensor) -> Tensor:
        """Log-mel frames at mean 0 and deviation 1, NaN behind a sound's end: (batch, frames, mels)."""
        rows: Tensor = self.front(inputs, self.facts)
        return rows

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of log-mel frames; see `forward`."""
        counted, picture = inside(rows), rows.nan_to_num()
        if mask is not None:
            hidden = mask.repeat_interleave(self.row_stride, dim=1)[:, : rows.shape[1], None]
            picture = picture.masked_fill(hidden, 0.0)
        picture = picture.transpose(1, 2)[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            picture = convolution(picture)
            bands = picture.shape[2]
            flat = picture.permute(0, 3, 2, 1).flatten(1, 2)  # bands count as time for the statistics
            flat = norm(flat, counted.repeat_interleave(bands, dim=1))
            picture = relu(flat.unflatten(1, (-1, bands)).permute(0, 3, 2, 1)) * counted[:, None, None]
            # ReLU's values are 0 or more, so that padding never wins
            picture = max_pool2d(picture, 2, ceil_mode=True)
            counted = max_pool1d(counted[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
        features: Tensor = relu(self.leave(picture.permute(0, 3, 1, 2).flatten(2)))
        return features * counted[:, :, None]

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time) in [-1, 1], silence behind the end -> (batch, positions, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The mean, the maximum or the sum of both, over the positions that are no padding."""
        if self.pooling == "both":
            return pooled(features, "mean") + pooled(features, "max")
        return pooled(features, self.pooling)
