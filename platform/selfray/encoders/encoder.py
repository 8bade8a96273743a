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

    def forward(self, inputs: Tensor, mask: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """Features of every position: (batch, extra + positions, width).

        A family that sets `keeps` computes the features of some positions from these alone. Others leave `keep` out
        of their signature, and objectives that need it refuse them when they are made (`needs_keep`).

        Args:
            inputs: For images (batch, channels, height, width) in [0, 1].
            mask: bool, (batch, positions), true at positions whose content no position may see; what is returned for
                them means nothing. With `keep`, (batch, kept).
            keep: int64, (batch, kept), the numbers of the positions that enter the network at all; the result is
                (batch, extra + kept, width), in this order.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def needs_keep(self, objective: str) -> None:
        """Raise a UserError unless this family can run on some positions only, as that objective asks."""
        if not self.keeps:
            raise UserError(
                f"objective {objective!r} shows the encoder some of its positions only, which encoder "
                f"{type(self).__module__.rpartition('.')[2]!r} cannot do; use encoder.name=vit"
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
