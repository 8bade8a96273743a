"""Adversarial training in one backward pass: each side's loss sees the other side's weights detached.

The critic's loss takes detached samples. The loss of what it judges goes through `frozen`, the critic with detached
weights: gradients pass through it to the samples and stop there. Both losses are added, and every parameter gets the
gradient of its own loss alone; simultaneous gradient steps, as in Goodfellow et al. (arXiv:1406.2661, algorithm 1)
with k = 1, but for both sides stepping at once.
"""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from .precision import full_precision

SLOPE = 0.2  # of the leaky ReLU (DCGAN, arXiv:1511.06434, section 3)
COARSEST = 4  # the side, in positions, at which down-sampling stops


class Critic(nn.Module):
    """One number for an input, or for a pair of an input and a code: how real it looks.

    No batch normalisation: it would let the samples of a batch judge each other.

    Args:
        size: Sides of the inputs, one or two.
        channels: Channels of the inputs.
        width: Channels of the first layer; they double with each halving of the resolution.
        code: Width of the code; 0 for none.
        spectral: Spectral normalisation of every layer (arXiv:1802.05957).
    """

    def __init__(self, size: tuple[int, ...], channels: int, width: int, code: int = 0, spectral: bool = True):
        super().__init__()
        normed = spectral_norm if spectral else lambda module: module
        convolution = nn.Conv1d if len(size) == 1 else nn.Conv2d
        layers: list[nn.Module] = []
        sides, before, after = list(size), channels, width
        while not layers or min(sides) > COARSEST:
            layers += [normed(convolution(before, after, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
            before, after, sides = after, 2 * after, [max(1, side // 2) for side in sides]
        self.trunk = nn.Sequential(*layers)
        flat = before * math.prod(sides)
        self.head = nn.Sequential(
            normed(nn.Linear(flat + code, 4 * width)), nn.LeakyReLU(SLOPE), normed(nn.Linear(4 * width, 1))
        )

    def forward(self, inputs: Tensor, code: Tensor | None = None) -> Tensor:
        """(batch, channels, *size), and (batch, code) -> (batch,)."""
        features = self.trunk(inputs).flatten(1)
        if code is not None:
            features = torch.cat([features, code], dim=1)
        judged: Tensor = self.head(features)[:, 0]
        return judged


def frozen(network: nn.Module, *inputs: Tensor) -> Tensor:
    """The network's output, with gradient to the inputs and none to its weights."""
    result: Tensor = functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, inputs)
    return result


@full_precision
def critic_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), averaged, for D the sigmoid of what the critic says (arXiv:1406.2661, eq. 1)."""
    return softplus(-real_B).mean() + softplus(fake_B).mean()


@full_precision
def fooling_loss(fake_B: Tensor) -> Tensor:
    """-log D(fake), averaged: the non-saturating loss of what is judged (arXiv:1406.2661, section 3)."""
    return softplus(-fake_B).mean()


@torch.compiler.disable  # the compiler has no second derivatives
def gradient_penalty(critic: nn.Module, inputs: Tensor, *rest: Tensor) -> Tensor:
    """R1: half the squared norm of the critic's gradient at real inputs, averaged (arXiv:1801.04406, eq. 9)."""
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        points = [tensor.detach().float().requires_grad_() for tensor in (inputs, *rest)]
        slopes = torch.autograd.grad(critic(*points).sum(), points, create_graph=True)
    return torch.stack([slope.flatten(1).square().sum(1) for slope in slopes]).sum(0).mean() / 2
