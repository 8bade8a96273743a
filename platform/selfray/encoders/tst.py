"""A Transformer for series with learned positions and batch normalisation: TST (arXiv:2010.02803)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from ..bounds import Fraction, PositiveInt
from ..errors import UserError
from ..parts.ragged import MaskedBatchNorm, Pooling, inside, pooled, standardised
from .encoder import Encoder


class TST(Encoder):
    """One feature vector a patch of steps, each of which attends to all others that are no padding.

    Missing values are the mean; a patch without any value enters as its position alone. Features of padding are
    zeros. Attention costs the square of the number of patches: longer series want a larger `patch`.

    Args:
        width: Width of a feature vector; 128 in most of the paper's settings.
        layers: Number of layers.
        heads: Attention heads of a layer; must divide `width`.
        hidden: Width of a layer's two-layer network.
        patch: Steps of a patch; 1 in the paper.
        dropout: Share of the features that are zero in training.
        pooling: The vector of a series is the `max` or the `mean` over patches.
        instance: Normalise every series by its own mean and deviation instead of the corpus's.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 128,
        layers: PositiveInt = 3,
        heads: PositiveInt = 16,
        hidden: PositiveInt = 256,
        patch: PositiveInt = 1,
        dropout: Fraction = 0.1,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        if width % heads:
            raise UserError(f"encoder.heads {heads} does not divide encoder.width {width}")
        self.width, self.stride, self.pooling, self.instance = width, patch, pooling, instance
        self.enter = nn.Linear(channels * patch, width)
        self.positions = nn.Parameter(torch.empty(self.grid[0], width).uniform_(-0.02, 0.02))
        self.layers = nn.ModuleList(_Layer(width, heads, hidden, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised values; see `forward`."""
        rows = pad(rows, (0, 0, 0, -rows.shape[1] % self.stride), value=float("nan"))
        patches = rows.unflatten(1, (-1, self.stride))
        count = patches.shape[1]
        if count > len(self.positions):
            raise UserError(f"this encoder takes series of up to {self.size[0]} steps, not {rows.shape[1]}")
        counted = inside(rows).unflatten(1, (-1, self.stride)).any(2)
        shown = ~patches.isnan().all(3).all(2)
        if mask is not None:
            shown = shown & ~mask
        # as the paper's code: features are as large as embeddings of words are beside their positions
        tokens = self.enter(patches.flatten(2).nan_to_num()) * math.sqrt(self.width)
        tokens = self.dropout(tokens * shown[:, :, None] + self.positions[:count])
        for layer in self.layers:
            tokens = layer(tokens, counted)
        dropped: Tensor = self.dropout(gelu(tokens) * counted[:, :, None])
        return dropped

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time, channels), NaN where missing -> (batch, patches, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the patches that are no padding."""
        return pooled(features, self.pooling)


class _Layer(nn.Module):
    """Post-norm self-attention and a two-layer network, with batch normalisation over all steps that count."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.norms = nn.ModuleList([MaskedBatchNorm(width), MaskedBatchNorm(width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BTD: Tensor, counted_BT: Tensor) -> Tensor:
        """The same shape; padding is seen by none."""
        heard, _ = self.attention(tokens_BTD, tokens_BTD, tokens_BTD, key_padding_mask=~counted_BT, need_weights=False)
        tokens_BTD = self.norms[0](tokens_BTD + self.dropout(heard), counted_BT)
        normed: Tensor = self.norms[1](tokens_BTD + self.dropout(self.network(tokens_BTD)), counted_BT)
        return normed
