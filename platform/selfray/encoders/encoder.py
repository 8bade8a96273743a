"""The small contract that every encoder keeps, whichever library its layers come from."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError
from .inputs import FUNCTIONS


class Encoder(nn.Module):
    """Maps a batch of samples to features, and features to one vector a sample.

    A family's `__init__` takes what the corpus fixes as positional arguments, `channels` (of text, words of the
    vocabulary) and `size` (of images, height and width of a view in pixels; else the length), and its settings as
    keyword arguments with defaults; it sets `width` and `stride`. Heads belong to objectives and are thrown away after
    training. What `forward` takes is, for each `kind`:

    - image: float (batch, channels, height, width) in [0, 1];
    - audio: float (batch, time) in [-1, 1];
    - series: float (batch, time, channels), NaN where values are missing or padded, which must not leak;
    - text: int64 (batch, length), numbers of tokens; `facts["pad"]` is padding, which must not leak.
    """

    kind: ClassVar[str] = "image"
    """The data type it reads."""

    width: int
    """Width of a feature vector."""

    stride: int
    """Input samples (for images pixels, along one side) for each position."""

    extra: ClassVar[int] = 0
    """Features in front of those of the positions, such as a class token."""

    keeps: ClassVar[bool] = False
    """Whether `forward` takes `keep` and `mask`."""

    causal: ClassVar[bool] = False
    """Whether a position sees only itself and those before it."""

    local_width: int
    """Width of the local features, of families that have them."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, size: tuple[int, ...]):
        super().__init__()
        self.size = tuple(size)
        self.facts: dict[str, Any] = {}  # of the corpus, such as a sampling rate or the number of the padding token
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def set_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Let inputs be normalised inside the encoder, so that an exported one needs no instructions."""
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std).clamp_min(1e-3))

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1], (batch, channels, height, width), to mean 0 and deviation 1 over the corpus."""
        return (images - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)

    @property
    def grid(self) -> tuple[int, ...]:
        """Positions along each side of an input of the encoder's own size; their product is their number."""
        return tuple(-(-side // self.stride) for side in self.size)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of every position: (batch, extra + positions, width).

        A family that sets `keeps` has one more argument, `keep`: int64, (batch, kept), the numbers of the positions
        that enter the network at all; the result is then (batch, extra + kept, width), in this order, and `mask` is
        (batch, kept). Objectives that need it refuse other families when they are made (`needs_keep`).

        Args:
            inputs: What the data type gives, see above.
            mask: bool, (batch, positions), true at positions whose content no position may see, where the family
                supports it; what is returned for them means nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def needs_keep(self, objective: str) -> None:
        """Raise a UserError unless this family can run on some positions only, as that objective asks."""
        if not self.keeps:
            raise UserError(
                f"objective {objective!r} shows the encoder some of its positions only, which encoder "
                f"{type(self).__module__.rpartition('.')[2]!r} cannot do; use encoder.name=vit"
            )

    def rows(self, inputs: Tensor) -> Tensor:
        """The normalised values that the network itself sees, NaN where they are missing: (batch, time, values).

        A family with `rows` and `encode` has `forward(inputs, mask) = encode(rows(inputs), mask)`, so that objectives
        can hide, move and predict these values.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rows")

    def encode(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features of rows, as `forward` returns them; for families that have `rows`."""
        raise NotImplementedError(f"{type(self).__name__} has no rows")

    def needs_rows(self, objective: str, stride: int | None = None) -> None:
        """Raise a UserError unless this family has `rows` and, if a stride is given, that stride."""
        name = type(self).__module__.rpartition(".")[2]
        if type(self).rows is Encoder.rows:
            raise UserError(
                f"objective {objective!r} works on rows of values over time, which encoder {name!r} does not have; "
                "use an encoder of series such as encoder.name=dilated"
            )
        if stride is not None and self.stride != stride:
            raise UserError(
                f"objective {objective!r} needs features of every time step, but a position of encoder {name!r} "
                f"covers {self.stride}; use encoder.name=dilated"
            )

    @property
    def row_stride(self) -> int:
        """Rows for each position, of families that have `rows`: those of series are the input's samples."""
        return self.stride

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features of each position by itself, before any context, and which positions are no padding.

        A family with `local` and `context` has `forward(inputs, mask) = context(*local(inputs), mask)`, so that
        objectives can hide and predict these features, whose width is `local_width`.

        Returns:
            (batch, positions, local width), and bool, (batch, positions).
        """
        raise NotImplementedError(f"{type(self).__name__} has no local features")

    def context(
        self, local: Tensor, counted: Tensor, mask: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """Features of local features, as `forward` returns them; at masked positions `token` (width,) is seen."""
        raise NotImplementedError(f"{type(self).__name__} has no local features")

    def shortened(self, layers: int | None = None) -> "Encoder":
        """A copy that ends after so many of its layers, half of them if left out, with the features of the last one.

        Raises:
            UserError: this family has no such layers, or fewer.
        """
        raise UserError(
            f"encoder {type(self).__module__.rpartition('.')[2]!r} has no layers to take features from; use "
            "encoder.name=wav2vec2"
        )

    def needs_local(self, objective: str) -> None:
        """Raise a UserError unless this family has `local` and `context`."""
        if type(self).local is Encoder.local:
            raise UserError(
                f"objective {objective!r} predicts what an encoder's first layers make of its input, which encoder "
                f"{type(self).__module__.rpartition('.')[2]!r} does not tell; use encoder.name=wav2vec2 or "
                "encoder.name=cpc, or encoder.name=cpc1d for series"
            )

    def pool(self, features: Tensor) -> Tensor:
        """One vector a sample: (batch, positions, width) -> (batch, width)."""
        return features.mean(dim=1)

    def embed(self, inputs: Tensor) -> Tensor:
        """One vector a sample, (batch, width).

        Inputs are what `forward` takes, or samples as a corpus stores them: images uint8 (batch, height, width,
        channels) of any height and width, sounds int16 (batch, time), tokens of any integer type.
        """
        return self.pool(self(FUNCTIONS[self.kind](inputs, self.size)))
