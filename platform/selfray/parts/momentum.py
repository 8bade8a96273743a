"""A slowly moving copy of a network: the exponential moving average of its weights."""

import copy
import math

import torch
from torch import Tensor, nn

from ..encoders.encoder import Encoder


class Momentum(nn.Module):
    """A copy of a network that follows it; gradients never reach it.

    Only parameters are averaged: the copy's batch-norm statistics come from its own forward passes, as in the MoCo
    and BYOL code, so it stays in training mode.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.copy = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *inputs: Tensor) -> Tensor:
        """What the copy makes of the inputs."""
        output: Tensor = self.copy(*inputs)
        return output

    @torch.no_grad()
    def follow(self, network: nn.Module, momentum: float) -> None:
        """copy <- momentum x copy + (1 - momentum) x network, in fp32."""
        mine, theirs = [[p.detach() for p in n.parameters()] for n in (self.copy, network)]
        torch._foreach_lerp_(mine, theirs, 1 - momentum)


class Embed(nn.Module):
    """An encoder whose forward pass is its embedding, so that `Momentum` can copy it."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor) -> Tensor:
        """One vector a sample."""
        return self.encoder.embed(inputs)


def cosine_momentum(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at progress 1 along half a cosine (BYOL, arXiv:2006.07733, section 3.2)."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
