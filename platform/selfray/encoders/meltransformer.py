"""A Transformer over log-mel frames with sine positions, as the encoder of TERA (arXiv:2007.06028, section III-C)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..bounds import Positive, PositiveInt
from ..parts.mel import MelRows
from ..parts.positions import sincos
from ..parts.ragged import inside, pooled
from ..parts.transformer import Transformer
from .encoder import Encoder


class MelTransformer(Encoder):
    """One feature vector a stack of log-mel frames, each of which attends to all others that are no padding.

    The log-mel frames have mean 0 and deviation 1 over each sound, so that its level does not matter. Features of
    padding are zeros.

    Args:
        width: Width of a feature vector, divisible by 2; 768 in the paper.
        layers: Number of layers; 3 in the paper.
        stack: Frames of a position; 1 in TERA, 4 in BEST-RQ (arXiv:2202.01855).
        mels: Bands; 80 in the paper.
        rate: Sampling rate of the corpus in hertz.
        window: Milliseconds that a frame looks at.
        hop: Milliseconds from frame to frame.
        pooling: The vector of a sound is the `mean` or the `max` over time.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 768,
        layers: PositiveInt = 3,
        stack: PositiveInt = 1,
        mels: PositiveInt = 80,
        rate: PositiveInt = 16_000,
        window: Positive = 25.0,
        hop: Positive = 10.0,
        pooling: Literal["mean", "max"] = "mean",
    ):
        super().__init__(channels, size)
        self.front = MelRows(rate, window, hop, mels)
        self.row_width, self.width, self.pooling, self.stack = mels, width, pooling, stack
        self.stride = self.front.hop * stack
        self.enter = nn.Linear(mels * stack, width)
        self.transformer = Transformer(width, layers)

    @property
    def row_stride(self) -> int:
        """Log-mel frames for each position."""
        return self.stack

    def rows(self, inputs: Tensor) -> Tensor:
        """Log-mel frames at mean 0 and deviation 1, NaN behind a sound's end: (batch, frames, mels)."""
        rows: Tensor = self.front(inputs, self.facts)
        return rows

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of log-mel frames; see `forward`."""
        rows = nn.functional.pad(rows, (0, 0, 0, -rows.shape[1] % self.stack), value=float("nan"))
        counted = inside(rows).unflatten(1, (-1, self.stack)).any(2)
        tokens = self.enter(rows.nan_to_num().unflatten(1, (-1, self.stack)).flatten(2))
        if mask is not None:
            tokens = tokens.masked_fill(mask[:, :, None], 0.0)
        places = sincos((tokens.shape[1],), self.width).to(device=tokens.device, dtype=tokens.dtype)
        features: Tensor = self.transformer(tokens + places, ~counted)
        return torch.where(counted[:, :, None], features, 0.0)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time) in [-1, 1], silence behind the end -> (batch, positions, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The mean or the maximum over the positions that are no padding."""
        return pooled(features, self.pooling)
