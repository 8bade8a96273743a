"""From features back to inputs: up-sampling decoders, whose modality is in the shapes only."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..encoders.encoder import Encoder

NARROWEST = 16  # channels of the layer before the output


class Decoder(nn.Module):
    """Features of an encoder's positions to values of its inputs' shape, for inputs of one or two sides.

    The grid of positions is doubled by nearest neighbours and a convolution until it has the input's resolution, the
    width halving each time; what lies behind the input's border is cut off.

    Args:
        encoder: Tells the grid of positions, their stride, and the size of the inputs.
        width: Width of the features that come in.
        channels: Channels of the output.
        shrink: How many times coarser than the inputs the output is along each side, as far as the stride allows.
    """

    def __init__(self, encoder: Encoder, width: int, channels: int, shrink: int = 1):
        super().__init__()
        self.grid, self.stride = encoder.grid, max(1, round(encoder.stride / shrink))
        self.size = tuple(math.ceil(side * self.stride / encoder.stride) for side in encoder.size)
        sides = len(self.size)
        convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if sides == 1 else (nn.Conv2d, nn.BatchNorm2d)
        layers: list[nn.Module] = []
        before = width
        for _ in range(math.ceil(math.log2(self.stride))):
            after = max(NARROWEST, before // 2)
            layers += [
                nn.Upsample(scale_factor=2),
                convolution(before, after, 3, padding=1, bias=False),
                norm(after),
                nn.ReLU(inplace=True),
            ]
            before = after
        self.layers = nn.Sequential(*layers, convolution(before, channels, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, positions, width) -> (batch, channels, *self.size)."""
        values: Tensor = self.layers(features.transpose(1, 2).unflatten(2, self.grid))
        whole = [side * self.stride for side in self.grid]
        if list(values.shape[2:]) != whole:  # the stride is no power of two
            values = interpolate(values, whole, mode="linear" if len(whole) == 1 else "bilinear")
        for axis, side in enumerate(self.size):
            values = values.narrow(2 + axis, 0, side)
        return values


class VectorDecoder(nn.Module):
    """One vector a sample to values of the inputs' shape: a linear layer to the grid, then a `Decoder`.

    Args:
        encoder: Tells the grid, the stride, and the size of the inputs.
        width: Width of the vectors.
        channels: Channels of the output.
        inner: Width of the features on the grid.
        shrink: As of `Decoder`.
    """

    def __init__(self, encoder: Encoder, width: int, channels: int, inner: int, shrink: int = 1):
        super().__init__()
        self.inner = inner
        self.spread = nn.Linear(width, math.prod(encoder.grid) * inner)
        self.decoder = Decoder(encoder, inner, channels, shrink)
        self.size, self.channels = self.decoder.size, channels

    def forward(self, vectors: Tensor) -> Tensor:
        """(batch, width) -> (batch, channels, *size)."""
        values: Tensor = self.decoder(self.spread(vectors).unflatten(1, (-1, self.inner)))
        return values


class RecurrentDecoder(nn.Module):
    """One vector a sample to values over time: a gated recurrent network that sees the vector at every step.

    Args:
        width: Width of the vectors.
        channels: Channels of the output.
        inner: Width of the network's state.
        steps: Length of the output.
    """

    def __init__(self, width: int, channels: int, inner: int, steps: int):
        super().__init__()
        self.size, self.channels = (steps,), channels
        self.begin = nn.Linear(width, inner)
        self.network = nn.GRU(width, inner, batch_first=True)
        self.leave = nn.Linear(inner, channels)

    def forward(self, vectors: Tensor) -> Tensor:
        """(batch, width) -> (batch, channels, steps)."""
        states, _ = self.network(vectors[:, None].expand(-1, *self.size, -1), self.begin(vectors).tanh()[None])
        values: Tensor = self.leave(states).transpose(1, 2)
        return values


class ChannelWise(nn.Module):
    """A fully connected layer over the positions within each channel (context encoders, arXiv:1604.07379, 3.1)."""

    def __init__(self, positions: int, width: int):
        super().__init__()
        bound = 1 / math.sqrt(positions)
        self.weight = nn.Parameter(torch.empty(width, positions, positions).uniform_(-bound, bound))

    def forward(self, features_BPW: Tensor) -> Tensor:
        """(batch, positions, width) -> (batch, positions, width)."""
        return torch.einsum("bpw,wpq->bqw", features_BPW, self.weight)


def channels_of(encoder: Encoder) -> int:
    """Channels of an encoder's inputs."""
    return len(encoder.mean)


def denormalise(encoder: Encoder, values: Tensor) -> Tensor:
    """What the encoder's `normalise` turned into these values."""
    nothing = torch.zeros_like(values)
    origin = encoder.normalise(nothing)
    return (values - origin) / (encoder.normalise(nothing + 1) - origin)
