"""k-means and what goes before and after it, on the device where the features are."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import UserError
from ..train.distributed import all_sum, gather_equal
from .precision import full_precision

DISTANCES = 2**26
"""Distances computed at a time, 256 MiB of fp32."""

SHIFT = 1 / 1024
"""How far apart, relative to their length, the two halves of a split cluster start; that of the faiss library."""

LEAST_VARIANCE = 1e-6
"""Directions with less variance than this share of the largest are left out rather than blown up."""


def whitening(rows_ND: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Mean and matrix that turn rows into their first principal components of variance 1.

    Returns:
        (D,) and (D, min(components, D)); components without variance become 0.
    """
    mean_D = rows_ND.mean(0)
    centred_ND = (rows_ND - mean_D).double()
    variances, directions = torch.linalg.eigh(centred_ND.T @ centred_ND / max(1, len(rows_ND) - 1))
    variances, directions = variances.flip(0)[:components], directions.flip(1)[:, :components]
    used = variances > LEAST_VARIANCE * variances[0].clamp_min(1e-30)
    scale = torch.where(used, variances.clamp_min(1e-30).rsqrt(), 0.0)
    return mean_D, (directions * scale).to(rows_ND.dtype)


def whitened(rows_ND: Tensor, mean_D: Tensor, matrix_DC: Tensor) -> Tensor:
    """Rows in whitened principal components, of length 1."""
    return normalize((rows_ND - mean_D) @ matrix_DC, dim=1)


def nearest(rows_ND: Tensor, centres_KD: Tensor) -> Tensor:
    """The centre that is nearest to each row, int64 (N,)."""
    lengths_K = centres_KD.square().sum(1)
    parts = rows_ND.split(max(1, DISTANCES // len(centres_KD)))
    return torch.cat([torch.addmm(lengths_K, part, centres_KD.T, alpha=-2).argmin(1) for part in parts])


def kmeans(rows_ND: Tensor, clusters: int, iterations: int) -> Tensor:
    """Centres by Lloyd's algorithm; an empty cluster gets half of the largest.

    The first centres are rows that torch's random numbers draw. Repeats bit for bit on a CPU; a GPU takes sums in any
    order.

    Args:
        rows_ND: What is clustered.
        clusters: K.
        iterations: How often rows are assigned and centres are moved.

    Returns:
        (K, D).

    Raises:
        UserError: there are fewer rows than clusters.
    """
    if len(rows_ND) < clusters:
        raise UserError(f"objective.clusters is {clusters} but only {len(rows_ND)} samples are clustered; lower it")
    first = torch.randperm(len(rows_ND))[:clusters]
    centres_KD = rows_ND[first.to(rows_ND.device)].clone()
    for _ in range(iterations):
        own = nearest(rows_ND, centres_KD)
        counts_K = torch.bincount(own, minlength=clusters)
        sums_KD = torch.zeros_like(centres_KD).index_add_(0, own, rows_ND)
        centres_KD = sums_KD / counts_K.clamp_min(1)[:, None]
        _split_largest(centres_KD, counts_K)
    return centres_KD


def _split_largest(centres_KD: Tensor, counts_K: Tensor) -> None:
    """Put the centre of each empty cluster beside that of the largest, in place."""
    counts = counts_K.tolist()
    for empty in [k for k, count in enumerate(counts) if not count]:
        largest = max(range(len(counts)), key=counts.__getitem__)
        sign = torch.ones_like(centres_KD[0])
        sign[1::2] = -1
        centres_KD[empty] = centres_KD[largest] * (1 + SHIFT * sign)
        centres_KD[largest] *= 1 - SHIFT * sign
        counts[empty] = counts[largest] // 2
        counts[largest] -= counts[empty]


def agreement(first_N: Tensor, second_N: Tensor) -> float:
    """Normalised mutual information of two assignments of the same rows: 1 is the same clusters, 0 independence."""
    _, pair_counts = torch.unique(torch.stack([first_N, second_N]), dim=1, return_counts=True)
    entropies = [_entropy(torch.unique(one, return_counts=True)[1]) for one in (first_N, second_N)]
    shared = sum(entropies) - _entropy(pair_counts)
    return shared / (entropies[0] * entropies[1]) ** 0.5 if min(entropies) > 0 else float(max(entropies) == 0)


def _entropy(counts: Tensor) -> float:
    return float(torch.special.entr(counts.double() / counts.sum()).sum())


class StreamingKMeans(nn.Module):
    """k-means that learns from every batch it sees in training (Sculley 2010, *Web-scale k-means clustering*).

    A centre is the mean of all rows that were ever assigned to it. The first centres are rows of the first batch. All
    workers' rows count alike, and shapes never depend on values, so nothing waits for the device.

    Args:
        clusters: K.
        width: D.
    """

    centres: Tensor
    counts: Tensor

    def __init__(self, clusters: int, width: int):
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, width))
        self.register_buffer("counts", torch.zeros(clusters))

    def begin_anew(self) -> None:
        """Forget all; the next batch gives the first centres."""
        self.counts.zero_()

    @torch.no_grad()
    @full_precision
    def forward(self, rows_ND: Tensor, counted_N: Tensor, draws_N: Tensor) -> Tensor:
        """The nearest centre of each row, int64 (N,), before anything is learned from them.

        Args:
            rows_ND: What is clustered.
            counted_N: bool, whether a row is one; others learn nothing and may be first centres only for want of rows.
            draws_N: uniform in [0, 1): the rows with the lowest are the first centres.
        """
        first = self._first(rows_ND, torch.where(counted_N, draws_N, draws_N + 1))
        centres_KD = torch.where(self.counts.any(), self.centres, first)
        own_N = nearest(rows_ND, centres_KD)
        if self.training:
            counted = counted_N.to(rows_ND.dtype)
            new_K = all_sum(torch.zeros_like(self.counts).index_add_(0, own_N, counted))
            sums_KD = all_sum(torch.zeros_like(centres_KD).index_add_(0, own_N, rows_ND * counted[:, None]))
            self.counts += new_K
            step_KD = (sums_KD - new_K[:, None] * centres_KD) / self.counts.clamp_min(1)[:, None]
            self.centres.copy_(centres_KD + step_KD)
        return own_N

    def _first(self, rows_ND: Tensor, draws_N: Tensor) -> Tensor:
        """The rows of all workers with the lowest draws; where there are fewer than clusters, some of them again."""
        places = torch.arange(len(self.counts), device=rows_ND.device)
        order = draws_N.argsort(stable=True)[places % len(draws_N)]
        again = 2.0 * (places // len(draws_N))
        lowest, rows = gather_equal(draws_N[order] + again), gather_equal(rows_ND[order])
        return rows[lowest.argsort(stable=True)[: len(places)]]
