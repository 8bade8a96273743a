"""Cross entropy over a vocabulary in pieces, so that memory does not grow with rows x words, and the head before it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, linear

from ..train.distributed import all_sum, weight, world

LOGITS = 1 << 24
"""Numbers of a piece: 64 MiB of fp32, at which the matrix product is as fast as in one piece."""


class Words(NamedTuple):
    """What a head says at some positions (N)."""

    loss: Tensor  # scalar: cross entropies, each times its weight, summed up
    right: Tensor  # scalar, detached: weights of the positions whose likeliest word is the target, summed up
    drawn: Tensor  # int64, (N,): words drawn from the predicted distribution; empty if none were asked for


@torch.compiler.disable  # a loop with sums in place is opaque to it anyway
def word_losses(
    hidden_ND: Tensor,
    words_VD: Tensor,
    bias_V: Tensor | None,
    target_N: Tensor,
    weight_N: Tensor,
    draws_N: Tensor | None = None,
) -> Words:
    """Cross entropy of `hidden @ words.T + bias` in fp32, with the matrix products in autocast's precision.

    Gradients are made in the forward pass, piece by piece: the logits are never computed again and never stored.

    Args:
        weight_N: 0 for positions that do not count.
        draws_N: In [0, 1): a word is drawn at each position by inverting its cumulative distribution.
    """
    draws = torch.empty(0, device=hidden_ND.device) if draws_N is None else draws_N
    bias = hidden_ND.new_zeros(0) if bias_V is None else bias_V
    return Words(*_WordLosses.apply(hidden_ND, words_VD, bias, target_N, weight_N, draws))


class _WordLosses(Function):
    @staticmethod
    def forward(
        context: Any, hidden: Tensor, words: Tensor, bias: Tensor, target: Tensor, weights: Tensor, draws: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(words.dtype, torch.float32)
        total, right = hidden.new_zeros((), dtype=wide), hidden.new_zeros((), dtype=wide)
        learning = any(context.needs_input_grad)
        to_hidden = torch.empty_like(hidden) if learning else None
        to_words, to_bias = (torch.zeros_like(words), torch.zeros_like(bias)) if learning else (None, None)
        drawn = []
        rows = max(1, LOGITS // len(words))
        for at in range(0, len(hidden), rows):
            part = slice(at, at + rows)
            logits = linear(hidden[part], words).to(wide)
            if len(bias):
                logits = logits + bias
            goal, counts = target[part, None], weights[part].to(wide)
            shares = logits.log_softmax(1)
            total += (-shares.gather(1, goal)[:, 0] * counts).sum()
            right += ((logits.argmax(1) == goal[:, 0]) * counts).sum()
            shares = shares.exp()
            if len(draws):
                drawn.append(_drawn(shares, draws[part]))
            if to_hidden is not None and to_words is not None and to_bias is not None:
                slope = shares.scatter_add(1, goal, shares.new_full(goal.shape, -1.0)) * counts[:, None]
                if len(bias):
                    to_bias += slope.sum(0)
                to_hidden[part] = slope @ words
                to_words += slope.T @ hidden[part].to(wide)
        if learning:
            context.save_for_backward(to_hidden, to_words, to_bias)
        found = torch.cat(drawn) if drawn else target.new_empty(0)
        context.mark_non_differentiable(right, found)
        return total, right, found

    @staticmethod
    @once_differentiable
    def backward(context: Any, to_total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        to_hidden, to_words, to_bias = context.saved_tensors
        bias = to_bias * to_total if len(to_bias) else torch.zeros_like(to_bias)
        return (to_hidden * to_total).to(to_hidden.dtype), to_words * to_total, bias, None, None, None


def _drawn(shares: Tensor, draws: Tensor) -> Tensor:
    """A word for every row of probabilities: the first whose cumulative share exceeds the draw."""
    below = shares.cumsum(1)
    return (below <= (draws[:, None] * below[:, -1:])).sum(1).clamp(max=shares.shape[1] - 1)


class WordHead(nn.Module):
    """BERT's head: a linear layer, GELU and a normalisation before the product with the tied word embeddings.

    Args:
        before: Width of the features.
        width: Width of the word embeddings.
        words: Size of the vocabulary.
    """

    def __init__(self, before: int, width: int, words: int):
        super().__init__()
        self.dense, self.norm = nn.Linear(before, width), nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(words))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(..., before) -> (..., width)."""
        result: Tensor = self.norm(gelu(self.dense(features)))
        return result


def mean_of_all(total: Tensor, count: Tensor) -> Tensor:
    """A sum over what counts on all workers, divided by how much counts there, as this worker's part of it.

    Workers have unequal numbers of masked tokens; a mean of their means would be another loss than that of one worker.
    """
    if world() == 1:
        return total / count.clamp(min=1)
    everywhere = all_sum(count.detach().to(total.dtype)).clamp(min=1)
    return total * (world() / weight()) / everywhere


def word_scalars(said: Words, count: Tensor) -> dict[str, Tensor]:
    """Perplexity and accuracy of this worker's words, detached."""
    some = count.clamp(min=1)
    return {"perplexity": (said.loss.detach() / some).exp(), "word_accuracy": said.right / some}
