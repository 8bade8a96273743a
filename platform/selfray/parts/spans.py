"""Spans of positions that are hidden, and negatives among them (wav2vec 2.0, arXiv:2006.11477, sections 3.1 and 4.2).

B: batch, P: positions, K: negatives. Shapes never depend on what was drawn.
"""

import torch
from torch import Tensor

from ..views.random import uniform


def random_spans(keys: Tensor, stream: int, counted_BP: Tensor, share: float, length: int) -> Tensor:
    """Spans of `length` positions from random starts, which may overlap: bool, (B, P).

    A sample of n positions has share x n starts, rounded at random and at least one, all of them different and none
    so late that its span would be cut. Only a sample that is shorter than a span is hidden as a whole.

    Args:
        counted_BP: the positions of each sample that are no padding; those in front.
        share: of the positions that are starts; 0.065 in the paper, which hides about 49 % in spans of 10.
        length: positions of a span; 10 in the paper.
    """
    P = counted_BP.shape[1]
    own = counted_BP.sum(1)
    draws = uniform(keys, stream, P + 1)
    starts = (own - length + 1).clamp_min(1)
    wanted = (share * own + draws[:, P]).floor().long().clamp_min(1).minimum(starts)
    allowed = torch.arange(P, device=keys.device) < starts[:, None]
    order = torch.where(allowed, draws[:, :P], 2.0).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)
    begins = allowed & (rank < wanted[:, None])
    recent = torch.nn.functional.pad(begins.float(), (length - 1, 0)).unfold(1, length, 1).amax(2) > 0
    return recent & counted_BP


def random_others(keys: Tensor, stream: int, hidden_BP: Tensor, count: int) -> Tensor:
    """For each position, other hidden positions of the same sample, with replacement: int64, (B, P, K).

    What is returned for positions that are not hidden means nothing; where a sample has one hidden position only, it
    is that position.
    """
    B, P = hidden_BP.shape
    total = hidden_BP.sum(1)[:, None, None]
    order = (~hidden_BP).long().argsort(dim=1, stable=True)
    rank = (hidden_BP.long().cumsum(1) - 1).clamp_min(0)[:, :, None]
    draws = uniform(keys, stream, P * count).view(B, P, count)
    other = (draws * (total - 1)).floor().long().minimum(total - 2).clamp_min(0)
    other = (other + (other >= rank)).minimum((total - 1).clamp_min(0))
    return order[:, None].expand(-1, P, -1).gather(2, other)
