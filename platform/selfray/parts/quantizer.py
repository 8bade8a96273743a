"""Discrete codes of features: learned ones that a gradient passes through, and fixed random ones.

B: batch, P: positions, D: width of features, G: groups, V: codes of a group.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from ..train.distributed import all_sum
from .precision import full_precision

TINY = 2.0**-25  # half of the smallest step of `uniform`, instead of 0, whose logarithm is infinite


class Quantized(NamedTuple):
    """Features as codes.

    Args:
        values: (B, P, width of a code), with the gradient of the soft choice.
        codes: int64, (B, P, G).
        probabilities: of the codes, without noise and temperature; (B, P, G, V).
    """

    values: Tensor
    codes: Tensor
    probabilities: Tensor


class ProductQuantizer(nn.Module):
    """One of `codes` vectors in each of `groups` groups, concatenated (wav2vec 2.0, arXiv:2006.11477, section 2).

    Args:
        inputs: width of the features.
        width: of all groups' vectors together.
        groups, codes: 2 and 320 in the paper.
    """

    def __init__(self, inputs: int, width: int, groups: int, codes: int):
        super().__init__()
        self.groups, self.codes = groups, codes
        self.choose = nn.Linear(inputs, groups * codes)
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)
        self.vectors = nn.Parameter(torch.empty(groups, codes, width // groups).uniform_())

    def forward(self, features_BPD: Tensor, temperature: Tensor, draws: Tensor | None = None) -> Quantized:
        """The codes; with `draws`, uniform in [0, 1), (B, P, G x V), chosen by the Gumbel distribution."""
        return quantized(self.choose(features_BPD), self.vectors, temperature, draws)


@full_precision
def quantized(logits: Tensor, vectors_GVd: Tensor, temperature: Tensor, draws: Tensor | None) -> Quantized:
    """The straight-through Gumbel softmax of each group (equation 1), or the likeliest code without draws."""
    groups, codes, _ = vectors_GVd.shape
    logits = logits.unflatten(-1, (groups, codes))
    if draws is None:
        chosen = logits.argmax(-1)
        picked = one_hot(chosen, codes).to(logits.dtype)
    else:
        noise = -(-draws.view_as(logits).clamp_min(TINY).log()).log()  # a sum could be 1, whose noise is infinite
        soft = ((logits + noise) / temperature).softmax(-1)
        chosen = soft.argmax(-1)
        picked = one_hot(chosen, codes).to(logits.dtype) + soft - soft.detach()
    values = torch.einsum("bpgv,gvd->bpgd", picked, vectors_GVd).flatten(2)
    return Quantized(values, chosen, logits.softmax(-1))


@full_precision
def perplexity(probabilities_BPGV: Tensor, counted_BP: Tensor) -> Tensor:
    """Exp of the entropy of the mean over all workers' counted positions, summed over groups: G to G x V."""
    counted = counted_BP[:, :, None, None].to(probabilities_BPGV.dtype)
    total = all_sum(counted.sum()).clamp_min(1)
    mean = all_sum((probabilities_BPGV * counted).sum((0, 1))) / total
    return (-(mean * mean.clamp_min(1e-30).log()).sum(-1)).exp().sum()  # a code's 0 has a finite gradient


class RandomQuantizer(nn.Module):
    """The nearest of random unit vectors to a random projection, never trained (BEST-RQ, arXiv:2202.01855, eq. 1).

    Inputs must be normalised, else few of the codes are used.

    Args:
        inputs: width of what is quantised.
        width: of the projection and of the codes' vectors; 16 in the paper.
        codes: 8192 in the paper.
    """

    projection: Tensor
    vectors: Tensor

    def __init__(self, inputs: int, width: int, codes: int):
        super().__init__()
        self.register_buffer("projection", nn.init.xavier_uniform_(torch.empty(inputs, width)))
        self.register_buffer("vectors", normalize(torch.randn(codes, width), dim=1))

    @torch.no_grad()
    def forward(self, values: Tensor) -> Tensor:
        """(..., inputs) -> int64 (...)."""
        return nearest(values, self.projection, self.vectors)


@full_precision
def nearest(values: Tensor, projection: Tensor, vectors: Tensor) -> Tensor:
    """The number of the unit vector that is nearest to each projected and normalised value."""
    return (normalize(values @ projection, dim=-1) @ vectors.T).argmax(-1)
