"""Which tokens of a row are hidden and what stands in their place, as BERT does (Devlin et al. 2018, arXiv:1810.04805).

B: rows, L: tokens of a row, K: the most that are hidden in any row. All of it is a pure function of the rows' keys.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..views.random import uniform
from .masks import chosen
from .words import random_words

SLACK = 8  # places more than the share asks for, which whole words may need


class Masked(NamedTuple):
    """Rows with some tokens hidden."""

    tokens: Tensor  # int64, (B, L): as the network sees them
    places: Tensor  # int64, (B, K): where tokens were chosen
    real: Tensor  # bool, (B, K): whether a place was; the others fill up


def most_chosen(length: int, share: float, whole_words: bool = False) -> int:
    """K: how many tokens of a row can be chosen at most."""
    return min(length, max(1, round(share * length)) + (SLACK if whole_words else 0))


def choose(keys: Tensor, stream: int, allowed_BL: Tensor, share: float, words_BL: Tensor | None = None) -> Tensor:
    """Choose a share of the allowed tokens of each row, rounded, but at least one: bool, (B, L).

    Args:
        allowed_BL: The tokens that may be chosen.
        words_BL: Numbers of the words that tokens belong to, ascending; a word is chosen as a whole or not at all.
            Words are taken in random order as long as more than half of them lies within the share.
    """
    length = allowed_BL.shape[1]
    draws = uniform(keys, stream, length)
    wanted = (allowed_BL.sum(1, keepdim=True) * share).round().clamp(min=1)
    if words_BL is not None:
        draws = draws.gather(1, words_BL)
    rank = torch.where(allowed_BL, draws, 2.0).argsort(dim=1, stable=True).argsort(dim=1)
    if words_BL is None:
        return allowed_BL & (rank < wanted)
    last = torch.where(allowed_BL, rank, -1)
    last = torch.zeros_like(last).scatter_reduce(1, words_BL, last, "amax", include_self=False).gather(1, words_BL)
    first = torch.where(allowed_BL, rank, length)
    first = torch.zeros_like(first).scatter_reduce(1, words_BL, first, "amin", include_self=False).gather(1, words_BL)
    fits = ((first + last + 1) / 2 <= wanted) | (first == 0)
    return allowed_BL & fits & (rank < most_chosen(length, share, True))


def hide(
    tokens_BL: Tensor,
    keys: Tensor,
    stream: int,
    chosen_BL: Tensor,
    most: int,
    facts: Mapping[str, Any],
    random: float = 0.1,
    kept: float = 0.1,
) -> Masked:
    """Put [MASK] in the place of chosen tokens, but leave a share `kept` and put a share `random` of random words."""
    draws = uniform(keys, stream, 2 * tokens_BL.shape[1])
    which, word = draws.chunk(2, dim=1)
    others = torch.where(which < random, random_words(word, facts), facts["mask"])
    changed = chosen_BL & (which < 1 - kept)
    places, real = chosen(chosen_BL, most)
    return Masked(torch.where(changed, others, tokens_BL), places, real)
