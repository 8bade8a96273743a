"""Losses as pure functions of embeddings, named as in their papers. All of them compute in fp32."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from ..train.distributed import gather, gather_detached, rows_before
from .precision import full_precision
from .ragged import masked_mean


@full_precision
def unit(rows_BD: Tensor) -> Tensor:
    """Rows of length 1."""
    return normalize(rows_BD, dim=1)


@full_precision
def nt_xent(first_BD: Tensor, second_BD: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """NT-Xent: pick each row's partner out of all other rows on all workers (SimCLR, arXiv:2002.05709, eq. 1).

    B: this worker's samples, N: all workers' samples, D: width of the projection. Rows need not be normalised.
    The mean over this worker's 2B rows is returned; its gradient reaches the other workers' rows too. Finite for
    every temperature that fp32 can divide by, because no exponential is taken before its maximum is subtracted.

    Returns:
        The loss, and how often the partner is the most similar row (detached).
    """
    first_BD, second_BD = unit(first_BD), unit(second_BD)
    batch = len(first_BD)
    all_ND = torch.cat([gather(first_BD), gather(second_BD)])
    logits = torch.cat([first_BD, second_BD]) @ all_ND.T / temperature
    mine = rows_before(batch) + torch.arange(batch, device=logits.device)
    itself = torch.cat([mine, mine + len(all_ND) // 2])
    partner = torch.cat([mine + len(all_ND) // 2, mine])
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return cross_entropy(logits, partner), (logits.detach().argmax(1) == partner).float().mean()


@full_precision
def info_nce_with_queue(
    query_BD: Tensor, key_BD: Tensor, queue_KD: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE of a query against its key and a queue of older keys (MoCo, arXiv:1911.05722, eq. 1).

    K: queue size. Queue rows must be unit vectors; the key and the queue carry no gradient.

    Returns:
        The mean over this worker's queries, and how often the key beats the whole queue (detached).
    """
    query_BD, key_BD = unit(query_BD), unit(key_BD).detach()
    positive = (query_BD * key_BD).sum(1, keepdim=True)
    logits = torch.cat([positive, query_BD @ queue_KD.T], dim=1) / temperature
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return cross_entropy(logits, target), (logits.detach().argmax(1) == 0).float().mean()


@full_precision
def info_nce_in_batch(query_BD: Tensor, key_BD: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """InfoNCE of a query against the keys of all workers' batches (MoCo v3, arXiv:2104.02057, eq. 1).

    Returns:
        The mean over this worker's queries, unscaled, and how often the right key wins (detached).
    """
    query_BD, key_BD = unit(query_BD), unit(key_BD)
    keys_ND = gather_detached(key_BD)
    logits = query_BD @ keys_ND.T / temperature
    target = rows_before(len(query_BD)) + torch.arange(len(query_BD), device=logits.device)
    return cross_entropy(logits, target), (logits.detach().argmax(1) == target).float().mean()


@full_precision
def swapped_cross_entropy(targets_TBK: Tensor, logits_VBK: Tensor) -> Tensor:
    """Each view's target is predicted from every other view (SwAV, arXiv:2006.09882, eq. 2; DINO, arXiv:2104.14294).

    T: views with a target, which are the first of all V views; K: prototypes. Targets are distributions and carry no
    gradient.

    Returns:
        The mean over this worker's samples and all T (V - 1) pairs of different views.
    """
    targets_TBK, log_VBK = targets_TBK.detach(), logits_VBK.log_softmax(dim=-1)
    pairs = [(t, v) for t in range(len(targets_TBK)) for v in range(len(log_VBK)) if t != v]
    return -torch.stack([(targets_TBK[t] * log_VBK[v]).sum(-1).mean() for t, v in pairs]).mean()


def perplexity(probabilities_BK: Tensor) -> Tensor:
    """How many of the K prototypes are used: exp of the entropy of the mean distribution; 1 is collapse, K is even."""
    return torch.special.entr(probabilities_BK.detach().mean(0)).sum().exp()


@full_precision
def classified(logits_BPV: Tensor, codes_BP: Tensor, hidden_BP: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy over all workers' hidden positions, and how often the likeliest code is the right one."""
    errors = cross_entropy(logits_BPV.flatten(0, 1), codes_BP.flatten(), reduction="none").view_as(codes_BP)
    right = (logits_BPV.argmax(2) == codes_BP).float()
    return masked_mean(errors, hidden_BP), masked_mean(right, hidden_BP)
