"""Residual dilated convolutions over time, as in TS2Vec (arXiv:2106.10466) and T-Loss (arXiv:1901.10738)."""

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, pad

from ..bounds import Fraction, PositiveInt
from ..parts.ragged import Pooling, inside, pooled, standardised
from .encoder import Encoder


class Dilated(Encoder):
    """One feature vector a time step; the dilation doubles from block to block, so few blocks see a long past.

    Missing values are the mean; a step without any value enters as zero. What lies behind the last value is padding,
    which no other position sees; its features are zeros.

    Args:
        width: Width of a feature vector; 320 in TS2Vec.
        hidden: Width of the blocks before the last one; 64 in TS2Vec.
        depth: Blocks before the last one; 10 in TS2Vec.
        kernel: Taps of a convolution.
        padding: `same` looks both ways, `causal` into the past only, as T-Loss does.
        dropout: Share of the features that are zero in training.
        pooling: The vector of a series is the `max` over time, as in both papers, or the `mean`.
        instance: Normalise every series by its own mean and deviation instead of the corpus's.
    """

    kind: ClassVar[str] = "series"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 320,
        hidden: PositiveInt = 64,
        depth: PositiveInt = 10,
        kernel: PositiveInt = 3,
        padding: Literal["same", "causal"] = "same",
        dropout: Fraction = 0.1,
        pooling: Pooling = "max",
        instance: bool = False,
    ):
        super().__init__(channels, size)
        self.width, self.stride, self.pooling, self.instance = width, 1, pooling, instance
        self.enter = nn.Linear(channels, hidden)
        widths = [hidden] * (depth + 1) + [width]
        self.blocks = nn.ModuleList(
            _Block(widths[i], widths[i + 1], kernel, 2**i, padding == "causal", last=i == depth)
            for i in range(depth + 1)
        )
        self.dropout = nn.Dropout(dropout)

    def rows(self, inputs: Tensor) -> Tensor:
        """Normalised values, NaN where they are missing: (batch, time, channels)."""
        return standardised(inputs, self.mean, self.std, self.instance)

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of normalised values; see `forward`."""
        counted = inside(rows)
        shown = ~rows.isnan().all(2)
        if mask is not None:
            shown = shown & ~mask
        features = (self.enter(rows.nan_to_num()) * shown[:, :, None]).transpose(1, 2)
        kept = counted[:, None].to(features.dtype)
        for block in self.blocks:
            features = block(features, kept)
        dropped: Tensor = self.dropout(features * kept).transpose(1, 2)
        return dropped

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time, channels), NaN where missing -> (batch, time, width)."""
        return self.encode(self.rows(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The maximum or the mean over the steps that are no padding."""
        return pooled(features, self.pooling)


class _Block(nn.Module):
    """Twice GELU and convolution, beside a shortcut (TS2Vec's code, section B.1 of the paper)."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int, causal: bool, last: bool):
        super().__init__()
        self.causal = causal
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, after, kernel, dilation=dilation) for width in (before, after)
        )
        self.shortcut = nn.Conv1d(before, after, 1) if last or before != after else nn.Identity()

    def forward(self, features_BDT: Tensor, kept_B1T: Tensor) -> Tensor:
        """`kept` is 0 at padding and 1 elsewhere."""
        shortcut: Tensor = self.shortcut(features_BDT)
        for convolution in self.convolutions:
            features_BDT = convolved(convolution, gelu(features_BDT) * kept_B1T, self.causal)
        return features_BDT + shortcut


def convolved(convolution: nn.Module, inputs_BDT: Tensor, causal: bool) -> Tensor:
    """A convolution that keeps the length; taps that are always outside of the series are left out.

    With a dilation of the length or more only the tap of the step itself meets values, so the result is the same and
    costs a third.
    """
    weight, bias = convolution.weight, convolution.bias
    (dilation,) = convolution.dilation  # type: ignore[misc]
    taps = weight.shape[2]  # type: ignore[index]
    own = taps - 1 if causal else (taps - 1) // 2
    if dilation >= inputs_BDT.shape[2]:
        return conv1d(inputs_BDT, weight[:, :, own : own + 1], bias)  # type: ignore[index, arg-type]
    padded = pad(inputs_BDT, (own * dilation, (taps - 1 - own) * dilation))
    return conv1d(padded, weight, bias, dilation=dilation)  # type: ignore[arg-type]
