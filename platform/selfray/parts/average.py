"""The mean of a network's weights over all steps of a run (stochastic weight averaging, arXiv:1803.05407)."""

import copy

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """A copy of a network whose weights are the mean over the steps so far; gradients never reach it."""

    steps: Tensor

    def __init__(self, network: nn.Module):
        super().__init__()
        self.copy = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Count the weights as they are now; running statistics are taken over as they are."""
        self.steps.add_(1)
        for mine, theirs in zip(self.copy.parameters(), network.parameters(), strict=True):
            mine.lerp_(theirs, 1 / self.steps)
        for kept, current in zip(self.copy.buffers(), network.buffers(), strict=True):
            kept.copy_(current)

    @torch.no_grad()
    def give(self, network: nn.Module) -> None:
        """Let the network have the mean."""
        for mine, theirs in zip(self.copy.parameters(), network.parameters(), strict=True):
            theirs.copy_(mine)
