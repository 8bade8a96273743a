"""Projection and prediction heads."""

from itertools import pairwise

from torch import nn


def mlp(widths: list[int], *, norm: bool = True, last_norm: bool = False, last_bias: bool = True) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them.

    Args:
        widths: Input width, hidden widths, output width.
        norm: Batch normalisation before each ReLU.
        last_norm: Batch normalisation without scale and shift after the last layer.
        last_bias: A bias in the last layer (never where normalisation follows, which would cancel it).
    """
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(before, after, bias=last_bias and not last_norm if last else not norm))
        if last and last_norm:
            layers.append(nn.BatchNorm1d(after, affine=False))
        if not last:
            layers += [nn.BatchNorm1d(after), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
