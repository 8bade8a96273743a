"""Projection and prediction heads."""

from itertools import pairwise

from torch import nn


def mlp(
    widths: list[int],
    *,
    norm: bool = True,
    last_norm: bool = False,
    last_bias: bool = True,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear layers of the given widths with ReLU, or another activation, between them.

    Args:
        widths: Input width, hidden widths, output width.
        norm: Batch normalisation before each activation.
        last_norm: Batch normalisation without scale and shift after the last layer.
        last_bias: A bias in the last layer (never where normalisation follows, which would cancel it).
        activation: What follows hidden layers.
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(before, after, bias=last_bias and not last_norm if last else not norm))
        if last and last_norm:
            layers.append(nn.BatchNorm1d(after, affine=False))
        if not last:
            act = nn.ReLU(inplace=True) if activation is nn.ReLU else activation()
            layers += [nn.BatchNorm1d(after), act] if norm else [act]
    return nn.Sequential(*layers)
