"""Pairs of segments for next-sentence and sentence-order prediction, out of rows that each hold one document."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..corpus.kinds.text import Text
from ..train.distributed import gather_detached
from ..views.random import uniform

DRAWS = 3  # where a row is cut, whether the pair is true, where the other segment begins
EVEN = 0x51ED2701A9B5C3D7  # any odd number: i -> j and j -> i must not get the same draw


class Pairs(NamedTuple):
    """Two segments a row: [CLS] first [SEP] second [SEP]."""

    tokens: Tensor  # int64, (B, L)
    wrong: Tensor  # bool, (B): the second segment does not follow the first


def documents_of(ids: Tensor) -> Tensor:
    """The numbers of the documents that rows of an unpacked text corpus were cut from."""
    return ids // Text.pieces


def pairs(
    tokens_BL: Tensor, keys: Tensor, ids: Tensor, facts: Mapping[str, Any], stream: int, order: bool = False
) -> Pairs:
    """Cut each row in its middle half; for half of the rows, put another segment in the place of the second.

    The other segment is as long as that which it stands for, if its document is, begins anywhere in its document, and
    comes from another document of all workers' batches. Where there is none the pair stays true. With `order` the two
    segments are exchanged instead (Lan et al. 2019, arXiv:1909.11942).

    Args:
        tokens_BL: int64, [CLS] document [SEP], padding behind.
        ids: The samples' numbers in the corpus.
    """
    length, pad = tokens_BL.shape[1], facts["pad"]
    cut, coin, begin = uniform(keys, stream, DRAWS).unbind(1)
    size = (tokens_BL != pad).sum(1) - 2
    size = size.clamp(max=length - 3)  # a second [SEP] must fit
    first = ((0.25 + 0.5 * cut) * size).long().clamp(min=1)
    first = torch.minimum(first, (size - 1).clamp(min=0))
    second, wrong = size - first, (coin < 0.5) & (size > 1)
    if order:
        left = _segment(tokens_BL, torch.where(wrong, 1 + first, 1), torch.where(wrong, second, first), pad)
        right = _segment(tokens_BL, torch.where(wrong, 1, 1 + first), torch.where(wrong, first, second), pad)
        return Pairs(_joined(left, right, torch.where(wrong, second, first), size, facts), wrong)
    others, sizes = gather_detached(tokens_BL), gather_detached(size)
    document, documents = documents_of(ids), documents_of(gather_detached(ids))
    far = document[:, None] != documents[None, :]
    mixed = (keys[:, None] * EVEN) ^ gather_detached(keys)[None, :]
    score = uniform(mixed.flatten(), stream + 1, 1).view(far.shape)
    partner = torch.where(far & (sizes[None, :] > 0), score, -1.0).argmax(1)
    wrong = wrong & (far & (sizes[None, :] > 0)).any(1)
    there = torch.minimum(second, sizes[partner])
    start = 1 + (begin * (sizes[partner] - there + 1)).long()
    taken = torch.where(wrong, there, second)
    own = _segment(tokens_BL, 1 + first, second, pad)
    right = torch.where(wrong[:, None], _segment(others[partner], start, there, pad), own)
    left = _segment(tokens_BL, torch.ones_like(first), first, pad)
    return Pairs(_joined(left, right, first, first + taken, facts), wrong)


def _segment(tokens_BL: Tensor, start_B: Tensor, size_B: Tensor, pad: int) -> Tensor:
    """`size` tokens from `start` on, moved to the front: (B, L), padding behind."""
    along = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    found = tokens_BL.gather(1, (along + start_B[:, None]).clamp(max=tokens_BL.shape[1] - 1))
    return torch.where(along < size_B[:, None], found, pad)


def _joined(left: Tensor, right: Tensor, first_B: Tensor, size_B: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """[CLS] left [SEP] right [SEP], where left has `first` tokens and both together `size`."""
    along = torch.arange(left.shape[1], device=left.device).expand_as(left)
    first, size = first_B[:, None], size_B[:, None]
    found = left.gather(1, (along - 1).clamp(min=0))
    behind = right.gather(1, (along - first - 2).clamp(min=0))
    found = torch.where(along > first + 1, behind, found)
    found = torch.where((along == first + 1) | (along == size + 2), facts["sep"], found)
    found = torch.where(along == 0, facts["cls"], found)
    return torch.where(along > size + 2, facts["pad"], found)
