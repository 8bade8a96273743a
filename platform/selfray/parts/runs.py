"""Masks in runs whose lengths are geometrically distributed (TST, arXiv:2010.02803, section 3.3)."""

import torch
from torch import Tensor

from ..views.random import uniform


def geometric_runs(keys: Tensor, stream: int, steps: int, columns: int, ratio: float, mean_run: float) -> Tensor:
    """Masked runs and runs between them are geometric, each column of each sample by itself: bool, (B, steps, columns).

    A chain of two states: a masked step is followed by an unmasked one with probability 1 / mean_run, an unmasked one
    by a masked one with that times ratio / (1 - ratio); the first step is masked with probability ratio. One uniform
    number a step says whether the state becomes masked, becomes unmasked, or stays, whatever it was; the state is thus
    that of the last step at which it became anything, and no loop over time is needed.

    Args:
        ratio: Share of the steps that are masked.
        mean_run: Mean length of a masked run; at least 1 / (1 - ratio), else the chain is none.
    """
    stop = 1 / mean_run
    start = stop * ratio / (1 - ratio)
    draws = uniform(keys, stream, (steps + 1) * columns).view(-1, steps + 1, columns)
    masks, unmasks = draws[:, 1:] < start, draws[:, 1:] >= 1 - stop
    first = draws[:, :1] < ratio
    masks = torch.cat([first, masks[:, 1:]], dim=1)
    event = torch.cat([torch.ones_like(first), (masks | unmasks)[:, 1:]], dim=1)
    places = torch.arange(steps, device=keys.device)[:, None]
    last = torch.where(event, places, 0).cummax(1).values
    return masks.gather(1, last)
