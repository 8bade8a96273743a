"""Strided convolutions over the waveform and a recurrent network over their results: CPC (arXiv:1807.03748)."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from ..bounds import PositiveInt
from ..parts.mel import one_channel
from ..parts.ragged import pooled
from ..parts.spectrum import frames_of, lengths, levelled, valid_frames
from .encoder import Encoder

KERNELS, STRIDES = (10, 8, 4, 4, 4), (5, 4, 2, 2, 2)  # section 3.1


class CPC(Encoder):
    """A position every 160 samples, 10 ms at 16 kHz, that sees itself and those before it.

    Waveforms have mean 0 and deviation 1 over each sound. Convolutions are followed by a normalisation of each
    position over its channels (Riviere et al., arXiv:2002.02848): batch statistics over time would tell the future.
    Features of padding are zeros.

    Args:
        width: Width of the recurrent network and of a feature vector; 256 in the paper.
        inner: Channels of the convolutions; 512 in the paper.
        layers: Recurrent layers.
        pooling: The vector of a sound is the `mean` or the `max` over time.
    """

    kind: ClassVar[str] = "audio"
    causal: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        width: PositiveInt = 256,
        inner: PositiveInt = 512,
        layers: PositiveInt = 1,
        pooling: Literal["mean", "max"] = "mean",
    ):
        super().__init__(channels, size)
        self.width, self.local_width, self.stride, self.pooling = width, inner, math.prod(STRIDES), pooling
        widths = [1] + [inner] * len(KERNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, inner, kernel, step)
            for before, kernel, step in zip(widths[:-1], KERNELS, STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(inner) for _ in KERNELS)
        self.recurrent = nn.GRU(inner, width, layers, batch_first=True)
        self.reach = 1 + sum((kernel - 1) * math.prod(STRIDES[:i]) for i, kernel in enumerate(KERNELS))

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions make of the waveform, and which positions are no padding."""
        waves = one_channel(inputs)
        length = lengths(waves)
        count = frames_of(waves.shape[1], self.stride)
        before = (self.reach - self.stride) // 2
        after = (count - 1) * self.stride + self.reach - before - waves.shape[1]
        found = pad(levelled(waves, length), (before, after))[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            found = relu(norm(convolution(found).transpose(1, 2))).transpose(1, 2)
        return found.transpose(1, 2), valid_frames(length, count, self.stride)

    def context(
        self, local: Tensor, counted: Tensor, mask: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """Features of the convolutions' results; see `forward`. A token has the local features' width."""
        if mask is not None:
            blank = torch.zeros_like(local[0, 0]) if token is None else token.to(local.dtype)
            local = torch.where(mask[:, :, None], blank, local)
        features: Tensor = self.recurrent(local)[0]  # what comes after a sound cannot change what was before
        return torch.where(counted[:, :, None], features, 0.0)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time) in [-1, 1], silence behind the end -> (batch, positions, width)."""
        return self.context(*self.local(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The mean or the maximum over the positions that are no padding."""
        return pooled(features, self.pooling)
