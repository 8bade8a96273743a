"""Where documents, words and padding lie in rows of tokens, and which tokens may see which.

B: rows, L: tokens of a row. `facts` are those of a text corpus: the numbers of the special tokens and the size of the
vocabulary; `pack` is true where a row holds several documents, each ended by [SEP].
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..encoders.encoder import Encoder
from ..errors import UserError

Pooling = Literal["cls", "mean", "last"]
SPECIAL = ("pad", "unk", "cls", "sep", "mask")


def first_deviation(width: int) -> float:
    """The standard deviation of first weights for normalisation behind the layers, as in BERT (arXiv:1910.05895, 2.2).

    It is BERT's 0.02 for a width of 1,024; narrow networks learn slowly from that.
    """
    return float((2 / (5 * width)) ** 0.5)


class Layout(NamedTuple):
    """How a Transformer reads rows of tokens."""

    seen: Tensor  # bool, (B, 1, L, L): whether the token of a row of it may see that of a column
    places: Tensor  # int64, (B, L): counted from the start of the document in packed rows, else of the row
    segments: Tensor  # int64, (B, L): 1 behind the first [SEP] of a row that is not packed, else 0
    valid: Tensor  # bool, (B, L): not padding


def documents(tokens_BL: Tensor, sep: int) -> Tensor:
    """How many [SEP] come before each token: int64, (B, L)."""
    ends = (tokens_BL == sep).long()
    return ends.cumsum(1) - ends


def layout(
    tokens_BL: Tensor, facts: Mapping[str, Any], causal: bool = False, hidden_BL: Tensor | None = None
) -> Layout:
    """What may be seen from where.

    In packed rows a document sees itself only and its positions start anew. Padding is seen by padding only, so that
    no row of the attention is empty; `hidden_BL` is treated alike.
    """
    valid = tokens_BL != facts.get("pad", 0)
    if hidden_BL is not None:
        valid = valid & ~hidden_BL
    number = documents(tokens_BL, facts["sep"]) if "sep" in facts else torch.zeros_like(tokens_BL)
    along = torch.arange(tokens_BL.shape[1], device=tokens_BL.device).expand_as(tokens_BL)
    if facts.get("pack", False):
        begins = torch.cat([torch.ones_like(valid[:, :1]), number[:, 1:] != number[:, :-1]], dim=1)
        places = along - torch.where(begins, along, 0).cummax(1).values
        segments, group = torch.zeros_like(number), number
    else:
        places, segments, group = along, number.clamp(max=1), torch.zeros_like(number)
    group = torch.where(valid, group, -1)
    seen = group[:, :, None] == group[:, None, :]
    if causal:
        seen = seen & (along[:, :, None] >= along[:, None, :])
    return Layout(seen[:, None], places, segments, valid)


def pooled(features_BLW: Tensor, valid_BL: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row, (B, W): of the first token, of the last that is not padding, or the mean over those."""
    if pooling == "cls":
        return features_BLW[:, 0]
    if pooling == "last":
        along = torch.arange(valid_BL.shape[1], device=valid_BL.device)
        last = torch.where(valid_BL, along, 0).amax(1)
        return features_BLW[torch.arange(len(last), device=last.device), last]
    weight = valid_BL[..., None].to(features_BLW.dtype)
    return (features_BLW * weight).sum(1) / weight.sum(1).clamp(min=1)


def ordinary(tokens_BL: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """Which tokens are none of [PAD], [CLS], [SEP] and [MASK]: bool, (B, L). What is unknown is a word too."""
    found = torch.ones_like(tokens_BL, dtype=torch.bool)
    for name in ("pad", "cls", "sep", "mask"):
        if name in facts:
            found &= tokens_BL != facts[name]
    return found


def random_words(draws: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """Token numbers from draws in [0, 1): each but the special ones is equally likely."""
    special = sorted({int(facts[name]) for name in SPECIAL if name in facts})
    count = int(facts["vocabulary"]) - len(special)
    numbers = (draws.double() * count).long().clamp(max=count - 1)
    for number in special:
        numbers = numbers + (numbers >= number)
    return numbers


def fits(tokens: Tensor, size: tuple[int, ...]) -> None:
    """Raise a UserError if rows have more tokens than there are positions."""
    if tokens.shape[1] > size[0]:
        raise UserError(f"rows have {tokens.shape[1]} tokens, the encoder reads {size[0]} at most; cut them")


def word_embeddings(encoder: Encoder, objective: str, causal: bool) -> nn.Embedding:
    """The word embeddings of a Transformer that reads as the objective needs it.

    Raises:
        UserError: the encoder does not read text, or sees too much or too little of it.
    """
    words = getattr(encoder, "words", None)
    if not isinstance(words, nn.Embedding) or encoder.causal != causal:
        name, way = ("gpt", "what came before only") if causal else ("bert", "text in both directions")
        raise UserError(
            f"objective {objective!r} needs an encoder that reads {way}, which "
            f"{type(encoder).__module__.rpartition('.')[2]!r} does not; use encoder.name={name}"
        )
    return words
